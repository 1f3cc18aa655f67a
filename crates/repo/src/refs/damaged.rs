// SPDX-License-Identifier: MIT OR Apache-2.0
//! Refs that cannot be read: a power cut has left an empty file, another program has written to it, an alias
//! leads nowhere.
//!
//! A damaged ref affects only itself. Lists have all the others and name it; it can be set and deleted like any
//! other ref:
//!
//! ```
//! use oxtree_format::CommitId;
//! use oxtree_repo::{Mode, RefUpdate, Repo};
//!
//! let dir = tempfile::tempdir()?;
//! let repo = Repo::create(&dir.path().join("repo"), Mode::Archive, None)?;
//! let commit: CommitId = "1".repeat(64).parse()?;
//! repo.update_refs(&[RefUpdate::set("main".parse()?, commit)])?;
//! std::fs::write(dir.path().join("repo/refs/heads/broken"), "")?;
//! let found = repo.survey_refs(None)?;
//! assert_eq!(found.refs.len(), 1);
//! assert_eq!(found.damaged[0].to_string(), "refs/heads/broken: the file is empty");
//! repo.update_refs(&[RefUpdate::set("broken".parse()?, commit)])?;
//! assert!(repo.survey_refs(None)?.damaged.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;

use oxtree_format::refs::{CollectionId, RefName, Refspec};
use oxtree_format::{Checksum, CommitId};

use crate::{Error, Result};

/// A ref that cannot be read, or a folder of refs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DamagedRef {
    /// Its path below the repository, such as `refs/heads/main`.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
    /// Whether it is an alias of a ref that does not exist: no commit can be missed because of it.
    pub is_dangling: bool,
}

impl DamagedRef {
    pub(crate) fn new(path: &str, reason: impl ToString) -> Self {
        Self {
            path: path.to_owned(),
            reason: reason.to_string(),
            is_dangling: false,
        }
    }

    /// The name of the ref; [`None`] for a ref of another collection, or a folder.
    pub fn refspec(&self) -> Option<Refspec> {
        if let Some(name) = self.path.strip_prefix("refs/heads/") {
            return name.parse::<RefName>().ok().map(Refspec::from);
        }
        let (remote, name) = self.path.strip_prefix("refs/remotes/")?.split_once('/')?;
        Some(Refspec {
            remote: Some(remote.parse().ok()?),
            name: name.parse().ok()?,
        })
    }

    /// The name of a ref that mirrors another collection.
    pub fn mirror(&self) -> Option<(CollectionId, RefName)> {
        let (collection, name) = self.path.strip_prefix("refs/mirrors/")?.split_once('/')?;
        Some((collection.parse().ok()?, name.parse().ok()?))
    }
}

impl fmt::Display for DamagedRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// Stands for the commit of a damaged ref where a push compares refs. No commit has this checksum.
pub const UNKNOWN_COMMIT: CommitId = CommitId(Checksum([0; 32]));

/// Refs with the commits they point at, and those that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefList<K = Refspec> {
    /// The refs that can be read.
    pub refs: BTreeMap<K, CommitId>,
    /// The others, sorted by path.
    pub damaged: Vec<DamagedRef>,
}

impl<K: Ord> Default for RefList<K> {
    fn default() -> Self {
        Self {
            refs: BTreeMap::new(),
            damaged: Vec::new(),
        }
    }
}

impl<K: Ord> RefList<K> {
    /// Whether a commit may be missing from the list, because nobody knows which one a ref points at.
    pub fn is_incomplete(&self) -> bool {
        self.damaged.iter().any(|one| !one.is_dangling)
    }

    pub(super) fn extend<J>(&mut self, other: RefList<J>, key: impl Fn(J) -> K) {
        let refs = other.refs.into_iter();
        self.refs
            .extend(refs.map(|(name, commit)| (key(name), commit)));
        self.damaged.extend(other.damaged);
        self.damaged.sort_unstable();
        self.damaged.dedup();
    }
}

/// What reading a ref has given, with a damaged ref as a value of its own.
pub(crate) enum ReadRef {
    At(CommitId),
    Missing,
    Damaged(DamagedRef),
}

impl ReadRef {
    pub(crate) fn of(read: Result<Option<CommitId>>) -> Result<Self> {
        match read {
            Ok(Some(commit)) => Ok(Self::At(commit)),
            Ok(None) => Ok(Self::Missing),
            Err(Error::DamagedRef(damaged)) => Ok(Self::Damaged(damaged)),
            Err(error) => Err(error),
        }
    }
}
