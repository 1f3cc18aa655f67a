// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as a list of extended attributes: what is one is written again as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_format::Xattrs;

fuzz_target!(|data: &[u8]| {
    let Ok(xattrs) = Xattrs::parse(data) else {
        return;
    };
    assert_eq!(xattrs.to_bytes(), data);
    let list: Vec<(Vec<u8>, Vec<u8>)> = xattrs
        .iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect();
    for (name, value) in &list {
        assert_eq!(xattrs.get(name), Some(value.as_slice()));
    }
    assert_eq!(Xattrs::new(list).as_ref(), Ok(&xattrs));
});
