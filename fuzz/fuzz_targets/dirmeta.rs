// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as a dirmeta, or as the attribute of a file in a bare-user repository.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_format::DirMeta;

fuzz_target!(|data: &[u8]| {
    let meta = DirMeta::parse(data);
    if let Ok(any) = DirMeta::parse_any_mode(data) {
        assert_eq!(any.to_bytes(), data);
        if let Ok(meta) = meta {
            assert_eq!(meta, any);
        }
    } else {
        assert!(meta.is_err());
    }
});
