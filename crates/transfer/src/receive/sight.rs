// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushers who may not know of every commit that is there. To them, one that they neither may know of nor
//! have brought is missing: they are not told that it is there, cannot set a ref to it, and what they
//! publish does not lead others to it.

use std::collections::HashSet;
use std::fmt::Debug;

use oxtree_format::refs::RefName;
use oxtree_format::{Commit, CommitId, ObjectId, ObjectKind};

use super::admit::MAX_HISTORY;
use super::policy::Policy;
use crate::destination::Quarantine;
use crate::protocol::message::WireUpdate;
use crate::{Error, Result};

/// Which commits a pusher may know of.
pub trait Sight: Debug + Send + Sync {
    /// Whether they may know of this one.
    fn sees(&self, commit: CommitId) -> Result<bool>;

    /// Is told that the history of a ref ends with this commit for all who may not know of every
    /// commit, whatever its parent: the pusher does not see that one, and did not bring it.
    fn end_history(&self, name: &RefName, commit: CommitId) -> Result<()>;
}

/// What a pusher sees, who has brought these commits.
#[derive(Clone, Copy)]
pub(super) struct Eyes<'a> {
    sight: Option<&'a dyn Sight>,
    brought: &'a HashSet<CommitId>,
}

impl<'a> Eyes<'a> {
    pub(super) fn new(policy: &'a Policy, brought: &'a HashSet<CommitId>) -> Self {
        let sight = policy.sight.as_deref();
        Self { sight, brought }
    }

    /// Whether a commit, or what is attached to it, is hidden.
    pub(super) fn hides(&self, object: &ObjectId) -> Result<bool> {
        match self.sight {
            Some(sight) if matches!(object.kind, ObjectKind::Commit | ObjectKind::CommitMeta) => {
                let commit = CommitId(object.checksum);
                Ok(!self.brought.contains(&commit) && !sight.sees(commit)?)
            }
            _ => Ok(false),
        }
    }

    /// Makes the hidden ones among these objects missing.
    pub(super) fn hide(&self, ids: &[ObjectId], missing: &mut [bool]) -> Result<()> {
        for (id, missing) in ids.iter().zip(missing).filter(|(_, missing)| !**missing) {
            *missing = self.hides(id)?;
        }
        Ok(())
    }

    /// An error if a commit is hidden: that of one that is not there.
    pub(super) fn check(&self, commit: CommitId) -> Result<()> {
        let object = commit.object();
        match self.hides(&object)? {
            true => Err(oxtree_repo::Error::MetadataNotFound(object).into()),
            false => Ok(()),
        }
    }

    /// Loads an object, unless it is hidden.
    pub(super) fn load<Q: Quarantine>(&self, quarantine: &Q, object: &ObjectId) -> Result<Vec<u8>> {
        if object.kind == ObjectKind::Commit {
            self.check(CommitId(object.checksum))?;
        }
        quarantine.load(object)
    }

    /// Has the histories of these refs end where what is hidden begins, be it there now or later.
    pub(super) fn end_histories<Q: Quarantine>(
        &self,
        quarantine: &Q,
        updates: &[WireUpdate],
    ) -> Result<()> {
        let Some(sight) = self.sight else {
            return Ok(());
        };
        for update in updates {
            let old = update.old.as_ref().map(|old| old.0);
            let Some(mut at) = update.new.as_ref().map(|new| new.0) else {
                continue;
            };
            for step in 1.. {
                // What leads on from there was decided when it came.
                if Some(at) == old {
                    break;
                }
                let bytes = match quarantine.load(&at.object()) {
                    Err(Error::Repo(error)) if error.is_missing_object() => break,
                    bytes => bytes?,
                };
                let commit = Commit::parse(&bytes);
                let commit = commit.map_err(|error| oxtree_repo::Error::corrupt(at, error))?;
                let Some(parent) = commit.parent else { break };
                if step == MAX_HISTORY || self.hides(&parent.object())? {
                    sight.end_history(&update.name.0, at)?;
                    break;
                }
                at = parent;
            }
        }
        Ok(())
    }
}
