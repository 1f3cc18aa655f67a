// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as detached metadata and as a tombstone: what is one is written again as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_format::{Detached, NewDetached, detached, tombstone};

fuzz_target!(|data: &[u8]| {
    if let Ok(commit) = tombstone::parse(data) {
        assert_eq!(tombstone::parse(&tombstone::write(commit)), Ok(commit));
    }
    let Ok(detached) = Detached::parse(data) else {
        return;
    };
    assert_eq!(detached.to_bytes(), data);
    let mut new = NewDetached::from(detached);
    assert_eq!(new.to_bytes(), data);
    for key in detached::keys::SIGNATURES {
        let Ok(old) = detached.signatures(key) else {
            assert!(new.add_signature(key, b"new").is_err());
            continue;
        };
        new.add_signature(key, b"new")
            .expect("a list of signatures");
        let bytes = new.to_bytes();
        let now = Detached::parse(&bytes).expect("it was written");
        assert_eq!(
            now.signatures(key).expect("signatures"),
            [&old[..], &[b"new"]].concat()
        );
    }
});
