// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as the payloads of data frames, each after its length in two bytes: none unpacks to much.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_transfer::protocol::stream::{MAX_PIECE, Unpacker, ZSTD_WINDOW};

fuzz_target!(|data: &[u8]| {
    let mut unpacker = Unpacker::default();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (payload, after) = after.split_at(length);
        rest = after;
        match unpacker.unpack(payload) {
            Ok(piece) => assert!(piece.len() <= MAX_PIECE + ZSTD_WINDOW as usize + (128 << 10)),
            Err(_) => return,
        }
    }
});
