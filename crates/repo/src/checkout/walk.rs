// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories: made first, filled by several threads at once, finished when the last entry is in.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use oxtree_format::{DirId, DirMeta, DirMetaId, FileId};
use rayon::Scope;
use rustix::fs::{FileType, Gid, Mode as Perm, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;
use rustix::path::Arg;

use super::cache::Cache;
use super::{Counters, Links, Options, Stats, Union, count, step};
use crate::fs::share::Sharer;
use crate::fs::xattr;
use crate::tree::{Entry, Listing, Node};
use crate::{Error, Mode, Repo, Result};

/// How many files of a directory one task takes.
const CHUNK: usize = 128;

/// A commit has few different dirmetas; if one has more than this, they are read again.
const MAX_DIRMETAS: usize = 4096;

/// One checkout as it runs.
#[derive(Debug)]
pub(super) struct Checkout<'a> {
    pub(super) repo: &'a Repo,
    pub(super) options: &'a Options,
    /// User mode, asked for or forced by the repository's mode.
    pub(super) user: bool,
    pub(super) cache: Option<Cache<'a>>,
    pub(super) counters: Counters,
    pub(super) sharer: Sharer,
    destination: &'a Path,
    /// The first error; it ends the work of all threads.
    failure: OnceLock<Error>,
    dirmetas: Mutex<HashMap<DirMetaId, Arc<DirMeta>>>,
}

/// A directory of the checkout that is being filled. Each task that still has to put something into
/// it, and each directory in it, holds on to it.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) fd: OwnedFd,
    /// Its path in what is checked out, with a slash at both ends.
    pub(super) path: String,
    /// Whether it was there before.
    pub(super) existed: bool,
    meta: Arc<DirMeta>,
    parent: Option<Arc<Dir>>,
}

impl Dir {
    /// The path of something in it, in what is checked out.
    pub(super) fn inside(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }
}

impl<'a> Checkout<'a> {
    pub(super) fn new(repo: &'a Repo, destination: &'a Path, options: &'a Options) -> Result<Self> {
        let user = options.user || repo.mode() == Mode::BareUserOnly;
        let wants_cache =
            options.cache && user && repo.mode().is_archive() && options.links == Links::Allow;
        Ok(Self {
            repo,
            options,
            user,
            cache: wants_cache
                .then(|| Cache::open(repo))
                .transpose()?
                .flatten(),
            counters: Counters::default(),
            sharer: Sharer::default(),
            destination,
            failure: OnceLock::new(),
            dirmetas: Mutex::default(),
        })
    }

    /// Does all the work.
    pub(super) fn run(&self, at: BorrowedFd<'_>, source: &Entry) -> Result<()> {
        match source.node {
            Node::File(id) => self.run_file(at, source.name(), id),
            Node::Dir(id) => {
                rayon::scope(|scope| {
                    self.attempt(|| {
                        let made = self.make(at, self.destination, None, "/".to_owned(), id)?;
                        self.fill(scope, made);
                        Ok(())
                    });
                });
                Ok(())
            }
        }
    }

    /// Says how it went.
    pub(super) fn finish(self) -> Result<Stats> {
        if let Some(error) = self.failure.into_inner() {
            return Err(error);
        }
        if let Some(cache) = self.cache {
            cache.publish()?;
        }
        Ok(self.counters.stats())
    }

    /// A single file goes into the destination, which may exist.
    fn run_file(&self, at: BorrowedFd<'_>, name: &str, id: FileId) -> Result<()> {
        match rustix::fs::mkdirat(at, self.destination, Perm::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(step("mkdirat")(error)),
        }
        let dir = Dir {
            fd: self.open_destination(at)?,
            path: "/".to_owned(),
            existed: true,
            meta: Arc::new(DirMeta {
                uid: 0,
                gid: 0,
                mode: 0,
                xattrs: oxtree_format::Xattrs::NONE,
            }),
            parent: None,
        };
        self.file(&dir, name, id)
    }

    /// The destination is the user's own word, so links in it are followed.
    fn open_destination(&self, at: BorrowedFd<'_>) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(at, self.destination, flags, Perm::empty())
            .map_err(step(format!("opendir({})", self.destination.display())))
    }

    /// The path of something in the checkout, to tell people.
    pub(super) fn full_path(&self, dir: &Dir, name: &str) -> PathBuf {
        self.destination
            .join(dir.path.trim_start_matches('/'))
            .join(name)
    }

    pub(super) fn skips(&self, path: impl FnOnce() -> String) -> bool {
        !self.options.skip.is_empty() && self.options.skip.contains(&path())
    }

    /// Runs one piece of the work, unless another one has failed.
    fn attempt(&self, work: impl FnOnce() -> Result<()>) {
        if self.failure.get().is_none()
            && let Err(error) = work()
        {
            // Of two errors at once, one is as good as the other.
            let _ = self.failure.set(error);
        }
    }

