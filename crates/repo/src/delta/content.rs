// SPDX-License-Identifier: MIT OR Apache-2.0
//! The content of a file that a delta makes piece by piece, as a stream.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use oxtree_format::delta::part::Piece;
use oxtree_format::delta::patch::{STEP_LEN, Step};
use oxtree_format::{Checksum, FileId};

use super::payload::{Payload, invalid};
use crate::fs::tmpfile::TmpFile;
use crate::{FileContent, Transaction};

/// Reads the content that pieces make.
pub(super) struct Content<'p, P> {
    transaction: &'p Transaction<'p>,
    payload: &'p Payload<'p>,
    pieces: P,
    source: Option<Source<'p>>,
    now: Now,
}

/// The piece that is being read.
enum Now {
    Nothing,
    Blob(Range<u64>),
    Source(Range<u64>),
    Patch(Patch),
}

/// A patch that is being read.
struct Patch {
    /// What is left of it in the blob.
    rest: Range<u64>,
    /// Where in the source the bytes are that those of the patch are added to. It may be anywhere.
    at: i64,
    step: Step,
}

/// A file object that can be read anywhere.
struct Source<'t> {
    /// Where its checksum is in the blob.
    name: u64,
    file: Readable<'t>,
    size: u64,
}

enum Readable<'t> {
    Plain(File),
    Unpacked(TmpFile<'t>),
}

impl<'p, P: Iterator<Item = Piece>> Content<'p, P> {
    pub(super) fn new(
        transaction: &'p Transaction<'p>,
        payload: &'p Payload<'p>,
        pieces: P,
    ) -> Self {
        Self {
            transaction,
            payload,
            pieces,
            source: None,
            now: Now::Nothing,
        }
    }

    fn begin(&mut self, piece: Piece) -> io::Result<Now> {
        Ok(match piece {
            Piece::Blob(range) => Now::Blob(range),
            Piece::Source {
                source,
                offset,
                len,
            } => {
                let size = self.open(source)?;
                let end = offset.checked_add(len).filter(|end| *end <= size);
                let end = end.ok_or_else(|| invalid("it reads beyond the end of its source"))?;
                Now::Source(offset..end)
            }
            Piece::Patch { source, patch } => {
                self.open(source)?;
                Now::Patch(Patch {
                    rest: patch,
                    at: 0,
                    step: Step::default(),
                })
            }
        })
    }

    /// Opens the source whose checksum is there in the blob, unless it is the one that was open. Its
    /// size.
    fn open(&mut self, name: u64) -> io::Result<u64> {
        if let Some(source) = self.source.as_ref().filter(|source| source.name == name) {
            return Ok(source.size);
        }
        let checksum = self.payload.blob(name..name + 32)?;
        let id = FileId(Checksum::from_bytes(&checksum).map_err(invalid)?);
        let source = Source::open(self.transaction, name, id)?;
        let size = source.size;
        self.source = Some(source);
        Ok(size)
    }

    fn read_patch(&self, patch: &mut Patch, buffer: &mut [u8]) -> io::Result<usize> {
        while patch.step.alike == 0 && patch.step.fresh == 0 {
            patch.at = patch
                .at
                .checked_add(patch.step.seek)
                .ok_or_else(|| invalid("its patch goes too far"))?;
            if patch.rest.is_empty() {
                return Ok(0);
            }
            let mut step = [0; STEP_LEN];
            self.exactly(&mut step, &mut patch.rest)?;
            patch.step = Step::parse(&step).map_err(invalid)?;
        }
        let Step { alike, fresh, .. } = &mut patch.step;
        let (left, add) = match *alike {
            0 => (fresh, false),
            _ => (alike, true),
        };
        let len = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..len];
        self.exactly(buffer, &mut patch.rest)?;
        *left -= len as u64;
        if add {
            self.add(buffer, patch.at)?;
            let len = i64::try_from(len).map_err(invalid)?;
            let at = patch.at.checked_add(len);
            patch.at = at.ok_or_else(|| invalid("its patch goes too far"))?;
        }
        Ok(len)
    }

    /// Reads bytes of the blob that have to be there.
    fn exactly(&self, buffer: &mut [u8], rest: &mut Range<u64>) -> io::Result<()> {
        if rest.end - rest.start < buffer.len() as u64 {
            return Err(invalid("its patch is cut off"));
        }
        let mut done = 0;
        while done < buffer.len() {
            match self.payload.read_blob_at(&mut buffer[done..], rest.start)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                len => {
                    done += len;
                    rest.start += len as u64;
                }
            }
        }
        Ok(())
    }

    /// Adds the source's bytes from `at` on to `buffer`; where there are none, nothing.
    fn add(&self, buffer: &mut [u8], at: i64) -> io::Result<()> {
        let Some(source) = &self.source else {
            return Ok(());
        };
        let before = usize::try_from(at.saturating_neg()).unwrap_or(0);
        let Some(buffer) = buffer.get_mut(before..) else {
            return Ok(());
        };
        let mut at = u64::try_from(at).unwrap_or(0);
        let mut old = vec![0; buffer.len()];
        let mut done = 0;
        while done < old.len() && at < source.size {
            let len = source.file().read_at(&mut old[done..], at)?;
            if len == 0 {
                break;
            }
            done += len;
            at += len as u64;
        }
        for (new, old) in buffer.iter_mut().zip(&old[..done]) {
            *new = new.wrapping_add(*old);
        }
        Ok(())
    }
}

impl<'t> Source<'t> {
    fn open(transaction: &'t Transaction<'t>, name: u64, id: FileId) -> io::Result<Self> {
        let object = transaction.open_file(id).map_err(io::Error::other)?;
        let size = object.size;
        let file = match object.content {
            FileContent::None => return Err(invalid("its source is a symbolic link")),
            FileContent::Plain(file) => Readable::Plain(file),
            mut content @ FileContent::Deflated(_) => {
                let tmp = TmpFile::new(transaction.tmp_dir())?;
                io::copy(&mut (&mut content).take(size), &mut tmp.file())?;
                Readable::Unpacked(tmp)
            }
        };
        Ok(Self { name, file, size })
    }

    fn file(&self) -> &File {
        match &self.file {
            Readable::Plain(file) => file,
            Readable::Unpacked(tmp) => tmp.file(),
        }
    }
}

impl<P: Iterator<Item = Piece>> Read for Content<'_, P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let mut now = std::mem::replace(&mut self.now, Now::Nothing);
            let len = match &mut now {
                Now::Nothing => 0,
                Now::Blob(range) => some(range, buffer, |buffer, at| {
                    self.payload.read_blob_at(buffer, at)
                })?,
                Now::Source(range) => some(range, buffer, |buffer, at| match &self.source {
                    Some(source) => source.file().read_at(buffer, at),
                    None => Ok(0),
                })?,
                Now::Patch(patch) => self.read_patch(patch, buffer)?,
            };
            if len > 0 {
                self.now = now;
                return Ok(len);
            }
            match self.pieces.next() {
                Some(piece) => self.now = self.begin(piece)?,
                None => return Ok(0),
            }
        }
    }
}

/// Reads some of a range, which has to be there; 0 at its end.
fn some(
    range: &mut Range<u64>,
    buffer: &mut [u8],
    read_at: impl FnOnce(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    if range.is_empty() {
        return Ok(0);
    }
    let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let most = left.min(buffer.len());
    match read_at(&mut buffer[..most], range.start)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        len => {
            range.start += len as u64;
            Ok(len)
        }
    }
}
