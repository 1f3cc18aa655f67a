// SPDX-License-Identifier: MIT OR Apache-2.0
//! Staging: directories below `tmp/` in the layout of `objects/`, each with a lock file beside it
//! that says whether its owner is still there.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rayon::prelude::*;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::fs::lock::{FileLock, LockKind};
use crate::fs::{self, tmpfile};
use crate::{Error, Repo, Result};

/// A directory below `tmp/` for what is not to be seen yet.
#[derive(Debug)]
pub(crate) struct Staging {
    pub(super) name: String,
    pub(crate) dir: OwnedFd,
    /// Left where it is when the transaction is dropped.
    pub(super) keep: bool,
    pub(super) _lock: FileLock,
}

/// What quarantines of pushes are called.
pub(super) const QUARANTINE: &str = "oxtree-push-";

/// What staging directories of transactions are called, here and by libostree.
const STAGING: &str = "staging-";

/// Those of a static delta that is being made.
pub(crate) const STAGED_DELTA: &str = "oxtree-delta-";

/// Those of a checkout that fills the cache of inflated files.
pub(crate) const STAGED_CACHE: &str = "oxtree-cache-";

impl Staging {
    /// The staging directory of a transaction. What killed processes have left is deleted first, because none of it
    /// was verified. An empty directory is used again.
    pub(super) fn of_transaction(repo: &Repo) -> Result<Self> {
        match Self::clear_abandoned(repo)? {
            Some(empty) => Ok(empty),
            None => Self::create(repo, STAGING, false),
        }
    }

    /// Deletes staging directories whose owners are gone, and returns one of a transaction that was empty.
    /// libostree makes a directory before it locks it, and takes another name if it does not get the lock. So
    /// a directory without a lock file stays, and an empty one may be used but not deleted.
    fn clear_abandoned(repo: &Repo) -> Result<Option<Self>> {
        let mut empty = None;
        for name in repo.tmp_entries()? {
            let prefixes = [STAGING, STAGED_DELTA, STAGED_CACHE];
            let is_staging = prefixes.iter().any(|prefix| name.starts_with(prefix));
            let lock = format!("{name}{LOCK_SUFFIX}");
            let has_lock = || fs::stat(repo.tmp(), &*lock).is_ok_and(|stat| stat.is_some());
            if !is_staging || name.ends_with(LOCK_SUFFIX) || !has_lock() {
                continue;
            }
            let is_ours = !name.starts_with(STAGING);
            // What belongs to another user, or cannot be looked at, stays.
            let Ok(Some(lock)) = Self::try_lock(repo, &name) else {
                continue;
            };
            let Ok(dir) = fs::open_dir(repo.tmp(), &*name) else {
                continue;
            };
            let left = Self {
                name,
                dir,
                keep: false,
                _lock: lock,
            };
            match !is_ours && left.is_empty() {
                true if empty.is_none() => empty = Some(left),
                true => {}
                false => {
                    if let Err(error) = left.remove(repo) {
                        tracing::warn!("{error}");
                    }
                }
            }
        }
        Ok(empty)
    }

    pub(crate) fn create(repo: &Repo, prefix: &str, keep: bool) -> Result<Self> {
        loop {
            let name = fs::random_name(&format!("{prefix}{}-", repo.boot_id()));
            let path = repo.path().join("tmp").join(&name);
            let Some(lock) = Self::try_lock(repo, &name)? else {
                continue;
            };
            match rustix::fs::mkdirat(repo.tmp(), &*name, rustix::fs::Mode::from_raw_mode(0o755)) {
                Err(rustix::io::Errno::EXIST) => continue,
                done => done.map_err(Error::io("creating", &path))?,
            }
            let dir = fs::open_dir(repo.tmp(), &*name).map_err(Error::io("opening", &path))?;
            return Ok(Self {
                name,
                dir,
                keep,
                _lock: lock,
            });
        }
    }

    /// Its name below `tmp/`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn try_lock(repo: &Repo, name: &str) -> Result<Option<FileLock>> {
        let lock = format!("{name}{LOCK_SUFFIX}");
        FileLock::take(repo.tmp(), &lock, LockKind::Exclusive, Some(Duration::ZERO))
            .map_err(Error::io("locking", repo.path().join("tmp").join(lock)))
    }

    /// True if nothing has been staged. (Not if that cannot be found out.)
    pub(super) fn is_empty(&self) -> bool {
        fs::entries(&self.dir).is_ok_and(|entries| entries.is_empty())
    }

    pub(crate) fn remove(self, repo: &Repo) -> Result<()> {
        for name in [self.name.clone(), format!("{}{LOCK_SUFFIX}", self.name)] {
            fs::remove_all(repo.tmp(), name.as_bytes())
                .map_err(Error::io("deleting", repo.path().join("tmp").join(name)))?;
        }
        Ok(())
    }
}

