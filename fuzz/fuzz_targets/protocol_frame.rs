// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as frames, and their payloads as messages, ids and pieces of the object stream: what was
//! read is written again as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_transfer::protocol::frame::{self, FrameKind};
use oxtree_transfer::protocol::message::{Message, parse_ids, put_id};
use oxtree_transfer::protocol::stream::{Decoder, MAX_PIECE, Unpacker, ZSTD_WINDOW};

fuzz_target!(|data: &[u8]| {
    let mut from = data;
    let mut unpacker = Unpacker::default();
    let mut decoder = Decoder::default();
    loop {
        let before = from;
        let Ok(Some(frame)) = frame::read(&mut from) else {
            return;
        };
        let mut written = Vec::new();
        frame::write(&mut written, frame.kind, &frame.payload).expect("it was read");
        assert_eq!(written, before[..before.len() - from.len()]);
        match frame.kind {
            FrameKind::Control => {
                if let Ok(message) = Message::parse(&frame.payload) {
                    let again = Message::parse(&message.to_frame().payload);
                    assert_eq!(again.expect("it was read"), message);
                }
            }
            FrameKind::Ids => {
                if let Ok(ids) = parse_ids(&frame.payload) {
                    let mut bytes = Vec::new();
                    ids.iter().for_each(|id| put_id(&mut bytes, id));
                    assert_eq!(bytes, frame.payload);
                }
            }
            FrameKind::Data => {
                let Ok(piece) = unpacker.unpack(&frame.payload) else {
                    return;
                };
                assert!(piece.len() <= MAX_PIECE + ZSTD_WINDOW as usize + (128 << 10));
                if decoder.feed(&piece, &mut |_| Ok(())).is_err() {
                    return;
                }
            }
            FrameKind::Bitmap => {}
        }
    }
});
