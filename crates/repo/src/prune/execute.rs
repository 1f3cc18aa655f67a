// SPDX-License-Identifier: MIT OR Apache-2.0
//! Carrying out a plan.
//!
//! Commits go before what they need, and their absence is durable before the rest goes: whenever
//! this is cut off, no commit that is there lacks anything. What is left over then, the next
//! prune deletes.

use std::collections::BTreeSet;

use oxtree_format::{CommitId, DeltaName, ObjectId, ObjectKind, tombstone};
use rayon::prelude::*;

use super::{Doomed, Locks, PrunePlan};
use crate::{CommitState, Error, FileLock, Progress, Repo, Result, fs};

/// Objects are deleted in pieces of this many.
const BATCH: usize = 64;

/// More directories than this are not synced one by one.
const MAX_SYNCS: usize = 8;

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Objects, without [`super::Options::delete_commit`].
    pub objects: u64,
    /// Their size on disk in bytes.
    pub bytes: u64,
}

impl PrunePlan<'_> {
    /// Deletes what the plan says.
    pub fn execute(mut self, progress: &dyn Progress) -> Result<Pruned> {
        if self.options.dry_run {
            let reason = "a plan that was made for a dry run cannot be carried out";
            return Err(Error::Invalid(reason.to_owned()));
        }
        self.repo.check_writable()?;
        let deleting = self.settle()?;
        let repo = self.repo;
        let (commits, others): (Vec<Doomed>, Vec<Doomed>) = self
            .objects
            .iter()
            .partition(|doomed| doomed.object.kind == ObjectKind::Commit);
        let ids: Vec<CommitId> = commits
            .iter()
            .map(|doomed| CommitId(doomed.object.checksum))
            .chain(self.options.delete_commit)
            .collect();
        if self.options.delete_commit.is_some() {
            repo.set_core_flag("tombstone-commits")?;
        }
        if repo.config().tombstone_commits || self.options.delete_commit.is_some() {
            repo.write_tombstones(&ids)?;
        }
        progress.start("Deleting", Some(self.objects.len() as u64));
        repo.delete_commits(&ids, !others.is_empty())?;
        progress.advance(commits.len() as u64);
        others.par_chunks(BATCH).try_for_each(|batch| {
            for doomed in batch {
                repo.delete_object(&doomed.object)?;
            }
            progress.advance(batch.len() as u64);
            Ok(())
        })?;
        progress.finish();
        if matches!(self.locks, Locks::Exclusive { .. }) {
            repo.delete_widows()?;
            repo.delete_foreign_summaries()?;
        }
        let pruned = Pruned {
            objects: self.objects.len() as u64,
            bytes: self.bytes(),
        };
        let deltas = std::mem::take(&mut self.deltas);
        // A new summary takes the lock itself.
        drop((self, deleting));
        repo.delete_deltas(&deltas)?;
        Ok(pruned)
    }

    /// Makes sure that nothing in the plan has become needed. Where others may have written since
    /// it was made, those who are about to publish something wait from now on until all is done, and
    /// then see that they have to look again.
    fn settle(&mut self) -> Result<Option<Deleting>> {
        if !matches!(self.locks, Locks::Shared { .. }) {
            return Ok(None);
        }
        let deleting = Deleting {
            _publishing: self.repo.forbid_publishing()?,
            _refs: self.repo.lock_refs()?,
        };
        let (targets, damaged) = self.repo.targets()?;
        if let Some(new) = damaged.iter().find(|one| !self.damaged.contains(one)) {
            return Err(Error::Invalid(format!(
                "nothing was deleted: a ref cannot be read any more ({new}); prune again"
            )));
        }
        self.repo.check_targets(&targets)?;
        if self.options.refs_only {
            self.repo
                .mark_needed(&self.marks, &targets, &self.options)?;
        }
        // What has come since is young.
        self.repo.mark_new_commits(&self.marks, &self.options)?;
        let marks = &self.marks;
        self.objects
            .retain(|doomed| !marks.is_marked(&doomed.object));
        let gone = self.options.delete_commit;
        self.deltas = self.repo.deltas_to_nowhere(&self.objects, gone)?;
        Ok(Some(deleting))
    }
}

