// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as what shows who asks: a file with tokens; or a set of keys, and after it, in a line of its own, a JSON Web Token.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_server::fuzz;

fuzz_target!(|data: &[u8]| {
    fuzz::token_file(data);
    if let Some(at) = data.iter().rposition(|byte| *byte == b'\n')
        && let Ok(token) = str::from_utf8(&data[at + 1..])
    {
        fuzz::json_web_token(token, &data[..at]);
    }
});
