// SPDX-License-Identifier: MIT OR Apache-2.0
//! Streams of content: copied and hashed to the last byte, and not one more.

use std::io::{self, Read, Write};
use std::path::Path;

use oxtree_format::Hasher;

use crate::{Error, Result};

/// Bytes that are copied at a time.
pub(super) const BUFFER: usize = 128 << 10;

/// Copies exactly `size` bytes and hashes them; an error if there are fewer, or more.
pub(super) fn copy_exactly(
    from: &mut dyn Read,
    size: u64,
    hasher: &mut Hasher,
    to: &mut dyn Write,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut left = size;
    loop {
        let len = match from.read(&mut buffer) {
            Ok(0) if left == 0 => return Ok(()),
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "content is too short",
                ));
            }
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        left = left.checked_sub(len as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("content is longer than {size} bytes"),
            )
        })?;
        hasher.update(&buffer[..len]);
        to.write_all(&buffer[..len])?;
    }
}

/// Something outside of the repository that is to have a certain size. Remembers its own faults,
/// so that they are not taken for faults of the repository.
pub(super) struct Source<R> {
    pub(super) from: R,
    size: u64,
    left: u64,
    fault: Option<io::Error>,
}

impl<R: Read> Source<R> {
    pub(super) fn new(from: R, size: u64) -> Self {
        Self {
            from,
            size,
            left: size,
            fault: None,
        }
    }

    /// Notes that it was rewound, and is read once more.
    pub(super) fn expect_again(&mut self) {
        self.left = self.size;
    }

    /// The outcome of writing what was read from here; a fault of our own is one of `path`.
    pub(super) fn blame<T>(self, outcome: Result<T>, path: &Path) -> Result<T> {
        match self.fault {
            Some(fault) => Err(Error::io("reading", path)(fault)),
            None => outcome,
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let other_size = |how: &str| {
            let text = format!("it has {how} than the {} bytes expected", self.size);
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let fault = match self.from.read(buffer) {
            Ok(len) if len as u64 > self.left => other_size("more"),
            Ok(0) if self.left > 0 && !buffer.is_empty() => other_size("less"),
            Ok(len) => {
                self.left -= len as u64;
                return Ok(len);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => error,
        };
        let kind = fault.kind();
        self.fault = Some(fault);
        Err(kind.into())
    }
}

/// Writes down all that is read.
pub(super) struct Tee<'a, W: Write> {
    pub(super) from: &'a mut dyn Read,
    pub(super) to: Option<W>,
}

impl<W: Write> Read for Tee<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.from.read(buffer)?;
        if let Some(to) = &mut self.to {
            to.write_all(&buffer[..len])?;
        }
        Ok(len)
    }
}
