// SPDX-License-Identifier: MIT OR Apache-2.0
//! Public keys of an engine: which are trusted, which are revoked, and whether one of them has
//! signed.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use oxtree_format::checksum::hex;
use oxtree_format::detached::{Detached, NewDetached};
use oxtree_format::gvariant::OwnedVariant;
use oxtree_repo::sign::SignError;

use crate::encoding;
use crate::schemes::{ed25519, spki};
use crate::{Engine, Error, Result};

/// The largest file of keys that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// The most signatures of one engine that are looked at: anybody can add more.
const MAX_SIGNATURES: usize = 1000;

/// How many keys a message names.
const NAMED: usize = 3;

/// Where keys are looked for when nothing else is said.
pub const DIRS: [&str; 2] = ["/etc/ostree", "/usr/share/ostree"];

#[derive(Clone, Debug)]
enum Key {
    Ed25519(ed25519::Public),
    Spki(Box<spki::Public>),
    Dummy,
}

/// Trusted and revoked public keys of one engine.
#[derive(Clone, Debug)]
pub struct PublicKeys {
    engine: Engine,
    trusted: Vec<(Vec<u8>, Key)>,
    revoked: HashSet<Vec<u8>>,
}

impl PublicKeys {
    /// No keys. For the dummy engine, `dummy` has to say that it is switched on.
    pub fn new(engine: Engine, dummy: bool) -> Result<Self> {
        if engine == Engine::Dummy && !dummy {
            return Err(Error::DummyDisabled);
        }
        Ok(Self {
            engine,
            trusted: Vec::new(),
            revoked: HashSet::new(),
        })
    }

    /// The engine.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// True if there is nobody to be trusted.
    pub fn is_empty(&self) -> bool {
        self.trusted.is_empty()
    }

    /// Trusts a key as a user or a configuration writes it: in base64; for the dummy engine, any
    /// text.
    pub fn add(&mut self, key: &str) -> Result<()> {
        let bytes = self.decode(key)?;
        self.add_bytes(bytes)
    }

