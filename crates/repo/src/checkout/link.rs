// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hard links from objects into the checkout.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use oxtree_format::dirmeta::{S_IFLNK, S_IFMT, S_IFREG};
use oxtree_format::{FileHeader, FileId, Xattrs};
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::walk::{Checkout, Dir};
use super::{Links, Union, step};
use crate::disk::checksum_content;
use crate::fs::{self, xattr};
use crate::object::stored::{self, OSTREEMETA};
use crate::{Error, Mode, Repo, Result};

/// What became of the attempt to link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linked {
    /// There is a new link.
    New,
    /// What is there stays.
    Kept,
    /// The file system does not allow it.
    Impossible,
}

/// A file that can be linked into the checkout.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) dir: BorrowedFd<'a>,
    pub(super) path: String,
}

/// What one repository has to offer for a file.
enum Found<'a> {
    /// It can be linked.
    Linkable(Source<'a>),
    /// It is there, but must be copied.
    CopyOnly,
    /// It is not there.
    Missing,
}

impl<'a> Checkout<'a> {
    /// The object to link to, in this repository or in one of its parents, if it may be.
    pub(super) fn link_source(&self, id: FileId) -> Result<Option<Source<'_>>> {
        if let Some(cache) = &self.cache {
            return cache.source(self, id);
        }
        let mut next = Some(self.repo);
        while let Some(repo) = next {
            match self.find(repo, id)? {
                Found::Linkable(source) => return Ok(Some(source)),
                Found::CopyOnly => return Ok(None),
                Found::Missing => next = repo.parent(),
            }
        }
        Ok(None)
    }

    fn find(&self, repo: &'a Repo, id: FileId) -> Result<Found<'a>> {
        let is_user = matches!(repo.mode(), Mode::BareUser | Mode::BareUserOnly);
        let linkable = match repo.mode() {
            Mode::Bare => !self.user,
            _ => is_user && self.user,
        };
        if !linkable {
            if self.options.links == Links::Require {
                self.check_no_link_wanted(id, is_user)?;
            }
            return Ok(Found::Missing);
        }
        let path = repo.loose(&id.object());
        let stat = fs::stat(repo.objects(), &path).map_err(repo.object_io("opening", &path))?;
        let Some(stat) = stat else {
            return Ok(Found::Missing);
        };
        let copy = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if stat.st_size == 0 => true,
            // Real links in `bare-user-only`, but libostree copies them as it must those of `bare-user`.
            FileType::Symlink => is_user,
            _ if repo.mode() == Mode::BareUser => {
                let mode = bare_user_mode(repo, id, &path)?;
                stored::is_symlink(mode) || !is_readable(mode)
            }
            _ => self.user && !is_readable(stat.st_mode),
        };
        Ok(match copy {
            true => Found::CopyOnly,
            false => Found::Linkable(Source {
                dir: repo.objects(),
                path,
            }),
        })
    }

    /// With hard links required, only what is never linked may be copied.
    fn check_no_link_wanted(&self, id: FileId, is_user: bool) -> Result<()> {
        let file = self.repo.open_file(id)?;
        let copied = match file.header.is_symlink() {
            true => is_user,
            false => file.size == 0 || (self.user && !is_readable(file.header.mode)),
        };
        match (copied, is_user) {
            (true, _) => Ok(()),
            (false, true) => Err(Error::Invalid(
                "User repository mode requires user checkout mode to hardlink".to_owned(),
            )),
            (false, false) => Err(Error::Invalid(
                "Bare repository mode cannot hardlink in user checkout mode".to_owned(),
            )),
        }
    }

    /// Links `source` to `name`, which may be there already.
    pub(super) fn link(
        &self,
        dir: &Dir,
        name: &str,
        id: FileId,
        source: &Source<'_>,
    ) -> Result<Linked> {
        let none = AtFlags::empty();
        match rustix::fs::linkat(source.dir, &*source.path, &dir.fd, name, none) {
            Ok(()) => Ok(Linked::New),
            Err(error) if self.is_link_refusal(error) => Ok(Linked::Impossible),
            Err(Errno::EXIST) => self.link_over(dir, name, id, source),
            Err(error) => Err(hardlinking(source, name, error)),
        }
    }

    /// Whether a copy is to be made because of this error.
    fn is_link_refusal(&self, error: Errno) -> bool {
        self.options.links == Links::Allow
            && matches!(error, Errno::MLINK | Errno::XDEV | Errno::PERM)
    }

    fn link_over(&self, dir: &Dir, name: &str, id: FileId, source: &Source<'_>) -> Result<Linked> {
        match self.options.union {
            Union::None => Err(hardlinking(source, name, Errno::EXIST)),
            Union::Add => Ok(Linked::Kept),
            Union::Files | Union::Identical if self.is_same(dir, name, id, source)? => {
                Ok(Linked::Kept)
            }
            Union::Identical => Err(hardlinking(source, name, Errno::EXIST)),
            Union::Files => self.link_replacing(dir, name, source),
        }
    }

    /// Links under another name, and renames that over what is there: it is always complete.
    fn link_replacing(&self, dir: &Dir, name: &str, source: &Source<'_>) -> Result<Linked> {
        let tmp = loop {
            let tmp = fs::random_name(".checkout-union-");
            let none = AtFlags::empty();
            match rustix::fs::linkat(source.dir, &*source.path, &dir.fd, &*tmp, none) {
                Ok(()) => break tmp,
                Err(Errno::EXIST) => {}
                // `name` being taken was noticed before this was.
                Err(error) if self.is_link_refusal(error) => return Ok(Linked::Impossible),
                Err(error) => return Err(hardlinking(source, name, error)),
            }
        };
        let renamed = self.make_way(dir, name).and_then(|()| {
            rustix::fs::renameat(&dir.fd, &*tmp, &dir.fd, name)
                .map_err(step(format!("renameat({tmp}, {name})")))
        });
        if renamed.is_err() {
            // The error says more than one about a leftover would.
            let _ = rustix::fs::unlinkat(&dir.fd, &*tmp, AtFlags::empty());
        }
        renamed.map(|()| Linked::New)
    }

    /// Whether the file that is there is the source itself, or has the same content and metadata.
    fn is_same(&self, dir: &Dir, name: &str, id: FileId, source: &Source<'_>) -> Result<bool> {
        let there = self.stat_there(dir, name)?;
        let ours = fs::stat(source.dir, &*source.path)
            .map_err(step(format!("fstatat({})", source.path)))?;
        let (Some(there), Some(ours)) = (there, ours) else {
            return Ok(false);
        };
        let identity = |stat: &Stat| (stat.st_dev, stat.st_ino);
        if identity(&there) == identity(&ours) {
            return Ok(true);
        }
        let key = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_size);
        if key(&there) != key(&ours) {
            return Ok(false);
        }
        self.has_checksum(dir, name, &there, id)
    }

    /// What is called `name` in the checkout, if anything.
    pub(super) fn stat_there(&self, dir: &Dir, name: &str) -> Result<Option<Stat>> {
        fs::stat(&dir.fd, name).map_err(step(format!("fstatat({name})")))
    }

    /// Whether the file `name` would have the checksum `id` if it were committed to this
    /// repository.
    pub(super) fn has_checksum(
        &self,
        dir: &Dir,
        name: &str,
        stat: &Stat,
        id: FileId,
    ) -> Result<bool> {
        let path = self.full_path(dir, name);
        let io = || Error::io("reading", &path);
        let mut header = FileHeader {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode,
            symlink: None,
            xattrs: Xattrs::NONE,
        };
        let canonical = self.repo.mode() == Mode::BareUserOnly;
        let with_xattrs = !canonical && !self.repo.config().disable_xattrs;
        if canonical {
            (header.uid, header.gid) = (0, 0);
            if header.mode & S_IFMT == S_IFREG {
                header.mode &= S_IFMT | 0o755;
            }
        }
        match header.mode & S_IFMT {
            S_IFLNK => {
                let target = rustix::fs::readlinkat(&dir.fd, name, Vec::new())
                    .map_err(std::io::Error::from)
                    .map_err(io())?;
                let Ok(target) = target.into_string() else {
                    return Ok(false);
                };
                header.symlink = Some(target);
                if with_xattrs {
                    header.xattrs =
                        xattr::of_link(dir.fd.as_fd(), name.as_bytes(), &path).map_err(io())?;
                }
                Ok(FileId(header.hasher().finish()) == id)
            }
            S_IFREG => {
                let mut file = fs::open_file(&dir.fd, name).map_err(io())?;
                if with_xattrs {
                    header.xattrs = xattr::of_fd(&file).map_err(io())?;
                }
                Ok(checksum_content(&header, &mut file).map_err(io())? == id.0)
            }
            _ => Ok(false),
        }
    }
}

fn hardlinking(source: &Source<'_>, name: &str, error: Errno) -> Error {
    step(format!("Hardlinking {} to {name}", source.path))(error)
}

/// Whether the owner can read a file of this mode. In user mode one that he cannot is copied and
/// made readable.
pub(super) fn is_readable(mode: u32) -> bool {
    mode & 0o400 != 0
}

/// The mode that a `bare-user` object stands for, with as few system calls as can be.
fn bare_user_mode(repo: &Repo, id: FileId, path: &str) -> Result<u32> {
    let mut value = [0; 256];
    let proc = format!("/proc/self/fd/{}/{path}", repo.objects().as_raw_fd());
    if let Ok(len) = rustix::fs::lgetxattr(proc, OSTREEMETA, &mut value) {
        let (.., mode, _) =
            stored::parse_ostreemeta(&value[..len]).map_err(|error| Error::corrupt(id, error))?;
        return Ok(mode);
    }
    // No /proc, many extended attributes, or a fault that has to be told.
    repo.open_file(id).map(|file| file.header.mode)
}
