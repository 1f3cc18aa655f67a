// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the files of a delta go: all of them appear at once, or beside a superblock that appears last.

use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oxtree_format::delta::DeltaName;
use rustix::fs::{Mode as Perm, RenameFlags};
use rustix::io::Errno;

use crate::delta::stored::SUPERBLOCK;
use crate::fs::tmpfile::{IfExists, TmpFile};
use crate::transaction::{STAGED_DELTA, Staging};
use crate::{Error, Repo, Result, fs};

/// The folder into which files are written.
pub(super) struct Destination<'r> {
    repo: &'r Repo,
    dir: OwnedFd,
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    /// A folder in `tmp/`, which becomes the delta's.
    Staged {
        tmp: Option<Staging>,
        folder: String,
    },
    /// A folder of the user's, in which the superblock has this name.
    Named(String),
}

impl<'r> Destination<'r> {
    /// The delta's folder, or that of the file in which the superblock is to be.
    pub(super) fn new(repo: &'r Repo, name: &DeltaName, file: Option<&Path>) -> Result<Self> {
        if let Some(file) = file {
            let wrong = || Error::Invalid(format!("{} is no name of a file", file.display()));
            let name = file.file_name().and_then(|name| name.to_str());
            let folder = match file.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            return Ok(Self {
                repo,
                dir: fs::open_dir_follow(folder).map_err(Error::io("opening", folder))?,
                path: folder.to_owned(),
                kind: Kind::Named(name.ok_or_else(wrong)?.to_owned()),
            });
        }
        let tmp = Staging::create(repo, STAGED_DELTA, false)?;
        let path = repo.path().join("tmp").join(tmp.name());
        let dir = tmp.dir.try_clone();
        Ok(Self {
            repo,
            dir: dir.map_err(Error::io("opening", &path))?,
            path,
            kind: Kind::Staged {
                tmp: Some(tmp),
                folder: name.folder(),
            },
        })
    }

    fn io<E: Into<io::Error>>(&self) -> impl FnOnce(E) -> Error {
        Error::io("writing a static delta to", &self.path)
    }

    /// A file that has no name yet.
    pub(super) fn new_file(&self) -> Result<TmpFile<'_>> {
        TmpFile::new(self.dir.as_fd()).map_err(self.io())
    }

    /// The bytes of a file.
    pub(super) fn read(&self, file: &TmpFile<'_>) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = file.file();
        let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
        read.map_err(self.io())?;
        Ok(bytes)
    }

    /// Gives a file its name.
    pub(super) fn add(&self, name: &str, file: TmpFile<'_>) -> Result<()> {
        let add = || {
            rustix::fs::fchmod(file.file(), Perm::from_raw_mode(0o644))?;
            if self.repo.config().fsync {
                rustix::fs::fdatasync(file.file())?;
            }
            file.link(self.dir.as_fd(), name, IfExists::Replace)
        };
        add().map(drop).map_err(self.io())
    }

    /// Writes the superblock, and lets all be seen.
    pub(super) fn publish(&mut self, superblock: &[u8]) -> Result<()> {
        let file = self.new_file()?;
        file.file().write_all(superblock).map_err(self.io())?;
        let name = match &self.kind {
            Kind::Staged { .. } => SUPERBLOCK.to_owned(),
            Kind::Named(name) => name.clone(),
        };
        // The parts have their names for good before the superblock has its own.
        self.sync(self.dir.as_fd())?;
        self.add(&name, file)?;
        self.sync(self.dir.as_fd())?;
        let Kind::Staged {
            tmp: Some(tmp),
            folder,
        } = &self.kind
        else {
            return Ok(());
        };
        let repo = self.repo;
        let io = || Error::io("writing", repo.path().join(folder));
        let above = folder.rsplit_once('/').map_or("", |(above, _)| above);
        fs::ensure_dirs(repo.dir(), above).map_err(io())?;
        swap(repo.tmp(), tmp.name(), repo.dir(), folder).map_err(io())?;
        let mut above = above;
        while !above.is_empty() {
            let dir = fs::open_dir(repo.dir(), above).map_err(io())?;
            self.sync(dir.as_fd())?;
            above = above.rsplit_once('/').map_or("", |(above, _)| above);
        }
        self.sync(repo.dir())
    }

    fn sync(&self, dir: BorrowedFd<'_>) -> Result<()> {
        match self.repo.config().fsync {
            true => rustix::fs::fsync(dir).map_err(self.io()),
            false => Ok(()),
        }
    }
}

/// What is in `tmp/` is of no use any more: it did not become the delta, or is the one before it.
impl Drop for Destination<'_> {
    fn drop(&mut self) {
        if let Kind::Staged { tmp, .. } = &mut self.kind
            && let Some(tmp) = tmp.take()
            && let Err(error) = tmp.remove(self.repo)
        {
            tracing::warn!("{error}");
        }
    }
}

/// Puts a folder in the place of another, which is at the first one's then, if there is one.
fn swap(from: BorrowedFd<'_>, name: &str, to: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let rename = |flags| rustix::fs::renameat_with(from, name, to, path, flags);
    match rename(RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST | Errno::NOTEMPTY) => match rename(RenameFlags::EXCHANGE) {
            Ok(()) => return Ok(()),
            Err(Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        },
        Err(Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    // A file system that can only rename: for a moment there is none.
    fs::remove_all(to, format!("{path}/{SUPERBLOCK}").as_bytes())?;
    fs::remove_all(to, path.as_bytes())?;
    Ok(rustix::fs::renameat(from, name, to, path)?)
}
