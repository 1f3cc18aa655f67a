// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys of OpenSSL, in the files that libostree has for them.

use std::fs;
use std::path::Path;

use crate::Tool;

/// Whether `signature` is one of `message` by the key in the file `public`, in PEM, says OpenSSL.
///
/// # Panics
/// When it is not.
pub fn assert_ed25519_signature(public: &Path, message: &Path, signature: &[u8]) {
    let dir = crate::temp_dir();
    let file = dir.path().join("signature");
    fs::write(&file, signature).expect("write");
    Tool::new("openssl").ok([
        "pkeyutl".as_ref(),
        "-verify".as_ref(),
        "-rawin".as_ref(),
        "-pubin".as_ref(),
        "-inkey".as_ref(),
        public.as_os_str(),
        "-in".as_ref(),
        message.as_os_str(),
        "-sigfile".as_ref(),
        file.as_os_str(),
    ]);
}

/// Makes a key pair below `dir`: `public.pem` and `secret.pem`, and the same in base64 as libostree
/// has it, `public` and `secret`.
///
/// # Panics
/// When `openssl` fails.
pub fn ed25519_keys(dir: &Path) {
    let openssl = |args: &[&str]| {
        let tool = Tool::new("openssl").dir(dir);
        tool.run(args).expect_ok().stdout_bytes
    };
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", "secret.pem"]);
    openssl(&["pkey", "-in", "secret.pem", "-pubout", "-out", "public.pem"]);
    let secret = openssl(&["pkey", "-in", "secret.pem", "-outform", "DER"]);
    let public = openssl(&["pkey", "-in", "secret.pem", "-pubout", "-outform", "DER"]);
    // What comes before says what kind of a key it is.
    let (seed, public) = (&secret[secret.len() - 32..], &public[public.len() - 32..]);
    let base64 = |name: &str, bytes: &[u8]| {
        fs::write(dir.join("raw"), bytes).expect("write");
        let text = openssl(&["base64", "-A", "-in", "raw"]);
        fs::write(dir.join(name), text).expect("write");
    };
    base64("secret", &[seed, public].concat());
    base64("public", public);
}
