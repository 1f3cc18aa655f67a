// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of a transaction: its objects become public, and then the refs change.

use std::collections::{BTreeSet, HashSet};
use std::os::fd::AsFd;

use oxtree_format::{CommitId, ObjectId, ObjectKind};

use super::staging::{folder, move_folders, move_objects, staged_objects};
use super::{Stats, Transaction};
use crate::refs::RefUpdate;
use crate::{CommitState, Error, Result, fs};

impl Transaction<'_> {
    /// Makes all objects visible and durable, and then sets `refs`, all of them or, if one is not
    /// what its update expects, none.
    pub fn commit(self, refs: &[RefUpdate]) -> Result<Stats> {
        self.commit_complete(refs, &[])
    }

    /// The same, with commits of which all is there then: that they are not partial any more is
    /// noted before the refs are set.
    pub fn commit_complete(mut self, refs: &[RefUpdate], complete: &[CommitId]) -> Result<Stats> {
        let stats = self.stats();
        if let Err(told_to) = self.repo.check_may_commit() {
            // As if the machine had stopped here.
            if let Some(staging) = &mut self.staging {
                staging.keep = true;
            }
            return Err(told_to);
        }
        let publishing = self.repo.lock_publishing()?;
        self.check_nothing_pruned(&self.prune_stamp, refs)?;
        self.publish_objects()?;
        for commit in complete {
            self.repo.set_commit_state(*commit, CommitState::Normal)?;
        }
        self.repo.update_refs(refs)?;
        drop(publishing);
        // What others have left is no reason to call this a failure.
        if let Err(error) = self.repo.clean_tmp() {
            tracing::warn!("{error}");
        }
        Ok(stats)
    }

    fn publish_objects(&mut self) -> Result<()> {
        let Some(staging) = self.staging.as_mut() else {
            return Ok(());
        };
        let repo = &*self.repo;
        let config = repo.config();
        let io = || Error::io("publishing objects in", repo.path());
        if config.fsync {
            rustix::fs::syncfs(repo.dir()).map_err(Error::io("syncing", repo.path()))?;
        }
        let objects: Vec<String> = staged_objects(staging.dir.as_fd()).map_err(io())?;
        // Commits last: nobody is to find one whose objects are still on their way.
        let (commits, mut others): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|path| path.ends_with(".commit"));
        let from = staging.dir.as_fd();
        let with_commits: HashSet<&str> = commits.iter().map(|path| folder(path)).collect();
        let folders: BTreeSet<&str> = others
            .iter()
            .map(|path| folder(path))
            .filter(|folder| !with_commits.contains(folder))
            .collect();
        let left = move_folders(from, repo.objects(), folders.iter().copied()).map_err(io())?;
        let left: HashSet<String> = left
            .into_iter()
            .chain(with_commits)
            .map(str::to_owned)
            .collect();
        others.retain(|path| left.contains(folder(path)));
        for batch in [others, commits] {
            move_objects(from, repo.objects(), config.fsync, &batch).map_err(io())?;
        }
        staging.keep = false;
        let staging = self.staging.take();
        staging.map_or(Ok(()), |staging| staging.remove(repo))
    }

    /// The commits of which the objects of this kind were staged: they themselves, or their detached metadata.
    pub fn staged_commits(&self, kind: ObjectKind) -> Result<Vec<CommitId>> {
        let Some(staging) = &self.staging else {
            return Ok(Vec::new());
        };
        let io = Error::io("reading", self.repo.path().join("tmp").join(&staging.name));
        let paths = staged_objects(staging.dir.as_fd()).map_err(io)?;
        let objects = paths.iter().filter_map(|path| {
            let (dir, file) = path.split_once('/')?;
            ObjectId::from_loose(dir, file, self.repo.mode().is_archive())
        });
        Ok(objects
            .filter(|object| object.kind == kind)
            .map(|object| CommitId(object.checksum))
            .collect())
    }

    /// Forgets staged commits that are not in `keep`, and detached metadata of those that are not in `detached`
    /// either. What an interrupted push has left may include a commit without its files, which nobody is to see.
    pub fn retain_commits(
        &self,
        keep: &HashSet<CommitId>,
        detached: &HashSet<CommitId>,
    ) -> Result<()> {
        let Some(staging) = &self.staging else {
            return Ok(());
        };
        let io = || Error::io("reading", self.repo.path().join("tmp").join(&staging.name));
        for path in staged_objects(staging.dir.as_fd()).map_err(io())? {
            let object = path.split_once('/').and_then(|(dir, file)| {
                ObjectId::from_loose(dir, file, self.repo.mode().is_archive())
            });
            let stray = object.is_some_and(|object| {
                let commit = CommitId(object.checksum);
                match object.kind {
                    ObjectKind::Commit => !keep.contains(&commit),
                    ObjectKind::CommitMeta => {
                        !keep.contains(&commit) && !detached.contains(&commit)
                    }
                    _ => false,
                }
            });
            if stray {
                fs::remove_all(staging.dir.as_fd(), path.as_bytes()).map_err(io())?;
            }
        }
        Ok(())
    }
}
