// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deletes objects that no commit needs. [`Repo::plan_prune`] locks the repository, marks what
//! stays and returns a [`PrunePlan`]. [`PrunePlan::execute`] carries it out; printing it is a dry
//! run. The plan holds the lock, so it stays true. With a grace period, other programs may write
//! meanwhile: see `guard.rs`.

mod execute;
mod guard;
mod history;
mod marks;
mod policy;
mod reach;
mod share;

use std::time::{Duration, SystemTime};

use oxtree_format::{Commit, CommitId, DeltaName, DirTreeId, ObjectId, ObjectKind};
use rayon::prelude::*;

pub use self::execute::Pruned;
use self::history::History;
pub use self::history::Keep;
use self::marks::Marks;
pub use self::policy::Policy;
use self::reach::Reach;
pub use self::share::Share;
use crate::{DamagedRef, Error, FileLock, LockKind, Repo, Result, fs};

/// What is to go.
#[derive(Clone, Debug)]
pub struct Options {
    /// Commits that no ref leads to go. Without, all commits stay, and what belongs to none goes.
    pub refs_only: bool,
    /// How much of the history of refs stays; without [`Options::refs_only`], of every commit.
    pub policy: Policy,
    /// Only commits go; what was theirs stays, to be deleted another time.
    pub commit_only: bool,
    /// This commit goes in any case, unless a ref points at it.
    pub delete_commit: Option<CommitId>,
    /// What came into the repository less than this ago stays, and all that it needs. Others may
    /// write meanwhile: only the shared lock is taken.
    pub grace: Option<Duration>,
    /// Only to look: no lock is needed, and none to be had where one may not write.
    pub dry_run: bool,
    /// Find out how much goes by ref: [`PrunePlan::shares`].
    pub by_ref: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            refs_only: false,
            policy: Policy::same(Keep::ALL),
            commit_only: false,
            delete_commit: None,
            grace: None,
            dry_run: false,
            by_ref: false,
        }
    }
}

/// What a prune is going to do.
#[derive(Debug)]
pub struct PrunePlan<'r> {
    repo: &'r Repo,
    options: Options,
    marks: Marks,
    /// Objects that were looked at.
    pub total: u64,
    /// Objects that are to go, sorted by name. [`Options::delete_commit`] is not among them.
    pub objects: Vec<Doomed>,
    /// Static deltas to go: those that lead to commits that go, or that are not there.
    pub deltas: Vec<DeltaName>,
    /// What goes by ref, if that was asked for.
    pub shares: Vec<Share>,
    /// Refs that cannot be read. Because of them all commits stay, also without a ref.
    pub damaged: Vec<DamagedRef>,
    locks: Locks,
}

/// An object that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// The object.
    pub object: ObjectId,
    /// Its size on disk in bytes.
    pub size: u64,
}

impl PrunePlan<'_> {
    /// The size on disk of the objects that are to go, in bytes.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|doomed| doomed.size).sum()
    }
}

/// What keeps others from changing what was found out.
#[derive(Debug)]
enum Locks {
    /// It was a look at a repository that cannot be written to.
    None,
    /// Nobody else writes, or changes refs.
    Exclusive {
        _repo: Option<FileLock>,
        _refs: FileLock,
    },
    /// Nobody else prunes.
    Shared { _repo: Option<FileLock> },
}

impl Locks {
    fn take(repo: &Repo, options: &Options) -> Result<Self> {
        if options.dry_run && repo.check_writable().is_err() {
            return Ok(Self::None);
        }
        if options.dry_run || options.grace.is_some() {
            let repo = repo.lock(LockKind::Shared)?;
            return Ok(Self::Shared { _repo: repo });
        }
        let lock = repo.lock(LockKind::Exclusive)?;
        Ok(Self::Exclusive {
            _repo: lock,
            _refs: repo.lock_refs()?,
        })
    }
}

/// A ref with the commit that it points at.
struct Target {
    /// As messages show it.
    shown: String,
    /// As rules know it.
    name: String,
    commit: CommitId,
}

