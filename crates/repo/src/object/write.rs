// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing objects into a transaction's staging directory, each verified as it is written.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::bufread::DeflateDecoder;
use flate2::write::DeflateEncoder;
use oxtree_format::file::{PREFIX_LEN, header_len};
use oxtree_format::{
    Checksum, Commit, CommitId, DirMeta, DirTree, FileHeader, FileId, FilezHeader, Hasher,
    MAX_METADATA_SIZE, ObjectId, ObjectKind, Xattrs,
};
use rustix::fs::{AtFlags, Gid, Mode as Perm, Timespec, Timestamps, Uid};

use super::stored::{self, OSTREEMETA, PLAIN_MODE};
use crate::fs::tmpfile::{IfExists, TmpFile};
use crate::fs::{self, tmpfile, xattr};
use crate::transaction::Transaction;
use crate::{Error, Mode, Result};

/// Content up to this size is held in memory while it is hashed and packed.
pub const IN_MEMORY: u64 = 1 << 20;

const BUFFER: usize = 128 << 10;

/// Checks that `bytes` are a well-formed object of `kind`.
pub fn check_metadata(object: &ObjectId, bytes: &[u8]) -> Result<()> {
    use oxtree_format::gvariant::{Dict, from_bytes};
    let size = bytes.len() as u64;
    if size > MAX_METADATA_SIZE {
        let error = oxtree_format::Error::TooLarge {
            size,
            max: MAX_METADATA_SIZE,
        };
        return Err(Error::corrupt(*object, error));
    }
    let checked = match object.kind {
        ObjectKind::Commit => Commit::parse(bytes).map(drop),
        ObjectKind::DirTree => DirTree::parse(bytes).map(drop),
        ObjectKind::DirMeta => DirMeta::parse(bytes).map(drop),
        ObjectKind::FileXattrs => Xattrs::parse(bytes).map(drop),
        ObjectKind::CommitMeta if bytes.is_empty() => Ok(()),
        ObjectKind::CommitMeta | ObjectKind::TombstoneCommit => {
            from_bytes::<Dict<'_>>(bytes).map(drop).map_err(Into::into)
        }
        kind => Err(oxtree_format::Error::ObjectName(kind.name().to_owned())),
    };
    checked.map_err(|error| Error::corrupt(*object, error))
}

