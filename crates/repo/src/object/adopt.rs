// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that become objects without being copied, because nobody else needs them any more.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use oxtree_format::{FileHeader, FileId, ObjectKind, Xattrs};
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use super::copy::{Exactly, Source};
use crate::fs::{self, xattr};
use crate::transaction::Transaction;
use crate::{Error, Mode, Result};

/// A regular file outside of the repository.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// The directory it is in, and its name there.
    pub(crate) dir: BorrowedFd<'a>,
    pub(crate) name: &'a str,
    /// It, opened.
    pub(crate) file: &'a mut File,
    pub(crate) stat: &'a Stat,
    /// For messages.
    pub(crate) path: &'a Path,
}

impl Transaction<'_> {
    /// Makes an object of the file itself, with a new name beside the one it has. It gets the owner,
    /// mode and time of an object, even if it is not used in the end. [`None`] if it has to be
    /// copied: in an archive, from another file system, with attributes that the object is not to
    /// have, or with other names, which would see it change.
    pub(crate) fn adopt(
        &self,
        header: &FileHeader,
        given: &mut Given<'_>,
    ) -> Result<Option<FileId>> {
        if !self.can_adopt(header, given)? {
            return Ok(None);
        }
        let size = u64::try_from(given.stat.st_size).unwrap_or(0);
        let id = hash(header, given.file, size, given.path)?;
        if self.has_staged(&id.object())? {
            self.count_wanted(ObjectKind::File);
            return Ok(Some(id));
        }
        self.check_storable(header, id)?;
        self.dress(given.file, self.form(header), &id.object())?;
        if self.repo().config().per_object_fsync {
            given
                .file
                .sync_all()
                .map_err(Error::io("syncing", given.path))?;
        }
        Ok(self.take_in(given, id)?.then(|| {
            self.count_wanted(ObjectKind::File);
            self.count(&id.object(), size);
            id
        }))
    }

    fn can_adopt(&self, header: &FileHeader, given: &Given<'_>) -> Result<bool> {
        let xattrs = match self.repo().mode() {
            Mode::Archive | Mode::BareSplitXattrs => return Ok(false),
            Mode::Bare if !self.repo().config().disable_xattrs => &header.xattrs,
            Mode::Bare | Mode::BareUser | Mode::BareUserOnly => &Xattrs::NONE,
        };
        let here =
            fs::fstat(self.staging_dir()).map_err(Error::io("looking at", self.staging_path()))?;
        if here.st_dev != given.stat.st_dev {
            return Ok(false);
        }
        if given.stat.st_nlink != 1 && !self.is_dressed(header, given.stat) {
            return Ok(false);
        }
        let there = xattr::of_fd(&*given.file)
            .map_err(Error::io("reading extended attributes of", given.path))?;
        Ok(there == *xattrs)
    }

    /// Whether a file with other names already is what the object is to be, but for its time.
    fn is_dressed(&self, header: &FileHeader, stat: &Stat) -> bool {
        let right_mode = stat.st_mode & 0o7777 == self.disk_mode(self.form(header));
        match self.repo().mode() {
            Mode::Bare => right_mode && (stat.st_uid, stat.st_gid) == (header.uid, header.gid),
            Mode::BareUserOnly => right_mode,
            _ => false,
        }
    }

    /// Gives the file the object's name; false if it cannot have it.
    fn take_in(&self, given: &Given<'_>, id: FileId) -> Result<bool> {
        let (dir, path) = self.destination(&id.object())?;
        match rustix::fs::linkat(given.dir, given.name, dir, &*path, AtFlags::empty()) {
            // Somebody else was faster, with the same bytes.
            Err(Errno::EXIST) => return Ok(true),
            Err(Errno::XDEV | Errno::PERM | Errno::MLINK) => return Ok(false),
            done => done.map_err(self.file_io("writing", &id.object()))?,
        }
        let linked = fs::stat(dir, &*path).map_err(self.file_io("reading", &id.object()))?;
        let identity = |stat: &Stat| (stat.st_dev, stat.st_ino);
        if linked.as_ref().map(identity) == Some(identity(given.stat)) {
            return Ok(true);
        }
        // Another file has got the name meanwhile, and that one was not hashed.
        rustix::fs::unlinkat(dir, &*path, AtFlags::empty())
            .map_err(self.file_io("deleting", &id.object()))?;
        Err(Error::io("reading", given.path)(io::Error::other(
            "it was replaced meanwhile",
        )))
    }
}

fn hash(header: &FileHeader, file: &mut File, size: u64, path: &Path) -> Result<FileId> {
    let mut source = Source::new(file, size);
    let mut content = Exactly::new(&mut source, size, header.hasher());
    let copied = content.copy_to(&mut io::sink());
    let id = copied.map(|()| FileId(content.checksum()));
    source.blame(id.map_err(Error::io("reading", path)), path)
}
