// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as a commit: what is one is written again as the same bytes, taken apart or not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_format::commit::{NewCommit, keys};
use oxtree_format::gvariant::Entry;
use oxtree_format::{Commit, sizes};

fuzz_target!(|data: &[u8]| {
    let Ok(commit) = Commit::parse(data) else {
        return;
    };
    assert_eq!(commit.to_bytes(), data);
    let _ = (commit.ref_bindings(), commit.metadata_str(keys::VERSION));
    if let Some(value) = commit.metadata_value(keys::SIZES) {
        let _ = sizes::parse(&value);
    }
    if commit.related.is_empty() {
        let new = NewCommit {
            metadata: commit
                .metadata
                .iter()
                .map(|Entry(key, value)| (key, value))
                .collect(),
            parent: commit.parent,
            subject: commit.subject,
            body: commit.body,
            timestamp: commit.timestamp,
            root: commit.root,
        };
        assert_eq!(new.to_bytes().expect("it was read"), data);
    }
});
