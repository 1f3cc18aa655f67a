// SPDX-License-Identifier: MIT OR Apache-2.0
//! Detached metadata: `a{sv}`, in a commit's `.commitmeta` object and in `summary.sig`.
//!
//! It is not part of what it stands beside, and can change: signatures go here. An empty file is
//! an empty dictionary, so it means "nothing". Each signature scheme has a key of its own, whose
//! value is an array of signatures (`aay`) over the bytes of the commit object or the summary.
//! New ones are added at the end.

pub mod join;

use oxtree_gvariant::{Dict, Entry, OwnedVariant, Seq, Variant, from_bytes, to_bytes};

use crate::Error;

/// Keys of the signature schemes, each an `aay`.
pub mod keys {
    /// Binary detached OpenPGP signatures.
    pub const GPG: &str = "ostree.gpgsigs";
    /// Ed25519 signatures of 64 bytes.
    pub const ED25519: &str = "ostree.sign.ed25519";
    /// Signatures by a key in X.509 form.
    pub const SPKI: &str = "ostree.sign.spki";
    /// The key itself; only for tests.
    pub const DUMMY: &str = "ostree.sign.dummy";
    /// All of them.
    pub const SIGNATURES: [&str; 4] = [GPG, ED25519, SPKI, DUMMY];
}

/// Parsed detached metadata that borrows the file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detached<'a>(pub Dict<'a>);

impl<'a> Detached<'a> {
    /// Parses and checks detached metadata. No bytes are no entries.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        Ok(Self(from_bytes(bytes)?))
    }

    /// The bytes again.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(&self.0)
    }

    /// The value called `key`.
    pub fn value(&self, key: &str) -> Option<Variant<'a>> {
        self.0.lookup(key)
    }

    /// The signatures under `key` (one of [`keys`]). None if there is no such key; an error if its
    /// value is something else.
    pub fn signatures(&self, key: &str) -> Result<Vec<&'a [u8]>, Error> {
        match self.value(key) {
            Some(value) => Ok(value.as_::<Seq<'a, &[u8]>>()?.iter().collect()),
            None => Ok(Vec::new()),
        }
    }
}

/// Detached metadata to be changed and written. Entries keep their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewDetached {
    entries: Vec<(String, OwnedVariant)>,
}

impl NewDetached {
    /// No entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// True if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets the value of `key`: in its old place, or at the end. Refuses an empty key.
    pub fn set(&mut self, key: &str, value: OwnedVariant) -> Result<(), Error> {
        if key.is_empty() {
            return Err(Error::MetadataKey(String::new()));
        }
        match self.entries.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key.to_owned(), value)),
        }
        Ok(())
    }

    /// Removes `key`. True if it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(k, _)| k != key);
        self.entries.len() != before
    }

    /// Adds a signature after those that are under `key` already. An error if the value under
    /// `key` is something else.
    pub fn add_signature(&mut self, key: &str, signature: &[u8]) -> Result<(), Error> {
        let old = self.entries.iter().find(|(k, _)| k == key);
        let mut all: Vec<&[u8]> = match old {
            Some((_, value)) => value.as_ref().as_::<Seq<'_, &[u8]>>()?.iter().collect(),
            None => Vec::new(),
        };
        all.push(signature);
        let all = OwnedVariant::of(&all);
        self.set(key, all)
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let entries = self.entries.iter();
        let entries: Vec<_> = entries
            .map(|(key, value)| Entry(key.as_str(), value))
            .collect();
        to_bytes(&entries)
    }
}

impl From<Detached<'_>> for NewDetached {
    fn from(detached: Detached<'_>) -> Self {
        let entries = detached.0.iter();
        Self {
            entries: entries
                .map(|Entry(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_an_empty_file() {
        assert_eq!(NewDetached::new().to_bytes(), []);
        assert!(Detached::parse(b"").unwrap().0.is_empty());
        assert!(Detached::parse(b"x").is_err());
    }

    #[test]
    fn signatures_are_added_at_the_end() {
        let mut new = NewDetached::new();
        new.set("a", OwnedVariant::of("b")).unwrap();
        new.add_signature(keys::ED25519, &[1; 64]).unwrap();
        new.set("z", OwnedVariant::of(&1_u8)).unwrap();
        new.add_signature(keys::ED25519, &[2; 64]).unwrap();
        assert!(new.add_signature("a", &[3]).is_err());
        assert!(new.set("", OwnedVariant::of("b")).is_err());

        let bytes = new.to_bytes();
        let read = Detached::parse(&bytes).unwrap();
        let both = [&[1; 64][..], &[2; 64]];
        assert_eq!(read.signatures(keys::ED25519).unwrap(), both);
        assert_eq!(read.signatures(keys::GPG).unwrap(), [&[] as &[u8]; 0]);
        assert!(read.signatures("a").is_err());
        let keys: Vec<_> = read.0.iter().map(|Entry(key, _)| key).collect();
        assert_eq!(keys, ["a", super::keys::ED25519, "z"]);
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!(NewDetached::from(read), new);

        assert!(new.remove("a"));
        assert!(!new.remove("a"));
    }
}
