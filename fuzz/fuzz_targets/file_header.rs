// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as the header of a file object, with and without its prefix.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_format::{FileHeader, file};

fuzz_target!(|data: &[u8]| {
    if let Ok(header) = FileHeader::parse(data) {
        assert_eq!(header.to_bytes(), data);
    }
    if let Ok((header, content)) = file::split_header(data)
        && let Ok(header) = FileHeader::parse(header)
    {
        assert_eq!([&header.hashed_bytes(), content].concat(), data);
    }
});
