// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patches: the content of a file in terms of the content of another, the base.
//!
//! A patch is a list of steps, each four numbers and two runs of bytes: how many bytes are
//! *fresh*, how many are *alike*, how many are the *same*, and how far to *seek* in the base before
//! the alike ones (signed, from where the last step has ended there); then the fresh bytes as they
//! are, then the alike ones less those of the base (modulo 256). The same ones, which follow the
//! alike ones in the base, need not be sent. Numbers are LEB128, the signed one in zigzag.
//!
//! What is alike need not be equal: where a program was built anew its addresses differ a little,
//! often by the same amount, and the differences are mostly zero, or repeat, and so pack well.

mod make;

use std::io::{self, Read};

use oxtree_repo::similar::Step;

pub use make::Patch;

/// Neither the content nor its base may be larger: both are held in memory, by either end.
pub const MAX_CONTENT: u64 = 24 << 20;

fn put_step(step: &Step, to: &mut Vec<u8>) {
    put_number(to, step.fresh as u64);
    put_number(to, step.alike as u64);
    put_number(to, step.same as u64);
    put_number(to, (step.seek << 1 ^ step.seek >> 63).cast_unsigned());
}

fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Reads the content that a patch describes. A patch that does not fit its base is an
/// [`io::ErrorKind::InvalidData`]. What comes out has still to be verified, and may be far longer
/// than the patch: whoever reads knows how much it is to be.
#[derive(Debug)]
pub struct Patched<'b, R> {
    base: &'b [u8],
    patch: R,
    /// Where in the base the alike bytes are.
    at: usize,
    fresh: usize,
    alike: usize,
    same: usize,
}

impl<'b, R: io::BufRead> Patched<'b, R> {
    /// The content made of `base` and `patch`.
    pub fn new(base: &'b [u8], patch: R) -> Self {
        Self {
            base,
            patch,
            at: 0,
            fresh: 0,
            alike: 0,
            same: 0,
        }
    }

    /// Reads the numbers of the next step; false at the end of the patch.
    fn step(&mut self) -> io::Result<bool> {
        if self.patch.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let wrong = || invalid("a step of the patch goes beyond its base");
        let fresh = usize::try_from(self.number()?).map_err(|_| wrong())?;
        let alike = usize::try_from(self.number()?).map_err(|_| wrong())?;
        let same = usize::try_from(self.number()?).map_err(|_| wrong())?;
        let seek = self.number()?;
        let seek = (seek >> 1).cast_signed() ^ -(seek & 1).cast_signed();
        let at = i64::try_from(self.at)
            .ok()
            .and_then(|at| at.checked_add(seek))
            .and_then(|at| usize::try_from(at).ok());
        let fits = |at: &usize| {
            at.checked_add(alike)
                .and_then(|end| end.checked_add(same))
                .is_some_and(|end| end <= self.base.len())
        };
        self.at = at.filter(fits).ok_or_else(wrong)?;
        (self.fresh, self.alike, self.same) = (fresh, alike, same);
        Ok(true)
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.patch.read_exact(&mut byte)?;
            let bits = u64::from(byte[0] & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(invalid("a number of the patch is too large"))
    }

    fn some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.patch.read(buffer)?;
        match len {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the patch ends within a step",
            )),
            len => Ok(len),
        }
    }
}

impl<R: io::BufRead> Read for Patched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.fresh == 0 && self.alike == 0 && self.same == 0 {
            if buffer.is_empty() || !self.step()? {
                return Ok(0);
            }
        }
        if self.fresh > 0 {
            let most = buffer.len().min(self.fresh);
            let len = self.some(&mut buffer[..most])?;
            self.fresh -= len;
            return Ok(len);
        }
        if self.alike == 0 {
            let len = buffer.len().min(self.same);
            buffer[..len].copy_from_slice(&self.base[self.at..self.at + len]);
            self.same -= len;
            self.at += len;
            return Ok(len);
        }
        let most = buffer.len().min(self.alike);
        let len = self.some(&mut buffer[..most])?;
        let base = &self.base[self.at..self.at + len];
        for (byte, base) in buffer[..len].iter_mut().zip(base) {
            *byte = byte.wrapping_add(*base);
        }
        self.alike -= len;
        self.at += len;
        Ok(len)
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn apply(base: &[u8], patch: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Patched::new(base, patch).read_to_end(&mut content)?;
        Ok(content)
    }

    fn round_trip(base: &[u8], content: &[u8]) -> Vec<u8> {
        let patch = Patch::new(base, content);
        let mut bytes = Vec::new();
        patch.write(base, content, &mut |part: &[u8]| {
            bytes.extend_from_slice(part);
        });
        assert_eq!(bytes.len() as u64, patch.len());
        assert_eq!(apply(base, &bytes).unwrap(), content);
        bytes
    }

    /// Content that is like `base` here and there.
    fn edited(base: &[u8], edits: &[(usize, usize, Vec<u8>)]) -> Vec<u8> {
        let mut content = base.to_vec();
        for (at, cut, put) in edits {
            let at = at % (content.len() + 1);
            let end = (at + cut).min(content.len());
            content.splice(at..end, put.iter().copied());
        }
        content
    }

    #[test]
    fn what_is_the_same_is_not_sent() {
        let base: Vec<u8> = (0..100_000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let mut content = base.clone();
        content.splice(1000..1000, [7; 33]);
        content[200_000] ^= 1;
        content.drain(300_000..300_010);
        let patch = round_trip(&base, &content);
        assert!(patch.len() < 400, "{}", patch.len());
    }

    #[test]
    fn hostile_patches_are_errors() {
        let number = |n| {
            let mut bytes = Vec::new();
            put_number(&mut bytes, n);
            bytes
        };
        let base = [0; 10];
        // Beyond the end, before the beginning, cut off, too large a number.
        assert!(apply(&base, &[&[0, 11, 0, 0][..], &[0; 11]].concat()).is_err());
        assert!(apply(&base, &[&[0, 8, 3, 0][..], &[0; 8]].concat()).is_err());
        assert!(apply(&base, &[0, 1, 0, 1, 0]).is_err());
        assert!(apply(&base, &[3, 0, 0, 0, 1]).is_err());
        assert!(apply(&base, &[3]).is_err());
        assert!(apply(&base, &[0xff; 11]).is_err());
        let huge = [number(0), number(u64::MAX), number(2), number(u64::MAX - 1)].concat();
        assert!(apply(&base, &huge).is_err());
        assert!(apply(&base, &[]).unwrap().is_empty());
        assert!(apply(&base, &[0, 0, 0, 0]).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_content_comes_back(base in vec(0..6u8, 0..2000), content in vec(0..6u8, 0..2000)) {
            round_trip(&base, &content);
        }

        #[test]
        fn edits_come_back(
            base in vec(any::<u8>(), 0..4000),
            edits in vec((any::<usize>(), 0..200usize, vec(any::<u8>(), 0..200)), 0..6),
        ) {
            let content = edited(&base, &edits);
            round_trip(&base, &content);
            round_trip(&content, &base);
        }

        #[test]
        fn arbitrary_patches_do_no_harm(base in vec(any::<u8>(), 0..100), patch in vec(any::<u8>(), 0..200)) {
            let mut content = Vec::new();
            let _ = Patched::new(&base, &patch[..]).take(10_000).read_to_end(&mut content);
        }
    }
}
