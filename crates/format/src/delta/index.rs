// SPDX-License-Identifier: MIT OR Apache-2.0
//! The index of the deltas that lead to one commit: an `a{sv}` with one key, `ostree.static-deltas`, whose
//! value is what a summary has under that key, too: from the name of each delta to the SHA-256 of
//! its superblock's file.

use std::collections::BTreeMap;

use oxtree_gvariant::{Dict, Entry, OwnedVariant, Variant, from_bytes, to_bytes};

use super::{DeltaName, name};
use crate::summary::keys::STATIC_DELTAS;
use crate::{Checksum, CommitId, Error};

const FOLDER: &str = "delta-indexes";
const ENDING: &str = ".index";

/// The file of an index below a repository, `delta-indexes/AB/CD….index`.
pub fn path(to: CommitId) -> String {
    let name = name::encode(to.as_bytes());
    format!("{FOLDER}/{}/{}{ENDING}", &name[..2], &name[2..])
}

/// The commit that the index in the file `delta-indexes/FIRST/REST` is for; [`None`] if it is none.
pub fn from_path(first: &str, rest: &str) -> Option<CommitId> {
    let rest = rest.strip_suffix(ENDING)?;
    let bytes = name::decode(&format!("{first}{rest}"))?;
    (first.len() == 2).then_some(CommitId(Checksum(bytes)))
}

/// Reads an index. One without the key lists nothing.
pub fn parse(bytes: &[u8]) -> Result<Vec<(DeltaName, Checksum)>, Error> {
    let index: Dict<'_> = from_bytes(bytes)?;
    match index.lookup(STATIC_DELTAS) {
        None => Ok(Vec::new()),
        Some(deltas) => list(deltas),
    }
}

/// Writes the index of these deltas, which lead to one commit.
pub fn to_vec(deltas: &BTreeMap<DeltaName, Checksum>) -> Vec<u8> {
    let deltas: Vec<_> = deltas
        .iter()
        .map(|(name, superblock)| {
            let value = OwnedVariant::of(&superblock.as_bytes()[..]);
            Entry(name.to_string(), value)
        })
        .collect();
    to_bytes(&vec![Entry(STATIC_DELTAS, OwnedVariant::of(&deltas))])
}

/// Reads an `a{sv}` from names of deltas to checksums.
pub(crate) fn list(deltas: Variant<'_>) -> Result<Vec<(DeltaName, Checksum)>, Error> {
    let delta = |Entry(name, superblock): Entry<&str, Variant<'_>>| {
        Ok((name.parse()?, Checksum::from_bytes(superblock.as_()?)?))
    };
    deltas.as_::<Dict<'_>>()?.iter().map(delta).collect()
}
