// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as a GPG keyring: what is understood is written again, and is the same then.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_sign::gpg::{self, Keyring};

const NOW: u64 = 1_800_000_000;

fuzz_target!(|data: &[u8]| {
    let mut keyring = Keyring::new();
    if keyring.add_bytes(data).is_err() {
        return;
    }
    gpg::list(keyring.certificates(), NOW, |time| time.to_string());
    let bytes = keyring.to_bytes();
    let mut again = Keyring::new();
    again.add_bytes(&bytes).expect("it was written");
    assert_eq!(again.to_bytes(), bytes);
});
