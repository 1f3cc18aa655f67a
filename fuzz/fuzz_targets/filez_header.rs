// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as the header of a `.filez`, with and without its prefix.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_format::{FileHeader, FilezHeader, file};

fuzz_target!(|data: &[u8]| {
    if let Ok(header) = FilezHeader::parse(data) {
        assert_eq!(header.to_bytes(), data);
        let hashed = header.file.to_bytes();
        assert_eq!(FileHeader::parse(&hashed).as_ref(), Ok(&header.file));
    }
    if let Ok((header, content)) = file::split_header(data)
        && let Ok(header) = FilezHeader::parse(header)
    {
        assert_eq!([&header.stored_bytes(), content].concat(), data);
    }
});
