// SPDX-License-Identifier: MIT OR Apache-2.0
//! The engines other than GPG: plain keys, no certificates.

use oxtree_format::detached::keys;

use crate::{Error, Result};

/// A way of signing with plain keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    /// Ed25519.
    Ed25519,
    /// A key of any algorithm in X.509 form.
    Spki,
    /// No signature at all: the key itself.
    Dummy,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ed25519, Self::Spki, Self::Dummy];

    /// The name in options and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Spki => "spki",
            Self::Dummy => "dummy",
        }
    }

    /// The engine of this name.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|engine| engine.name() == name)
            .ok_or(Error::UnknownEngine)
    }

    /// The key of detached metadata under which its signatures stand.
    pub const fn metadata_key(self) -> &'static str {
        match self {
            Self::Ed25519 => keys::ED25519,
            Self::Spki => keys::SPKI,
            Self::Dummy => keys::DUMMY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for engine in Engine::ALL {
            assert_eq!(Engine::from_name(engine.name()).unwrap(), engine);
            assert!(engine.metadata_key().ends_with(engine.name()));
        }
        for bad in ["", "Ed25519", " ed25519", "gpg"] {
            assert!(matches!(Engine::from_name(bad), Err(Error::UnknownEngine)));
        }
    }
}
