// SPDX-License-Identifier: MIT OR Apache-2.0
//! What pushes that were cut off have left in `tmp/`: found, verified and taken over by the next
//! push, listed, deleted.
//!
//! Nothing in there is believed. The machine may have stopped before the bytes reached the disk,
//! and a file may have been given its name before it was complete: so each object is read and hashed
//! again, and whatever is not as it should be in every respect is deleted.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use oxtree_format::{ObjectId, ObjectKind};
use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::staging::{LOCK_SUFFIX, QUARANTINE, Staging, move_objects, staged_objects};
use crate::fs::lock::FileLock;
use crate::object::stored::PLAIN_MODE;
use crate::object::verify::BUFFER;
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

    fn quarantines(&self) -> Result<Vec<String>> {
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

impl Staging {
    /// What pushes have left that are not running any more, verified and put together in one
    /// directory; [`None`] if they have left nothing. What cannot be taken over, because it belongs
    /// to somebody else, say, is left alone: it is no reason for a push to fail.
    pub(super) fn resume(repo: &Repo) -> Result<Option<Self>> {
        let mut found = Vec::new();
        for name in repo.quarantines()? {
            match Self::take_over(repo, &name) {
                Ok(taken) => found.extend(taken),
                Err(error) => tracing::warn!("not continuing {name}: {error}"),
            }
        }
        // As little as possible is to be moved.
        found.sort_by_key(|(objects, _)| std::cmp::Reverse(*objects));
        let mut found = found.into_iter().map(|(_, staging)| staging);
        let Some(first) = found.next() else {
            return Ok(None);
        };
        for other in found {
            if let Err(error) = first.absorb(repo, other) {
                tracing::warn!("{error}");
            }
        }
        first.touch();
        Ok(Some(first))
    }

    /// One of them, with the number of its objects; [`None`] if somebody is using it.
    fn take_over(repo: &Repo, name: &str) -> Result<Option<(usize, Self)>> {
        let Some(lock) = Self::try_lock(repo, name)? else {
            return Ok(None);
        };
        let path = || repo.path().join("tmp").join(name);
        let dir = match fs::open_dir(repo.tmp(), name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Its owner was faster; the lock file that is there now is ours.
                let lock = format!("{name}{LOCK_SUFFIX}");
                fs::remove_all(repo.tmp(), lock.as_bytes())
                    .map_err(Error::io("deleting", path()))?;
                return Ok(None);
            }
            dir => dir.map_err(Error::io("opening", path()))?,
        };
        let staging = Self {
            name: name.to_owned(),
            dir,
            keep: true,
            resumed: true,
            _lock: lock,
        };
        let objects = staging.verify(repo)?;
        Ok(Some((objects, staging)))
    }

    /// Deletes whatever is not an object in perfect order; the number of those that are.
    fn verify(&self, repo: &Repo) -> Result<usize> {
        let io = |action| Error::io(action, repo.path().join("tmp").join(&self.name));
        let mut names = Vec::new();
        for (folder, _) in fs::entries(&self.dir).map_err(io("reading"))? {
            match names_in_folder(self, &folder) {
                Ok(inside) => names.extend(inside),
                Err(_) => fs::remove_all(self.dir.as_fd(), &folder).map_err(io("deleting"))?,
            }
        }
        // In the order of the folders that they are in.
        names.sort_unstable();
        let staged = repo
            .with_objects_in(self.dir.as_fd())
            .map_err(io("opening"))?;
        let kept = names
            .par_iter()
            .map_init(
                || vec![0; BUFFER],
                |buffer, name| {
                    if is_sound(&staged, name, buffer) {
                        return Ok(1);
                    }
                    tracing::debug!("{name} of {} is not whole", self.name);
                    fs::remove_all(self.dir.as_fd(), name.as_bytes()).map(|()| 0)
                },
            )
            .sum::<io::Result<usize>>()
            .map_err(io("deleting"))?;
        self.remove_empty_folders().map_err(io("deleting"))?;
        Ok(kept)
    }

    /// Deletes the folders that hold no object.
    pub(super) fn remove_empty_folders(&self) -> io::Result<()> {
        for (folder, _) in fs::entries(&self.dir)? {
            match rustix::fs::unlinkat(&self.dir, &*folder, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes the objects of another quarantine, which is gone then.
    fn absorb(&self, repo: &Repo, other: Self) -> Result<()> {
        let io = || Error::io("moving", repo.path().join("tmp").join(&other.name));
        let paths = staged_objects(other.dir.as_fd()).map_err(io())?;
        move_objects(other.dir.as_fd(), self.dir.as_fd(), false, &paths).map_err(io())?;
        other.remove(repo)
    }

    /// It is in use: whoever deletes what is old is to see that.
    pub(super) fn touch(&self) {
        let now = rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_NOW,
        };
        let times = rustix::fs::Timestamps {
            last_access: now,
            last_modification: now,
        };
        // At worst it is thought to be older than it is, and the lock protects it all the same.
        let _ = rustix::fs::futimens(&self.dir, &times);
    }
}

/// The loose paths of what is in a folder. An error if that is no folder of objects.
fn names_in_folder(staging: &Staging, folder: &[u8]) -> io::Result<Vec<String>> {
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let name = std::str::from_utf8(folder)
        .ok()
        .filter(|name| name.len() == 2 && name.as_bytes().iter().all(hex))
        .ok_or(io::ErrorKind::InvalidData)?;
    let dir = fs::open_dir(&staging.dir, name)?;
    let mut paths = Vec::new();
    for (file, _) in fs::entries(&dir)? {
        match String::from_utf8(file) {
            Ok(file) => paths.push(format!("{name}/{file}")),
            Err(error) => fs::remove_all(dir.as_fd(), error.as_bytes())?,
        }
    }
    Ok(paths)
}

/// Whether the file at this path is an object, all of it, that was finished.
fn is_sound(staged: &Repo, path: &str, buffer: &mut [u8]) -> bool {
    use ObjectKind::{Commit, DirMeta, DirTree, File};
    let object = path
        .split_once('/')
        .and_then(|(dir, file)| ObjectId::from_loose(dir, file, staged.mode().is_archive()))
        // Nothing says what detached metadata should be, so it is sent again.
        .filter(|object| matches!(object.kind, Commit | DirMeta | DirTree | File));
    let Some(object) = object else { return false };
    // Another spelling of the name would be found by nobody.
    staged.loose(&object) == path
        && is_finished(staged, &object, path)
        && staged.verify_object(&object, buffer).is_ok()
}

/// Whether the last steps were taken that the checksum does not show: permissions and time stamp.
fn is_finished(staged: &Repo, object: &ObjectId, path: &str) -> bool {
    let Ok(Some(stat)) = fs::stat(staged.objects(), path) else {
        return false;
    };
    let bare = object.kind == ObjectKind::File && !staged.mode().is_archive();
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if bare => stat.st_mtime == 0,
        FileType::RegularFile => stat.st_mode & 0o7777 == PLAIN_MODE,
        FileType::Symlink => bare,
        _ => false,
    }
}
