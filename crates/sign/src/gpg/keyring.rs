// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keyrings: files of certificates, and what is imported into them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::cert::{self, Certificate};
use super::packets::MAX_KEYRING;
use crate::{Error, Result};

/// Where the keyrings are that all remotes trust, unless `$OSTREE_GPG_HOME` says otherwise.
pub const TRUSTED_DIR: &str = "/usr/share/ostree/trusted.gpg.d";

/// Certificates that are trusted.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    certificates: Vec<Certificate>,
}

impl Keyring {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// The certificates, in order.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Adds what is in a keyring, in armor or not.
    pub fn add_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        for certificate in cert::parse(bytes)? {
            self.add(certificate);
        }
        Ok(())
    }

    /// Adds a certificate, or what it has that was not there yet. True if it is new.
    pub fn add(&mut self, certificate: Certificate) -> bool {
        let fingerprint = certificate.fingerprint();
        let known = self
            .certificates
            .iter_mut()
            .find(|known| known.fingerprint() == fingerprint);
        match known {
            Some(known) => {
                known.merge(certificate);
                false
            }
            None => {
                self.certificates.push(certificate);
                true
            }
        }
    }

    /// Adds a file.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_KEYRING + 1).read_to_end(&mut bytes))
            .map_err(Error::io("open", path))?;
        if bytes.len() as u64 > MAX_KEYRING {
            return Err(Error::TooMany {
                what: "bytes of a keyring",
                max: MAX_KEYRING as usize,
            });
        }
        self.add_bytes(&bytes).map_err(|error| match error {
            Error::OpenPgp { reason, .. } => Error::OpenPgp {
                what: path.display().to_string(),
                reason,
            },
            error => error,
        })
    }

    /// Adds every `*.gpg` in a directory, but GnuPG's trust database and secret keys.
    pub fn add_dir(&mut self, path: &Path) -> Result<()> {
        for file in files(path, &["gpg"])? {
            self.add_file(&file)?;
        }
        Ok(())
    }

    /// Adds a file, or every `*.gpg` and `*.asc` in a directory: an entry of `gpgkeypath`.
    pub fn add_path(&mut self, path: &Path) -> Result<()> {
        match path.metadata() {
            Ok(meta) if meta.is_dir() => {
                for file in files(path, &["gpg", "asc"])? {
                    self.add_file(&file)?;
                }
                Ok(())
            }
            _ => self.add_file(path),
        }
    }

    /// Imports the certificates of `source` that `ids` mean, or all where there are none. Returns
    /// how many are new. An id that means nobody is an error, and then nothing is imported.
    pub fn import(&mut self, source: &Keyring, ids: &[String]) -> Result<usize> {
        let lost = ids
            .iter()
            .find(|id| !source.certificates.iter().any(|key| key.is_meant(id)));
        if let Some(id) = lost {
            return Err(Error::KeyNotFound(id.clone()));
        }
        let mut new = 0;
        for key in &source.certificates {
            if ids.is_empty() || ids.iter().any(|id| key.is_meant(id)) {
                new += usize::from(self.add(key.clone()));
            }
        }
        Ok(new)
    }

    /// The keyring's bytes, in binary.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for certificate in &self.certificates {
            certificate.write(&mut bytes);
        }
        bytes
    }
}

fn files(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let io = || Error::io("opendir", dir);
    let mut files = Vec::new();
    for entry in dir.read_dir().map_err(io())? {
        let path = entry.map_err(io())?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let name = path.file_name().and_then(|name| name.to_str());
        let is_keyring = extension.is_some_and(|extension| extensions.contains(&extension))
            && !matches!(name, Some("trustdb.gpg" | "secring.gpg"))
            && path.is_file();
        if is_keyring {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
