// SPDX-License-Identifier: MIT OR Apache-2.0
//! Alignment and framing offsets: how containers say where their members end.

use std::ops::Range;

use crate::{Error, Result};

/// `n` rounded up to a multiple of `align`.
pub(crate) const fn align_up(n: usize, align: usize) -> usize {
    n.next_multiple_of(align)
}

/// Zero bytes until `w` is aligned.
pub(crate) fn pad(w: &mut Vec<u8>, align: usize) {
    w.resize(align_up(w.len(), align), 0);
}

/// Padding has to be zero, or two different byte strings would be the same value.
pub(crate) fn require_zeros(b: &[u8]) -> Result<()> {
    if b.iter().all(|x| *x == 0) {
        Ok(())
    } else {
        Err(Error::Padding)
    }
}

/// Width of each framing offset in a container of `size` bytes, offsets included.
fn offset_width(size: usize) -> usize {
    match size {
        0 => 0,
        1..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

/// Width of each of the `count` framing offsets that follow `body` bytes: the smallest that still
/// fits when the offsets themselves are counted in.
fn offset_width_for(body: usize, count: usize) -> usize {
    [1, 2, 4]
        .into_iter()
        .find(|w| offset_width(body + count * w) <= *w)
        .unwrap_or(8)
}

fn read_offset(b: &[u8], at: usize, width: usize) -> Result<usize> {
    let bytes = b.get(at..).ok_or(Error::Offset)?;
    let offset = match width {
        1 => bytes
            .first_chunk()
            .map(|b| u64::from(u8::from_le_bytes(*b))),
        2 => bytes
            .first_chunk()
            .map(|b| u64::from(u16::from_le_bytes(*b))),
        4 => bytes
            .first_chunk()
            .map(|b| u64::from(u32::from_le_bytes(*b))),
        _ => bytes.first_chunk().map(|b| u64::from_le_bytes(*b)),
    };
    offset
        .and_then(|offset| usize::try_from(offset).ok())
        .ok_or(Error::Offset)
}

/// Appends framing offsets to a container that began at `start`.
pub(crate) fn put_offsets(
    w: &mut Vec<u8>,
    start: usize,
    ends: impl ExactSizeIterator<Item = usize>,
) {
    if ends.len() == 0 {
        return;
    }
    let width = offset_width_for(w.len() - start, ends.len());
    w.reserve(ends.len() * width);
    for end in ends {
        w.extend_from_slice(&(end as u64).to_le_bytes()[..width]);
    }
}

/// The outline of an array: how many elements, and where each one is.
///
/// Elements of fixed size simply follow each other. Others are followed by a table with the end of
/// each one; the table's last entry is also where the table begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArrayFrame<'a> {
    bytes: &'a [u8],
    count: usize,
    width: usize,
    align: usize,
    fixed: Option<usize>,
}

impl<'a> ArrayFrame<'a> {
    /// Finds the number of elements; their ends are not looked at yet.
    pub(crate) fn new(bytes: &'a [u8], align: usize, fixed: Option<usize>) -> Result<Self> {
        let (count, width) = match fixed {
            _ if bytes.is_empty() => (0, 0),
            Some(size) if bytes.len().is_multiple_of(size) => (bytes.len() / size, 0),
            Some(_) => return Err(Error::Length),
            None => Self::table(bytes)?,
        };
        Ok(ArrayFrame {
            bytes,
            count,
            width,
            align,
            fixed,
        })
    }

    fn table(bytes: &[u8]) -> Result<(usize, usize)> {
        let width = offset_width(bytes.len());
        let last = bytes.len().checked_sub(width).ok_or(Error::Offset)?;
        let body = read_offset(bytes, last, width)?;
        let table = bytes.len().checked_sub(body).ok_or(Error::Offset)?;
        let count = table / width;
        if count == 0 || count * width != table || offset_width_for(body, count) != width {
            return Err(Error::Offset);
        }
        Ok((count, width))
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Where the padding before element `i` begins, where the element begins and where it ends.
    fn element(&self, i: usize) -> Result<(usize, Range<usize>)> {
        if let Some(size) = self.fixed {
            let start = i.checked_mul(size).ok_or(Error::Length)?;
            return Ok((start, start..start + size));
        }
        let body = self.bytes.len() - self.count * self.width;
        let end_of = |i: usize| {
            let end = read_offset(self.bytes, body + i * self.width, self.width)?;
            if end <= body {
                Ok(end)
            } else {
                Err(Error::Offset)
            }
        };
        let before = if i == 0 { 0 } else { end_of(i - 1)? };
        Ok((before, align_up(before, self.align)..end_of(i)?))
    }

    /// The bytes of element `i`; an error only when [`check`](Self::check) would also give one.
    pub(crate) fn get(&self, i: usize) -> Result<&'a [u8]> {
        let (_, range) = self.element(i)?;
        self.bytes.get(range).ok_or(Error::Offset)
    }

    /// Where element `i` is, after checking the padding before it.
    pub(crate) fn check(&self, i: usize) -> Result<Range<usize>> {
        let (before, range) = self.element(i)?;
        if range.start > range.end || range.end > self.bytes.len() {
            return Err(Error::Offset);
        }
        require_zeros(&self.bytes[before..range.start])?;
        Ok(range)
    }
}

/// Walks the members of a tuple from front to back.
///
/// The ends of the members whose size is not fixed stand at the tuple's end, in reverse order; the
/// last member needs none, it ends where the offsets begin.
#[derive(Debug)]
pub(crate) struct TupleFrame<'a> {
    bytes: &'a [u8],
    /// End of the member before.
    at: usize,
    /// Where the offsets begin.
    end: usize,
    /// Just behind the next offset to be read.
    offset: usize,
    width: usize,
}

