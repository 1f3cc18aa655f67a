// SPDX-License-Identifier: MIT OR Apache-2.0
//! How an object that is written gets its form on disk and its name: owner, mode, attributes and
//! time stamp as the repository's mode has them, and then, complete, its place.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use oxtree_format::{FileHeader, FileId, ObjectId};
use rustix::fs::{AtFlags, Gid, Mode as Perm, Timespec, Timestamps, Uid};

use super::stored::{self, OSTREEMETA, PLAIN_MODE};
use crate::fs::tmpfile::{IfExists, NewFile, TmpFile};
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

/// What an object is on disk, besides its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form<'a> {
    /// Anybody may read it: metadata, and all that an archive has.
    Plain,
    /// A file with this header, in one of the bare modes.
    Bare(&'a FileHeader),
}

/// Where a symbolic link is made.
struct NewLink<'a> {
    dir: BorrowedFd<'a>,
    name: String,
    /// It is not yet where it belongs.
    rename: bool,
}

/// Checkouts are hard links: time stamps would differ from machine to machine.
const EPOCH: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    },
    last_modification: Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    },
};

impl Transaction<'_> {
    /// Stores an object that is in memory and known to be right.
    ///
    /// In a staging directory it has its name from the start: nobody looks in there before all is
    /// written, and what a crash cuts off is verified before it is used. Anywhere else it gets its
    /// name when it is complete.
    pub(super) fn store(
        &self,
        object: &ObjectId,
        bytes: &[u8],
        form: Form<'_>,
        if_exists: IfExists,
    ) -> Result<()> {
        let write = |mut file: &File| {
            file.write_all(bytes)
                .map_err(self.file_io("writing", object))?;
            self.dress(file, form, object)
        };
        if !self.is_staged() || if_exists == IfExists::Replace {
            let tmp = self.new_file()?;
            write(tmp.file())?;
            return self.link(tmp, object, if_exists);
        }
        let (dir, path) = self.destination(object)?;
        // Until it is complete, nobody but the owner may write to it.
        let mode = self.disk_mode(form) & 0o755;
        let created =
            NewFile::create(dir, &path, mode).map_err(self.file_io("creating", object))?;
        let Some(new) = created else {
            // Somebody else was faster, with the same bytes.
            return Ok(());
        };
        write(new.file())?;
        new.keep();
        Ok(())
    }

    pub(super) fn store_real_symlink(
        &self,
        header: &FileHeader,
        target: &str,
        id: FileId,
    ) -> Result<()> {
        let object = id.object();
        self.check_storable(header, id)?;
        let Some(link) = self.new_link(target, &object)? else {
            return Ok(());
        };
        let done = self
            .dress_link(&link, header, &object)
            .and_then(|()| self.place_link(&link, &object));
        if !matches!(done, Ok(true)) {
            // An error that led here says more than one about a leftover in tmp/.
            let _ = rustix::fs::unlinkat(link.dir, &*link.name, AtFlags::empty());
        }
        self.count(&object, 0);
        done.map(drop)
    }

    /// Makes a symbolic link; [`None`] if it is there already.
    fn new_link(&self, target: &str, object: &ObjectId) -> Result<Option<NewLink<'_>>> {
        let rename = !self.is_staged();
        loop {
            let (dir, name) = match rename {
                true => (self.tmp_dir(), fs::random_name(".tmp-")),
                false => self.destination(object)?,
            };
            match rustix::fs::symlinkat(target, dir, &*name) {
                Ok(()) => return Ok(Some(NewLink { dir, name, rename })),
                Err(rustix::io::Errno::EXIST) if rename => {}
                Err(rustix::io::Errno::EXIST) => return Ok(None),
                Err(error) => return Err(self.file_io("writing", object)(error)),
            }
        }
    }

    fn dress_link(&self, link: &NewLink<'_>, header: &FileHeader, object: &ObjectId) -> Result<()> {
        if self.repo().mode() != Mode::Bare {
            return Ok(());
        }
        let NewLink { dir, name, .. } = link;
        let (uid, gid) = (Uid::from_raw(header.uid), Gid::from_raw(header.gid));
        rustix::fs::chownat(
            dir,
            &**name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(self.file_io("writing", object))?;
        if self.repo().config().disable_xattrs {
            return Ok(());
        }
        let full = self.staging_path().join(name);
        xattr::set_link(*dir, name.as_bytes(), &full, &header.xattrs)
            .map_err(self.file_io("writing", object))
    }

    /// Puts a link where it belongs; false if there is one already.
    fn place_link(&self, link: &NewLink<'_>, object: &ObjectId) -> Result<bool> {
        if !link.rename {
            return Ok(true);
        }
        let (dir, path) = self.destination(object)?;
        tmpfile::rename(link.dir, &link.name, dir, &path, IfExists::Keep)
            .map_err(self.file_io("writing", object))
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

    /// What a file with this header is on disk.
    pub(super) fn form<'h>(&self, header: &'h FileHeader) -> Form<'h> {
        match self.repo().mode() {
            Mode::Archive => Form::Plain,
            _ => Form::Bare(header),
        }
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
        self.dress(tmp.file(), self.form(header), &id.object())?;
        self.link(tmp, &id.object(), IfExists::Keep)?;
        self.count(&id.object(), size);
        Ok(())
    }

    /// The same for a file that is an object as it stands: a `.filez`, say.
    pub(super) fn finish_plain(
        &self,
        tmp: TmpFile<'_>,
        object: &ObjectId,
        size: u64,
    ) -> Result<()> {
        self.dress(tmp.file(), Form::Plain, object)?;
        self.link(tmp, object, IfExists::Keep)?;
        self.count(object, size);
        Ok(())
    }

    /// The permissions of a regular file.
    pub(super) fn disk_mode(&self, form: Form<'_>) -> u32 {
        let header = match form {
            Form::Plain => return PLAIN_MODE,
            Form::Bare(header) => header,
        };
        match self.repo().mode() {
            Mode::BareUser if header.is_symlink() => PLAIN_MODE,
            Mode::BareUser => stored::bare_user_mode(header.mode),
            Mode::BareSplitXattrs => PLAIN_MODE,
            _ => header.mode & 0o7777,
        }
    }

    /// Gives a file what it has besides its content; asks first what it has already, which is
    /// cheaper than to set it.
    pub(super) fn dress(&self, file: &File, form: Form<'_>, object: &ObjectId) -> Result<()> {
        let io = |error: rustix::io::Errno| self.file_io("writing", object)(error);
        let mode = self.disk_mode(form);
        let stat = rustix::fs::fstat(file).map_err(io)?;
        let mut right_mode = stat.st_mode & 0o7777 == mode;
        if let Form::Bare(header) = form {
            match self.repo().mode() {
                Mode::Archive | Mode::BareUserOnly => {}
                Mode::Bare => {
                    if (stat.st_uid, stat.st_gid) != (header.uid, header.gid) {
                        let (uid, gid) = (Uid::from_raw(header.uid), Gid::from_raw(header.gid));
                        // Before the others: it takes away set-uid bits and capabilities.
                        rustix::fs::fchown(file, Some(uid), Some(gid)).map_err(io)?;
                        right_mode = false;
                    }
                    if !self.repo().config().disable_xattrs {
                        xattr::set_fd(file, &header.xattrs)
                            .map_err(self.file_io("writing", object))?;
                    }
                }
                Mode::BareUser => {
                    let meta = stored::ostreemeta(header);
                    let flags = rustix::fs::XattrFlags::empty();
                    rustix::fs::fsetxattr(file, OSTREEMETA, &meta, flags).map_err(io)?;
                }
                Mode::BareSplitXattrs if self.repo().writes_split_xattrs() => {}
                Mode::BareSplitXattrs => {
                    let reason = "Not allowed due to repo mode: bare-split-xattrs is read only";
                    return Err(Error::Invalid(reason.to_owned()));
                }
            }
        }
        if !right_mode {
            rustix::fs::fchmod(file, Perm::from_raw_mode(mode)).map_err(io)?;
        }
        match form {
            Form::Plain => Ok(()),
            Form::Bare(_) => rustix::fs::futimens(file, &EPOCH).map_err(io),
        }
    }

    pub(super) fn link(
        &self,
        tmp: TmpFile<'_>,
        object: &ObjectId,
        if_exists: IfExists,
    ) -> Result<()> {
        let config = self.repo().config();
        let sync = match config.per_object_fsync {
            true => tmp.file().sync_all(),
            // The disk writes it while the next ones come in, not after the last.
            false if config.fsync && tmp.is_large() => tmp.file().sync_data(),
            false => Ok(()),
        };
        sync.map_err(self.file_io("syncing", object))?;
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
