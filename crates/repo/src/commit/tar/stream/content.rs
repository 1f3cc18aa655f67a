// SPDX-License-Identifier: MIT OR Apache-2.0
//! The content of members, as it is read.

use std::io::{self, Read};

use super::Stream;

/// The sum of a content's bytes, as it should be and as it is so far.
#[derive(Debug)]
pub(in super::super) struct Check {
    pub(in super::super) expected: u32,
    pub(in super::super) sum: u32,
    /// Bytes that are still to come.
    pub(in super::super) left: u64,
}

/// The content of a member.
pub(in super::super) struct Content<'s, R> {
    pub(super) stream: &'s mut Stream<R>,
    pub(super) left: u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = (&mut self.stream.from).take(self.left).read(buffer)?;
        if len == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(self.stream.cut());
        }
        self.left -= len as u64;
        self.stream.skip -= len as u64;
        if let Some(check) = &mut self.stream.check {
            check.left -= len as u64;
            let bytes = buffer[..len].iter();
            check.sum = bytes.fold(check.sum, |sum, byte| sum.wrapping_add((*byte).into()));
        }
        Ok(len)
    }
}
