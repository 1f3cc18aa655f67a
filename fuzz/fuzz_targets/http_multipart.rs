// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as a `Content-Type`, a line break, and a body with several parts: it is the same however it comes in, and no part
//! holds what parts them.
#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use oxtree_server::multipart::{Head, Multipart, boundary};

/// Hands out so many bytes at a time.
struct Drops<'a>(&'a [u8], usize);

impl Read for Drops<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let len = self.1.min(to.len());
        self.0.read(&mut to[..len])
    }
}

/// The parts up to the first error, and whether there was one.
fn parts(body: impl Read, boundary: &str, at_once: usize) -> (Vec<(Head, Vec<u8>)>, bool) {
    let mut body = Multipart::new(body, boundary);
    let mut parts = Vec::new();
    loop {
        let head = match body.next_part() {
            Ok(Some(head)) => head,
            Ok(None) => return (parts, true),
            Err(_) => return (parts, false),
        };
        let (mut content, mut piece) = (Vec::new(), vec![0; at_once]);
        loop {
            match body.read_part(&mut piece) {
                Ok(0) => break,
                Ok(len) => content.extend_from_slice(&piece[..len]),
                Err(_) => return (parts, false),
            }
        }
        parts.push((head, content));
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (kind, body) = (&data[..at], &data[at + 1..]);
    let Some(boundary) = str::from_utf8(kind).ok().and_then(boundary) else {
        return;
    };
    let whole = parts(body, &boundary, 4096);
    assert_eq!(parts(Drops(body, 1), &boundary, 1), whole);
    assert_eq!(parts(Drops(body, 7), &boundary, 3), whole);
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    for (_, content) in &whole.0 {
        assert!(
            !content
                .windows(delimiter.len())
                .any(|bytes| bytes == delimiter)
        );
    }
});