impl<'a> TupleFrame<'a> {
    /// `offsets`: how many members have a framing offset.
    pub(crate) fn new(bytes: &'a [u8], offsets: usize) -> Result<Self> {
        let width = offset_width(bytes.len());
        let table = offsets.checked_mul(width).ok_or(Error::Offset)?;
        let end = bytes.len().checked_sub(table).ok_or(Error::Offset)?;
        // Zero bytes cannot hold an offset. GLib reads them as the type's default value, but
        // writes that value with its offsets: an empty tuple is nobody's normal form.
        if offsets > 0 && (bytes.is_empty() || offset_width_for(end, offsets) != width) {
            return Err(Error::Offset);
        }
        Ok(TupleFrame {
            bytes,
            at: 0,
            end,
            offset: bytes.len(),
            width,
        })
    }

    /// Where the next member is.
    pub(crate) fn next(
        &mut self,
        align: usize,
        fixed: Option<usize>,
        last: bool,
    ) -> Result<Range<usize>> {
        let start = align_up(self.at, align);
        let end = match fixed {
            Some(size) => start.checked_add(size).ok_or(Error::Length)?,
            None if last => self.end,
            None => {
                self.offset = self.offset.checked_sub(self.width).ok_or(Error::Offset)?;
                read_offset(self.bytes, self.offset, self.width)?
            }
        };
        if end > self.end || start > end {
            return Err(Error::Offset);
        }
        require_zeros(&self.bytes[self.at..start])?;
        self.at = end;
        Ok(start..end)
    }

    /// The bytes of the next member.
    pub(crate) fn next_bytes(
        &mut self,
        align: usize,
        fixed: Option<usize>,
        last: bool,
    ) -> Result<&'a [u8]> {
        let range = self.next(align, fixed, last)?;
        self.bytes.get(range).ok_or(Error::Offset)
    }

    /// After the last member: nothing may be left but, in a tuple of fixed size, padding.
    pub(crate) fn finish(self, fixed: bool) -> Result<()> {
        let rest = self.bytes.get(self.at..self.end).ok_or(Error::Offset)?;
        match rest {
            [] => Ok(()),
            _ if fixed => require_zeros(rest),
            _ => Err(Error::Length),
        }
    }
}
