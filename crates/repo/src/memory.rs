// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory for contents that are held as a whole.
//!
//! glibc keeps what is freed for the next one, in each of its arenas, of which a thread has one: up to
//! twice as much as the largest buffer that was freed lately. A server, with many threads and one large
//! file now and then, would hold most of its memory for nothing. So what is large comes from the kernel,
//! and goes back to it at once.

use std::io::{self, Read};
use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Bytes from which on memory is the kernel's. It costs a fault for each page.
const LARGE: usize = 512 << 10;

/// Some bytes of memory.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Small(Vec<u8>),
    Large(MmapMut),
}

impl Buffer {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let memory = match len < LARGE {
            true => Memory::Small(vec![0; len]),
            false => Memory::Large(MmapMut::map_anon(len)?),
        };
        Ok(Self { memory, len })
    }

    /// The next `size` bytes; none, if there are fewer or more.
    pub fn read(from: &mut dyn Read, size: u64) -> io::Result<Option<Self>> {
        let Ok(len) = usize::try_from(size) else {
            return Ok(None);
        };
        let mut buffer = match len < LARGE {
            // Zeros would only be written over.
            true => {
                let mut bytes = Vec::with_capacity(len + 1);
                from.take(size + 1).read_to_end(&mut bytes)?;
                return Ok((bytes.len() == len).then(|| bytes.into()));
            }
            false => Self::zeroed(len)?,
        };
        match from.read_exact(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let more = io::copy(&mut from.take(1), &mut io::sink())?;
        Ok((more == 0).then_some(buffer))
    }

    /// Leaves out what comes after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        let memory = Memory::Small(bytes);
        Self { memory, len }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Small(bytes) => &bytes[..self.len],
            Memory::Large(bytes) => &bytes[..self.len],
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Small(bytes) => &mut bytes[..self.len],
            Memory::Large(bytes) => &mut bytes[..self.len],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_bytes_and_not_one_more() {
        for len in [0, 1, 1000, LARGE - 1, LARGE, LARGE + 5] {
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let read = |size| Buffer::read(&mut &bytes[..], size).unwrap();
            let mut buffer = read(len as u64).unwrap();
            assert!(buffer[..] == bytes);
            assert!(read(len as u64 + 1).is_none());
            assert!(len == 0 || read(len as u64 - 1).is_none());
            buffer.truncate(7);
            assert_eq!(buffer[..], bytes[..len.min(7)]);
            assert!(Buffer::zeroed(len).unwrap()[..] == vec![0; len]);
        }
        // More than there is, and more than there could be.
        assert!(Buffer::read(&mut &b"short"[..], 1 << 20).unwrap().is_none());
        assert!(Buffer::read(&mut &b"short"[..], 1 << 62).is_err());
    }
}
