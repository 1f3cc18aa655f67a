// SPDX-License-Identifier: MIT OR Apache-2.0
//! Streams of content: copied and hashed to the last byte, and not one more.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc::sync_channel;

use oxtree_format::{Checksum, Hasher};

use crate::{Error, Result};

/// Bytes that are copied at a time.
pub(super) const BUFFER: usize = 128 << 10;

/// Bytes that are read at a time from a source of `size` bytes.
pub(super) fn buffer_for(size: u64) -> usize {
    // One more, so that the end can be seen in the same go.
    usize::try_from(size).map_or(BUFFER, |size| size.saturating_add(1).clamp(64, BUFFER))
}

/// Pieces that wait to be hashed.
const PIECES: usize = 4;

/// Content of a size that is known before, hashed as it is read. That it has fewer bytes, or more,
/// is an error.
pub(super) struct Exactly<'a> {
    from: &'a mut dyn Read,
    size: u64,
    left: u64,
    hasher: Option<Hasher>,
}

impl<'a> Exactly<'a> {
    /// `from`, which has `size` bytes. `hasher` may have seen something before them.
    pub(super) fn new(from: &'a mut dyn Read, size: u64, hasher: Hasher) -> Self {
        Self {
            from,
            size,
            left: size,
            hasher: Some(hasher),
        }
    }

    /// `from`, which has `size` bytes, without a checksum.
    pub(super) fn unhashed(from: &'a mut dyn Read, size: u64) -> Self {
        Self {
            from,
            size,
            left: size,
            hasher: None,
        }
    }

    /// The checksum of all of it, hashed by another thread while this one reads: for what is large, and
    /// takes as long to be read (unpacked, say) as to be hashed.
    pub(super) fn hash_beside(mut self) -> io::Result<Checksum> {
        let mut hasher = self.hasher.take().unwrap_or_default();
        std::thread::scope(|scope| {
            let (pieces, queue) = sync_channel::<Vec<u8>>(PIECES);
            let hashing = scope.spawn(move || {
                queue.iter().for_each(|piece| hasher.update(&piece));
                hasher.finish()
            });
            loop {
                let mut piece = vec![0; buffer_for(self.left)];
                let len = self.fill(&mut piece)?;
                if len == 0 {
                    break;
                }
                piece.truncate(len);
                let gone = |_| io::Error::other("the hashing thread has ended");
                pieces.send(piece).map_err(gone)?;
            }
            drop(pieces);
            let crashed = |_| io::Error::other("the hashing thread has crashed");
            hashing.join().map_err(crashed)
        })
    }

    /// Copies all that is left.
    pub(super) fn copy_to(&mut self, to: &mut dyn Write) -> io::Result<()> {
        let mut buffer = vec![0; buffer_for(self.left)];
        loop {
            match self.read(&mut buffer)? {
                0 => return Ok(()),
                len => to.write_all(&buffer[..len])?,
            }
        }
    }

    /// Fills `buffer` as far as there is something left, and returns how far.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 => break,
                len => filled += len,
            }
        }
        Ok(filled)
    }

    /// The checksum of all that was read and hashed, which is to be everything.
    pub(super) fn checksum(self) -> Checksum {
        debug_assert_eq!(self.left, 0);
        self.hasher.unwrap_or_default().finish()
    }
}

impl Read for Exactly<'_> {
    /// Is never interrupted.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let len = loop {
            match self.from.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                len => break len?,
            }
        };
        if len == 0 && self.left > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "content is too short",
            ));
        }
        self.left = self.left.checked_sub(len as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("content is longer than {} bytes", self.size),
            )
        })?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..len]);
        }
        Ok(len)
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
    pub(super) to: W,
}

impl<W: Write> Read for Tee<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.from.read(buffer)?;
        self.to.write_all(&buffer[..len])?;
        Ok(len)
    }
}
