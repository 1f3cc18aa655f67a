// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as the size of a file, and lines of a request's head for it: ranges, conditions, dates, what proxies say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_server::fuzz;

fuzz_target!(|data: &[u8]| {
    if let Some((size, lines)) = data.split_first_chunk::<8>() {
        fuzz::head(lines, u64::from_be_bytes(*size));
    }
});
