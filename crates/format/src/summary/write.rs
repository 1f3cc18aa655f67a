// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making summaries.

use std::collections::BTreeMap;

use oxtree_gvariant::{Be, Entry, OwnedVariant, to_bytes};

use super::{Summary, SummaryRef, keys};
use crate::{Checksum, CollectionId, CommitId, DeltaName, Error, RefName};

type Metadata = Vec<(String, OwnedVariant)>;
type DictEntries<'a> = Vec<Entry<&'a str, &'a OwnedVariant>>;

/// A ref for a new summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRef {
    /// The size of the commit object in bytes.
    pub size: u64,
    /// The commit.
    pub commit: CommitId,
    /// Its metadata, in this order.
    pub metadata: Metadata,
}

impl NewRef {
    /// A ref with the metadata that libostree writes. `timestamp` is in seconds since 1970.
    pub fn new(size: u64, commit: CommitId, timestamp: u64, version: Option<&str>) -> Self {
        let version = version.map(|version| (keys::COMMIT_VERSION, OwnedVariant::of(version)));
        let timestamp = (keys::COMMIT_TIMESTAMP, OwnedVariant::of(&Be(timestamp)));
        Self {
            size,
            commit,
            metadata: (version.into_iter().chain([timestamp]))
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        }
    }
}

impl From<SummaryRef<'_>> for NewRef {
    fn from(entry: SummaryRef<'_>) -> Self {
        Self {
            size: entry.size,
            commit: entry.commit,
            metadata: owned(entry.metadata),
        }
    }
}

fn owned(dict: oxtree_gvariant::Dict<'_>) -> Metadata {
    dict.iter()
        .map(|Entry(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// A summary to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSummary {
    /// The refs. The map has them in the order that the format wants.
    pub refs: BTreeMap<RefName, NewRef>,
    /// The metadata, in the order in which it is to be written: see [`Info::metadata`].
    pub metadata: Metadata,
}

impl NewSummary {
    /// The file's bytes. Refuses empty metadata keys.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let metadata = entries(&self.metadata)?;
        Ok(to_bytes(&(ref_variants(&self.refs)?, metadata)))
    }
}

impl TryFrom<&Summary<'_>> for NewSummary {
    type Error = Error;

    /// Takes over everything, in the order it has.
    fn try_from(summary: &Summary<'_>) -> Result<Self, Error> {
        let refs = summary.refs.iter();
        Ok(Self {
            refs: refs
                .map(|r| Ok((r.ref_name()?, r.into())))
                .collect::<Result<_, Error>>()?,
            metadata: owned(summary.metadata),
        })
    }
}

type RefVariants<'a> = Vec<(&'a str, (u64, &'a [u8], DictEntries<'a>))>;

fn ref_variants(refs: &BTreeMap<RefName, NewRef>) -> Result<RefVariants<'_>, Error> {
    refs.iter()
        .map(|(name, entry)| {
            let metadata = entries(&entry.metadata)?;
            Ok((
                name.as_str(),
                (entry.size, &entry.commit.as_bytes()[..], metadata),
            ))
        })
        .collect()
}

fn entries(metadata: &Metadata) -> Result<DictEntries<'_>, Error> {
    metadata
        .iter()
        .map(|(key, value)| match key.as_str() {
            "" => Err(Error::MetadataKey(String::new())),
            key => Ok(Entry(key, value)),
        })
        .collect()
}

/// A summary's metadata of its repository. The fields are in the order in which they are
/// written; those that are [`None`] or empty are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The repository's mode as its `config` has it.
    pub mode: Option<String>,
    /// When the summary is written, in seconds since 1970.
    pub last_modified: Option<u64>,
    /// When it stops to be valid, in seconds since 1970.
    pub expires: Option<u64>,
    /// Whether deleted commits leave tombstones.
    pub tombstone_commits: Option<bool>,
    /// Whether there is an index file for each commit that deltas lead to.
    pub indexed_deltas: Option<bool>,
    /// The checksums of the deltas' superblocks.
    pub static_deltas: BTreeMap<DeltaName, Checksum>,
    /// The repository's collection.
    pub collection_id: Option<CollectionId>,
    /// The refs of other collections.
    pub collection_map: BTreeMap<CollectionId, BTreeMap<RefName, NewRef>>,
    /// The user's own keys.
    pub extra: Metadata,
}

impl Info {
    /// The metadata as [`NewSummary::metadata`] takes it.
    pub fn metadata(&self) -> Result<Metadata, Error> {
        let time = |time: u64| OwnedVariant::of(&Be(time));
        let flag = |flag: bool| OwnedVariant::of(&flag);
        let text = |text: &str| OwnedVariant::of(text);
        let known = [
            (keys::MODE, self.mode.as_deref().map(text)),
            (keys::LAST_MODIFIED, self.last_modified.map(time)),
            (keys::EXPIRES, self.expires.map(time)),
            (keys::TOMBSTONE_COMMITS, self.tombstone_commits.map(flag)),
            (keys::INDEXED_DELTAS, self.indexed_deltas.map(flag)),
            (keys::STATIC_DELTAS, self.deltas()),
            (
                keys::COLLECTION_ID,
                self.collection_id.as_ref().map(|id| text(id.as_str())),
            ),
            (keys::COLLECTION_MAP, self.collections()?),
        ];
        let known = known
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Ok(known.chain(self.extra.iter().cloned()).collect())
    }

    fn deltas(&self) -> Option<OwnedVariant> {
        let deltas = self.static_deltas.iter();
        let deltas: Vec<(String, OwnedVariant)> = deltas
            .map(|(name, checksum)| (name.to_string(), OwnedVariant::of(&checksum.as_bytes()[..])))
            .collect();
        let dict: DictEntries<'_> = deltas.iter().map(|(k, v)| Entry(k.as_str(), v)).collect();
        (!dict.is_empty()).then(|| OwnedVariant::of(&dict))
    }

    fn collections(&self) -> Result<Option<OwnedVariant>, Error> {
        if self.collection_map.is_empty() {
            return Ok(None);
        }
        let map = self.collection_map.iter();
        let map: Vec<Entry<&str, RefVariants<'_>>> = map
            .map(|(collection, refs)| Ok(Entry(collection.as_str(), ref_variants(refs)?)))
            .collect::<Result<_, Error>>()?;
        Ok(Some(OwnedVariant::of(&map)))
    }
}
