// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as one entry of `ostree.sizes`, as the whole list, and as LEB128 numbers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_format::SizesEntry;
use oxtree_format::gvariant::Variant;
use oxtree_format::sizes;

fuzz_target!(|data: &[u8]| {
    if let Ok(entry) = SizesEntry::parse(data) {
        assert_eq!(entry.to_bytes(), data);
    }
    if let Ok((number, rest)) = sizes::read_leb128(data) {
        let mut bytes = Vec::new();
        sizes::write_leb128(&mut bytes, number);
        bytes.extend(rest);
        assert_eq!(bytes, data);
    }
    if let Ok(value) = Variant::new("aay", data)
        && let Ok(entries) = sizes::parse(&value)
    {
        let mut sorted = entries.clone();
        let written = sizes::write(&mut sorted);
        assert_eq!(sizes::parse(&written.as_ref()).as_ref(), Ok(&sorted));
        if sorted == entries {
            assert_eq!(written.data, data);
        }
    }
});
