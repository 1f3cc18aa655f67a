// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as a tar or cpio archive, packed or not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_repo::commit::read_archive;

fuzz_target!(|data: &[u8]| {
    let _ = read_archive(data);
});
