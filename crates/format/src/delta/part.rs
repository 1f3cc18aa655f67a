// SPDX-License-Identifier: MIT OR Apache-2.0
//! The payload of a part: where its pieces are, and what its operations are to make.
//!
//! The blob can be large, so it need not be in memory: [`Layout`] says from the payload's last bytes where
//! everything is. The operations are checked as a whole before the first object is made, and give
//! a [`Recipe`] an object, none of which needs another.

use std::ops::Range;

use oxtree_gvariant::{Be, Seq, from_bytes, to_bytes};

use super::Objects;
use crate::xattrs::XattrsVariant;
use crate::{Error, ObjectId, ObjectKind, Xattrs};

/// The letter of a part that is packed with xz.
pub const XZ: u8 = b'x';

/// The letter of a part that is not packed.
pub const PLAIN: u8 = 0;

/// How many bytes at the end of a payload [`Layout::parse`] has to see.
pub const TAIL: usize = 24;

/// Where the members of a payload are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Owners and modes, for [`modes`].
    pub modes: Range<u64>,
    /// Sets of extended attributes, for [`xattrs`].
    pub xattrs: Range<u64>,
    /// The blob.
    pub blob: Range<u64>,
    /// The operations, for [`recipes`].
    pub operations: Range<u64>,
}

impl Layout {
    /// Reads the framing offsets of a payload of `len` bytes, which ends with `tail` ([`TAIL`] bytes, or all of
    /// a shorter one).
    pub fn parse(len: u64, tail: &[u8]) -> Result<Self, Error> {
        let wrong = Error::Delta("a part whose members are out of order");
        let width = width(len);
        let mut ends = [0; 3];
        for (at, end) in ends.iter_mut().enumerate() {
            let begin = tail
                .len()
                .checked_sub((at + 1) * width)
                .ok_or(wrong.clone())?;
            let bytes = tail[begin..begin + width].iter().rev();
            *end = bytes.fold(0, |end, byte| end << 8 | u64::from(*byte));
        }
        let [modes, xattrs, blob] = ends;
        let operations = len - 3 * width as u64;
        // The narrowest offsets that will do: there is one way only to write a payload.
        let ordered = modes <= xattrs && xattrs <= blob && blob <= operations;
        if !ordered || offset_width(operations, 3) != width {
            return Err(wrong);
        }
        Ok(Self {
            modes: 0..modes,
            xattrs: modes..xattrs,
            blob: xattrs..blob,
            operations: blob..operations,
        })
    }

    /// The framing offsets that end a payload whose members end at these places.
    pub fn tail(modes: u64, xattrs: u64, blob: u64, operations: u64) -> Vec<u8> {
        let width = offset_width(operations, 3);
        let ends = [blob, xattrs, modes];
        ends.iter()
            .flat_map(|end| end.to_le_bytes().into_iter().take(width))
            .collect()
    }
}

/// How wide the offsets of a container of `len` bytes are, in bytes.
fn width(len: u64) -> usize {
    match len {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

/// The same for a container that has `count` of them after `len` bytes.
fn offset_width(len: u64, count: u64) -> usize {
    let fits = |width: &usize| self::width(len.saturating_add(count * *width as u64)) <= *width;
    [1, 2, 4].into_iter().find(fits).unwrap_or(8)
}

/// Owner, group and mode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileMode {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The type and the permissions.
    pub mode: u32,
}

/// Reads the first member of a payload.
pub fn modes(bytes: &[u8]) -> Result<Vec<FileMode>, Error> {
    let modes: Seq<'_, (Be<u32>, Be<u32>, Be<u32>)> = from_bytes(bytes)?;
    let mode = |(Be(uid), Be(gid), Be(mode))| FileMode { uid, gid, mode };
    Ok(modes.iter().map(mode).collect())
}

/// Writes the first member of a payload.
pub fn modes_to_vec(modes: &[FileMode]) -> Vec<u8> {
    let modes = modes.iter();
    to_bytes(
        &modes
            .map(|m| (Be(m.uid), Be(m.gid), Be(m.mode)))
            .collect::<Vec<_>>(),
    )
}

/// Reads the second member of a payload.
pub fn xattrs(bytes: &[u8]) -> Result<Vec<Xattrs>, Error> {
    let sets: Seq<'_, XattrsVariant<'_>> = from_bytes(bytes)?;
    sets.iter().map(|set| Xattrs::from_variant(&set)).collect()
}

/// Writes the second member of a payload.
pub fn xattrs_to_vec(sets: &[Xattrs]) -> Vec<u8> {
    let with_nul = |name: &[u8]| [name, &[0]].concat();
    let set = |set: &Xattrs| -> Vec<(Vec<u8>, Vec<u8>)> {
        set.iter()
            .map(|(name, value)| (with_nul(name), value.to_vec()))
            .collect()
    };
    to_bytes(&sets.iter().map(set).collect::<Vec<_>>())
}

/// How an object is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe<'a> {
    /// The object.
    pub object: ObjectId,
    /// How it is made.
    pub made: Made<'a>,
}