pub(super) const LOCK_SUFFIX: &str = "-lock";

/// The loose paths of all objects in a staging directory.
pub(crate) fn staged_objects(dir: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let mut paths = Vec::new();
    for (fanout, _) in fs::entries(dir)? {
        let fanout = String::from_utf8_lossy(&fanout).into_owned();
        let names = fs::entries(fs::open_dir(dir, &*fanout)?)?;
        paths.extend(
            names
                .iter()
                .map(|(name, _)| format!("{fanout}/{}", String::from_utf8_lossy(name))),
        );
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Moves whole directories of objects to where there are none of that name yet, and returns those
/// for which there are.
pub(super) fn move_folders<'a>(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    folders: impl IntoIterator<Item = &'a str>,
) -> io::Result<Vec<&'a str>> {
    let mut left = Vec::new();
    for folder in folders {
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(from, folder, to, folder, flags) {
            Ok(()) => {}
            // There is one, or the file system cannot rename in this way.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::INVAL) => left.push(folder),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(left)
}

/// The directory that an object is in.
pub(super) fn folder(path: &str) -> &str {
    path.split_once('/').map_or("", |(folder, _)| folder)
}

/// Moves objects into `objects/` (or a directory of that layout) and makes their names durable,
/// with those of directories that were moved before.
pub(crate) fn move_objects(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    sync: bool,
    paths: &[String],
) -> io::Result<()> {
    let groups: Vec<&[String]> = paths.chunk_by(|a, b| folder(a) == folder(b)).collect();
    groups.par_iter().try_for_each(|group| {
        fs::ensure_dir(to, folder(&group[0]))?;
        group
            .iter()
            .try_for_each(|path| move_object(from, to, path))
    })?;
    if !sync {
        return Ok(());
    }
    // Only now, because each sync makes all durable that was renamed before it.
    if groups.len() > MAX_SYNCS {
        return Ok(rustix::fs::syncfs(to)?);
    }
    for group in groups {
        rustix::fs::fsync(fs::open_dir(to, folder(&group[0]))?)?;
    }
    Ok(rustix::fs::fsync(to)?)
}

/// Deletes the folders of a staging directory that hold no object.
pub(super) fn remove_empty_folders(dir: &OwnedFd) -> io::Result<()> {
    for (folder, _) in fs::entries(dir)? {
        match rustix::fs::unlinkat(dir, &*folder, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// More directories than this are not synced one by one: each has the disk empty its cache.
const MAX_SYNCS: usize = 8;

fn move_object(from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let if_exists = match path.ends_with(".commitmeta") {
        true => tmpfile::IfExists::Replace,
        false => tmpfile::IfExists::Keep,
    };
    if !tmpfile::rename(from, path, to, path, if_exists)? {
        rustix::fs::unlinkat(from, path, AtFlags::empty())?;
    }
    Ok(())
}

impl Repo {
    /// The names in `tmp/`.
    pub(super) fn tmp_entries(&self) -> Result<Vec<String>> {
        let entries =
            fs::entries(self.tmp()).map_err(Error::io("reading", self.path().join("tmp")))?;
        Ok(entries
            .into_iter()
            .filter_map(|(name, _)| String::from_utf8(name).ok())
            .collect())
    }

    /// Deletes what others have left in `tmp/` too long ago (`core.tmp-expiry-secs`), and staging
    /// directories of before the machine was started, but not quarantines: they are verified
    /// before they are used.
    pub(crate) fn clean_tmp(&self) -> Result<()> {
        for name in self.tmp_entries()? {
            if name == "cache" {
                continue;
            }
            let Some(age) = self.age_of(&name)? else {
                continue;
            };
            let is_old = age > self.config().tmp_expiry;
            match name.strip_suffix(LOCK_SUFFIX) {
                Some(locked) if !is_old || self.age_of(locked)?.is_some() => {}
                // The lock of what is gone.
                Some(locked) => drop(self.remove_unused(locked)?),
                None => {
                    let outdated = name.starts_with(STAGING) && !name.contains(self.boot_id());
                    if outdated || is_old {
                        self.remove_unused(&name)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Deletes an entry of `tmp/` unless somebody holds its lock; true if it was deleted.
    pub(super) fn remove_unused(&self, name: &str) -> Result<bool> {
        let Some(lock) = Staging::try_lock(self, name)? else {
            return Ok(false);
        };
        fs::remove_all(self.tmp(), name.as_bytes())
            .and_then(|()| fs::remove_all(self.tmp(), format!("{name}{LOCK_SUFFIX}").as_bytes()))
            .map_err(Error::io("deleting", self.path().join("tmp").join(name)))?;
        drop(lock);
        Ok(true)
    }
}