    /// Makes (or finds) one directory; [`None`] if it is to be skipped.
    fn make(
        &self,
        at: BorrowedFd<'_>,
        name: impl Arg + Copy,
        parent: Option<Arc<Dir>>,
        path: String,
        id: DirId,
    ) -> Result<Option<(Dir, Listing)>> {
        if self.skips(|| path.clone()) {
            return Ok(None);
        }
        let listing = self.repo.list_dir(id.tree)?;
        let meta = self.dirmeta(id.meta)?;
        if self.options.whiteouts && super::whiteout::is_opaque(&listing) {
            super::whiteout::remove(at, name)?;
        }
        // Nobody else is to look in before it is complete.
        let existed = match rustix::fs::mkdirat(at, name, Perm::RWXU) {
            Ok(()) => false,
            Err(Errno::EXIST) if parent.is_some() && self.is_replaced(at, name)? => {
                super::whiteout::remove(at, name)?;
                rustix::fs::mkdirat(at, name, Perm::RWXU).map_err(step("mkdirat"))?;
                false
            }
            Err(Errno::EXIST) if self.options.union != Union::None => true,
            Err(error) => return Err(step("mkdirat")(error)),
        };
        let fd = match &parent {
            None => self.open_destination(at)?,
            Some(_) => crate::fs::open_dir(at, name)
                .map_err(step(format!("opendir({})", name.to_string_lossy())))?,
        };
        if self.options.links == Links::Require {
            self.check_device(&fd)?;
        }
        if !existed {
            count(&self.counters.directories);
        }
        let dir = Dir {
            fd,
            path,
            existed,
            meta,
            parent,
        };
        Ok(Some((dir, listing)))
    }

    /// Whether what has the name of a directory is a file of a layer below, which it replaces.
    fn is_replaced(&self, at: BorrowedFd<'_>, name: impl Arg) -> Result<bool> {
        if !self.options.whiteouts || self.options.union != Union::Files {
            return Ok(false);
        }
        let stat = crate::fs::stat(at, name).map_err(step("fstatat"))?;
        Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory))
    }

    fn check_device(&self, dir: &OwnedFd) -> Result<()> {
        let device = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).map(|stat| stat.st_dev);
        let source = device(self.repo.dir()).map_err(step("fstat"))?;
        let destination = device(dir.as_fd()).map_err(step("fstat"))?;
        match source == destination {
            true => Ok(()),
            false => Err(Error::Invalid(format!(
                "Unable to do hardlink checkout across devices \
                 (src={source} destination={destination})"
            ))),
        }
    }

    /// Puts everything into a directory that was made.
    fn fill<'s>(&'s self, scope: &Scope<'s>, made: Option<(Dir, Listing)>) {
        let Some((dir, Listing { files, dirs })) = made else {
            return;
        };
        let dir = Arc::new(dir);
        // Whiteouts take effect in the order of their names, and before directories are made.
        if files.len() <= CHUNK || self.options.whiteouts {
            self.attempt(|| self.files(&dir, &files));
        } else {
            for chunk in files.chunks(CHUNK) {
                let (dir, chunk) = (Arc::clone(&dir), chunk.to_vec());
                scope.spawn(move |_| {
                    self.attempt(|| self.files(&dir, &chunk));
                    self.release(dir);
                });
            }
        }
        drop(files);
        for (name, id) in dirs {
            let parent = Arc::clone(&dir);
            scope.spawn(move |scope| {
                self.attempt(|| {
                    let path = format!("{}{name}/", parent.path);
                    let made =
                        self.make(parent.fd.as_fd(), &*name, Some(parent.clone()), path, id)?;
                    self.fill(scope, made);
                    Ok(())
                });
                self.release(parent);
            });
        }
        self.release(dir);
    }

    fn files(&self, dir: &Dir, files: &[(String, FileId)]) -> Result<()> {
        for (name, id) in files {
            if self.failure.get().is_some() {
                break;
            }
            self.file(dir, name, *id)?;
        }
        Ok(())
    }

    /// Lets go of a directory. Who does so last finishes it, and lets go of the one above: in a
    /// loop, because a tree may be deeper than the stack.
    fn release(&self, dir: Arc<Dir>) {
        let mut next = Some(dir);
        while let Some(dir) = next.and_then(Arc::into_inner) {
            self.attempt(|| self.finish_dir(&dir));
            next = dir.parent;
        }
    }

    fn finish_dir(&self, dir: &Dir) -> Result<()> {
        let io = |action| {
            let path = self.full_path(dir, "");
            move |error: Errno| Error::io(action, path)(error)
        };
        if !dir.existed {
            let mut mode = dir.meta.mode & 0o7777;
            if self.options.plain_dirs || self.repo.mode() == Mode::BareUserOnly {
                mode &= 0o775;
            }
            if !self.user {
                let (uid, gid) = (Uid::from_raw(dir.meta.uid), Gid::from_raw(dir.meta.gid));
                rustix::fs::fchown(&dir.fd, Some(uid), Some(gid)).map_err(step("fchown"))?;
            }
            let xattrs = self.xattrs(&dir.meta.xattrs, &dir.path, dir.meta.mode)?;
            xattr::set_fd(&dir.fd, &xattrs)
                .map_err(Error::io("checking out", self.full_path(dir, "")))?;
            rustix::fs::fchmod(&dir.fd, Perm::from_raw_mode(mode)).map_err(step("fchmod"))?;
            if self.options.links != Links::Never {
                rustix::fs::futimens(&dir.fd, &beginning_of_time())
                    .map_err(io("setting the time of"))?;
            }
        }
        match self.options.fsync {
            true => rustix::fs::fsync(&dir.fd).map_err(io("syncing")),
            false => Ok(()),
        }
    }

    fn dirmeta(&self, id: DirMetaId) -> Result<Arc<DirMeta>> {
        let known = || self.dirmetas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meta) = known().get(&id) {
            return Ok(Arc::clone(meta));
        }
        let meta = Arc::new(self.repo.load_dirmeta(id)?);
        let mut known = known();
        if known.len() < MAX_DIRMETAS {
            known.insert(id, Arc::clone(&meta));
        }
        Ok(meta)
    }
}

/// The modification time of every directory of a checkout by hard links, as of the files in it.
fn beginning_of_time() -> Timestamps {
    let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    Timestamps {
        last_access: at(UTIME_OMIT),
        last_modification: at(0),
    }
}
