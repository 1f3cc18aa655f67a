// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tombstones: `a{sv}` with the key `commit`, whose value is a deleted commit's hexadecimal
//! checksum as a bytestring (`ay` with a NUL at the end).
//!
//! The object has the deleted commit's name, not its own checksum.

use oxtree_gvariant::{Dict, Entry, OwnedVariant, from_bytes, to_bytes};

use crate::{Checksum, CommitId, Error};

const COMMIT: &str = "commit";

/// Which commit the tombstone stands for.
pub fn parse(bytes: &[u8]) -> Result<CommitId, Error> {
    let dict: Dict<'_> = from_bytes(bytes)?;
    let missing = Error::Tombstone("it names no commit");
    let commit: &[u8] = dict.lookup(COMMIT).ok_or(missing)?.as_()?;
    commit
        .strip_suffix(&[0])
        .and_then(Checksum::from_hex)
        .map(CommitId)
        .ok_or(Error::Tombstone("the name of its commit is no checksum"))
}

/// The tombstone of `commit`.
pub fn write(commit: CommitId) -> Vec<u8> {
    let name = format!("{commit}\0");
    to_bytes(&vec![Entry(COMMIT, OwnedVariant::of(name.as_bytes()))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusal() {
        let commit = CommitId(Checksum::of(b"x"));
        assert_eq!(parse(&write(commit)), Ok(commit));
        let with = |key, value: &[u8]| to_bytes(&vec![Entry(key, OwnedVariant::of(value))]);
        assert!(parse(b"").is_err());
        assert!(parse(&with("commit", b"")).is_err());
        assert!(parse(&with("commit", commit.to_string().as_bytes())).is_err());
        assert!(parse(&with("other", format!("{commit}\0").as_bytes())).is_err());
    }
}
