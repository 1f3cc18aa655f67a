// SPDX-License-Identifier: MIT OR Apache-2.0
//! The read side of a store: what clients may fetch by path, and which refs have changed. A server
//! needs nothing else to hand out a repository, so a store that is not on a file system can be
//! served as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;

use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, ObjectId};
use oxtree_repo::refs::RefsStamp;
use oxtree_repo::{DamagedRef, Repo};

pub use oxtree_repo::public::Lasts;

use crate::error::Result;

/// A store whose content can be fetched.
pub trait Published: Send + Sync {
    /// How it stores files, in the words of a repository's config. Only in mode `archive-z2` can a
    /// client open file objects by path.
    fn mode(&self) -> &str;

    /// Its local refs.
    fn refs(&self) -> Result<PublishedRefs>;

    /// Which version of the refs is current, without reading them.
    fn version(&self) -> Result<RefsVersion>;

    /// Opens the file at a path relative to the repository, laid out as in an archive; [`None`] if
    /// there is none, or none that clients may have.
    fn open(&self, path: &str) -> Result<Option<PublishedFile>>;

    /// The bytes of a public metadata object.
    fn load(&self, object: &ObjectId) -> Result<Vec<u8>>;

    /// The refs that were created, changed or deleted since they were seen last. A ref that cannot
    /// be read has not changed. Nothing seen counts as no refs.
    fn changed_since(&self, seen: &mut SeenRefs) -> Result<Vec<RefName>> {
        let version = self.version()?;
        if seen.version.as_ref() == Some(&version) {
            return Ok(Vec::new());
        }
        let PublishedRefs { mut refs, damaged } = self.refs()?;
        for name in damaged {
            if let Some(commit) = seen.refs.get(&name) {
                refs.insert(name, *commit);
            }
        }
        let names: BTreeSet<&RefName> = refs.keys().chain(seen.refs.keys()).collect();
        let differs = |name: &&RefName| refs.get(*name) != seen.refs.get(*name);
        let changed = names.into_iter().filter(differs).cloned().collect();
        // A version that is not settled can be that of the next change, too.
        let version = Some(version).filter(RefsVersion::is_settled);
        *seen = SeenRefs { version, refs };
        Ok(changed)
    }
}

/// The local refs of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishedRefs {
    /// Those that can be read.
    pub refs: BTreeMap<RefName, CommitId>,
    /// Those that cannot.
    pub damaged: BTreeSet<RefName>,
}

/// The refs as they were at some time: see [`Published::changed_since`].
#[derive(Clone, Debug, Default)]
pub struct SeenRefs {
    version: Option<RefsVersion>,
    refs: BTreeMap<RefName, CommitId>,
}

/// Differs whenever the refs do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefsVersion {
    /// The times of a repository's folders.
    Times(RefsStamp),
    /// A number, of a store that counts its changes.
    Number(u64),
}

impl RefsVersion {
    /// Whether the next change is sure to make another version.
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Times(stamp) => stamp.is_settled(),
            Self::Number(_) => true,
        }
    }
}

/// A file that clients may fetch.
#[derive(Debug)]
pub struct PublishedFile {
    /// What is in it.
    pub content: Content,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last changed: seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    /// How long the content stays valid.
    pub lasts: Lasts,
}

/// The content of a file.
#[derive(Debug)]
pub enum Content {
    /// A file on this machine, open for reading.
    File(File),
    /// All of it.
    Bytes(Vec<u8>),
}

impl Content {
    /// Reads all of it.
    pub fn read(self) -> Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::File(mut file) => {
                let mut bytes = Vec::new();
                let read = file.read_to_end(&mut bytes);
                read.map_err(oxtree_repo::Error::io("reading", "a public file"))?;
                Ok(bytes)
            }
        }
    }
}

impl Published for Repo {
    fn mode(&self) -> &str {
        Self::mode(self).as_str()
    }

    fn refs(&self) -> Result<PublishedRefs> {
        let found = self.survey_local_refs()?;
        let damaged = found.damaged.iter().filter_map(DamagedRef::refspec);
        Ok(PublishedRefs {
            damaged: damaged.map(|refspec| refspec.name).collect(),
            refs: found.refs,
        })
    }

    fn version(&self) -> Result<RefsVersion> {
        Ok(RefsVersion::Times(self.refs_stamp()?))
    }

    fn open(&self, path: &str) -> Result<Option<PublishedFile>> {
        let found = self.open_public(path)?;
        Ok(found.map(|found| PublishedFile {
            content: Content::File(found.file),
            size: found.size,
            modified: found.modified,
            lasts: found.lasts,
        }))
    }

    fn load(&self, object: &ObjectId) -> Result<Vec<u8>> {
        Ok(self.load_metadata(object)?)
    }
}
