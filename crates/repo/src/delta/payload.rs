// SPDX-License-Identifier: MIT OR Apache-2.0
//! A part, unpacked to a file without a name.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;

use lzma_rust2::XzReader;
use oxtree_format::checksum::Hashing;
use oxtree_format::delta::Part;
use oxtree_format::delta::part::{self, FileMode, Layout, PLAIN, TAIL, XZ};
use oxtree_format::{FileHeader, Xattrs};

use crate::Transaction;
use crate::fs::tmpfile::TmpFile;

/// What the decoder of xz may use, in KiB: a dictionary of 64 MiB, which is the largest preset's.
const XZ_MEMORY: u32 = (64 << 10) + 1024;

/// Besides the blob, a payload is small: what is held in memory of it may be so large, in bytes.
const MAX_HEAD: u64 = 32 << 20;

/// Bytes that are unpacked at a time.
const PIECE: usize = 128 << 10;

/// An unpacked part that has the checksum that was promised.
#[derive(Debug)]
pub(super) struct Payload<'t> {
    transaction: &'t Transaction<'t>,
    file: TmpFile<'t>,
    reserved: u64,
    blob: u64,
    /// How long the blob is.
    pub(super) blob_len: u64,
    modes: Vec<FileMode>,
    xattrs: Vec<Xattrs>,
    pub(super) operations: Vec<u8>,
}

impl<'t> Payload<'t> {
    /// Unpacks a part.
    pub(super) fn unpack(
        transaction: &'t Transaction<'t>,
        part: &Part<'_>,
        packed: &mut dyn Read,
    ) -> io::Result<Self> {
        let mut payload = Self {
            transaction,
            file: TmpFile::new(transaction.tmp_dir())?,
            reserved: 0,
            blob: 0,
            blob_len: 0,
            modes: Vec::new(),
            xattrs: Vec::new(),
            operations: Vec::new(),
        };
        let len = payload.fill(part, packed)?;
        payload.read_head(len)?;
        Ok(payload)
    }

    /// Writes the payload to the file, and checks what was packed. How long it is.
    fn fill(&mut self, part: &Part<'_>, packed: &mut dyn Read) -> io::Result<u64> {
        // One more, to see that there are too many.
        let mut packed = Hashing::new(packed.take(part.size.saturating_add(1)));
        let len = self.copy(&mut unpacked(&mut packed)?, largest(part))?;
        io::copy(&mut packed, &mut io::sink())?;
        if packed.count() != part.size {
            return Err(invalid(format!(
                "it has {} bytes, or more, instead of {}",
                packed.count(),
                part.size
            )));
        }
        let actual = packed.finish();
        match actual == part.checksum {
            true => Ok(len),
            false => Err(invalid(format!(
                "Checksum mismatch in static delta part; expected={} actual={actual}",
                part.checksum
            ))),
        }
    }

    fn copy(&mut self, from: &mut dyn Read, most: u64) -> io::Result<u64> {
        let mut buffer = vec![0; PIECE];
        let mut len = 0;
        loop {
            let count = match from.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count?,
            };
            if count == 0 {
                return Ok(len);
            }
            len += count as u64;
            if len > most {
                return Err(invalid(format!(
                    "it unpacks to more than the {most} bytes that its objects can need"
                )));
            }
            self.transaction
                .reserve(count as u64)
                .map_err(io::Error::other)?;
            self.reserved += count as u64;
            self.file.file().write_all(&buffer[..count])?;
        }
    }

    fn read_head(&mut self, len: u64) -> io::Result<()> {
        let tail = self.read(len.saturating_sub(TAIL as u64)..len)?;
        let layout = Layout::parse(len, &tail).map_err(invalid)?;
        let (blob, head) = (
            layout.blob,
            [layout.modes, layout.xattrs, layout.operations],
        );
        if head.iter().any(|range| range.end - range.start > MAX_HEAD) {
            return Err(invalid("its lists are larger than any that make sense"));
        }
        let [modes, xattrs, operations] = head.map(|range| self.read(range));
        self.modes = part::modes(&modes?).map_err(invalid)?;
        self.xattrs = part::xattrs(&xattrs?).map_err(invalid)?;
        self.operations = operations?;
        (self.blob, self.blob_len) = (blob.start, blob.end - blob.start);
        Ok(())
    }

    /// The type and permissions at this place of the list.
    pub(super) fn mode(&self, place: u64) -> Option<u32> {
        let mode = self.modes.get(usize::try_from(place).ok()?)?;
        Some(mode.mode)
    }

    /// The header of a file, still without a link's target.
    pub(super) fn header(&self, mode: u64, xattrs: u64) -> io::Result<FileHeader> {
        let index = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let mode = self.modes.get(index(mode));
        let mode = mode.ok_or_else(|| invalid("its mode is not in the list"))?;
        let xattrs = self.xattrs.get(index(xattrs));
        let xattrs = xattrs.ok_or_else(|| invalid("its attributes are not in the list"))?;
        Ok(FileHeader {
            uid: mode.uid,
            gid: mode.gid,
            mode: mode.mode,
            symlink: None,
            xattrs: xattrs.clone(),
        })
    }

    fn read(&self, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(invalid)?];
        self.file().read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    /// Bytes of the blob. The range is within it.
    pub(super) fn blob(&self, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
        self.read(self.blob + range.start..self.blob + range.end)
    }

    /// Reads bytes of the blob from `at` on.
    pub(super) fn read_blob_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file().read_at(buffer, self.blob + at)
    }

    fn file(&self) -> &File {
        self.file.file()
    }
}

