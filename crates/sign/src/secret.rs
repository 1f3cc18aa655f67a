// SPDX-License-Identifier: MIT OR Apache-2.0
//! Secret keys of the engines.

use std::fmt;
use std::path::Path;

use oxtree_repo::sign::{SignError, Signer};

use crate::encoding::{self, Bytes};
use crate::keys::read_text;
use crate::schemes::{ed25519, spki};
use crate::{Engine, Error, Result};

enum Key {
    Ed25519(ed25519::Secret),
    Spki(spki::Secret),
    Dummy(Vec<u8>),
}

/// A secret key, which signs. It is never printed.
pub struct SecretKey {
    engine: Engine,
    key: Key,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl SecretKey {
    /// A key as a user writes it: in base64; for the dummy engine (which `dummy` has to switch on),
    /// any text.
    pub fn parse(engine: Engine, key: &str, dummy: bool) -> Result<Self> {
        match engine {
            Engine::Dummy if dummy => Ok(Self {
                engine,
                key: Key::Dummy(key.as_bytes().to_vec()),
            }),
            Engine::Dummy => Err(Error::DummyDisabled),
            _ => Self::from_bytes(engine, encoding::base64(key)),
        }
    }

    /// The keys in a file: one a line, or PEM blocks `PRIVATE KEY`.
    pub fn read(engine: Engine, path: &Path, dummy: bool) -> Result<Vec<Self>> {
        let text = read_text(path)?;
        let keys: Vec<Self> = match engine {
            Engine::Dummy => text
                .lines()
                .filter(|line| !line.is_empty())
                .map(|line| Self::parse(engine, line, dummy))
                .collect::<Result<_>>()?,
            _ => encoding::entries(&text)
                .into_iter()
                .filter(|entry| matches!(entry.label.as_deref(), None | Some("PRIVATE KEY")))
                .map(|entry| Self::from_bytes(engine, entry.key))
                .collect::<Result<_>>()?,
        };
        match keys.is_empty() {
            true => Err(Error::NoKeysInFile {
                engine: engine.name(),
                path: path.to_owned(),
            }),
            false => Ok(keys),
        }
    }

    fn from_bytes(engine: Engine, bytes: Option<Bytes>) -> Result<Self> {
        let wrong = |reason| Error::SecretKey {
            engine: engine.name(),
            reason,
        };
        let bytes = bytes.ok_or_else(|| wrong("it is not base64".to_owned()))?;
        let key = match engine {
            Engine::Ed25519 => Key::Ed25519(ed25519::Secret::new(&bytes).map_err(wrong)?),
            Engine::Spki => Key::Spki(spki::Secret::new(&bytes).map_err(wrong)?),
            Engine::Dummy => Key::Dummy(bytes.to_vec()),
        };
        Ok(Self { engine, key })
    }
}

impl Signer for SecretKey {
    fn metadata_key(&self) -> &'static str {
        self.engine.metadata_key()
    }

    fn sign(&self, data: &[u8], _earlier: &[&[u8]]) -> Result<Vec<u8>, SignError> {
        match &self.key {
            Key::Ed25519(key) => Ok(key.sign(data)),
            Key::Spki(key) => key.sign(data).map_err(|reason| {
                let engine = self.engine.name();
                Error::Signing { engine, reason }.into()
            }),
            Key::Dummy(key) => Ok(key.clone()),
        }
    }
}
