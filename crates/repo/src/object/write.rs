// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing objects into a transaction's staging directory, each verified as it is written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use flate2::Compression;
use flate2::bufread::DeflateDecoder;
use flate2::write::DeflateEncoder;
use oxtree_format::file::{PREFIX_LEN, header_len};
use oxtree_format::{FileHeader, FileId, FilezHeader, ObjectId, ObjectKind};

use super::copy::{BUFFER, Source, Tee, copy_exactly};
use crate::transaction::Transaction;
use crate::{Error, Mode, Result};

/// Content up to this size is held in memory while it is hashed and packed.
pub const IN_MEMORY: u64 = 1 << 20;

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
        source.expect_again();
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
        if header.is_symlink() {
            check_end(&mut rest).map_err(|error| Error::corrupt(id, error))?;
        }
        let mut content = FilezContent(DeflateDecoder::new(&mut rest));
        if keep {
            let mut hasher = header.hasher();
            if !header.is_symlink() {
                copy_exactly(&mut content, size, &mut hasher, &mut io::sink())
                    .map_err(|error| Error::corrupt(id, error))?;
            }
            verify(Some(id.object()), &FileId(hasher.finish()).object())?;
        } else {
            self.write_file(&header, size, &mut content, Some(id))?;
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

pub(super) fn verify(expected: Option<ObjectId>, actual: &ObjectId) -> Result<()> {
    match expected {
        Some(expected) if expected != *actual => Err(Error::ChecksumMismatch {
            expected,
            actual: actual.checksum,
        }),
        _ => Ok(()),
    }
}

/// The content of a `.filez`. That anything comes after it is an error.
struct FilezContent<R>(DeflateDecoder<R>);

impl<R: BufRead> Read for FilezContent<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.0.read(buffer)?;
        if len == 0 && !buffer.is_empty() {
            check_end(self.0.get_mut())?;
        }
        Ok(len)
    }
}

fn check_end(rest: &mut impl BufRead) -> io::Result<()> {
    match rest.fill_buf()?.is_empty() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "bytes after the end of the content",
        )),
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