/// How an object is made. Places in the blob are within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made<'a> {
    /// Metadata, all of it in the blob.
    Metadata(Range<u64>),
    /// A file (or link), all of whose content (or target) is in the blob.
    Whole {
        /// The index of its owner and mode.
        mode: u64,
        /// The index of its extended attributes.
        xattrs: u64,
        /// Its content.
        content: Range<u64>,
    },
    /// A file, piece by piece.
    Pieces {
        /// The index of its owner and mode.
        mode: u64,
        /// The index of its extended attributes.
        xattrs: u64,
        /// The size of its content in bytes, which the pieces may or may not have.
        size: u64,
        /// The pieces in order.
        pieces: Pieces<'a>,
    },
}

/// A piece of a file. Places in the blob are within it, those in a source need not be. A source is the place
/// in the blob where the checksum of a file object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the blob.
    Blob(Range<u64>),
    /// Bytes of a source.
    Source {
        /// The source.
        source: u64,
        /// Where in it.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// A patch in the blob, applied to a source.
    Patch {
        /// The source.
        source: u64,
        /// Where in the blob the patch is.
        patch: Range<u64>,
    },
}

/// An operation, with its numbers.
enum Operation {
    Splice,
    Open,
    Write { len: u64, offset: u64 },
    Patch { offset: u64, len: u64 },
    Close,
    Source(u64),
    NoSource,
}

/// Operations still to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor<'a> {
    bytes: &'a [u8],
    /// How long the blob is.
    blob: u64,
    source: Option<u64>,
}

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn number(&mut self) -> Result<u64, Error> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self
                .byte()
                .ok_or(Error::Delta("an operation that is cut off"))?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Error::Delta("a number that is too large"))
    }

    /// The next operation; [`None`] at the end.
    fn next(&mut self) -> Result<Option<Operation>, Error> {
        let Some(letter) = self.byte() else {
            return Ok(None);
        };
        Ok(Some(match letter {
            b'S' => Operation::Splice,
            b'o' => Operation::Open,
            b'c' => Operation::Close,
            b'R' => Operation::NoSource,
            b'r' => Operation::Source(self.number()?),
            b'w' => {
                let (len, offset) = (self.number()?, self.number()?);
                Operation::Write { len, offset }
            }
            b'B' => {
                let (offset, len) = (self.number()?, self.number()?);
                Operation::Patch { offset, len }
            }
            _ => return Err(Error::Delta("an operation that is not known")),
        }))
    }

    /// A place in the blob.
    fn place(&self, offset: u64, len: u64) -> Result<Range<u64>, Error> {
        match offset.checked_add(len) {
            Some(end) if end <= self.blob => Ok(offset..end),
            _ => Err(Error::Delta("an operation that goes beyond the blob")),
        }
    }

    /// Notes a source, if that is what the operation does.
    fn set_source(&mut self, operation: &Operation) -> Result<bool, Error> {
        self.source = match operation {
            Operation::Source(at) => Some(self.place(*at, 32)?.start),
            Operation::NoSource => None,
            _ => return Ok(false),
        };
        Ok(true)
    }

    /// The next piece of the object that is open; [`None`] at its end.
    fn piece(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            let Some(operation) = self.next()? else {
                return Err(Error::Delta("an object without an end"));
            };
            if self.set_source(&operation)? {
                continue;
            }
            return Ok(Some(match (operation, self.source) {
                (Operation::Close, _) => return Ok(None),
                (Operation::Write { len, offset }, None) => Piece::Blob(self.place(offset, len)?),
                (Operation::Write { len, offset }, Some(source)) => Piece::Source {
                    source,
                    offset,
                    len,
                },
                (Operation::Patch { offset, len }, Some(source)) => Piece::Patch {
                    source,
                    patch: self.place(offset, len)?,
                },
                (Operation::Patch { .. }, None) => {
                    return Err(Error::Delta("a patch of nothing"));
                }
                _ => return Err(Error::Delta("an object that begins within another")),
            }));
        }
    }
}

