// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is everything in the repository whole?
//!
//! In five steps, so that a caller can say what is being done: refs, refs in collections, commits,
//! objects, other files. Each returns the problems it has found. Only what hangs below some commit is looked at,
//! as libostree does; commits that are marked partial are counted and left alone.

mod files;
mod objects;
mod problem;

use std::collections::{BTreeMap, BTreeSet};

use oxtree_format::refs::RefName;
use oxtree_format::{Commit, CommitId, ObjectId, ObjectKind};

pub use problem::{Damage, MAX_PATHS, Problem};

use crate::object::verify::BUFFER;
use crate::{CommitState, Error, FileLock, LockKind, Repo, Result, Transaction, bindings};

/// What is to be looked at and done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Go on after the first damaged object. (Missing ones never end the check.)
    pub keep_going: bool,
    /// Delete objects that are damaged.
    pub delete: bool,
    /// Check that commits are bound to the refs that point at them.
    pub verify_bindings: bool,
    /// Check that the refs to which commits are bound point at them.
    pub verify_back_refs: bool,
    /// Write tombstones for parents that are not there.
    pub add_tombstones: bool,
}

/// A check of a repository.
#[derive(Debug)]
pub struct Fsck<'r> {
    repo: &'r Repo,
    options: Options,
    buffer: Vec<u8>,
    /// Commits to be checked.
    commits: Vec<CommitId>,
    /// Those that an earlier check has found damaged, if what is damaged is to be deleted.
    unfinished: Vec<CommitId>,
    objects: Vec<ObjectId>,
    counts: Counts,
    /// So that nobody prunes meanwhile.
    _lock: Option<FileLock>,
}

/// What a check has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commits whose objects were checked.
    pub commits: usize,
    /// Their objects.
    pub objects: usize,
    /// Commits that were not checked, because they are marked as partial.
    pub partial: usize,
    /// Those of them that an earlier check has marked.
    pub damaged: usize,
    /// Commits for which a tombstone was written.
    pub tombstones: Vec<CommitId>,
}

impl<'r> Fsck<'r> {
    /// A check that has not begun yet.
    pub fn new(repo: &'r Repo, options: Options) -> Result<Self> {
        let lock = match repo.check_writable() {
            Ok(()) => repo.lock(LockKind::Shared)?,
            // Reading is all that is needed, unless there is something to be done.
            Err(error) if options.delete || options.add_tombstones => return Err(error),
            Err(_) => None,
        };
        Ok(Self {
            repo,
            options,
            buffer: vec![0; BUFFER],
            commits: Vec::new(),
            unfinished: Vec::new(),
            objects: Vec::new(),
            counts: Counts::default(),
            _lock: lock,
        })
    }

    /// What was counted so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Checks that all refs can be read, and that their commits are there and are what their names say.
    /// Always checks them all.
    pub fn refs(&mut self) -> Result<Vec<Problem>> {
        let found = self.repo.survey_refs(None)?;
        let mut problems: Vec<Problem> = found.damaged.into_iter().map(Problem::Ref).collect();
        for (refspec, commit) in found.refs {
            let name = refspec.to_string();
            self.check_ref(&name, refspec.name.as_str(), None, commit, &mut problems)?;
        }
        Ok(problems)
    }

    /// The same for refs in collections.
    pub fn collection_refs(&mut self) -> Result<Vec<Problem>> {
        // The others were found damaged before.
        let mirrored = self.repo.survey_mirror_refs()?.damaged;
        let mut problems: Vec<Problem> = mirrored.into_iter().map(Problem::Ref).collect();
        for ((collection, name), commit) in self.repo.collection_refs()? {
            let shown = format!("({collection}, {name})");
            let collection = Some(collection.as_str());
            self.check_ref(&shown, name.as_str(), collection, commit, &mut problems)?;
        }
        Ok(problems)
    }

    fn check_ref(
        &mut self,
        shown: &str,
        name: &str,
        collection: Option<&str>,
        commit: CommitId,
        problems: &mut Vec<Problem>,
    ) -> Result<()> {
        let checked = self.repo.verify_object(&commit.object(), &mut self.buffer);
        if let Err(error) = checked {
            problems.push(match error.is_missing_object() {
                true => Problem::DanglingRef {
                    name: shown.to_owned(),
                    error,
                },
                false => {
                    let mut damage = Damage::new(commit.object(), error);
                    damage.refs.push(shown.to_owned());
                    Problem::Object(damage)
                }
            });
            return Ok(());
        }
        if self.options.verify_bindings {
            let bytes = self.repo.load_commit(commit)?;
            let parsed = Commit::parse(&bytes).map_err(|error| Error::corrupt(commit, error))?;
            if let Err(reason) = bindings::check(&parsed, Some(name), collection) {
                problems.push(Problem::Binding { commit, reason });
            }
        }
        Ok(())
    }

