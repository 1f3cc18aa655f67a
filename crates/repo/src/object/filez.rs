// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing file objects that come as `.filez`, packed by somebody else.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use flate2::bufread::DeflateDecoder;
use oxtree_format::file::{PREFIX_LEN, header_len};
use oxtree_format::{FileHeader, FileId, FilezHeader, ObjectKind};

use super::copy::{BUFFER, Exactly, Tee};
use super::place::Form;
use super::write::{in_memory, verify};
use crate::fs::tmpfile::IfExists;
use crate::transaction::Transaction;
use crate::{Error, Result};

/// Packed content of fewer bytes is held in memory until it is verified.
const HELD: u64 = 1 << 20;

/// Larger contents are hashed by a thread of their own.
const HASHED_BESIDE: u64 = 8 << 20;

impl Transaction<'_> {
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
        let mut bytes = Vec::new();
        let header = read_filez_header(id, filez, &mut bytes)?;
        check(&header)?;
        self.reserve(header.size)?;
        if !self.repo().mode().is_archive() {
            let mut rest = BufReader::with_capacity(BUFFER, filez);
            return self.unpack_filez(id, &header, &mut rest);
        }
        let head = bytes.len();
        filez
            .take(HELD)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::corrupt(id, error))?;
        if ((bytes.len() - head) as u64) < HELD {
            return self.keep_filez_bytes(id, &header, head, &bytes);
        }
        self.keep_filez(id, &header, head, &mut bytes.chain(filez))
    }

    /// Writes a file object from the bytes of its `.filez` into an archive, from somebody who is
    /// believed: only its header is looked at, by `check`, too.
    pub fn write_filez_trusted(
        &self,
        id: FileId,
        filez: &mut dyn Read,
        check: &dyn Fn(&FilezHeader) -> Result<()>,
    ) -> Result<()> {
        if !self.repo().mode().is_archive() {
            return self.write_filez(id, filez, check);
        }
        let mut head = Vec::new();
        let header = read_filez_header(id, filez, &mut head)?;
        check(&header)?;
        self.count_wanted(ObjectKind::File);
        self.reserve(header.size)?;
        let tmp = self.new_file()?;
        io::copy(&mut head.chain(filez), &mut tmp.file())
            .map_err(self.content_io("writing", Some(id)))?;
        self.finish_plain(tmp, &id.object(), header.size)
    }

    /// Stores a `.filez` of `size` bytes from a trusted archive: nothing of it is verified.
    pub(super) fn copy_filez_trusted(
        &self,
        id: FileId,
        filez: &mut dyn Read,
        size: u64,
    ) -> Result<()> {
        let object = id.object();
        let io = |error: io::Error| self.content_io("writing", Some(id))(error);
        self.count_wanted(object.kind);
        self.reserve(size)?;
        if size <= in_memory() {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
            filez.take(size).read_to_end(&mut bytes).map_err(io)?;
            self.store(&object, &bytes, Form::Plain, IfExists::Keep)?;
            self.count(&object, size);
            return Ok(());
        }
        let tmp = self.new_file()?;
        io::copy(&mut filez.take(size), &mut tmp.file()).map_err(io)?;
        self.finish_plain(tmp, &object, size)
    }

    fn unpack_filez(&self, id: FileId, header: &FilezHeader, rest: &mut dyn BufRead) -> Result<()> {
        let FilezHeader { size, file } = header;
        if file.is_symlink() {
            check_end(rest).map_err(|error| Error::corrupt(id, error))?;
            self.write_file_bytes(file, &[], Some(id))?;
            return Ok(());
        }
        let mut content = FilezContent(DeflateDecoder::new(rest));
        self.write_file(file, *size, &mut content, Some(id))?;
        Ok(())
    }

    /// Stores a `.filez` that is in memory; its content begins at `head`.
    fn keep_filez_bytes(
        &self,
        id: FileId,
        header: &FilezHeader,
        head: usize,
        bytes: &[u8],
    ) -> Result<()> {
        verify_content(id, header, &mut &bytes[head..])?;
        self.check_storable(&header.file, id)?;
        self.store(&id.object(), bytes, Form::Plain, IfExists::Keep)?;
        self.count(&id.object(), header.size);
        Ok(())
    }

    /// Stores a `.filez` that is too large to be held; its content begins at `head`.
    fn keep_filez(
        &self,
        id: FileId,
        header: &FilezHeader,
        head: usize,
        filez: &mut dyn Read,
    ) -> Result<()> {
        let tmp = self.new_file()?;
        let mut tee = Tee {
            from: filez,
            to: BufWriter::with_capacity(BUFFER, tmp.file()),
        };
        io::copy(&mut (&mut tee).take(head as u64), &mut io::sink())
            .map_err(|error| Error::corrupt(id, error))?;
        verify_content(id, header, &mut BufReader::with_capacity(BUFFER, &mut tee))?;
        tee.to
            .flush()
            .map_err(self.content_io("writing", Some(id)))?;
        drop(tee);
        self.finish_regular(tmp, &header.file, id, header.size)
    }
}

/// Whether this is the packed content of `id`, and nothing comes after it.
fn verify_content(id: FileId, header: &FilezHeader, rest: &mut dyn BufRead) -> Result<()> {
    let corrupt = |error: io::Error| Error::corrupt(id, error);
    let FilezHeader { size, file } = header;
    if file.is_symlink() {
        check_end(rest).map_err(corrupt)?;
        return verify(Some(id.object()), &link_id(file).object());
    }
    let mut content = FilezContent(DeflateDecoder::new(rest));
    let mut content = Exactly::new(&mut content, *size, file.hasher());
    let checksum = match *size > HASHED_BESIDE {
        true => content.hash_beside(),
        false => content
            .copy_to(&mut io::sink())
            .map(|()| content.checksum()),
    };
    let id_of_content = FileId(checksum.map_err(corrupt)?);
    verify(Some(id.object()), &id_of_content.object())
}

fn link_id(header: &FileHeader) -> FileId {
    FileId(header.hasher().finish())
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

fn check_end(rest: &mut (impl BufRead + ?Sized)) -> io::Result<()> {
    match rest.fill_buf()?.is_empty() {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "bytes after the end of the content",
        )),
    }
}

/// Reads the header, and appends its bytes to `bytes`.
fn read_filez_header(id: FileId, filez: &mut dyn Read, bytes: &mut Vec<u8>) -> Result<FilezHeader> {
    let corrupt = |error: io::Error| Error::corrupt(id, error);
    let mut prefix = [0; PREFIX_LEN];
    filez.read_exact(&mut prefix).map_err(corrupt)?;
    let len = header_len(prefix).map_err(|error| Error::corrupt(id, error))?;
    bytes.extend(prefix);
    filez.take(len as u64).read_to_end(bytes).map_err(corrupt)?;
    if bytes.len() != PREFIX_LEN + len {
        return Err(Error::corrupt(id, "header longer than the object"));
    }
    FilezHeader::parse(&bytes[PREFIX_LEN..]).map_err(|error| Error::corrupt(id, error))
}
