// SPDX-License-Identifier: MIT OR Apache-2.0
//! The step that reads everything.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use oxtree_format::{CommitId, ObjectId, ObjectKind};
use rayon::prelude::*;

use super::problem::MAX_PATHS;
use super::{Damage, Fsck, Problem};
use crate::object::verify::BUFFER;
use crate::traverse::{Found, Visit, Walk, ancestors};
use crate::{CommitState, Error, Progress, Repo, Result};

/// Objects are handed to threads in pieces of this many: enough of them that a large file here or
/// there evens out.
const BATCH: usize = 64;

impl Fsck<'_> {
    /// Finds all objects of the commits: [`super::Counts::objects`].
    pub fn find_objects(&mut self) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        let mut all = Collect(Vec::new());
        let mut walk = Walk::new(self.repo);
        for commit in &self.commits {
            match walk.commit(*commit, &[], &mut all) {
                Ok(()) => {}
                // The commit itself cannot be read: to be seen when it is verified.
                Err(error) if is_about(&error, commit.object()) => all.0.push(commit.object()),
                Err(error) => {
                    let mut damage = Damage::new(commit.object(), error);
                    damage.commits.push(*commit);
                    problems.push(Problem::Object(damage));
                }
            }
        }
        self.objects = all.0;
        self.objects.extend(self.left_of_unfinished(&mut walk)?);
        // In the order of the directories they are in.
        self.objects.sort_unstable();
        self.counts.objects = self.objects.len();
        Ok(problems)
    }

    /// What is there of commits that an earlier check has marked: it may have been cut off before it
    /// had deleted all that is damaged of them.
    fn left_of_unfinished(&self, walk: &mut Walk<'_, Repo>) -> Result<Vec<ObjectId>> {
        let mut left = Collect(Vec::new());
        for commit in &self.unfinished {
            // What cannot be read of it is seen when the objects are verified.
            let _ = walk.commit(*commit, &[], &mut left);
            left.0.push(commit.object());
        }
        left.0.sort_unstable();
        left.0.dedup();
        let mut there = Vec::new();
        for object in left.0 {
            if self.repo.has_object(&object)? {
                there.push(object);
            }
        }
        Ok(there)
    }

    /// Verifies the objects found, on all processors.
    pub fn verify(&mut self, progress: &dyn Progress) -> Result<Vec<Problem>> {
        let stop = AtomicBool::new(false);
        let (repo, keep_going) = (self.repo, self.options.keep_going);
        progress.start("fsck objects", Some(self.objects.len() as u64));
        let found: Vec<Damage> = self
            .objects
            .par_chunks(BATCH)
            .map_init(
                || vec![0; BUFFER],
                |buffer, objects| {
                    let mut damage = Vec::new();
                    for object in objects {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        if let Err(error) = repo.verify_object(object, buffer) {
                            let fatal = !error.is_missing_object();
                            stop.fetch_or(fatal && !keep_going, Ordering::Relaxed);
                            damage.push(Damage::new(*object, error));
                        }
                    }
                    progress.advance(objects.len() as u64);
                    damage
                },
            )
            .flatten_iter()
            .collect();
        progress.finish();
        let mut found: BTreeMap<ObjectId, Damage> = found
            .into_iter()
            .map(|damage| (damage.object, damage))
            .collect();
        self.name_owners(&mut found)?;
        let mut marked = BTreeSet::new();
        for damage in found.values_mut() {
            self.mend(damage, &mut marked)?;
        }
        Ok(found.into_values().map(Problem::Object).collect())
    }

    /// Finds out to which commits damaged objects belong. Costs a walk through every commit, but
    /// only where something is damaged.
    fn name_owners(&self, found: &mut BTreeMap<ObjectId, Damage>) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        for commit in self.commits.iter().chain(&self.unfinished) {
            let mut owner = Owner {
                commit: *commit,
                found,
            };
            if Walk::new(self.repo)
                .commit(*commit, &[], &mut owner)
                .is_err()
            {
                owner.owns(commit.object(), || "/".to_owned());
            }
        }
        self.name_refs(found)
    }

    /// Finds out in the histories of which refs the damaged objects are.
    fn name_refs(&self, found: &mut BTreeMap<ObjectId, Damage>) -> Result<()> {
        let local = self.repo.list_refs(None)?.into_iter();
        let local = local.map(|(refspec, commit)| (refspec.to_string(), commit));
        let mirrored = self.repo.mirror_refs()?.into_iter();
        let mirrored = mirrored
            .map(|((collection, name), commit)| (format!("({collection}, {name})"), commit));
        for (name, tip) in local.chain(mirrored) {
            let mut history = HashSet::new();
            for commit in ancestors(self.repo, tip) {
                // A damaged history may go round in circles, or end.
                match commit {
                    Ok((commit, _)) if history.insert(commit) => {}
                    _ => break,
                }
            }
            history.insert(tip);
            for damage in found.values_mut() {
                if damage.commits.iter().any(|commit| history.contains(commit)) {
                    damage.refs.push(name.clone());
                }
            }
        }
        Ok(())
    }

    /// Deletes what is damaged, if that is wanted, after it has marked the commits that then lack
    /// something: cut off in between, no commit that does seems whole.
    fn mend(&self, damage: &mut Damage, marked: &mut BTreeSet<CommitId>) -> Result<()> {
        let goes = self.options.delete && damage.is_corrupt();
        let is_part = damage.object.kind != ObjectKind::Commit;
        if is_part && (goes || damage.is_missing()) && self.repo.check_writable().is_ok() {
            for commit in &damage.commits {
                if marked.insert(*commit) {
                    self.repo.set_commit_state(*commit, CommitState::Damaged)?;
                    damage.marked.push(*commit);
                }
            }
        }
        if goes {
            damage.deleted = self.repo.delete_object(&damage.object)?;
        }
        Ok(())
    }
}

/// True if the error is that this object is not there or not in order.
fn is_about(error: &Error, object: ObjectId) -> bool {
    match error {
        Error::MetadataNotFound(missing) => *missing == object,
        Error::Corrupt {
            object: corrupt, ..
        } => *corrupt == object,
        _ => false,
    }
}

/// Takes down every object. What is below a dirtree that cannot be read stays unknown; that the
/// dirtree cannot be read is seen when it is verified.
struct Collect(Vec<ObjectId>);

impl Visit for Collect {
    fn found(&mut self, found: &Found<'_>) -> Result<()> {
        self.0.push(found.object);
        Ok(())
    }

    fn unreadable(&mut self, _: &Found<'_>, _: Error) -> Result<()> {
        Ok(())
    }
}

/// Notes which damaged objects a commit has.
struct Owner<'f> {
    commit: CommitId,
    found: &'f mut BTreeMap<ObjectId, Damage>,
}

impl Owner<'_> {
    fn owns(&mut self, object: ObjectId, path: impl FnOnce() -> String) {
        if let Some(damage) = self.found.get_mut(&object) {
            damage.commits.push(self.commit);
            if object.kind == ObjectKind::Commit || damage.paths.len() == MAX_PATHS {
                return;
            }
            let path = path();
            if !damage.paths.contains(&path) {
                damage.paths.push(path);
            }
        }
    }
}

impl Visit for Owner<'_> {
    fn found(&mut self, found: &Found<'_>) -> Result<()> {
        self.owns(found.object, || found.path());
        Ok(())
    }

    fn unreadable(&mut self, _: &Found<'_>, _: Error) -> Result<()> {
        Ok(())
    }
}
