// SPDX-License-Identifier: MIT OR Apache-2.0
//! Imports objects from another repository on the same machine.
//!
//! Each object is taken over in the cheapest way that fits:
//!
//! 1. a hard link, if both repositories store the object in the same form, on one file system and
//!    with one owner. This includes metadata in any mode, and `bare-user` files that
//!    `bare-user-only` can represent;
//! 2. shared blocks, where the file system supports them;
//! 3. a copy, packed or unpacked as the mode needs.
//!
//! [`Verify`] says which of them are read and verified.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use oxtree_format::dirmeta::S_IFMT;
use oxtree_format::{FileHeader, FileId, ObjectId, ObjectKind};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::stored;
use super::verify::BUFFER;
use crate::fs::share::{self, Sharer};
use crate::transaction::Transaction;
use crate::{Error, FileContent, FileObject, Mode, Repo, Result, fs};

/// Which objects are read and hashed before they are taken over: what is not what its name says is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// All of them.
    #[default]
    All,
    /// Not those that become hard links. Both repositories have the same owner then, who can change the object in
    /// either of them at any time.
    Copies,
    /// None: the source is trusted, as libostree trusts a repository on the same machine.
    Nothing,
}

/// How objects are taken over.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions {
    /// Which objects are verified.
    pub verify: Verify,
    /// Regular files with mode bits other than 0775 are an error. (They always are where the
    /// repository could not hold them.)
    pub bareuseronly_files: bool,
}

/// Takes objects from `source` into a transaction. Used by many threads at once.
#[derive(Debug)]
pub struct Importer<'a> {
    transaction: &'a Transaction<'a>,
    source: &'a Repo,
    options: ImportOptions,
    /// Files become hard links, most likely.
    links: bool,
    holders: Vec<Holder<'a>>,
    sharer: Sharer,
}

/// A repository that may have an object: the source, or one of its parents.
#[derive(Debug)]
struct Holder<'a> {
    repo: &'a Repo,
    /// Hard links to its files can be made, as far as is known.
    can_link: AtomicBool,
}

/// A place for what is read, one a thread.
#[derive(Debug, Default)]
pub struct Buffer(Vec<u8>);

/// Whether files of `from` can become hard links in `to`: nothing has to be packed or unpacked, and
/// it is done in a moment.
pub fn links_files(from: &Repo, to: &Repo) -> Result<bool> {
    let mut next = Some(from);
    while let Some(repo) = next {
        if !is_same_form(repo.mode(), to.mode()) || !can_link(repo, to)? {
            return Ok(false);
        }
        next = repo.parent();
    }
    Ok(true)
}

impl<'a> Importer<'a> {
    /// Prepares to take over objects.
    pub fn new(
        transaction: &'a Transaction<'a>,
        source: &'a Repo,
        options: ImportOptions,
    ) -> Result<Self> {
        let mut holders = Vec::new();
        let mut next = Some(source);
        while let Some(repo) = next {
            let can_link = AtomicBool::new(can_link(repo, transaction.repo())?);
            holders.push(Holder { repo, can_link });
            next = repo.parent();
        }
        Ok(Self {
            links: links_files(source, transaction.repo())?,
            transaction,
            source,
            options,
            holders,
            sharer: Sharer::default(),
        })
    }

    /// Takes an object over; false if it is there already.
    pub fn import(&self, object: &ObjectId, buffer: &mut Buffer) -> Result<bool> {
        if self.is_there(object)? {
            return Ok(false);
        }
        match object.kind {
            ObjectKind::File => self.file(FileId(object.checksum), buffer)?,
            _ => self.metadata(object)?,
        }
        Ok(true)
    }

    /// The repository and its parents are asked; what this very transaction has is found when it is
    /// written again.
    fn is_there(&self, object: &ObjectId) -> Result<bool> {
        if self.transaction.repo().has_object(object)? {
            return Ok(true);
        }
        match self.links {
            true => Ok(false),
            false => self.transaction.has_staged(object),
        }
    }