    /// Finds all commits. [`Counts::commits`] are to be checked.
    pub fn commits(&mut self) -> Result<Vec<Problem>> {
        let mut commits: Vec<CommitId> = self
            .repo
            .list_objects()?
            .into_iter()
            .filter(|object| object.kind == ObjectKind::Commit)
            .map(|object| CommitId(object.checksum))
            .collect();
        commits.sort_unstable();
        let back_refs = match self.options.verify_back_refs {
            true => Some(BackRefs::new(self.repo)?),
            false => None,
        };
        let mut problems = Vec::new();
        let mut orphaned = BTreeSet::new();
        for commit in commits {
            match self.repo.commit_state(commit)? {
                CommitState::Normal => self.commits.push(commit),
                CommitState::Partial => self.counts.partial += 1,
                CommitState::Damaged => {
                    self.counts.partial += 1;
                    self.counts.damaged += 1;
                    if self.options.delete {
                        self.unfinished.push(commit);
                    }
                }
            }
            // Those that cannot be read are found in the next step.
            let Ok(bytes) = self.repo.load_commit(commit) else {
                continue;
            };
            let Ok(parsed) = Commit::parse(&bytes) else {
                continue;
            };
            if let Some(parent) = parsed.parent
                && self.options.add_tombstones
                && !self.repo.has_object(&parent.object())?
            {
                orphaned.insert(parent);
            }
            if let Some(back_refs) = &back_refs {
                problems.extend(back_refs.check(self.repo, commit, &parsed)?);
            }
        }
        self.counts.commits = self.commits.len();
        self.add_tombstones(orphaned)?;
        Ok(problems)
    }

    /// Writes a tombstone for each of these commits that has none yet.
    fn add_tombstones(&mut self, commits: BTreeSet<CommitId>) -> Result<()> {
        if commits.is_empty() {
            return Ok(());
        }
        self.repo.set_core_flag("tombstone-commits")?;
        let transaction = Transaction::begin(self.repo)?;
        for commit in commits {
            let tombstone = ObjectId::new(ObjectKind::TombstoneCommit, commit.0);
            if !transaction.has_staged(&tombstone)? {
                transaction.write_tombstone(commit)?;
                self.counts.tombstones.push(commit);
            }
        }
        transaction.commit(&[])?;
        Ok(())
    }
}

/// Where refs point, to be compared with what commits say.
struct BackRefs {
    collections: BTreeMap<(String, String), CommitId>,
}

impl BackRefs {
    fn new(repo: &Repo) -> Result<Self> {
        let refs = repo.collection_refs()?.into_iter();
        let refs = refs.map(|((collection, name), commit)| {
            ((collection.to_string(), name.to_string()), commit)
        });
        Ok(Self {
            collections: refs.collect(),
        })
    }

    fn check(&self, repo: &Repo, id: CommitId, commit: &Commit<'_>) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        let collection = commit.metadata_str(oxtree_format::commit::keys::COLLECTION_BINDING);
        for name in commit.ref_bindings().unwrap_or_default() {
            let (shown, actual) = match collection {
                Some(collection) => {
                    let key = (collection.to_owned(), name.to_owned());
                    let actual = self.collections.get(&key).copied();
                    (format!("Collection–ref ({collection}, {name})"), actual)
                }
                None => {
                    // A name that no ref can have is that of none.
                    let actual = match name.parse::<RefName>() {
                        Ok(_) => match repo.try_resolve_rev(name) {
                            Err(Error::DamagedRef(_)) => None,
                            found => found?,
                        },
                        Err(_) => None,
                    };
                    (format!("Ref ‘{name}’"), actual)
                }
            };
            if actual != Some(id) {
                problems.push(Problem::BackRef {
                    name: shown,
                    commit: id,
                    exists: actual.is_some(),
                });
            }
        }
        Ok(problems)
    }
}
