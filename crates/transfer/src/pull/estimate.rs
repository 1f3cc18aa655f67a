// SPDX-License-Identifier: MIT OR Apache-2.0
//! Static deltas, wherever they come from: which one is taken, and what it brings.

use oxtree_format::delta::{DeltaName, Superblock};
use oxtree_format::{Commit, CommitId};
use oxtree_repo::delta::has_part;
use oxtree_repo::traverse::Objects;

use crate::error::{Error, Result, invalid};

/// Whether static deltas are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeltaUse {
    /// Where there is one; else objects.
    #[default]
    Possible,
    /// Never.
    Never,
    /// Each commit that is not whole here has to come by one.
    Required,
}

/// What came by static deltas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeltaReport {
    /// How many parts were applied.
    pub parts: u64,
    /// How many other files were read: superblocks, and what says which deltas there are; from a local
    /// repository, also the objects that a delta does without.
    pub loose: u64,
    /// The sizes of parts and superblocks, and of these objects, in bytes.
    pub bytes: u64,
    /// Bytes of content that were made of them.
    pub content: u64,
}

/// What static deltas would bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// How many parts, and files that have to be fetched beside them.
    pub parts: u64,
    /// Those of them whose objects are all here.
    pub parts_here: u64,
    /// The sizes of all of them, in bytes.
    pub size: u64,
    /// The sizes of those that are here.
    pub size_here: u64,
    /// What they are unpacked, in bytes.
    pub content: u64,
}

impl Estimate {
    /// Adds a delta, for those who have these objects.
    pub(crate) fn add(&mut self, objects: &impl Objects, delta: &Superblock<'_>) -> Result<()> {
        let mut one = |is_here: bool, size: u64, content: u64| {
            let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
            add(&mut self.parts, 1);
            add(&mut self.size, size);
            add(&mut self.content, content);
            if is_here {
                add(&mut self.parts_here, 1);
                add(&mut self.size_here, size);
            }
        };
        for part in delta.parts() {
            one(has_part(objects, &part)?, part.size, part.content_size);
        }
        for fallback in delta.fallbacks() {
            let is_here = objects.has(&fallback.object)?;
            one(is_here, fallback.size, fallback.content_size);
        }
        Ok(())
    }
}

/// Whether a commit is there with all that it needs.
pub(crate) fn is_whole(objects: &impl Objects, commit: CommitId) -> Result<bool> {
    Ok(objects.has(&commit.object())? && !objects.is_partial(commit)?)
}

/// The best of some deltas that lead to one commit: that from the newest commit that is there, or else one from
/// scratch.
pub(crate) fn best(
    objects: &impl Objects,
    names: impl Iterator<Item = DeltaName>,
) -> Result<Option<DeltaName>> {
    let (mut scratch, mut newest) = (None, None);
    for name in names {
        let Some(from) = name.from else {
            scratch = Some(name);
            continue;
        };
        if !is_whole(objects, from)? {
            continue;
        }
        let bytes = objects.load(&from.object())?;
        let commit =
            Commit::parse(&bytes).map_err(|error| oxtree_repo::Error::corrupt(from, error))?;
        if newest.is_none_or(|(timestamp, _)| commit.timestamp > timestamp) {
            newest = Some((commit.timestamp, name));
        }
    }
    Ok(newest.map(|(_, name)| name).or(scratch))
}

/// There has to be a delta to `commit`, and there is none.
pub(crate) fn none_found(commit: CommitId) -> Error {
    invalid(format!(
        "Static deltas required, but none found for {commit}"
    ))
}