    fn metadata(&self, object: &ObjectId) -> Result<()> {
        let mut bytes = None;
        if self.options.verify == Verify::All {
            let loaded = self.source.load_metadata(object)?;
            super::verify::verify_metadata(object, &loaded)?;
            bytes = Some(loaded);
        }
        if self.link(object)? {
            return self.transaction.forget_tombstone(object);
        }
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => self.source.load_metadata(object)?,
        };
        if self.is_trusted() {
            self.transaction.write_metadata_trusted(object, &bytes)?;
            return self.transaction.forget_tombstone(object);
        }
        let expected = Some(object.checksum);
        self.transaction
            .write_metadata(object.kind, &bytes, expected)?;
        Ok(())
    }

    fn file(&self, id: FileId, buffer: &mut Buffer) -> Result<()> {
        let object = id.object();
        if self.may_link(id)? {
            if self.options.verify == Verify::All {
                self.verify(&object, buffer)?;
            }
            if self.link(&object)? {
                return Ok(());
            }
        }
        if self.transaction.repo().mode().is_archive()
            && let Some((filez, size)) = self.find_filez(id)?
        {
            return self.copy_filez(id, filez, size, buffer);
        }
        self.convert(id, buffer)
    }

    fn is_trusted(&self) -> bool {
        self.options.verify == Verify::Nothing
    }

    /// Gives a new file the content of one of the source's in a way that needs no reading here, if
    /// there is such a way. What is not trusted is verified then.
    fn share(
        &self,
        from: &File,
        to: &File,
        id: FileId,
        size: u64,
        buffer: &mut Buffer,
    ) -> Result<bool> {
        let object = id.object();
        if self.is_trusted() {
            let shared = self.sharer.share_or_copy(from, to, size);
            return shared.map_err(self.transaction.file_io("writing", &object));
        }
        let shared = self.sharer.share(from, to);
        if shared {
            self.verify(&object, buffer)?;
        }
        Ok(shared)
    }

    /// Whether [`Importer::share`] may succeed.
    fn may_share(&self, size: u64) -> bool {
        self.sharer.may_share() || (self.is_trusted() && size > share::BUFFER)
    }

    fn verify(&self, object: &ObjectId, buffer: &mut Buffer) -> Result<()> {
        buffer.0.resize(BUFFER, 0);
        self.source.verify_object(object, &mut buffer.0)
    }

    /// Whether the file's form fits as it is. Refuses what has a mode that is not allowed.
    fn may_link(&self, id: FileId) -> Result<bool> {
        let (from, to) = (self.source.mode(), self.transaction.repo().mode());
        let changes_owner = to == Mode::BareUserOnly && from != to;
        if !self.options.bareuseronly_files && !changes_owner {
            return Ok(is_same_form(from, to));
        }
        let (header, _) = self.source.file_info(id)?;
        check_mode(&header, id)?;
        if !changes_owner {
            return Ok(is_same_form(from, to));
        }
        // Of `bare-user` everything but links is as it has to be, if the mode could be kept.
        Ok(from == Mode::BareUser
            && !header.is_symlink()
            && stored::check_storable(to, &header).is_ok()
            && header.mode & 0o7777 == stored::bare_user_mode(header.mode))
    }

    /// Makes a hard link; false where that is not possible.
    fn link(&self, object: &ObjectId) -> Result<bool> {
        let (dir, path) = self.transaction.destination(object)?;
        for Holder { repo, can_link } in &self.holders {
            let other_form = repo.mode() != self.source.mode();
            if object.kind == ObjectKind::File && other_form {
                return Ok(false);
            }
            if !can_link.load(Ordering::Relaxed) {
                match repo.has_own_object(object)? {
                    true => return Ok(false),
                    false => continue,
                }
            }
            match rustix::fs::linkat(repo.objects(), &*path, dir, &*path, AtFlags::empty()) {
                Ok(()) => {
                    self.transaction.count_wanted(object.kind);
                    self.transaction.count(object, 0);
                    return Ok(true);
                }
                // Somebody else was faster.
                Err(Errno::EXIST) => return Ok(true),
                Err(Errno::NOENT) => {}
                Err(Errno::MLINK) => return Ok(false),
                Err(Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP) => {
                    can_link.store(false, Ordering::Relaxed);
                    return Ok(false);
                }
                Err(error) => return Err(repo.object_io("hardlinking", &path)(error)),
            }
        }
        Err(Error::not_found(*object))
    }

    /// The file as it is stored in an archive.
    fn find_filez(&self, id: FileId) -> Result<Option<(File, u64)>> {
        for Holder { repo, .. } in &self.holders {
            if repo.mode().is_archive()
                && let Some(found) = repo.open_filez(id)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Takes a packed file as it is.
    fn copy_filez(
        &self,
        id: FileId,
        mut filez: File,
        size: u64,
        buffer: &mut Buffer,
    ) -> Result<()> {
        let object = id.object();
        if self.may_share(size) {
            self.transaction.reserve(size)?;
            let tmp = self.transaction.new_file()?;
            if self.share(&filez, tmp.file(), id, size, buffer)? {
                self.transaction.count_wanted(object.kind);
                return self.transaction.finish_plain(tmp, &object, size);
            }
        }
        if self.is_trusted() {
            return self.transaction.copy_filez_trusted(id, &mut filez, size);
        }
        self.transaction.write_filez(id, &mut filez, &|_| Ok(()))
    }

    /// Writes the file in the form that it has here.
    fn convert(&self, id: FileId, buffer: &mut Buffer) -> Result<()> {
        let FileObject {
            header,
            size,
            mut content,
        } = self.source.open_file(id)?;
        let plain = !self.transaction.repo().mode().is_archive();
        if let FileContent::Plain(from) = &content
            && plain
            && size > 0
            && self.may_share(size)
        {
            self.transaction.reserve(size)?;
            let tmp = self.transaction.new_file()?;
            if self.share(from, tmp.file(), id, size, buffer)? {
                self.transaction.count_wanted(ObjectKind::File);
                return self.transaction.finish_regular(tmp, &header, id, size);
            }
        }
        if self.is_trusted() {
            let transaction = self.transaction;
            return transaction.write_file_trusted(&header, size, &mut content, id);
        }
        self.transaction
            .write_file(&header, size, &mut content, Some(id))?;
        Ok(())
    }
}

/// Whether hard links between the two may be made: on one file system, and with one owner, because
/// he could change both.
fn can_link(from: &Repo, to: &Repo) -> Result<bool> {
    let look = |repo: &Repo| {
        let stat = fs::fstat(repo.objects().as_fd());
        let stat = stat.map_err(Error::io("looking at", repo.path().join("objects")))?;
        Ok((stat.st_dev, stat.st_uid))
    };
    Ok(look(from)? == look(to)?)
}

/// Whether both store files in the same way.
fn is_same_form(from: Mode, to: Mode) -> bool {
    from == to && to != Mode::BareSplitXattrs
}

/// Checks that a regular file has no mode bits but those of 0775.
pub fn check_mode(header: &FileHeader, id: FileId) -> Result<()> {
    let bits = header.mode & !S_IFMT & !0o775;
    if header.is_symlink() || bits == 0 {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "Content object {}: invalid mode 0{:o} with bits 0{bits:o}",
        id.0, header.mode
    )))
}