impl Drop for Payload<'_> {
    fn drop(&mut self) {
        self.transaction.release(self.reserved);
    }
}

/// What is in a part's file, unpacked.
fn unpacked<'p>(packed: &'p mut dyn Read) -> io::Result<Box<dyn Read + 'p>> {
    let mut letter = [0];
    packed.read_exact(&mut letter)?;
    match letter[0] {
        PLAIN => Ok(Box::new(packed)),
        XZ => {
            let packed = BufReader::with_capacity(PIECE, packed);
            Ok(Box::new(XzReader::new_mem_limit(packed, false, XZ_MEMORY)))
        }
        letter => Err(invalid(format!("Invalid compression type '{letter}'"))),
    }
}

/// The members of a payload but the blob, and how long that is.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) modes: Vec<FileMode>,
    pub(super) xattrs: Vec<Xattrs>,
    pub(super) blob: u64,
    pub(super) operations: Vec<u8>,
}

impl Head {
    /// Reads a part without keeping it: twice, as where its members are stands at the end.
    pub(super) fn read(first: &mut dyn Read, second: &mut dyn Read) -> io::Result<Self> {
        let (mut len, mut tail) = (0, Vec::new());
        let mut from = unpacked(first)?;
        let mut buffer = vec![0; PIECE];
        loop {
            let count = from.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            len += count as u64;
            tail.extend_from_slice(&buffer[count.saturating_sub(TAIL)..count]);
            tail.drain(..tail.len().saturating_sub(TAIL));
        }
        let layout = Layout::parse(len, &tail).map_err(invalid)?;
        let mut from = unpacked(second)?;
        let mut member = |range: &std::ops::Range<u64>| {
            let len = range.end - range.start;
            if len > MAX_HEAD {
                return Err(invalid("its lists are larger than any that make sense"));
            }
            let mut bytes = Vec::new();
            (&mut from).take(len).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let modes = part::modes(&member(&layout.modes)?).map_err(invalid)?;
        let xattrs = part::xattrs(&member(&layout.xattrs)?).map_err(invalid)?;
        let blob = layout.blob.end - layout.blob.start;
        io::copy(&mut (&mut from).take(blob), &mut io::sink())?;
        let mut operations = Vec::new();
        let len = layout.operations.end - layout.operations.start;
        from.take(len.min(MAX_HEAD)).read_to_end(&mut operations)?;
        Ok(Self {
            modes,
            xattrs,
            blob,
            operations,
        })
    }
}

/// The most bytes that a payload may have. A patch can be longer than what it makes: bsdiff's steps take 24 bytes,
/// and make 8 and more.
fn largest(part: &Part<'_>) -> u64 {
    let objects = part.objects.len() as u64;
    part.content_size
        .saturating_mul(4)
        .saturating_add(objects << 10)
        .saturating_add(1 << 20)
}

pub(super) fn invalid<E: Into<Box<dyn std::error::Error + Send + Sync>>>(error: E) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
