// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as a dirtree: what is one is written again as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_format::{DirTree, dirtree};

fuzz_target!(|data: &[u8]| {
    let Ok(tree) = DirTree::parse(data) else {
        return;
    };
    assert_eq!(
        dirtree::write(tree.files(), tree.dirs()).expect("it was read"),
        data
    );
    for (name, id) in tree.files() {
        assert_eq!(tree.file(name), Some(id));
        assert_eq!(tree.dir(name), None);
        assert!(!name.contains('/') && name != "..");
    }
});
