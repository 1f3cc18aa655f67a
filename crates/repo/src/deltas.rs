// SPDX-License-Identifier: MIT OR Apache-2.0
//! The static deltas that lie in the repository, and the index of them.
//!
//! `deltas/AB/CD…/superblock`, where `ABCD…` is the base64 of the commit that one gets, or of the
//! one that one needs, `-`, and the one that one gets. `delta-indexes/AB/CD….index`, named by the
//! commit that one gets, lists the deltas that lead there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use oxtree_format::gvariant::{Entry, OwnedVariant, to_bytes};
use oxtree_format::summary::keys;
use oxtree_format::{Checksum, CommitId, DeltaName, Hasher};

use crate::{Error, Repo, Result, fs};

const DELTAS: &str = "deltas";
const INDEXES: &str = "delta-indexes";
const INDEX: &str = ".index";

/// OSTree's base64: no padding, `_` in the place of `/`.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_";

impl Repo {
    /// The static deltas of this repository with the checksums of their superblocks.
    pub fn static_deltas(&self) -> Result<BTreeMap<DeltaName, Checksum>> {
        let mut deltas = BTreeMap::new();
        for (first, rest) in self.two_levels(DELTAS)? {
            let Some(name) = parse_name(&format!("{first}{rest}")) else {
                continue;
            };
            let path = format!("{DELTAS}/{first}/{rest}/superblock");
            if let Some(checksum) = self.checksum_of(&path)? {
                deltas.insert(name, checksum);
            }
        }
        Ok(deltas)
    }

    /// The names of the static deltas of this repository, whole or not.
    pub(crate) fn static_delta_names(&self) -> Result<Vec<DeltaName>> {
        let names = self.two_levels(DELTAS)?.into_iter();
        Ok(names
            .filter_map(|(first, rest)| parse_name(&format!("{first}{rest}")))
            .collect())
    }

    /// Deletes a static delta. The superblock goes first: without it, the rest is none.
    pub(crate) fn delete_delta(&self, name: &DeltaName) -> Result<()> {
        let from = name.from.map(|from| encode(from.as_bytes()) + "-");
        let name = from.unwrap_or_default() + &encode(name.to.as_bytes());
        let (first, rest) = name.split_at(2);
        let folder = format!("{DELTAS}/{first}");
        let path = format!("{folder}/{rest}");
        for path in [format!("{path}/superblock"), path] {
            fs::remove_all(self.dir(), path.as_bytes())
                .map_err(Error::io("deleting", self.path().join(&path)))?;
        }
        // Others may be in it.
        let _ = rustix::fs::unlinkat(self.dir(), &*folder, rustix::fs::AtFlags::REMOVEDIR);
        Ok(())
    }

    /// Whether the deltas are indexed.
    pub(crate) fn has_delta_indexes(&self) -> Result<bool> {
        Ok(!self.names_in(INDEXES)?.is_empty())
    }

    /// Brings `delta-indexes/` up to date with `deltas` (which are those of
    /// [`Repo::static_deltas`]), and says so in the config.
    pub(crate) fn reindex_deltas(&self, deltas: &BTreeMap<DeltaName, Checksum>) -> Result<()> {
        let mut by_target: BTreeMap<CommitId, Vec<(String, OwnedVariant)>> = BTreeMap::new();
        for (name, checksum) in deltas {
            let value = OwnedVariant::of(&checksum.as_bytes()[..]);
            let of_target = by_target.entry(name.to).or_default();
            of_target.push((name.to_string(), value));
        }
        let mut wanted = BTreeSet::new();
        for (to, deltas) in &by_target {
            let deltas: Vec<_> = deltas.iter().map(|(k, v)| Entry(k.as_str(), v)).collect();
            let index = to_bytes(&vec![Entry(keys::STATIC_DELTAS, OwnedVariant::of(&deltas))]);
            let name = encode(to.as_bytes());
            let folder = format!("{INDEXES}/{}", &name[..2]);
            let path = format!("{folder}/{}{INDEX}", &name[2..]);
            let io = |action| Error::io(action, self.path().join(&path));
            let old = fs::read_file(self.dir(), &*path, index.len() as u64);
            if !matches!(old, Ok(Some(old)) if old == index) {
                fs::ensure_dirs(self.dir(), &folder).map_err(io("creating"))?;
                self.write_file(&path, &index).map_err(io("writing"))?;
            }
            wanted.insert(path);
        }
        for (first, rest) in self.two_levels(INDEXES)? {
            let path = format!("{INDEXES}/{first}/{rest}");
            if rest.ends_with(INDEX) && !wanted.contains(&path) {
                fs::remove_all(self.dir(), path.as_bytes())
                    .map_err(Error::io("deleting", self.path().join(&path)))?;
            }
        }
        self.set_core_flag("indexed-deltas")
    }

