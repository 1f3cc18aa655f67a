// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as a base and a patch of it. And as two contents: a patch that is made of them gives the
//! second one again.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use oxtree_transfer::protocol::patch::{Patch, Patched};

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let (base, other) = rest.split_at(usize::from(*first).min(rest.len()));
    let mut content = Vec::new();
    let _ = Patched::new(base, other)
        .take(100_000)
        .read_to_end(&mut content);
    let patch = Patch::new(base, other);
    let mut bytes = Vec::new();
    patch.write(base, other, &mut |part: &[u8]| {
        bytes.extend_from_slice(part)
    });
    assert_eq!(bytes.len() as u64, patch.len());
    content.clear();
    Patched::new(base, &bytes[..])
        .read_to_end(&mut content)
        .expect("our own patch");
    assert_eq!(content, other);
});