/// The pieces of a file, which were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces<'a>(Cursor<'a>);

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        self.0.piece().ok().flatten()
    }
}

/// Reads the operations of a part, which make these objects, from a blob of `blob` bytes. Each object
/// is made, and in order.
pub fn recipes<'a>(
    operations: &'a [u8],
    objects: Objects<'a>,
    blob: u64,
) -> Result<Vec<Recipe<'a>>, Error> {
    let mut cursor = Cursor {
        bytes: operations,
        blob,
        source: None,
    };
    let mut recipes = Vec::new();
    let mut objects = objects.iter();
    while let Some(operation) = cursor.next()? {
        if cursor.set_source(&operation)? {
            continue;
        }
        let mut next = || {
            objects
                .next()
                .ok_or(Error::Delta("more objects than it says"))
        };
        let (object, made) = match operation {
            Operation::Splice => {
                let object = next()?;
                (object, whole(&mut cursor, object.kind)?)
            }
            Operation::Open => {
                let object = next()?;
                (object, pieces(&mut cursor, object.kind)?)
            }
            _ => return Err(Error::Delta("a piece of no object")),
        };
        cursor.source = None;
        recipes.push(Recipe { object, made });
    }
    match objects.next() {
        None => Ok(recipes),
        Some(_) => Err(Error::Delta("fewer objects than it says")),
    }
}

fn whole<'a>(cursor: &mut Cursor<'_>, kind: ObjectKind) -> Result<Made<'a>, Error> {
    if kind != ObjectKind::File {
        let (len, offset) = (cursor.number()?, cursor.number()?);
        return Ok(Made::Metadata(cursor.place(offset, len)?));
    }
    let (mode, xattrs) = (cursor.number()?, cursor.number()?);
    let (len, offset) = (cursor.number()?, cursor.number()?);
    let content = cursor.place(offset, len)?;
    Ok(Made::Whole {
        mode,
        xattrs,
        content,
    })
}

fn pieces<'a>(cursor: &mut Cursor<'a>, kind: ObjectKind) -> Result<Made<'a>, Error> {
    if kind != ObjectKind::File {
        return Err(Error::Delta("metadata that is made of pieces"));
    }
    let (mode, xattrs, size) = (cursor.number()?, cursor.number()?, cursor.number()?);
    let pieces = Pieces(*cursor);
    while cursor.piece()?.is_some() {}
    Ok(Made::Pieces {
        mode,
        xattrs,
        size,
        pieces,
    })
}

/// How many operations of each kind there are, in the order in which libostree prints them: `S`, `o`, `w`,
/// `r`, `R`, `c`, `B`.
pub fn count(operations: &[u8], objects: Objects<'_>) -> Result<[u64; 7], Error> {
    let mut cursor = Cursor {
        bytes: operations,
        blob: u64::MAX,
        source: None,
    };
    let mut counts = [0; 7];
    let mut objects = objects.iter();
    while let Some(operation) = cursor.next()? {
        let mut kind = || {
            objects
                .next()
                .map_or(ObjectKind::File, |object| object.kind)
        };
        let index = match operation {
            Operation::Splice => {
                let numbers = if kind() == ObjectKind::File { 4 } else { 2 };
                for _ in 0..numbers {
                    cursor.number()?;
                }
                0
            }
            Operation::Open => {
                kind();
                for _ in 0..3 {
                    cursor.number()?;
                }
                1
            }
            Operation::Write { .. } => 2,
            Operation::Source(_) => 3,
            Operation::NoSource => 4,
            Operation::Close => 5,
            Operation::Patch { .. } => 6,
        };
        counts[index] += 1;
    }
    Ok(counts)
}