    /// Trusts the keys in a file. Invalid ones are ignored if at least one is valid.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        let mut found = false;
        for key in self.read(path)? {
            found |= self.add_bytes(key).is_ok();
        }
        match found {
            true => Ok(()),
            false => Err(Error::NoKeysInFile {
                engine: self.engine.name(),
                path: path.to_owned(),
            }),
        }
    }

    /// Trusts the keys in `DIR/trusted.ENGINE` and `DIR/trusted.ENGINE.d/*`, unless they are in
    /// `DIR/revoked.ENGINE` or `DIR/revoked.ENGINE.d/*` of any of the directories. Files
    /// that cannot be read are ignored; there must be at least one key.
    pub fn add_dirs<P: AsRef<Path>>(&mut self, dirs: &[P]) -> Result<()> {
        let mut found = false;
        for dir in dirs {
            for file in self.files(dir.as_ref(), "trusted") {
                found |= self.add_file(&file).is_ok();
            }
            for file in self.files(dir.as_ref(), "revoked") {
                let revoked = self.read(&file).unwrap_or_default();
                self.revoked.extend(revoked);
            }
        }
        match found {
            true => Ok(()),
            false => Err(Error::NoKeys(self.engine.name())),
        }
    }

    fn files(&self, dir: &Path, what: &str) -> Vec<PathBuf> {
        let file = dir.join(format!("{what}.{}", self.engine.name()));
        let folder = dir.join(format!("{what}.{}.d", self.engine.name()));
        let mut files = vec![file];
        if let Ok(entries) = folder.read_dir() {
            files.extend(entries.flatten().map(|entry| entry.path()));
        }
        files.sort();
        files
    }

    fn add_bytes(&mut self, bytes: Vec<u8>) -> Result<()> {
        let wrong = |reason| Error::PublicKey {
            engine: self.engine.name(),
            reason,
        };
        let key = match self.engine {
            Engine::Ed25519 => Key::Ed25519(ed25519::Public::new(&bytes).map_err(wrong)?),
            Engine::Spki => Key::Spki(Box::new(spki::Public::new(&bytes).map_err(wrong)?)),
            Engine::Dummy => Key::Dummy,
        };
        if !self.trusted.iter().any(|(known, _)| *known == bytes) {
            self.trusted.push((bytes, key));
        }
        Ok(())
    }

    fn decode(&self, key: &str) -> Result<Vec<u8>> {
        if self.engine == Engine::Dummy {
            return Ok(key.as_bytes().to_vec());
        }
        match encoding::base64(key) {
            Some(key) => Ok(key.to_vec()),
            None => Err(Error::PublicKey {
                engine: self.engine.name(),
                reason: "it is not base64".to_owned(),
            }),
        }
    }

    /// The keys in a file, not yet parsed.
    fn read(&self, path: &Path) -> Result<Vec<Vec<u8>>> {
        let text = read_text(path)?;
        if self.engine == Engine::Dummy {
            let lines = text.lines().filter(|line| !line.is_empty());
            return Ok(lines.map(|line| line.as_bytes().to_vec()).collect());
        }
        let public = |label: Option<&str>| matches!(label, None | Some("PUBLIC KEY"));
        Ok(encoding::entries(&text)
            .into_iter()
            .filter(|entry| public(entry.label.as_deref()))
            .filter_map(|entry| Some(entry.key?.to_vec()))
            .collect())
    }

    /// Checks that one of the keys has made one of the signatures of `data`, and says which in
    /// libostree's words.
    pub fn verify(&self, data: &[u8], signatures: &[&[u8]]) -> Result<String> {
        let engine = self.engine.name();
        if signatures.len() > MAX_SIGNATURES {
            return Err(Error::TooMany {
                what: "signatures",
                max: MAX_SIGNATURES,
            });
        }
        let not_verified = |reason| Error::NotVerified { engine, reason };
        if signatures.is_empty() {
            return Err(not_verified("no signatures found".to_owned()));
        }
        let mut tried = Vec::new();
        let mut count = 0_u64;
        for signature in signatures {
            for (bytes, key) in &self.trusted {
                if self.revoked.contains(bytes) {
                    continue;
                }
                if key.has_made(bytes, data, signature) {
                    return Ok(match key {
                        Key::Dummy => "dummy: Signature verified".to_owned(),
                        _ => format!(
                            "{engine}: Signature verified successfully with key '{}'",
                            hex(bytes)
                        ),
                    });
                }
                count += 1;
                if tried.len() < NAMED {
                    tried.push(format!("key '{}'", hex(bytes)));
                }
            }
        }
        Err(not_verified(match (count, self.engine) {
            (0, _) => "no signatures found".to_owned(),
            (count, Engine::Dummy) => format!("incorrect signatures found: {count}"),
            (count, _) if count > NAMED as u64 => {
                format!("Signature couldn't be verified; tried {count} keys")
            }
            _ => format!("Signature couldn't be verified with: {}", tried.join("; ")),
        }))
    }
}

impl PublicKeys {
    /// Deletes the signatures of `data` that one of the keys has made. Returns how many.
    pub fn delete_signatures(
        &self,
        data: &[u8],
        detached: &mut NewDetached,
    ) -> Result<usize, SignError> {
        let name = self.engine.metadata_key();
        let bytes = detached.to_bytes();
        let old = Detached::parse(&bytes)?.signatures(name)?;
        let is_ours = |signature: &&[u8]| {
            let mut keys = self.trusted.iter();
            keys.any(|(bytes, key)| key.has_made(bytes, data, signature))
        };
        let (gone, kept): (Vec<&[u8]>, Vec<&[u8]>) = old.into_iter().partition(is_ours);
        match (gone.is_empty(), kept.is_empty()) {
            (true, _) => {}
            (false, true) => drop(detached.remove(name)),
            (false, false) => detached.set(name, OwnedVariant::of(&kept))?,
        }
        Ok(gone.len())
    }
}

impl Key {
    /// Whether the key, which is written as `bytes`, has made this signature of `data`.
    fn has_made(&self, bytes: &[u8], data: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => key.verify(data, signature),
            Self::Spki(key) => key.verify(data, signature),
            Self::Dummy => bytes == signature,
        }
    }
}

/// A file of keys, which may be secret ones. It has to be a file, and not a huge one.
pub(crate) fn read_text(path: &Path) -> Result<zeroize::Zeroizing<String>> {
    let meta = path.metadata();
    if !meta.is_ok_and(|meta| meta.is_file()) {
        return Err(Error::NotAFile(path.to_owned()));
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(Error::io("read", path))?;
    match text.len() as u64 > MAX_FILE {
        true => Err(Error::TooMany {
            what: "bytes of keys in a file",
            max: MAX_FILE as usize,
        }),
        false => Ok(text),
    }
}