    /// The names in the folders of a folder, which need not exist.
    fn two_levels(&self, base: &str) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for first in self.names_in(base)? {
            let below = self.names_in(&format!("{base}/{first}"))?;
            found.extend(below.into_iter().map(|rest| (first.clone(), rest)));
        }
        Ok(found)
    }

    /// Superblocks hold small files and can be large: they are read piecewise.
    fn checksum_of(&self, path: &str) -> Result<Option<Checksum>> {
        let io = || Error::io("reading", self.path().join(path));
        let mut file = match fs::open_file(self.dir(), path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(io())?,
        };
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer).map_err(io())? {
                0 => return Ok(Some(hasher.finish())),
                len => hasher.update(&buffer[..len]),
            }
        }
    }
}

fn parse_name(name: &str) -> Option<DeltaName> {
    let commit = |text: &str| decode(text).map(|bytes| CommitId(Checksum(bytes)));
    match name.split_once('-') {
        Some((from, to)) => Some(DeltaName {
            from: Some(commit(from)?),
            to: commit(to)?,
        }),
        None => Some(DeltaName {
            from: None,
            to: commit(name)?,
        }),
    }
}

fn encode(bytes: &[u8; 32]) -> String {
    let mut text = String::with_capacity(43);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for letter in 0..=chunk.len() {
            let index = group >> (18 - 6 * letter) & 63;
            text.push(char::from(LETTERS[index as usize]));
        }
    }
    text
}

/// 43 letters, of whose 258 bits the last two are 0.
fn decode(text: &str) -> Option<[u8; 32]> {
    if text.len() != 43 {
        return None;
    }
    let mut bytes = [0; 32];
    let (mut bits, mut count, mut at) = (0_u32, 0, 0);
    for letter in text.bytes() {
        let value = LETTERS.iter().position(|known| *known == letter)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes[at] = (bits >> count & 0xff) as u8;
            at += 1;
        }
    }
    (bits & 3 == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_libostree_writes_them() {
        let to: Checksum = "277b75cbc0a28e0256f55636ad292a8e1d8e81e5de141c38e92762bd08e13163"
            .parse()
            .unwrap();
        let text = "J3t1y8CijgJW9VY2rSkqjh2OgeXeFBw46SdivQjhMWM";
        assert_eq!(encode(to.as_bytes()), text);
        assert_eq!(decode(text), Some(to.0));
        let from: Checksum = "95e2e652e775e4a262120ad3d4dd7dd95016a0f733551a8bc619815e195b087d"
            .parse()
            .unwrap();
        let name = DeltaName {
            from: Some(CommitId(from)),
            to: CommitId(to),
        };
        let folder = format!("{}-{text}", encode(from.as_bytes()));
        assert_eq!(parse_name(&folder), Some(name));
        assert_eq!(
            parse_name(text),
            Some(DeltaName {
                from: None,
                to: CommitId(to)
            })
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let good = encode(&[0xff; 32]);
        assert_eq!(decode(&good), Some([0xff; 32]));
        // The bits that stand for nothing are 0, so that a commit has one name only.
        let odd = format!("{}9", &good[..42]);
        for text in [
            "",
            "superblock",
            &odd,
            &format!("{good}="),
            &good.replace('_', "/"),
        ] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(parse_name(&format!("{good}-{good}-{good}")), None);
    }
}
