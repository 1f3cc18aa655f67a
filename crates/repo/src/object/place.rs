// SPDX-License-Identifier: MIT OR Apache-2.0
//! How an object that is written gets its form on disk and its name: owner, mode, attributes and
//! time stamp as the repository's mode has them, and then, complete, its place.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use oxtree_format::{FileHeader, FileId, ObjectId};
use rustix::fs::{AtFlags, Gid, Mode as Perm, Timespec, Timestamps, Uid};

use super::stored::{self, OSTREEMETA, PLAIN_MODE};
use crate::fs::tmpfile::{IfExists, TmpFile};
use crate::fs::{self, tmpfile, xattr};
use crate::transaction::Transaction;
use crate::{Error, Mode, Result};

/// Checks that a repository of this mode can hold a file with this header.
pub fn check_storable(mode: Mode, header: &FileHeader, id: FileId) -> Result<()> {
    stored::check_storable(mode, header).map_err(|what| {
        Error::Invalid(format!(
            "a {mode} repository cannot hold {what} (file object {id})"
        ))
    })
}

impl Transaction<'_> {
    pub(super) fn store_real_symlink(
        &self,
        header: &FileHeader,
        target: &str,
        id: FileId,
    ) -> Result<()> {
        self.check_storable(header, id)?;
        let io = |error: rustix::io::Errno| self.file_io("writing", &id.object())(error);
        let (dir, name) = loop {
            let name = fs::random_name(".tmp-");
            match rustix::fs::symlinkat(target, self.tmp_dir(), &*name) {
                Ok(()) => break (self.tmp_dir(), name),
                Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(io(error)),
            }
        };
        let cleanup = |error| {
            // The error that led here says more than one about a leftover in tmp/.
            let _ = rustix::fs::unlinkat(dir, &*name, AtFlags::empty());
            error
        };
        if self.repo().mode() == Mode::Bare {
            let (uid, gid) = (Uid::from_raw(header.uid), Gid::from_raw(header.gid));
            rustix::fs::chownat(dir, &*name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(io)
                .map_err(cleanup)?;
            if !self.repo().config().disable_xattrs {
                let full = self.repo().path().join("tmp").join(&name);
                xattr::set_link(dir, name.as_bytes(), &full, &header.xattrs)
                    .map_err(self.file_io("writing", &id.object()))
                    .map_err(cleanup)?;
            }
        }
        let (target_dir, path) = self.destination(&id.object()).map_err(cleanup)?;
        let renamed = tmpfile::rename(dir, &name, target_dir, &path, IfExists::Keep)
            .map_err(self.file_io("writing", &id.object()))
            .map_err(cleanup)?;
        if !renamed {
            rustix::fs::unlinkat(dir, &*name, AtFlags::empty()).map_err(io)?;
        }
        self.count(&id.object(), 0);
        Ok(())
    }

    pub(super) fn check_storable(&self, header: &FileHeader, id: FileId) -> Result<()> {
        let mode = self.repo().mode();
        stored::check_storable(mode, header).map_err(|what| {
            let path = self.repo().path().display();
            Error::Invalid(format!(
                "{path}, a {mode} repository, cannot hold {what} (file object {id})"
            ))
        })
    }

    /// Gives a file that holds the content its owner, mode and attributes, and its name.
    pub(super) fn finish_regular(
        &self,
        tmp: TmpFile<'_>,
        header: &FileHeader,
        id: FileId,
        size: u64,
    ) -> Result<()> {
        self.check_storable(header, id)?;
        self.apply_header(tmp.file(), header, id)
            .map_err(|error| match error {
                Error::Io { source, .. } => self.file_io("writing", &id.object())(source),
                error => error,
            })?;
        self.link(tmp, &id.object(), IfExists::Keep)?;
        self.count(&id.object(), size);
        Ok(())
    }

    fn apply_header(&self, file: &File, header: &FileHeader, id: FileId) -> Result<()> {
        let io = |error: rustix::io::Errno| self.file_io("writing", &id.object())(error);
        let chmod = |mode| rustix::fs::fchmod(file, Perm::from_raw_mode(mode & 0o7777)).map_err(io);
        match self.repo().mode() {
            Mode::Archive => return chmod(PLAIN_MODE),
            Mode::Bare => {
                let (uid, gid) = (Uid::from_raw(header.uid), Gid::from_raw(header.gid));
                // In this order: chown takes away set-uid bits and capabilities.
                rustix::fs::fchown(file, Some(uid), Some(gid)).map_err(io)?;
                if !self.repo().config().disable_xattrs {
                    xattr::set_fd(file, &header.xattrs)
                        .map_err(self.file_io("writing", &id.object()))?;
                }
                chmod(header.mode)?;
            }
            Mode::BareUser => {
                rustix::fs::fsetxattr(
                    file,
                    OSTREEMETA,
                    &stored::ostreemeta(header),
                    rustix::fs::XattrFlags::empty(),
                )
                .map_err(io)?;
                chmod(match header.is_symlink() {
                    true => PLAIN_MODE,
                    false => stored::bare_user_mode(header.mode),
                })?;
            }
            Mode::BareUserOnly => {
                chmod(header.mode)?;
            }
            Mode::BareSplitXattrs => {
                let reason = "Not allowed due to repo mode: bare-split-xattrs is read only";
                return Err(Error::Invalid(reason.to_owned()));
            }
        }
        // Checkouts are hard links: time stamps would differ from machine to machine.
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: zero,
            last_modification: zero,
        };
        rustix::fs::futimens(file, &times).map_err(io)
    }

    pub(super) fn link(
        &self,
        tmp: TmpFile<'_>,
        object: &ObjectId,
        if_exists: IfExists,
    ) -> Result<()> {
        if self.repo().config().per_object_fsync {
            tmp.file()
                .sync_all()
                .map_err(self.file_io("syncing", object))?;
        }
        let (dir, path) = self.destination(object)?;
        tmp.link(dir, &path, if_exists)
            .map_err(self.file_io("writing", object))?;
        Ok(())
    }

    pub(super) fn new_file(&self) -> Result<TmpFile<'_>> {
        TmpFile::new(self.tmp_dir()).map_err(Error::io("creating a file in", self.tmp_path()))
    }

    pub(super) fn tmp_path(&self) -> PathBuf {
        self.repo().path().join("tmp")
    }

    pub(super) fn file_io<E: Into<io::Error>>(
        &self,
        action: &'static str,
        object: &ObjectId,
    ) -> impl FnOnce(E) -> Error {
        Error::io(
            action,
            self.repo()
                .path()
                .join("objects")
                .join(self.repo().loose(object)),
        )
    }

    /// Where an object goes: a directory and a path below it whose own directory exists.
    pub(super) fn destination(&self, object: &ObjectId) -> Result<(BorrowedFd<'_>, String)> {
        let path = self.repo().loose(object);
        self.ensure_fanout(object.checksum.as_bytes()[0])?;
        Ok((self.staging_dir(), path))
    }
}
