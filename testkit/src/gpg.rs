// SPDX-License-Identifier: MIT OR Apache-2.0
//! A throw-away home of the real `gpg`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{Output, Tool};

/// A directory with keys of `gpg`; the agent that serves it ends on drop.
#[derive(Debug)]
pub struct GpgHome {
    dir: tempfile::TempDir,
}

impl Default for GpgHome {
    fn default() -> Self {
        Self::new()
    }
}

impl GpgHome {
    /// A home without keys.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> GpgHome {
        let dir = crate::temp_dir();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
        GpgHome { dir }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Lets `gpg` believe that it is this moment, such as `20240229T235959` (UTC), for every program that runs it in this home.
    ///
    /// # Panics
    /// When its configuration cannot be written.
    pub fn set_time(&self, time: &str) {
        let line = format!("faked-system-time {time}!\n");
        fs::write(self.path().join("gpg.conf"), line).expect("write gpg.conf");
    }

    /// Runs `gpg` in this home, without questions and passphrases.
    #[must_use = "the exit code is not looked at"]
    pub fn run(&self, args: &[&str]) -> Output {
        let home = self.path().to_str().expect("a path in UTF-8");
        let common = [
            "--homedir",
            home,
            "--batch",
            "--yes",
            "--pinentry-mode=loopback",
            "--passphrase=",
        ];
        Tool::new("gpg").run([&common, args].concat())
    }

    /// Makes a key for signatures that never expires, and returns its fingerprint. `algorithm` is
    /// `gpg`'s: `rsa2048`, `ed25519`, `nistp256`, …
    ///
    /// # Panics
    /// When `gpg` fails.
    pub fn generate(&self, user: &str, algorithm: &str) -> String {
        self.generate_with(user, algorithm, "never", &[])
    }

    /// [`GpgHome::generate`] with a time of expiry (`2y`, `seconds=9`) and other options.
    ///
    /// # Panics
    /// When `gpg` fails.
    pub fn generate_with(
        &self,
        user: &str,
        algorithm: &str,
        expires: &str,
        options: &[&str],
    ) -> String {
        let words = ["--quick-generate-key", user, algorithm, "sign", expires];
        self.run(&[options, &words].concat()).expect_ok();
        let mut all = self.fingerprints(&format!("={user}"));
        all.remove(0)
    }

    /// Adds a subkey for signatures, and returns its fingerprint.
    ///
    /// # Panics
    /// When `gpg` fails.
    pub fn add_subkey(&self, key: &str, algorithm: &str, expires: &str) -> String {
        self.run(&["--quick-add-key", key, algorithm, "sign", expires])
            .expect_ok();
        self.fingerprints(key).pop().expect("a subkey")
    }

    /// The fingerprints of a key and its subkeys.
    ///
    /// # Panics
    /// When there is no such key.
    #[must_use]
    pub fn fingerprints(&self, key: &str) -> Vec<String> {
        let listed = self.run(&["--with-colons", "--list-keys", key]).expect_ok();
        let listed = listed.stdout();
        listed
            .lines()
            .filter_map(|line| Some(line.strip_prefix("fpr:")?.split(':').nth(8)?.to_owned()))
            .collect()
    }

    /// Revokes a key with the certificate that was made with it.
    ///
    /// # Panics
    /// When `gpg` fails.
    pub fn revoke(&self, fingerprint: &str) {
        let file = format!("openpgp-revocs.d/{fingerprint}.rev");
        let text = fs::read_to_string(self.path().join(file)).expect("a revocation certificate");
        let text = text.replace(":-----BEGIN", "-----BEGIN");
        let file = self.path().join("revocation");
        fs::write(&file, text).expect("write");
        self.run(&["--import", file.to_str().expect("UTF-8")])
            .expect_ok();
    }

    /// The public keys, as a binary keyring; all if none is named.
    ///
    /// # Panics
    /// When `gpg` fails.
    #[must_use]
    pub fn export(&self, keys: &[&str]) -> Vec<u8> {
        self.run(&[&["--export"], keys].concat())
            .expect_ok()
            .stdout_bytes
    }

    /// A detached signature of `data`.
    ///
    /// # Panics
    /// When `gpg` fails.
    #[must_use]
    pub fn sign(&self, key: &str, data: &[u8], options: &[&str]) -> Vec<u8> {
        let file = self.path().join("data");
        fs::write(&file, data).expect("write");
        let words = [
            "--local-user",
            key,
            "--output=-",
            "--detach-sign",
            file.to_str().expect("UTF-8"),
        ];
        self.run(&[options, &words].concat())
            .expect_ok()
            .stdout_bytes
    }
}

impl Drop for GpgHome {
    fn drop(&mut self) {
        // There may be none.
        let _ = Tool::new("gpgconf").run([
            Path::new("--homedir"),
            self.path(),
            Path::new("--kill"),
            Path::new("all"),
        ]);
    }
}