impl Transaction<'_> {
    /// Writes a commit, dirtree or dirmeta, which is checked to be one. With `expected`, its
    /// checksum has to be that.
    pub fn write_metadata(
        &self,
        kind: ObjectKind,
        bytes: &[u8],
        expected: Option<Checksum>,
    ) -> Result<Checksum> {
        let object = ObjectId::new(kind, Checksum::of(bytes));
        verify(
            expected.map(|checksum| ObjectId::new(kind, checksum)),
            &object,
        )?;
        check_metadata(&object, bytes)?;
        self.count_wanted(kind);
        if !self.has_staged(&object)? {
            self.store_plain(&object, bytes, IfExists::Keep)?;
        }
        if kind == ObjectKind::Commit {
            // It was deleted once, and is wanted again.
            let tombstone = ObjectId::new(ObjectKind::TombstoneCommit, object.checksum);
            self.repo().delete_object(&tombstone)?;
        }
        Ok(object.checksum)
    }

    /// Writes a commit's detached metadata (a serialized `a{sv}`), in place of what it has.
    pub fn write_detached_metadata(&self, commit: CommitId, bytes: &[u8]) -> Result<()> {
        let object = ObjectId::new(ObjectKind::CommitMeta, commit.0);
        check_metadata(&object, bytes)?;
        self.store_plain(&object, bytes, IfExists::Replace)
    }

    /// Writes the note that a commit was deleted on purpose.
    pub fn write_tombstone(&self, commit: CommitId) -> Result<()> {
        let object = ObjectId::new(ObjectKind::TombstoneCommit, commit.0);
        let bytes = oxtree_format::tombstone::write(commit);
        self.store_plain(&object, &bytes, IfExists::Keep)
    }

    fn store_plain(&self, object: &ObjectId, bytes: &[u8], if_exists: IfExists) -> Result<()> {
        self.reserve(bytes.len() as u64)?;
        let tmp = self.new_file()?;
        let io = |error| self.file_io("writing", object)(error);
        tmp.file().write_all(bytes).map_err(io)?;
        rustix::fs::fchmod(tmp.file(), Perm::from_raw_mode(PLAIN_MODE))
            .map_err(self.file_io("writing", object))?;
        self.link(tmp, object, if_exists)?;
        self.count(object, bytes.len() as u64);
        Ok(())
    }

    /// Writes a file object of `size` bytes of content. With `expected`, its checksum has to be
    /// that. Refuses content that is shorter or longer than `size`.
    pub fn write_file(
        &self,
        header: &FileHeader,
        size: u64,
        content: &mut dyn Read,
        expected: Option<FileId>,
    ) -> Result<FileId> {
        if let Some(target) = &header.symlink {
            return self.write_symlink(header, target, expected);
        }
        if size <= IN_MEMORY {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
            content
                .take(size + 1)
                .read_to_end(&mut bytes)
                .map_err(self.content_io("reading", expected))?;
            if bytes.len() as u64 != size {
                return Err(self.wrong_size(expected, size));
            }
            return self.write_file_bytes(header, &bytes, expected);
        }
        self.write_stream(header, size, content, expected)
    }

    /// Writes a file object whose content is `content`.
    pub fn write_file_bytes(
        &self,
        header: &FileHeader,
        content: &[u8],
        expected: Option<FileId>,
    ) -> Result<FileId> {
        if let Some(target) = &header.symlink {
            return self.write_symlink(header, target, expected);
        }
        self.count_wanted(ObjectKind::File);
        let id = header.id_with(content);
        verify(expected.map(FileId::object), &id.object())?;
        if self.has_staged(&id.object())? {
            return Ok(id);
        }
        let tmp = match self.repo().mode() {
            Mode::Archive => {
                let bytes = self.filez_bytes(header, content);
                self.reserve(bytes.len() as u64)?;
                let tmp = self.new_file()?;
                tmp.file()
                    .write_all(&bytes)
                    .map_err(self.content_io("writing", Some(id)))?;
                tmp
            }
            _ => {
                self.reserve(content.len() as u64)?;
                let tmp = self.new_file()?;
                tmp.file()
                    .write_all(content)
                    .map_err(self.content_io("writing", Some(id)))?;
                tmp
            }
        };
        self.finish_regular(tmp, header, id, content.len() as u64)?;
        Ok(id)
    }

    /// Writes a file object from a regular file on disk, `path`, which is read once to name it, and
    /// again only if it has to be stored. A file that changes meanwhile is an error.
    pub fn write_file_from(
        &self,
        header: &FileHeader,
        file: &mut File,
        size: u64,
        path: &Path,
    ) -> Result<FileId> {
        let mut source = Source::new(file, size);
        let written = self.write_file_twice_read(header, &mut source, size);
        source.blame(written, path)
    }

    /// Writes a file object from a stream, part of the file `path` on disk.
    pub fn write_file_stream(
        &self,
        header: &FileHeader,
        content: &mut dyn Read,
        size: u64,
        path: &Path,
    ) -> Result<FileId> {
        let mut source = Source::new(content, size);
        let written = self.write_file(header, size, &mut source, None);
        source.blame(written, path)
    }

    fn write_file_twice_read(
        &self,
        header: &FileHeader,
        source: &mut Source<&mut File>,
        size: u64,
    ) -> Result<FileId> {
        if size <= IN_MEMORY {
            return self.write_file(header, size, source, None);
        }
        let mut hasher = header.hasher();
        let io = |error| self.content_io("reading", None)(error);
        copy_exactly(source, size, &mut hasher, &mut io::sink()).map_err(io)?;
        let id = FileId(hasher.finish());
        if self.has_staged(&id.object())? {
            self.count_wanted(ObjectKind::File);
            return Ok(id);
        }
        source.from.rewind().map_err(io)?;
        source.left = size;
        self.write_stream(header, size, source, Some(id))
    }

    fn write_stream(
        &self,
        header: &FileHeader,
        size: u64,
        content: &mut dyn Read,
        expected: Option<FileId>,
    ) -> Result<FileId> {
        self.count_wanted(ObjectKind::File);
        self.reserve(size)?;
        let tmp = self.new_file()?;
        let mut hasher = header.hasher();
        let io = |error| self.content_io("writing", expected)(error);
        let mut out = BufWriter::with_capacity(BUFFER, tmp.file());
        if self.repo().mode().is_archive() {
            let filez = FilezHeader {
                size,
                file: header.clone(),
            };
            out.write_all(&filez.stored_bytes()).map_err(io)?;
            let mut encoder = DeflateEncoder::new(out, self.level());
            copy_exactly(content, size, &mut hasher, &mut encoder).map_err(io)?;
            out = encoder.finish().map_err(io)?;
        } else {
            copy_exactly(content, size, &mut hasher, &mut out).map_err(io)?;
        }
        out.flush().map_err(io)?;
        drop(out);
        let id = FileId(hasher.finish());
        verify(expected.map(FileId::object), &id.object())?;
        self.finish_regular(tmp, header, id, size)?;
        Ok(id)
    }

    /// Writes a file object from the bytes of its `.filez`, all of which must belong to it. An
    /// archive repository keeps them as they are.
    ///
    /// `check` sees the header before any content is read, and can refuse it.
    pub fn write_filez(
        &self,
        id: FileId,
        filez: &mut dyn Read,
        check: &dyn Fn(&FilezHeader) -> Result<()>,
    ) -> Result<()> {
        let keep = self.repo().mode().is_archive();
        let tmp = keep.then(|| self.new_file()).transpose()?;
        let mut tee = Tee {
            from: filez,
            to: tmp
                .as_ref()
                .map(|tmp| BufWriter::with_capacity(BUFFER, tmp.file())),
        };
        let header = read_filez_header(id, &mut tee)?;
        check(&header)?;
        let FilezHeader { size, file: header } = header;
        self.reserve(size)?;
        let mut rest = BufReader::with_capacity(BUFFER, &mut tee);
        if keep {
            let mut hasher = header.hasher();
            if !header.is_symlink() {
                let mut decoder = DeflateDecoder::new(&mut rest);
                copy_exactly(&mut decoder, size, &mut hasher, &mut io::sink())
                    .map_err(|error| Error::corrupt(id, error))?;
            }
            verify(Some(id.object()), &FileId(hasher.finish()).object())?;
        } else if header.is_symlink() {
            self.write_file_bytes(&header, &[], Some(id))?;
        } else {
            let mut decoder = DeflateDecoder::new(&mut rest);
            self.write_file(&header, size, &mut decoder, Some(id))?;
            // Sees the end of the deflate stream where the reader above had no need to.
            io::copy(&mut decoder, &mut io::sink()).map_err(|error| Error::corrupt(id, error))?;
        }
        let mut left = [0];
        if rest
            .read(&mut left)
            .map_err(|error| Error::corrupt(id, error))?
            > 0
        {
            return Err(Error::corrupt(id, "bytes after the end of the content"));
        }
        drop(rest);
        if let Some(out) = &mut tee.to {
            out.flush().map_err(self.content_io("writing", Some(id)))?;
        }
        drop(tee);
        match tmp {
            Some(tmp) => self.finish_regular(tmp, &header, id, size),
            None => Ok(()),
        }
    }

    fn write_symlink(
        &self,
        header: &FileHeader,
        target: &str,
        expected: Option<FileId>,
    ) -> Result<FileId> {
        self.count_wanted(ObjectKind::File);
        let id = FileId(header.hasher().finish());
        verify(expected.map(FileId::object), &id.object())?;
        if self.has_staged(&id.object())? {
            return Ok(id);
        }
        match self.repo().mode() {
            Mode::Archive | Mode::BareUser => {
                let bytes = match self.repo().mode() {
                    Mode::Archive => FilezHeader {
                        size: 0,
                        file: header.clone(),
                    }
                    .stored_bytes(),
                    _ => [target.as_bytes(), &[0]].concat(),
                };
                self.reserve(bytes.len() as u64)?;
                let tmp = self.new_file()?;
                tmp.file()
                    .write_all(&bytes)
                    .map_err(self.content_io("writing", Some(id)))?;
                self.finish_regular(tmp, header, id, 0)?;
            }
            _ => self.store_real_symlink(header, target, id)?,
        }
        Ok(id)
    }

    fn store_real_symlink(&self, header: &FileHeader, target: &str, id: FileId) -> Result<()> {
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

    fn check_storable(&self, header: &FileHeader, id: FileId) -> Result<()> {
        let mode = self.repo().mode();
        stored::check_storable(mode, header).map_err(|what| {
            let path = self.repo().path().display();
            Error::Invalid(format!(
                "{path}, a {mode} repository, cannot hold {what} (file object {id})"
            ))
        })
    }

    /// Gives a file that holds the content its owner, mode and attributes, and its name.
    fn finish_regular(
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

    fn link(&self, tmp: TmpFile<'_>, object: &ObjectId, if_exists: IfExists) -> Result<()> {
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

    fn new_file(&self) -> Result<TmpFile<'_>> {
        TmpFile::new(self.tmp_dir()).map_err(Error::io("creating a file in", self.tmp_path()))
    }

    fn filez_bytes(&self, header: &FileHeader, content: &[u8]) -> Vec<u8> {
        let head = FilezHeader {
            size: content.len() as u64,
            file: header.clone(),
        }
        .stored_bytes();
        let mut encoder = DeflateEncoder::new(head, self.level());
        // Writing into memory cannot fail.
        let written = encoder.write_all(content).and_then(|()| encoder.finish());
        written.unwrap_or_default()
    }

    fn level(&self) -> Compression {
        Compression::new(self.repo().config().zlib_level)
    }

    fn tmp_path(&self) -> PathBuf {
        self.repo().path().join("tmp")
    }

    fn file_io<E: Into<io::Error>>(
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

    fn content_io<E: Into<io::Error>>(
        &self,
        action: &'static str,
        id: Option<FileId>,
    ) -> impl FnOnce(E) -> Error {
        let path = match id {
            Some(id) => self
                .repo()
                .path()
                .join("objects")
                .join(self.repo().loose(&id.object())),
            None => self.tmp_path(),
        };
        Error::io(action, path)
    }

    fn wrong_size(&self, id: Option<FileId>, size: u64) -> Error {
        let reason = format!("content is not of the {size} bytes promised");
        match id {
            Some(id) => Error::corrupt(id, reason),
            None => Error::Invalid(reason),
        }
    }
}

fn verify(expected: Option<ObjectId>, actual: &ObjectId) -> Result<()> {
    match expected {
        Some(expected) if expected != *actual => Err(Error::ChecksumMismatch {
            expected,
            actual: actual.checksum,
        }),
        _ => Ok(()),
    }
}

fn read_filez_header(id: FileId, filez: &mut dyn Read) -> Result<FilezHeader> {
    let mut prefix = [0; PREFIX_LEN];
    filez
        .read_exact(&mut prefix)
        .map_err(|error| Error::corrupt(id, error))?;
    let len = header_len(prefix).map_err(|error| Error::corrupt(id, error))?;
    let mut header = Vec::new();
    filez
        .take(len as u64)
        .read_to_end(&mut header)
        .map_err(|error| Error::corrupt(id, error))?;
    if header.len() != len {
        return Err(Error::corrupt(id, "header longer than the object"));
    }
    FilezHeader::parse(&header).map_err(|error| Error::corrupt(id, error))
}

/// Copies exactly `size` bytes and hashes them; an error if there are fewer, or more.
fn copy_exactly(
    from: &mut dyn Read,
    size: u64,
    hasher: &mut Hasher,
    to: &mut dyn Write,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut left = size;
    loop {
        let len = match from.read(&mut buffer) {
            Ok(0) if left == 0 => return Ok(()),
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "content is too short",
                ));
            }
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        left = left.checked_sub(len as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("content is longer than {size} bytes"),
            )
        })?;
        hasher.update(&buffer[..len]);
        to.write_all(&buffer[..len])?;
    }
}

