// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes as a file of plain keys, and each as a key of each engine.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxtree_repo::sign::Signer;
use oxtree_sign::{Engine, PublicKeys, SecretKey, encoding};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for entry in encoding::entries(text) {
        let Some(key) = entry.key else { continue };
        let key = encoding::to_base64(&key);
        for engine in [Engine::Ed25519, Engine::Spki] {
            let mut public = PublicKeys::new(engine, false).expect("not the dummy");
            if public.add(&key).is_ok() {
                public
                    .verify(b"data", &[&[0; 64]])
                    .expect_err("nobody has signed");
            }
            if let Ok(secret) = SecretKey::parse(engine, &key, false) {
                // Odd RSA keys cannot sign, which is no crash.
                let _ = secret.sign(b"data", &[]);
            }
        }
    }
});
