// SPDX-License-Identifier: MIT OR Apache-2.0
//! Marks all that hangs below commits, on all processors.
//!
//! What is read is verified: a damaged dirtree names other objects than the commit has, and those
//! that it should name would be deleted.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use oxtree_format::{Checksum, CommitId, DirId, DirTree, DirTreeId, ObjectId, ObjectKind};
use rayon::Scope;

use super::history::Kept;
use super::marks::Marks;
use crate::object::verify::check_checksum;
use crate::traverse::MAX_DEPTH;
use crate::{CommitState, Error, Repo, Result};

/// A walk that marks.
pub(super) struct Reach<'a> {
    repo: &'a Repo,
    marks: &'a Marks,
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl<'a> Reach<'a> {
    pub(super) fn new(repo: &'a Repo, marks: &'a Marks) -> Self {
        Self {
            repo,
            marks,
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// Marks the commits with all that they have.
    pub(super) fn commits(self, commits: HashMap<CommitId, Kept>) -> Result<()> {
        let this = &self;
        rayon::scope(|scope| {
            for (commit, kept) in commits {
                this.marks.mark(&commit.object());
                this.attempt(|| {
                    // What a partial commit lacks, it lacks on purpose.
                    let partial = this.repo.commit_state(commit)? != CommitState::Normal;
                    this.enter(scope, kept.root, partial, 0);
                    Ok(())
                });
            }
        });
        self.finish()
    }

    /// Marks dirtrees with all that they have, as far as it is there.
    pub(super) fn folders(self, folders: Vec<DirTreeId>) -> Result<()> {
        let this = &self;
        rayon::scope(|scope| {
            for tree in folders {
                if this.marks.mark(&tree.object()) {
                    scope.spawn(move |scope| this.attempt(|| this.folder(scope, tree, true, 0)));
                }
            }
        });
        self.finish()
    }

    fn finish(self) -> Result<()> {
        mark_companions(self.repo, self.marks)?;
        let failure = self.failure.into_inner();
        failure
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .map_or(Ok(()), Err)
    }

    /// Does a part of the walk, unless another part has failed.
    fn attempt(&self, part: impl FnOnce() -> Result<()>) {
        if self.stop.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = part() {
            self.stop.store(true, Ordering::Relaxed);
            let mut failure = self
                .failure
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            failure.get_or_insert(error);
        }
    }

    fn enter<'s>(&'s self, scope: &Scope<'s>, dir: DirId, partial: bool, depth: usize) {
        self.marks.mark(&dir.meta.object());
        if self.marks.mark(&dir.tree.object()) {
            scope.spawn(move |scope| {
                self.attempt(|| self.folder(scope, dir.tree, partial, depth));
            });
        }
    }

    fn folder<'s>(
        &'s self,
        scope: &Scope<'s>,
        id: DirTreeId,
        partial: bool,
        depth: usize,
    ) -> Result<()> {
        if depth > MAX_DEPTH {
            let reason = format!("Exceeded maximum recursion at {}", id.object());
            return Err(Error::Invalid(reason));
        }
        let bytes = match self.repo.load_metadata(&id.object()) {
            Err(error) if partial && error.is_missing_object() => return Ok(()),
            bytes => bytes?,
        };
        check_checksum(&id.object(), &bytes)?;
        let tree = DirTree::parse(&bytes).map_err(|error| Error::corrupt(id, error))?;
        for (_, file) in tree.files() {
            self.marks.mark(&file.object());
        }
        for (_, dir) in tree.dirs() {
            self.enter(scope, dir, partial, depth + 1);
        }
        Ok(())
    }
}

/// What belongs to files that are needed is needed, too: their attributes where those are objects of
/// their own, and links that lead to them.
fn mark_companions(repo: &Repo, marks: &Marks) -> Result<()> {
    for object in marks.objects() {
        match object.kind {
            ObjectKind::FileXattrsLink => {
                let file = ObjectId::new(ObjectKind::File, object.checksum);
                if marks.is_marked(&file) && marks.mark(object) {
                    let bytes = repo.load_metadata(object)?;
                    marks.mark(&ObjectId::new(ObjectKind::FileXattrs, Checksum::of(&bytes)));
                }
            }
            ObjectKind::PayloadLink => {
                let target = repo.payload_link_target(object)?;
                if target.is_some_and(|file| marks.is_marked(&file)) {
                    marks.mark(object);
                }
            }
            _ => {}
        }
    }
    Ok(())
}
