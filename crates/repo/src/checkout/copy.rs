// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies of files.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use oxtree_format::{FileHeader, FileId};
use rustix::fs::{AtFlags, FileType, Gid, Mode as Perm, OFlags, Uid};
use rustix::io::Errno;

use super::link::is_readable;
use super::walk::{Checkout, Dir};
use super::{Union, step};
use crate::fs::share::BUFFER;
use crate::fs::tmpfile::{IfExists, TmpFile};
use crate::fs::xattr;
use crate::{Error, FileContent, FileObject, Result};

impl Checkout<'_> {
    /// Writes the file; false if the one that is there stays.
    pub(super) fn copy(&self, dir: &Dir, name: &str, id: FileId) -> Result<bool> {
        let file = self.repo.open_file(id)?;
        match &file.header.symlink {
            Some(target) => self.copy_symlink(dir, name, target, &file.header),
            None if dir.existed => self.copy_over(dir, name, id, file),
            None => {
                // The directory is ours alone and not yet to be seen.
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let new = rustix::fs::openat(&dir.fd, name, flags, Perm::from_raw_mode(0o600))
                    .map_err(step(format!("openat({name})")))?;
                self.write_regular(&File::from(new), dir, name, id, file)?;
                Ok(true)
            }
        }
    }

    /// Takes away what is in the way of `name`, where OCI's rules say so: there, anything replaces
    /// anything.
    pub(super) fn make_way(&self, dir: &Dir, name: &str) -> Result<()> {
        match self.options.whiteouts {
            true => super::whiteout::remove(dir.fd.as_fd(), name),
            false => Ok(()),
        }
    }

    fn copy_symlink(
        &self,
        dir: &Dir,
        name: &str,
        target: &str,
        header: &FileHeader,
    ) -> Result<bool> {
        match rustix::fs::symlinkat(target, &dir.fd, name) {
            Ok(()) => {}
            Err(Errno::EXIST) => match self.options.union {
                Union::Add => return Ok(false),
                Union::Identical if self.is_link_to(dir, name, target)? => return Ok(false),
                Union::None | Union::Identical => return Err(step("symlinkat")(Errno::EXIST)),
                Union::Files => {
                    self.make_way(dir, name)?;
                    match rustix::fs::unlinkat(&dir.fd, name, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(error) => return Err(step(format!("unlinkat({name})"))(error)),
                    }
                    rustix::fs::symlinkat(target, &dir.fd, name).map_err(step("symlinkat"))?;
                }
            },
            Err(error) => return Err(step("symlinkat")(error)),
        }
        if !self.user {
            let (uid, gid) = (Uid::from_raw(header.uid), Gid::from_raw(header.gid));
            let nofollow = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(&dir.fd, name, Some(uid), Some(gid), nofollow)
                .map_err(step("fchownat"))?;
        }
        let xattrs = self.xattrs(&header.xattrs, &dir.inside(name), header.mode)?;
        let path = self.full_path(dir, name);
        xattr::set_link(dir.fd.as_fd(), name.as_bytes(), &path, &xattrs)
            .map_err(step(path.display().to_string()))?;
        Ok(true)
    }

    fn is_link_to(&self, dir: &Dir, name: &str, target: &str) -> Result<bool> {
        let there = self.stat_there(dir, name)?;
        if there.is_none_or(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Symlink) {
            return Ok(false);
        }
        let there = rustix::fs::readlinkat(&dir.fd, name, Vec::new())
            .map_err(step(format!("readlinkat({name})")))?;
        Ok(there.as_bytes() == target.as_bytes())
    }

    /// Writes a regular file into a directory that may have one of this name.
    fn copy_over(&self, dir: &Dir, name: &str, id: FileId, file: FileObject) -> Result<bool> {
        if let Some(there) = self.stat_there(dir, name)? {
            match self.options.union {
                Union::Add => return Ok(false),
                Union::Identical if self.has_checksum(dir, name, &there, id)? => return Ok(false),
                Union::None | Union::Identical => return Err(step("linkat")(Errno::EXIST)),
                Union::Files => {}
            }
        }
        let tmp = TmpFile::new(dir.fd.as_fd()).map_err(step("open(O_TMPFILE)"))?;
        self.write_regular(tmp.file(), dir, name, id, file)?;
        let if_exists = match self.options.union {
            Union::Files => {
                self.make_way(dir, name)?;
                IfExists::Replace
            }
            _ => IfExists::Keep,
        };
        let linked = tmp
            .link(dir.fd.as_fd(), name, if_exists)
            .map_err(step(format!("linkat({name})")))?;
        match (linked, self.options.union) {
            (false, Union::None | Union::Identical) => Err(step("linkat")(Errno::EXIST)),
            (linked, _) => Ok(linked),
        }
    }

    /// Content, owner, attributes and mode, in the order that keeps what depends on the owner.
    fn write_regular(
        &self,
        to: &File,
        dir: &Dir,
        name: &str,
        id: FileId,
        file: FileObject,
    ) -> Result<()> {
        let FileObject {
            header,
            size,
            content,
        } = file;
        self.write_content(to, id, size, content)?;
        let mut mode = header.mode & 0o7777;
        if self.user {
            mode &= !0o6000;
            if !is_readable(mode) {
                mode |= 0o400;
            }
        } else {
            let (uid, gid) = (Uid::from_raw(header.uid), Gid::from_raw(header.gid));
            rustix::fs::fchown(to, Some(uid), Some(gid)).map_err(step("fchown"))?;
        }
        let xattrs = self.xattrs(&header.xattrs, &dir.inside(name), header.mode)?;
        xattr::set_fd(to, &xattrs).map_err(step("fsetxattr"))?;
        rustix::fs::fchmod(to, Perm::from_raw_mode(mode)).map_err(step("fchmod"))?;
        match self.options.fsync {
            true => rustix::fs::fsync(to).map_err(step("fsync")),
            false => Ok(()),
        }
    }

    /// Copies the content, which must be of the size that its header promises.
    pub(super) fn write_content(
        &self,
        to: &File,
        id: FileId,
        size: u64,
        mut content: FileContent,
    ) -> Result<()> {
        if let FileContent::Plain(from) = &content
            && size > 0
            && self
                .sharer
                .share_or_copy(from, to, size)
                .map_err(step("copying"))?
        {
            return Ok(());
        }
        let mut left = size;
        let mut buffer = vec![0; usize::try_from(size.clamp(1, BUFFER)).unwrap_or(1)];
        loop {
            let len = match content.read(&mut buffer) {
                Ok(0) if left == 0 => return Ok(()),
                Ok(0) => return Err(Error::corrupt(id, "content is too short")),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::corrupt(id, error)),
            };
            left = left
                .checked_sub(len as u64)
                .ok_or_else(|| Error::corrupt(id, "content is too long"))?;
            let mut to = to;
            to.write_all(&buffer[..len]).map_err(step("writing"))?;
        }
    }
}
