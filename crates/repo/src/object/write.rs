// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing objects into a transaction's staging directory, each verified as it is written.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use oxtree_format::{FileHeader, FileId, FilezHeader, ObjectId, ObjectKind};

use super::copy::{Exactly, Source};
use super::deflate;
use crate::fs::tmpfile::IfExists;
use crate::memory::Buffer;
use crate::transaction::Transaction;
use crate::{Error, Mode, Result};

/// Content that all threads together may hold in memory, packed forms not counted.
const MEMORY: u64 = 32 << 20;

/// Where the name of a file object comes from.
#[derive(Clone, Copy, Debug)]
enum Naming {
    /// It is the checksum, which has to be this if there is something.
    Computed(Option<FileId>),
    /// A trusted repository has it under this name.
    Trusted(FileId),
}

/// Content up to this size, in bytes, is held in memory while it is hashed and packed.
pub(crate) fn in_memory() -> u64 {
    let threads = rayon::current_num_threads() as u64;
    (MEMORY / threads.max(1)).clamp(256 << 10, 8 << 20)
}

impl Transaction<'_> {
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
        if size <= in_memory() {
            let bytes = self.read_content(size, content, expected)?;
            return self.write_file_bytes(header, &bytes, expected);
        }
        self.write_stream(header, size, content, Naming::Computed(expected))
    }

    /// Writes a file object from a trusted repository: its name is not verified, unless it is a link.
    pub(super) fn write_file_trusted(
        &self,
        header: &FileHeader,
        size: u64,
        content: &mut dyn Read,
        id: FileId,
    ) -> Result<()> {
        if let Some(target) = &header.symlink {
            return self.write_symlink(header, target, Some(id)).map(drop);
        }
        if size > in_memory() {
            let naming = Naming::Trusted(id);
            return self.write_stream(header, size, content, naming).map(drop);
        }
        let bytes = self.read_content(size, content, Some(id))?;
        self.count_wanted(ObjectKind::File);
        self.store_file_bytes(header, &bytes, id)
    }

    /// All of a content that is known to be small.
    fn read_content(
        &self,
        size: u64,
        content: &mut dyn Read,
        id: Option<FileId>,
    ) -> Result<Buffer> {
        let read = Buffer::read(content, size).map_err(self.content_io("reading", id))?;
        read.ok_or_else(|| self.wrong_size(id, size))
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
        if !self.has_staged(&id.object())? {
            self.store_file_bytes(header, content, id)?;
        }
        Ok(id)
    }

    /// Stores a file object that is not there yet, as the mode has it.
    fn store_file_bytes(&self, header: &FileHeader, content: &[u8], id: FileId) -> Result<()> {
        self.check_storable(header, id)?;
        let packed;
        let bytes = match self.repo().mode() {
            Mode::Archive => {
                packed = self.filez_bytes(header, content);
                &packed[..]
            }
            _ => content,
        };
        self.reserve(bytes.len() as u64)?;
        self.store(&id.object(), bytes, self.form(header), IfExists::Keep)?;
        self.count(&id.object(), content.len() as u64);
        Ok(())
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
        if size <= in_memory() {
            return self.write_file(header, size, source, None);
        }
        let io = |error| self.content_io("reading", None)(error);
        let mut content = Exactly::new(source, size, header.hasher());
        content.copy_to(&mut io::sink()).map_err(io)?;
        let id = FileId(content.checksum());
        if self.has_staged(&id.object())? {
            self.count_wanted(ObjectKind::File);
            return Ok(id);
        }
        source.from.rewind().map_err(io)?;
        source.expect_again();
        self.write_stream(header, size, source, Naming::Computed(Some(id)))
    }

    fn write_stream(
        &self,
        header: &FileHeader,
        size: u64,
        content: &mut dyn Read,
        naming: Naming,
    ) -> Result<FileId> {
        self.count_wanted(ObjectKind::File);
        self.reserve(size)?;
        let tmp = self.new_file()?;
        let (expected, mut content) = match naming {
            Naming::Computed(id) => (id, Exactly::new(content, size, header.hasher())),
            Naming::Trusted(id) => (Some(id), Exactly::unhashed(content, size)),
        };
        let io = |error| self.content_io("writing", expected)(error);
        if self.repo().mode().is_archive() {
            let filez = FilezHeader {
                size,
                file: header.clone(),
            };
            tmp.file().write_all(&filez.stored_bytes()).map_err(io)?;
            deflate::pack_stream(&mut content, self.level(), &mut tmp.file()).map_err(io)?;
        } else {
            content.copy_to(&mut tmp.file()).map_err(io)?;
        }
        let id = match naming {
            Naming::Trusted(id) => id,
            Naming::Computed(_) => {
                let id = FileId(content.checksum());
                verify(expected.map(FileId::object), &id.object())?;
                id
            }
        };
        self.finish_regular(tmp, header, id, size)?;
        Ok(id)
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
            Mode::Archive | Mode::BareUser | Mode::BareSplitXattrs => {
                let bytes = match self.repo().mode() {
                    Mode::Archive => FilezHeader {
                        size: 0,
                        file: header.clone(),
                    }
                    .stored_bytes(),
                    Mode::BareSplitXattrs => Vec::new(),
                    _ => [target.as_bytes(), &[0]].concat(),
                };
                self.check_storable(header, id)?;
                self.reserve(bytes.len() as u64)?;
                self.store(&id.object(), &bytes, self.form(header), IfExists::Keep)?;
                self.count(&id.object(), 0);
            }
            _ => self.store_real_symlink(header, target, id)?,
        }
        Ok(id)
    }

    fn filez_bytes(&self, header: &FileHeader, content: &[u8]) -> Buffer {
        let head = FilezHeader {
            size: content.len() as u64,
            file: header.clone(),
        };
        deflate::pack(&head.stored_bytes(), content, self.level())
    }

    fn level(&self) -> u32 {
        self.repo().config().zlib_level
    }

    pub(super) fn content_io<E: Into<io::Error>>(
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
        move |error| {
            let error: io::Error = error.into();
            // Nothing is wrong with our file: what comes in, from wherever, is not what it should be.
            let is_theirs = matches!(
                error.kind(),
                io::ErrorKind::InvalidData
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::UnexpectedEof
            );
            match id {
                Some(id) if is_theirs && error.raw_os_error().is_none() => {
                    Error::corrupt(id, error)
                }
                _ => Error::io(action, path)(error),
            }
        }
    }

    fn wrong_size(&self, id: Option<FileId>, size: u64) -> Error {
        let reason = format!("content is not of the {size} bytes promised");
        match id {
            Some(id) => Error::corrupt(id, reason),
            None => Error::Invalid(reason),
        }
    }
}

pub(super) fn verify(expected: Option<ObjectId>, actual: &ObjectId) -> Result<()> {
    match expected {
        Some(expected) if expected != *actual => Err(Error::ChecksumMismatch {
            expected,
            actual: actual.checksum,
        }),
        _ => Ok(()),
    }
}
