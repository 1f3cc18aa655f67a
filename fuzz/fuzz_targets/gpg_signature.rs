// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as a GPG signature of something that the key in the keyring has not signed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use oxtree_sign::gpg::{self, Keyring, Verdict};

const NOW: u64 = 1_800_000_000;

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    let mut keyring = Keyring::new();
    let bytes = include_bytes!("../seeds/gpg_keyring/ed25519-and-subkey");
    keyring.add_bytes(bytes).expect("a keyring");
    keyring
});

fuzz_target!(|data: &[u8]| {
    gpg::issuers(data);
    let Ok(reports) = gpg::verify(KEYRING.certificates(), b"other data", &[data], NOW) else {
        return;
    };
    for report in reports {
        assert_ne!(report.verdict, Verdict::Good);
        gpg::describe(&report, "  ", NOW, |time| time.to_string());
    }
});
