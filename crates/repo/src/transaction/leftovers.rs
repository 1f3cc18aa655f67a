// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects that interrupted or rejected pushes left in `tmp/`.
//!
//! A quarantine stays if its push is cut off or rejected; only a push that breaks the rules or
//! fills the disk leaves nothing. When a later transaction asks for an object or reads it, the
//! object is looked for in all leftover quarantines, also after a reboot, and moved over. An
//! object that is not asked for stays where it is and never becomes public. Leftovers expire by
//! age (`core.tmp-expiry-secs`) or when free space is short.
//!
//! Leftovers are not trusted. The machine may have stopped before the bytes reached the disk, and
//! a file may have been named before it was complete. So each object is read, hashed and checked
//! again, and deleted if anything is wrong. Detached metadata has no checksum and is always
//! deleted.
//!
//! No lock is needed: an abandoned quarantine never gets an owner again. Several transactions may
//! move its objects away or delete it at the same time; then the object is simply not found.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use oxtree_format::{ObjectId, ObjectKind};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::staging::{LOCK_SUFFIX, folder, remove_empty_folders};
use crate::fs;
use crate::fs::lock::FileLock;
use crate::fs::tmpfile::{self, IfExists};
use crate::object::stored::PLAIN_MODE;
use crate::object::verify::BUFFER;
use crate::{Error, Repo, Result};

/// Of more than this, those are looked at that were used last: each object is looked for in all.
const MOST: usize = 64;

/// The quarantines that nobody uses.
#[derive(Debug, Default)]
pub(super) struct Leftovers(Vec<Leftover>);

#[derive(Debug)]
struct Leftover {
    /// The directory's name below `tmp/`.
    name: String,
    /// A view of it as if it were a repository, once something was found in it.
    view: OnceLock<Repo>,
}

impl Leftovers {
    /// Those that are there now, but for what is to be deleted because it is too old.
    pub(super) fn of(repo: &Repo) -> Result<Self> {
        let mut found = Vec::new();
        for name in repo.quarantines()? {
            let io = || Error::io("reading", repo.path().join("tmp").join(&name));
            let lock = format!("{name}{LOCK_SUFFIX}");
            if FileLock::is_taken(repo.tmp(), &lock).map_err(io())? {
                continue;
            }
            // Still there, and a folder.
            let Some(age) = repo.age_of(&name)? else {
                continue;
            };
            let stat = fs::stat(repo.tmp(), &*name).map_err(io())?;
            let is_dir = stat.is_some_and(|it| FileType::from_raw_mode(it.st_mode).is_dir());
            if is_dir && age <= repo.config().tmp_expiry {
                found.push((age, name));
            }
        }
        found.sort_unstable();
        let newest = found.into_iter().take(MOST);
        let leftover = |(_, name)| Leftover {
            name,
            view: OnceLock::new(),
        };
        Ok(Self(newest.map(leftover).collect()))
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moves an object to `into`, a directory in the layout of `objects/`, if it is in one of them
    /// and whole; false if not. What cannot be had, because it belongs to somebody else, say, is
    /// left alone: that is no reason for a push to fail.
    pub(super) fn take(&self, repo: &Repo, object: &ObjectId, into: BorrowedFd<'_>) -> bool {
        let path = repo.loose(object);
        self.0.iter().any(|left| {
            let taken = left.take(repo, object, &path, into);
            taken.unwrap_or_else(|error| {
                tracing::warn!("not continuing {}: {path}: {error}", left.name);
                false
            })
        })
    }

    /// Deletes those in which nothing is left.
    pub(super) fn tidy(&self, repo: &Repo) {
        for left in &self.0 {
            if let Err(error) = left.remove_if_empty(repo) {
                tracing::warn!("tidying up {}: {error}", left.name);
            }
        }
    }
}

impl Leftover {
    fn take(
        &self,
        repo: &Repo,
        object: &ObjectId,
        path: &str,
        into: BorrowedFd<'_>,
    ) -> io::Result<bool> {
        let Some(view) = self.view_with(repo, path)? else {
            return Ok(false);
        };
        if !is_sound(view, object, path) {
            tracing::debug!("{path} of {} is not whole", self.name);
            fs::remove_all(view.objects(), path.as_bytes())?;
            return Ok(false);
        }
        fs::ensure_dir(into, folder(path))?;
        match tmpfile::rename(view.objects(), path, into, path, IfExists::Keep) {
            // Somebody was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            moved => moved.map(|_| true),
        }
    }

    /// The view, if there is something at this path.
    fn view_with(&self, repo: &Repo, path: &str) -> io::Result<Option<&Repo>> {
        if let Some(view) = self.view.get() {
            return Ok(fs::stat(view.objects(), path)?.map(|_| view));
        }
        if fs::stat(repo.tmp(), format!("{}/{path}", self.name))?.is_none() {
            return Ok(None);
        }
        let view = match fs::open_dir(repo.tmp(), &*self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            dir => repo.with_objects_in(dir?.as_fd())?,
        };
        Ok(Some(self.view.get_or_init(|| view)))
    }

    fn remove_if_empty(&self, repo: &Repo) -> io::Result<()> {
        let dir = match fs::open_dir(repo.tmp(), &*self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            dir => dir?,
        };
        remove_empty_folders(&dir)?;
        match rustix::fs::unlinkat(repo.tmp(), &*self.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        fs::remove_all(repo.tmp(), format!("{}{LOCK_SUFFIX}", self.name).as_bytes())
    }
}

/// Whether the file at this path, where the object would be, is that object, all of it, and was
/// finished.
fn is_sound(view: &Repo, object: &ObjectId, path: &str) -> bool {
    use ObjectKind::{Commit, DirMeta, DirTree, File};
    // Nothing says what detached metadata should be, so it is sent again.
    matches!(object.kind, Commit | DirMeta | DirTree | File)
        && is_finished(view, object, path)
        && view.verify_object(object, &mut vec![0; BUFFER]).is_ok()
}

/// Whether the last steps were taken that the checksum does not show: permissions and time stamp.
fn is_finished(view: &Repo, object: &ObjectId, path: &str) -> bool {
    let Ok(Some(stat)) = fs::stat(view.objects(), path) else {
        return false;
    };
    let bare = object.kind == ObjectKind::File && !view.mode().is_archive();
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if bare => stat.st_mtime == 0,
        FileType::RegularFile => stat.st_mode & 0o7777 == PLAIN_MODE,
        FileType::Symlink => bare,
        _ => false,
    }
}
