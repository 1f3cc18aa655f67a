// SPDX-License-Identifier: MIT OR Apache-2.0
//! gzip and bzip2: files of members, one after the other.
//!
//! Each member ends with its own checksums. Zeros between or after members are padding, as tapes have it.
//! Anything else there may be a damaged member, and is refused: the archive would end early.

use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;

use super::Found;

/// A decoder of one member, which reads no byte beyond it.
pub(super) trait Member<R>: Read {
    /// The first byte of each member.
    const FIRST: u8;

    fn begin(from: R) -> Self;

    fn end(self) -> R;
}

impl<R: BufRead> Member<R> for GzDecoder<R> {
    const FIRST: u8 = 0x1f;

    fn begin(from: R) -> Self {
        Self::new(from)
    }

    fn end(self) -> R {
        self.into_inner()
    }
}

impl<R: BufRead> Member<R> for BzDecoder<R> {
    const FIRST: u8 = b'B';

    fn begin(from: R) -> Self {
        Self::new(from)
    }

    fn end(self) -> R {
        self.into_inner()
    }
}

/// All members of a file.
pub(super) enum Members<R, M> {
    /// Before the first member or after one.
    Between(R),
    Inside(M),
    Ended,
}

impl<R: BufRead, M: Member<R>> Read for Members<R, M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Self::Inside(member) = self {
                match member.read(buffer)? {
                    0 => {}
                    len => return Ok(len),
                }
            }
            let mut from = match std::mem::replace(self, Self::Ended) {
                Self::Between(from) => from,
                Self::Inside(member) => member.end(),
                Self::Ended => return Ok(0),
            };
            match skip_zeros(&mut from)? {
                None => return Ok(0),
                Some(first) if first == M::FIRST => *self = Self::Inside(M::begin(from)),
                Some(_) => return Err(Found::trailing()),
            }
        }
    }
}

/// The byte after any zeros, which is not taken; [`None`] at the end.
fn skip_zeros(from: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let bytes = from.fill_buf()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        match bytes.iter().position(|byte| *byte != 0) {
            Some(at) => {
                let byte = bytes[at];
                from.consume(at);
                return Ok(Some(byte));
            }
            None => {
                let len = bytes.len();
                from.consume(len);
            }
        }
    }
}
