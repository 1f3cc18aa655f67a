// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names that stand for something else: deletions as OCI layers and as overlayfs write them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use oxtree_format::dirtree::check_name;
use oxtree_format::{FileHeader, FileId};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode as Perm, OFlags, Stat, Uid};
use rustix::io::Errno;
use rustix::path::Arg;

use super::walk::{Checkout, Dir};
use super::{Union, count, step};
use crate::fs::{self, xattr};
use crate::tree::Listing;
use crate::{Error, Mode, Result};

/// OCI: `.wh.NAME` deletes NAME of the layers below.
const PREFIX: &str = ".wh.";
/// OCI: the directory hides all of the layers below.
const OPAQUE: &str = ".wh..wh..opq";
/// A file of this name becomes an overlayfs whiteout, a character device 0:0 called NAME.
const PASSTHROUGH_PREFIX: &str = ".ostree-wh.";

/// Whether the directory replaces the one that is there.
pub(super) fn is_opaque(listing: &Listing) -> bool {
    listing
        .get(OPAQUE)
        .is_some_and(|node| matches!(node, crate::tree::Node::File(_)))
}

/// Deletes whatever is called `name`.
pub(super) fn remove(at: BorrowedFd<'_>, name: impl Arg + Copy) -> Result<()> {
    let text = name.to_string_lossy().into_owned();
    let bytes = name.as_cow_c_str().map_err(step("unlinkat"))?;
    fs::remove_all(at, bytes.to_bytes()).map_err(step(format!("unlinkat({text})")))
}

impl Checkout<'_> {
    /// Does what the name says, if it is a whiteout and those are wanted; false if it is just a
    /// file.
    pub(super) fn whiteout(&self, dir: &Dir, name: &str, id: FileId) -> Result<bool> {
        if self.options.whiteouts
            && let Some(deleted) = name.strip_prefix(PREFIX)
            && !self.repo.open_file(id)?.header.is_symlink()
        {
            check(deleted, "whiteout")?;
            remove(dir.fd.as_fd(), deleted)?;
            return Ok(true);
        }
        if self.options.passthrough_whiteouts
            && let Some(hidden) = name.strip_prefix(PASSTHROUGH_PREFIX)
        {
            let header = self.repo.open_file(id)?.header;
            if !header.is_symlink() {
                check(hidden, "overlayfs whiteout")?;
                count(match self.pass_through(dir, hidden, &header)? {
                    true => &self.counters.copied,
                    false => &self.counters.kept,
                });
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes an overlayfs whiteout; false if what is there stays.
    fn pass_through(&self, dir: &Dir, name: &str, header: &FileHeader) -> Result<bool> {
        let making = || step("Creating whiteout char device");
        match self.make_device(dir, name, header) {
            Err(Errno::EXIST) => match self.options.union {
                Union::None => return Err(making()(Errno::EXIST)),
                Union::Add => return Ok(false),
                Union::Identical => {
                    self.check_same_device(dir, name, header)?;
                    return Ok(false);
                }
                Union::Files => {
                    rustix::fs::unlinkat(&dir.fd, name, AtFlags::empty())
                        .map_err(step(format!("unlinkat({name})")))?;
                    self.make_device(dir, name, header).map_err(making())?;
                }
            },
            made => made.map_err(making())?,
        }
        let path = self.full_path(dir, name);
        let xattrs = self.xattrs(&header.xattrs, &dir.inside(name), header.mode)?;
        xattr::set_link(dir.fd.as_fd(), name.as_bytes(), &path, &xattrs)
            .map_err(Error::io("setting attributes of whiteout", &path))?;
        if self.user {
            return Ok(true);
        }
        let (uid, gid) = (Uid::from_raw(header.uid), Gid::from_raw(header.gid));
        rustix::fs::chownat(
            &dir.fd,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(step("fchownat"))?;
        self.set_device_mode(dir, name, header.mode)
            .map_err(step("fchmodat"))?;
        Ok(true)
    }

    fn make_device(&self, dir: &Dir, name: &str, header: &FileHeader) -> rustix::io::Result<()> {
        let mode = Perm::from_raw_mode(header.mode & 0o7777);
        rustix::fs::mknodat(&dir.fd, name, FileType::CharacterDevice, mode, 0)
    }

    /// `chmod` that follows no link: through a handle on what is there.
    fn set_device_mode(&self, dir: &Dir, name: &str, mode: u32) -> rustix::io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(&dir.fd, name, flags, Perm::empty())?;
        let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let mode = Perm::from_raw_mode(mode & 0o7777);
        match rustix::fs::chmodat(CWD, path, mode, AtFlags::empty()) {
            // Without /proc the mode stays what the umask left of it.
            Err(Errno::NOENT) => Ok(()),
            done => done,
        }
    }

    fn check_same_device(&self, dir: &Dir, name: &str, header: &FileHeader) -> Result<()> {
        let differs = |what: String| {
            Err(Error::Invalid(format!(
                "existing destination file {name} {what}"
            )))
        };
        let is_whiteout = |stat: &Stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
        };
        let Some(stat) = self.stat_there(dir, name)?.filter(is_whiteout) else {
            return differs("is no whiteout".to_owned());
        };
        if !self.repo.config().disable_xattrs && self.repo.mode() != Mode::BareUserOnly {
            let path = self.full_path(dir, name);
            let xattrs = xattr::of_link(dir.fd.as_fd(), name.as_bytes(), &path)
                .map_err(Error::io("reading", path))?;
            if xattrs != header.xattrs {
                return differs("xattrs don't match".to_owned());
            }
        }
        if self.user {
            return Ok(());
        }
        let FileHeader { uid, gid, mode, .. } = *header;
        if stat.st_gid != gid {
            return differs(format!("does not match gid {gid}"));
        }
        if stat.st_uid != uid {
            return differs(format!("does not match uid {uid}"));
        }
        if stat.st_mode & 0o7777 != mode & 0o7777 {
            return differs(format!("does not match mode {mode:o}"));
        }
        Ok(())
    }
}

/// What is left of a name without its prefix must be a name, too: `.wh...` would mean `..`.
fn check(name: &str, what: &str) -> Result<()> {
    match name {
        "" => Err(Error::Invalid(format!("Invalid empty {what} '{name}'"))),
        name => {
            check_name(name).map_err(|error| Error::Invalid(format!("Invalid {what}: {error}")))
        }
    }
}