/// Held while objects are deleted that others may see.
struct Deleting {
    _publishing: FileLock,
    _refs: FileLock,
}

impl Repo {
    /// Notes for each of the commits that it was deleted on purpose.
    fn write_tombstones(&self, commits: &[CommitId]) -> Result<()> {
        for commit in commits {
            let object = ObjectId::new(ObjectKind::TombstoneCommit, commit.0);
            let path = self.loose(&object);
            self.write_file_unsynced(&format!("objects/{path}"), &tombstone::write(*commit))
                .map_err(self.object_io("writing", &path))?;
        }
        match self.config().fsync && !commits.is_empty() {
            true => rustix::fs::syncfs(self.dir()).map_err(Error::io("syncing", self.path())),
            false => Ok(()),
        }
    }

    /// Deletes commits and what goes with each; durably, if something else is to follow.
    fn delete_commits(&self, commits: &[CommitId], follows: bool) -> Result<()> {
        commits
            .par_iter()
            .with_min_len(BATCH)
            .try_for_each(|commit| {
                self.delete_object(&commit.object())?;
                // Only now: without its mark, a partial commit that is there would seem whole.
                self.set_commit_state(*commit, CommitState::Normal)?;
                let detached = ObjectId::new(ObjectKind::CommitMeta, commit.0);
                self.delete_object(&detached).map(drop)
            })?;
        if !follows || !self.config().fsync {
            return Ok(());
        }
        let folders: BTreeSet<u8> = commits.iter().map(|commit| commit.0.0[0]).collect();
        if folders.len() > MAX_SYNCS {
            return rustix::fs::syncfs(self.dir()).map_err(Error::io("syncing", self.path()));
        }
        for folder in folders {
            let folder = format!("{folder:02x}");
            fs::open_dir(self.objects(), &*folder)
                .and_then(|dir| Ok(rustix::fs::fsync(dir)?))
                .map_err(self.object_io("syncing", &folder))?;
        }
        Ok(())
    }

    /// Deletes what accompanied commits that are not there: somebody was cut off who deleted them.
    fn delete_widows(&self) -> Result<()> {
        let objects = self.list_objects()?;
        let is_widow = |commit: CommitId| Ok(!self.has_own_object(&commit.object())?);
        for object in objects {
            if object.kind == ObjectKind::CommitMeta && is_widow(CommitId(object.checksum))? {
                self.delete_object(&object)?;
            }
        }
        for commit in self.partial_commits()? {
            if is_widow(commit)? {
                self.set_commit_state(commit, CommitState::Normal)?;
            }
        }
        Ok(())
    }

    /// Deletes summaries that are kept of remotes that there are no more.
    fn delete_foreign_summaries(&self) -> Result<()> {
        const CACHE: &str = "tmp/cache/summaries";
        let remotes = self.remotes();
        for name in self.names_in(CACHE)? {
            let remote = name.strip_suffix(".sig").unwrap_or(&name);
            if !remotes.iter().any(|known| known.as_str() == remote) {
                let path = format!("{CACHE}/{name}");
                fs::remove_all(self.dir(), path.as_bytes())
                    .map_err(Error::io("deleting", self.path().join(&path)))?;
            }
        }
        Ok(())
    }

    /// Deletes static deltas and brings their index up to date, where there is one.
    fn delete_deltas(&self, deltas: &[DeltaName]) -> Result<()> {
        for name in deltas {
            self.delete_delta(name)?;
        }
        if deltas.is_empty() {
            return Ok(());
        }
        if self.has_delta_indexes()? {
            self.reindex_deltas(&self.static_deltas()?)?;
        }
        self.summarize()
    }

    /// Deletes the static deltas that lead to a commit; their number.
    pub fn delete_deltas_to(&self, commit: CommitId) -> Result<usize> {
        let mut deltas = self.static_delta_names()?;
        deltas.retain(|name| name.to == commit);
        self.delete_deltas(&deltas)?;
        Ok(deltas.len())
    }
}
