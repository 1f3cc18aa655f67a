// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushers that may not know of every commit. For such a pusher, a commit that it neither may know
//! nor has brought is missing: the pusher is not told that the commit exists, cannot set a ref to
//! it, and cannot publish history that leads other clients to it.

use std::collections::HashSet;

use oxtree_format::{Commit, CommitId, ObjectId, ObjectKind};

use super::policy::{Commits, Policy};
use crate::error::Result;
use crate::store::Quarantine;
use crate::visibility::Visibility;

/// What a pusher knows of that has brought these commits.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    policy: &'a Policy,
    brought: &'a HashSet<CommitId>,
}

impl<'a> View<'a> {
    pub(super) fn new(policy: &'a Policy, brought: &'a HashSet<CommitId>) -> Self {
        Self { policy, brought }
    }

    fn visibility(&self) -> Option<&'a dyn Visibility> {
        self.policy.visibility.as_deref()
    }

    /// Whether a commit, or what is attached to it, is hidden.
    pub(super) fn hides(&self, object: &ObjectId) -> Result<bool> {
        match self.visibility() {
            Some(all) if matches!(object.kind, ObjectKind::Commit | ObjectKind::CommitMeta) => {
                let commit = CommitId(object.checksum);
                Ok(!self.brought.contains(&commit) && !all.sees(commit)?)
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
    pub(super) fn load(&self, quarantine: &dyn Quarantine, object: &ObjectId) -> Result<Vec<u8>> {
        if object.kind == ObjectKind::Commit {
            self.check(CommitId(object.checksum))?;
        }
        quarantine.load(object)
    }

    /// Has the history of each commit end that was brought and whose parent is hidden, be it there now or
    /// later. Where copies are published, nothing leads on from them but what was there.
    pub(super) fn end_histories(&self, quarantine: &dyn Quarantine) -> Result<()> {
        let Some(visibility) = self.visibility() else {
            return Ok(());
        };
        if self.policy.commits == Commits::Copy {
            return Ok(());
        }
        for commit in self.brought {
            let bytes = quarantine.load(&commit.object())?;
            let parsed = Commit::parse(&bytes);
            let parsed = parsed.map_err(|error| oxtree_repo::Error::corrupt(*commit, error))?;
            let Some(parent) = parsed.parent else {
                continue;
            };
            if self.hides(&parent.object())? {
                visibility.end_history(*commit)?;
            }
        }
        Ok(())
    }
}
