// SPDX-License-Identifier: MIT OR Apache-2.0
//! Staging: directories below `tmp/` in the layout of `objects/`, each with a lock file beside it
//! that says whether its owner is still there.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rayon::prelude::*;

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
    /// What is in it was received by an earlier push.
    pub(super) resumed: bool,
    pub(super) _lock: FileLock,
}

/// What quarantines of pushes are called.
pub(super) const QUARANTINE: &str = "oxtree-push-";

impl Staging {
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
                resumed: false,
                _lock: lock,
            });
        }
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

/// Moves objects into `objects/` (or a directory of that layout) and makes their names durable.
pub(crate) fn move_objects(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    sync: bool,
    paths: &[String],
) -> io::Result<()> {
    let fanout = |path: &String| path[..2].to_owned();
    let groups: Vec<&[String]> = paths.chunk_by(|a, b| fanout(a) == fanout(b)).collect();
    groups.par_iter().try_for_each(|group| {
        let dir = fanout(&group[0]);
        fs::ensure_dir(to, &*dir)?;
        for path in *group {
            let replace = path.ends_with(".commitmeta");
            let if_exists = if replace {
                tmpfile::IfExists::Replace
            } else {
                tmpfile::IfExists::Keep
            };
            if !tmpfile::rename(from, path, to, path, if_exists)? {
                rustix::fs::unlinkat(from, &**path, rustix::fs::AtFlags::empty())?;
            }
        }
        match sync {
            true => rustix::fs::fsync(fs::open_dir(to, &*dir)?).map_err(io::Error::from),
            false => Ok(()),
        }
    })?;
    match sync {
        true => Ok(rustix::fs::fsync(to)?),
        false => Ok(()),
    }
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
                    let outdated = name.starts_with("staging-") && !name.contains(self.boot_id());
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
