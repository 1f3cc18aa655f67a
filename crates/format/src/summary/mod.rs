// SPDX-License-Identifier: MIT OR Apache-2.0
//! The summary file: `(a(s(taya{sv}))a{sv})`, what a client reads first from a server.
//!
//! The first member lists refs sorted by the bytes of their names: the name, the size of the
//! commit object (little-endian, unlike most numbers of OSTree), the commit's checksum, and
//! metadata: [`keys::COMMIT_VERSION`] (`s`) and [`keys::COMMIT_TIMESTAMP`] (`t`, big-endian).
//!
//! The second is metadata of the repository, with [`keys`] of this module and those of the user.
//! libostree writes it in the order of a hash table, so nothing depends on its order; here it has
//! that of [`Info`]'s fields.
//!
//! A repository with a collection id lists the refs of that collection in the first member, and
//! those of others (mirrored ones) in [`keys::COLLECTION_MAP`], an `a{sa(s(taya{sv}))}` sorted by
//! collection.

mod write;

use oxtree_gvariant::{Be, Decode, Dict, Entry, Seq, from_bytes, to_bytes};

use crate::{Checksum, CommitId, DeltaName, Error, RefName};

pub use write::{Info, NewRef, NewSummary};

/// Metadata keys of a summary and of the refs in it.
pub mod keys {
    /// `s`, of a ref: the commit's version.
    pub const COMMIT_VERSION: &str = "ostree.commit.version";
    /// `t` big-endian, of a ref: the commit's time in seconds since 1970.
    pub const COMMIT_TIMESTAMP: &str = "ostree.commit.timestamp";
    /// `s`: the repository's mode as its `config` has it.
    pub const MODE: &str = "ostree.summary.mode";
    /// `t` big-endian: when the summary was written, in seconds since 1970.
    pub const LAST_MODIFIED: &str = "ostree.summary.last-modified";
    /// `t` big-endian: when it stops to be valid, in seconds since 1970.
    pub const EXPIRES: &str = "ostree.summary.expires";
    /// `b`: whether deleted commits leave tombstones.
    pub const TOMBSTONE_COMMITS: &str = "ostree.summary.tombstone-commits";
    /// `b`: whether there is an index file for each commit that deltas lead to.
    pub const INDEXED_DELTAS: &str = "ostree.summary.indexed-deltas";
    /// `a{sv}`: from the name of each static delta to the SHA-256 of its superblock (`ay`).
    pub const STATIC_DELTAS: &str = "ostree.static-deltas";
    /// `s`: the collection that the refs belong to.
    pub const COLLECTION_ID: &str = "ostree.summary.collection-id";
    /// `a{sa(s(taya{sv}))}`: the refs of other collections.
    pub const COLLECTION_MAP: &str = "ostree.summary.collection-map";
}

type RefVariant<'a> = (&'a str, (u64, &'a [u8], Dict<'a>));
type CollectionMap<'a> = Seq<'a, Entry<&'a str, Seq<'a, RefVariant<'a>>>>;

/// A parsed summary that borrows the file's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    /// The refs; with a collection id, those of that collection.
    pub refs: Refs<'a>,
    /// The metadata.
    pub metadata: Dict<'a>,
}

