// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as what a receiver says: each thing comes once and in its turn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_transfer::protocol::frame;
use oxtree_transfer::push::session::{Event, Session};

/// Ids that are offered: more than a byte of the bitmap.
const IDS: usize = 11;

fuzz_target!(|data: &[u8]| {
    let mut from = data;
    let mut session = Session::default();
    let (mut offered, mut answered) = (false, false);
    while let Ok(Some(frame)) = frame::read(&mut from) {
        match session.receive(frame) {
            Ok(Event::Remote) => {
                assert!(!offered);
                session.speaking();
                session.offered(IDS);
                offered = true;
            }
            Ok(Event::Wanted(bitmap)) => {
                assert!(offered && !answered);
                assert_eq!(bitmap.len(), IDS.div_ceil(8));
                session.speaking();
                answered = true;
            }
            Ok(Event::Outcome(_)) => {
                assert!(offered && session.turns <= 4);
                return;
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
});
