// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pushes that are running or were cut off: listed, and what they have left in `tmp/` deleted.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use super::staging::{LOCK_SUFFIX, QUARANTINE, staged_objects};
use crate::fs::lock::FileLock;
use crate::{Error, Repo, Result, fs};

/// What a push has received, and not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The directory's name below `tmp/`.
    pub name: String,
    /// How long ago something was added.
    pub age: Duration,
    /// Objects, verified or not.
    pub objects: u64,
    /// Their size on disk in bytes.
    pub bytes: u64,
    /// The push is still running.
    pub running: bool,
}

impl Repo {
    /// The pushes that are running or were cut off, oldest first. Changes nothing.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let mut found = Vec::new();
        for name in self.quarantines()? {
            found.extend(self.look_at(name)?);
        }
        found.sort_by(|a, b| b.age.cmp(&a.age).then_with(|| a.name.cmp(&b.name)));
        Ok(found)
    }

    /// Deletes what pushes have left that are not running any more and have done nothing for
    /// `older_than`. Returns what was deleted.
    pub fn delete_unfinished(&self, older_than: Duration) -> Result<Vec<Unfinished>> {
        let mut deleted = Vec::new();
        for one in self.unfinished()? {
            if !one.running && one.age >= older_than && self.remove_unused(&one.name)? {
                deleted.push(one);
            }
        }
        Ok(deleted)
    }

    /// The names of all quarantines, whether in use or not.
    pub(super) fn quarantines(&self) -> Result<Vec<String>> {
        let ours = |name: &String| name.starts_with(QUARANTINE) && !name.ends_with(LOCK_SUFFIX);
        Ok(self.tmp_entries()?.into_iter().filter(ours).collect())
    }

    fn look_at(&self, name: String) -> Result<Option<Unfinished>> {
        let io = || Error::io("reading", self.path().join("tmp").join(&name));
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let lock = format!("{name}{LOCK_SUFFIX}");
        let running = FileLock::is_taken(self.tmp(), &lock).map_err(io())?;
        let dir = match fs::open_dir(self.tmp(), &*name) {
            Err(error) if gone(&error) || error.raw_os_error() == NOT_A_DIR => return Ok(None),
            dir => dir.map_err(io())?,
        };
        let Some(age) = self.age_of(&name)? else {
            return Ok(None);
        };
        let (mut objects, mut bytes) = (0, 0);
        for path in staged_objects(dir.as_fd()).map_err(io())? {
            // It may just be published, or be thrown away.
            if let Some(stat) = fs::stat(&dir, &*path).map_err(io())? {
                objects += 1;
                bytes += u64::try_from(stat.st_size).unwrap_or(0);
            }
        }
        Ok(Some(Unfinished {
            name,
            age,
            objects,
            bytes,
            running,
        }))
    }

    /// How long ago something was last done to an entry of `tmp/`, or in it; [`None`] if it is
    /// gone.
    pub(super) fn age_of(&self, name: &str) -> Result<Option<Duration>> {
        let io = || Error::io("reading", self.path().join("tmp").join(name));
        let Some(stat) = fs::stat(self.tmp(), name).map_err(io())? else {
            return Ok(None);
        };
        let mut newest = stat.st_mtime;
        // In a quarantine, what is added shows only at the folder that it is added to.
        if name.starts_with(QUARANTINE)
            && let Ok(dir) = fs::open_dir(self.tmp(), name)
        {
            for (folder, _) in fs::entries(&dir).map_err(io())? {
                let stat = fs::stat(&dir, &*folder).map_err(io())?;
                newest = newest.max(stat.map_or(newest, |stat| stat.st_mtime));
            }
        }
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let newest = Duration::from_secs(u64::try_from(newest).unwrap_or(0));
        Ok(Some(now.saturating_sub(newest)))
    }
}

const NOT_A_DIR: Option<i32> = Some(Errno::NOTDIR.raw_os_error());