impl<'a> Summary<'a> {
    /// Parses and checks a summary: normal form, refs sorted and with a whole checksum.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (refs, metadata): (Seq<'a, RefVariant<'a>>, Dict<'a>) = from_bytes(bytes)?;
        let refs = Refs::new(refs)?;
        Ok(Self { refs, metadata })
    }

    /// The summary's bytes again.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(&(self.refs.0, self.metadata))
    }

    /// The metadata value called `key`. [`None`] if there is none or it has another type.
    pub fn value<T: Decode<'a>>(&self, key: &str) -> Option<T> {
        self.metadata.lookup(key)?.as_().ok()
    }

    /// The repository's mode, as its `config` has it.
    pub fn mode(&self) -> Option<&'a str> {
        self.value(keys::MODE)
    }

    /// When the summary was written, in seconds since 1970.
    pub fn last_modified(&self) -> Option<u64> {
        self.value(keys::LAST_MODIFIED).map(|Be(time)| time)
    }

    /// When the summary stops to be valid, in seconds since 1970.
    pub fn expires(&self) -> Option<u64> {
        self.value(keys::EXPIRES).map(|Be(time)| time)
    }

    /// The collection that [`Summary::refs`] belong to. As it stands in the file: not checked.
    pub fn collection_id(&self) -> Option<&'a str> {
        self.value(keys::COLLECTION_ID)
    }

    /// The refs of other collections, sorted by collection. The collections' names are as they
    /// stand in the file: not checked. Empty if the summary says nothing about that.
    pub fn collections(&self) -> Result<Vec<(&'a str, Refs<'a>)>, Error> {
        let Some(map) = self.metadata.lookup(keys::COLLECTION_MAP) else {
            return Ok(Vec::new());
        };
        let map: CollectionMap<'a> = map.as_()?;
        map.iter()
            .map(|Entry(collection, refs)| Ok((collection, Refs::new(refs)?)))
            .collect()
    }

    /// The static deltas with the checksums of their superblocks. [`None`] if the summary does not
    /// list any, where they may still be in delta indexes.
    pub fn static_deltas(&self) -> Result<Option<Vec<(DeltaName, Checksum)>>, Error> {
        let deltas = self.metadata.lookup(keys::STATIC_DELTAS);
        deltas.map(crate::delta::index::list).transpose()
    }
}

/// A checked list of refs, sorted by name.
#[derive(Clone, Copy, Debug)]
pub struct Refs<'a>(Seq<'a, RefVariant<'a>>);

impl<'a> Refs<'a> {
    fn new(refs: Seq<'a, RefVariant<'a>>) -> Result<Self, Error> {
        let mut last: Option<&str> = None;
        for (name, (_, commit, _)) in refs.iter() {
            if last.is_some_and(|last| last >= name) {
                return Err(Error::Unsorted(name.to_owned()));
            }
            Checksum::from_bytes(commit)?;
            last = Some(name);
        }
        Ok(Self(refs))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The refs in order.
    pub fn iter(&self) -> impl Iterator<Item = SummaryRef<'a>> + use<'a> {
        self.0.iter().filter_map(SummaryRef::new)
    }

    /// The ref called `name`, found by bisection.
    pub fn get(&self, name: &str) -> Option<SummaryRef<'a>> {
        let (mut low, mut high) = (0, self.0.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.0.get(middle)?;
            match entry.0.cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return SummaryRef::new(entry),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// A ref in a summary.
#[derive(Clone, Copy, Debug)]
pub struct SummaryRef<'a> {
    /// Its name as it stands in the file, not checked: see [`SummaryRef::ref_name`].
    pub name: &'a str,
    /// The size of the commit object in bytes.
    pub size: u64,
    /// The commit.
    pub commit: CommitId,
    /// The summary's metadata of the commit.
    pub metadata: Dict<'a>,
}

impl<'a> SummaryRef<'a> {
    fn new((name, (size, commit, metadata)): RefVariant<'a>) -> Option<Self> {
        let commit = CommitId::from_bytes(commit).ok()?;
        Some(Self {
            name,
            size,
            commit,
            metadata,
        })
    }

    /// The checked name. A server may name refs that no repository can hold.
    pub fn ref_name(&self) -> Result<RefName, Error> {
        Ok(self.name.parse()?)
    }

    /// The commit's time in seconds since 1970.
    pub fn timestamp(&self) -> Option<u64> {
        let Be(time) = self.metadata.lookup(keys::COMMIT_TIMESTAMP)?.as_().ok()?;
        Some(time)
    }

    /// The commit's version.
    pub fn version(&self) -> Option<&'a str> {
        self.metadata.lookup(keys::COMMIT_VERSION)?.as_().ok()
    }
}

#[cfg(test)]
mod tests;
