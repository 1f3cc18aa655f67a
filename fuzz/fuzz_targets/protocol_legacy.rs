// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as the messages of a pusher from before ostree-push 0.1.1: what was read is read again from
//! what is written of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_transfer::protocol::legacy::{HEAD_LEN, Head, Request};

fn read(from: &mut &[u8]) -> Option<Request> {
    let (head, rest) = from.split_first_chunk::<HEAD_LEN>()?;
    let head = Head::parse(*head).ok()?;
    let (body, rest) = rest.split_at_checked(usize::from(head.len))?;
    *from = rest;
    Request::parse(head, body).ok()
}

fuzz_target!(|data: &[u8]| {
    let mut from = data;
    while let Some(request) = read(&mut from) {
        let written = request.to_bytes();
        assert_eq!(read(&mut &written[..]), Some(request));
    }
});