/// Something outside of the repository that is to have a certain size. Remembers its own faults,
/// so that they are not taken for faults of the repository.
struct Source<R> {
    from: R,
    size: u64,
    left: u64,
    fault: Option<io::Error>,
}

impl<R: Read> Source<R> {
    fn new(from: R, size: u64) -> Self {
        Self {
            from,
            size,
            left: size,
            fault: None,
        }
    }

    /// The outcome of writing what was read from here; a fault of our own is one of `path`.
    fn blame<T>(self, outcome: Result<T>, path: &Path) -> Result<T> {
        match self.fault {
            Some(fault) => Err(Error::io("reading", path)(fault)),
            None => outcome,
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let other_size = |how: &str| {
            let text = format!("it has {how} than the {} bytes expected", self.size);
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let fault = match self.from.read(buffer) {
            Ok(len) if len as u64 > self.left => other_size("more"),
            Ok(0) if self.left > 0 && !buffer.is_empty() => other_size("less"),
            Ok(len) => {
                self.left -= len as u64;
                return Ok(len);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => error,
        };
        let kind = fault.kind();
        self.fault = Some(fault);
        Err(kind.into())
    }
}

/// Writes down all that is read.
struct Tee<'a, W: Write> {
    from: &'a mut dyn Read,
    to: Option<W>,
}

impl<W: Write> Read for Tee<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.from.read(buffer)?;
        if let Some(to) = &mut self.to {
            to.write_all(&buffer[..len])?;
        }
        Ok(len)
    }
}

impl Transaction<'_> {
    /// Where an object goes: a directory and a path below it whose own directory exists.
    fn destination(&self, object: &ObjectId) -> Result<(std::os::fd::BorrowedFd<'_>, String)> {
        let path = self.repo().loose(object);
        self.ensure_fanout(object.checksum.as_bytes()[0])?;
        Ok((self.staging_dir(), path))
    }
}
