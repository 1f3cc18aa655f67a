// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong with the frames of a conversation.

use oxtree_transfer::protocol::frame::{Frame, FrameKind};
use proptest::collection::vec;
use proptest::prelude::*;

/// One thing that goes wrong with a conversation.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Lose(usize),
    Double(usize),
    Swap(usize, usize),
    Cut(usize, usize),
    Flip(usize, usize),
    Add(usize, usize, Vec<u8>),
}

/// Any of them.
pub(crate) fn fault() -> impl Strategy<Value = Fault> {
    let at = 0..100usize;
    prop_oneof![
        at.clone().prop_map(Fault::Lose),
        at.clone().prop_map(Fault::Double),
        (at.clone(), at.clone()).prop_map(|(a, b)| Fault::Swap(a, b)),
        (at.clone(), 0..200usize).prop_map(|(a, b)| Fault::Cut(a, b)),
        (at.clone(), 0..2000usize).prop_map(|(a, b)| Fault::Flip(a, b)),
        (at, 0..4usize, vec(any::<u8>(), 0..80)).prop_map(|(a, b, c)| Fault::Add(a, b, c)),
    ]
}

/// Lets it go wrong.
pub(crate) fn apply(frames: &mut Vec<Frame>, fault: &Fault) {
    let len = frames.len();
    match fault {
        _ if len == 0 => {}
        Fault::Lose(at) => drop(frames.remove(at % len)),
        Fault::Double(at) => frames.insert(at % len, frames[at % len].clone()),
        Fault::Swap(a, b) => frames.swap(a % len, b % len),
        Fault::Cut(at, to) => frames[at % len].payload.truncate(*to),
        Fault::Flip(at, bit) => {
            let payload = &mut frames[at % len].payload;
            let bits = payload.len() * 8;
            if bits > 0 {
                payload[bit % bits / 8] ^= 1 << (bit % 8);
            }
        }
        Fault::Add(at, kind, payload) => {
            use FrameKind::{Bitmap, Control, Data, Ids};
            let kind = [Control, Ids, Bitmap, Data][*kind];
            let payload = payload.clone();
            frames.insert(at % len, Frame { kind, payload });
        }
    }
}
