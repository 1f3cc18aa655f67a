// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lets other programs write while a prune with a grace period runs.
//!
//! Without a grace period, a prune holds the repository's lock exclusively. With one, it holds it
//! shared, and keeps every object that is younger, and all that such an object needs. The age is
//! the inode's change time, since hard links and checkouts change the other times.
//!
//! A transaction does not write objects that the repository already has. So a prune could delete
//! an old object that a running transaction counts on. Both therefore lock `.prune-lock` at the
//! end. A transaction holds it shared while it publishes. A prune holds it exclusively while it
//! deletes; it first looks for new commits once more, and leaves a stamp in the file. A
//! transaction that finds another stamp than at its beginning checks that all objects of its
//! commits still exist.
//!
//! libostree does not know this lock. Beside its commands, choose a grace period longer than any
//! of them takes.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use oxtree_format::{CommitId, ObjectId, ObjectKind};
use rustix::fs::{Mode, OFlags};

use super::Options;
use super::history::{History, Keep};
use super::marks::Marks;
use crate::refs::RefUpdate;
use crate::traverse::{Objects, check_complete};
use crate::{Error, FileLock, LockKind, Repo, Result, Transaction, fs};

const PRUNE_LOCK: &str = ".prune-lock";

const STAMP: usize = 12;

impl Repo {
    /// Identifies the last prune that let others write.
    pub(crate) fn prune_stamp(&self) -> Result<Vec<u8>> {
        let stamp = fs::read_file(self.dir(), PRUNE_LOCK, 4096);
        let stamp = stamp.map_err(Error::io("reading", self.path().join(PRUNE_LOCK)))?;
        Ok(stamp.unwrap_or_default())
    }

    /// Keeps objects from being deleted while a transaction becomes visible.
    pub(crate) fn lock_publishing(&self) -> Result<FileLock> {
        self.take_lock(PRUNE_LOCK, LockKind::Shared)
    }

    /// Keeps transactions from becoming visible, and has those that are open look again.
    pub(super) fn forbid_publishing(&self) -> Result<FileLock> {
        let lock = self.take_lock(PRUNE_LOCK, LockKind::Exclusive)?;
        let stamp = fs::random_name("") + &fs::random_name("");
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(self.dir(), PRUNE_LOCK, flags, Mode::empty())
            .map_err(std::io::Error::from)
            .and_then(|file| File::from(file).write_all_at(&stamp.as_bytes()[..STAMP], 0))
            .map_err(Error::io("writing", self.path().join(PRUNE_LOCK)))?;
        Ok(lock)
    }

    /// Marks commits that have come since the marks were made, with all that they need.
    pub(super) fn mark_new_commits(&self, marks: &Marks, options: &Options) -> Result<()> {
        let mut history = History::new(self, options.delete_commit);
        for object in self.list_objects()? {
            let commit = CommitId(object.checksum);
            let is_new = object.kind == ObjectKind::Commit && !marks.has(&object);
            if is_new && options.delete_commit != Some(commit) {
                history.keep(commit, Keep::depth(0))?;
            }
        }
        self.mark_commits(marks, history, options)
    }
}

impl Transaction<'_> {
    /// Fails if a prune since the transaction's beginning has deleted something that its commits, or
    /// those of `refs`, need.
    pub(crate) fn check_nothing_pruned(&self, stamp: &[u8], refs: &[RefUpdate]) -> Result<()> {
        if self.repo().prune_stamp()? == stamp {
            return Ok(());
        }
        let refs = refs.iter().filter_map(|update| update.new);
        let commits: HashSet<CommitId> = self
            .staged_commits(ObjectKind::Commit)?
            .into_iter()
            .chain(refs)
            .collect();
        for commit in commits {
            let object = ObjectId::from(commit);
            if self.has(&object)? && !self.is_partial(commit)? {
                check_complete(self, commit, None)?;
            }
        }
        Ok(())
    }
}