impl Repo {
    /// Finds out what nobody needs. What is read is verified, so that nothing is deleted because
    /// something else is damaged. A ref without its commit is an error: what it needs is not known.
    pub fn plan_prune(&self, options: &Options) -> Result<PrunePlan<'_>> {
        let locks = Locks::take(self, options)?;
        let (targets, damaged) = self.targets()?;
        let options = &safe(options, &damaged)?;
        let gone = options.delete_commit;
        if let Some(commit) = gone {
            self.check_deletable(commit, &targets)?;
        }
        self.check_targets(&targets)?;
        let mut objects = self.list_objects()?;
        objects.retain(|object| counts(object, options, gone));
        let marks = Marks::new(objects);
        self.mark_needed(&marks, &targets, options)?;
        let objects = match options.grace {
            None => self.doomed(&marks, options, None)?,
            Some(grace) => {
                let now = SystemTime::now();
                let cutoff = now.checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
                self.mark_young(&marks, options, cutoff)?;
                self.doomed(&marks, options, Some(cutoff))?
            }
        };
        let shares = match options.by_ref {
            true => share::by_ref(self, &marks, &targets, &objects)?,
            false => Vec::new(),
        };
        Ok(PrunePlan {
            total: marks.objects().len() as u64,
            deltas: self.deltas_to_nowhere(&objects, gone)?,
            repo: self,
            options: options.clone(),
            marks,
            objects,
            shares,
            damaged,
            locks,
        })
    }

    /// All refs, those of collections included, and those that cannot be read.
    fn targets(&self) -> Result<(Vec<Target>, Vec<DamagedRef>)> {
        let found = self.survey_refs(None)?;
        let refs = found.refs.into_iter();
        let mut targets: Vec<Target> = refs
            .map(|(refspec, commit)| Target {
                shown: format!("'{refspec}'"),
                name: refspec.to_string(),
                commit,
            })
            .collect();
        let mirrored = self.survey_collection_refs()?;
        let mut damaged = found.damaged;
        damaged.extend(mirrored.damaged);
        // An alias of nothing needs no commit.
        damaged.retain(|one| !one.is_dangling);
        damaged.sort_unstable();
        damaged.dedup();
        let mirrored = mirrored.refs.into_iter();
        targets.extend(mirrored.map(|((collection, name), commit)| Target {
            shown: format!("({collection}, {name})"),
            name: name.to_string(),
            commit,
        }));
        Ok((targets, damaged))
    }

    /// An error where the commit of a ref is missing or damaged: its objects would seem to belong to nothing.
    fn check_targets(&self, targets: &[Target]) -> Result<()> {
        let found: Vec<Option<Error>> = targets
            .par_iter()
            .with_min_len(64)
            .map(|target| match history::load_root(self, target.commit) {
                Ok(Some(_)) => Ok(None),
                Ok(None) => Ok(Some(Error::not_found(target.commit))),
                Err(error) if error.is_bad_object() => Ok(Some(error)),
                Err(error) => Err(error),
            })
            .collect::<Result<_>>()?;
        let mut wrong = targets
            .iter()
            .zip(found)
            .filter_map(|(target, error)| Some((target, error?)));
        let Some((target, error)) = wrong.next() else {
            return Ok(());
        };
        let mut shown: Vec<&str> = wrong.map(|(target, _)| target.shown.as_str()).collect();
        shown.dedup();
        let others = match shown.len() {
            0 => String::new(),
            more => format!("; the same is true of {more} more: {}", shown.join(", ")),
        };
        Err(Error::Invalid(format!(
            "nothing was deleted, because what ref {} needs is not known: {error}{others}; pull the commit \
             again, or delete the ref with `refs --delete`, and `fsck -a` shows all damage",
            target.shown
        )))
    }

    fn check_deletable(&self, commit: CommitId, targets: &[Target]) -> Result<()> {
        if let Some(target) = targets.iter().find(|target| target.commit == commit) {
            return Err(Error::Invalid(format!(
                "Commit '{commit}' is referenced by {}",
                target.shown
            )));
        }
        match self.has_own_object(&commit.object())? {
            true => Ok(()),
            false => Err(Error::not_found(commit)),
        }
    }

    /// Marks all that is to stay.
    fn mark_needed(&self, marks: &Marks, targets: &[Target], options: &Options) -> Result<()> {
        let mut history = History::new(self, options.delete_commit);
        if options.refs_only {
            for target in targets {
                history.keep(target.commit, options.policy.keep(&target.name))?;
            }
        } else {
            for object in marks.objects() {
                if object.kind == ObjectKind::Commit {
                    history.keep(CommitId(object.checksum), options.policy.otherwise)?;
                }
            }
        }
        self.mark_commits(marks, history, options)
    }

    fn mark_commits(&self, marks: &Marks, history: History<'_>, options: &Options) -> Result<()> {
        if options.commit_only {
            for commit in history.kept.keys() {
                marks.mark(&commit.object());
            }
            return Ok(());
        }
        Reach::new(self, marks).commits(history.kept)
    }

    /// Marks what is needed by something that nobody needs yet, but that is too young to go.
    fn mark_young(&self, marks: &Marks, options: &Options, cutoff: SystemTime) -> Result<()> {
        let is_young = |object: &ObjectId| -> Result<bool> {
            Ok(self
                .look_at_object(object)?
                .is_some_and(|(_, came)| came >= cutoff))
        };
        let mut history = History::new(self, options.delete_commit);
        let mut folders = Vec::new();
        for object in marks.unmarked() {
            match object.kind {
                ObjectKind::Commit if is_young(&object)? || self.is_recent(&object, cutoff)? => {
                    history.keep(CommitId(object.checksum), Keep::depth(0))?;
                }
                ObjectKind::DirTree if !options.commit_only && is_young(&object)? => {
                    folders.push(DirTreeId(object.checksum));
                }
                _ => {}
            }
        }
        Reach::new(self, marks).folders(folders)?;
        self.mark_commits(marks, history, options)
    }

    /// Whether a commit says of itself that it is not older than that.
    fn is_recent(&self, object: &ObjectId, cutoff: SystemTime) -> Result<bool> {
        let bytes = self.load_metadata(object)?;
        let commit = Commit::parse(&bytes).map_err(|error| Error::corrupt(*object, error))?;
        let cutoff = cutoff
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Ok(commit.timestamp.cast_signed() >= cutoff.as_secs().cast_signed())
    }

    /// The objects without a mark, but those that came after `cutoff`.
    fn doomed(
        &self,
        marks: &Marks,
        options: &Options,
        cutoff: Option<SystemTime>,
    ) -> Result<Vec<Doomed>> {
        let mut objects = marks.unmarked();
        objects.retain(|object| !options.commit_only || object.kind == ObjectKind::Commit);
        let looked: Vec<Option<Doomed>> = objects
            .into_par_iter()
            .with_min_len(64)
            .map(|object| {
                let found = self.look_at_object(&object)?;
                let old = found.filter(|(_, came)| cutoff.is_none_or(|cutoff| *came < cutoff));
                Ok(old.map(|(size, _)| Doomed { object, size }))
            })
            .collect::<Result<_>>()?;
        Ok(looked.into_iter().flatten().collect())
    }

    /// The size of an object on disk, and when it came there; [`None`] if it is gone. That is the
    /// time of the inode's last change: other times can be those of the place it came from.
    fn look_at_object(&self, object: &ObjectId) -> Result<Option<(u64, SystemTime)>> {
        let path = self.loose(object);
        let stat = fs::stat(self.objects(), &path).map_err(self.object_io("looking at", &path))?;
        Ok(stat.map(|stat| {
            let seconds = u64::try_from(stat.st_ctime).unwrap_or(0);
            let nanos = u32::try_from(stat.st_ctime_nsec).unwrap_or(0);
            let came = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
            (u64::try_from(stat.st_size).unwrap_or(0), came)
        }))
    }

    /// The static deltas that lead to commits that are to go, or that are not there.
    fn deltas_to_nowhere(
        &self,
        doomed: &[Doomed],
        gone: Option<CommitId>,
    ) -> Result<Vec<DeltaName>> {
        let mut useless = Vec::new();
        for name in self.static_delta_names()? {
            let object = name.to.object();
            let goes = gone == Some(name.to)
                || doomed
                    .binary_search_by_key(&object, |doomed| doomed.object)
                    .is_ok();
            if goes || !self.has_object(&object)? {
                useless.push(name);
            }
        }
        Ok(useless)
    }
}

/// What may be done where refs cannot be read: nobody knows which commits they need, so all of them stay.
fn safe(options: &Options, damaged: &[DamagedRef]) -> Result<Options> {
    let mut safe = options.clone();
    let Some(first) = damaged.first() else {
        return Ok(safe);
    };
    if let Some(commit) = options.delete_commit {
        return Err(Error::Invalid(format!(
            "commit {commit} was not deleted: a ref that cannot be read may point at it ({first}); delete that ref first"
        )));
    }
    safe.refs_only = false;
    safe.policy = Policy::same(Keep::ALL);
    Ok(safe)
}

/// Whether an object is one that this prune looks at. What only accompanies a commit goes with it.
fn counts(object: &ObjectId, options: &Options, gone: Option<CommitId>) -> bool {
    match object.kind {
        ObjectKind::Commit => gone != Some(CommitId(object.checksum)),
        ObjectKind::TombstoneCommit | ObjectKind::CommitMeta => false,
        _ => !options.commit_only,
    }
}
