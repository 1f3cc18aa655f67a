// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies of whole files that the kernel makes: shared blocks where the file system can, else bytes
//! that never leave it.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

/// How much is read at once where the kernel is not asked.
pub(crate) const BUFFER: u64 = 64 << 10;

/// Makes copies, and remembers what is in vain between two file systems.
#[derive(Debug, Default)]
pub(crate) struct Sharer {
    /// Blocks cannot be shared.
    in_vain: AtomicBool,
}

impl Sharer {
    /// Whether it may be that blocks can be shared.
    pub(crate) fn may_share(&self) -> bool {
        !self.in_vain.load(Ordering::Relaxed)
    }

    /// Shares the blocks of a plain file; false where that is not possible.
    pub(crate) fn share(&self, from: &File, to: &File) -> bool {
        if !self.may_share() {
            return false;
        }
        let shared = rustix::fs::ioctl_ficlone(to, from).is_ok();
        if !shared {
            // Not on this file system, or not between these two.
            self.in_vain.store(true, Ordering::Relaxed);
        }
        shared
    }

    /// Shares the blocks of a plain file, or lets the kernel copy them; false if it can do neither,
    /// or if reading and writing is as quick.
    pub(crate) fn share_or_copy(&self, from: &File, to: &File, size: u64) -> io::Result<bool> {
        if self.share(from, to) {
            return Ok(true);
        }
        // One read and one write are as quick for what fits into the buffer.
        if size <= BUFFER {
            return Ok(false);
        }
        copy(from, to, size)
    }
}

fn copy(from: &File, to: &File, size: u64) -> io::Result<bool> {
    let mut done = 0;
    while done < size {
        let len = usize::try_from(size - done).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, None, to, None, len) {
            // Shorter than it was a moment ago: the plain way tells.
            Ok(0) if done == 0 => return Ok(false),
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "object became shorter",
                ));
            }
            Ok(len) => done += len as u64,
            Err(Errno::INTR) => {}
            Err(Errno::NOSPC | Errno::DQUOT) => return Err(Errno::NOSPC.into()),
            Err(_) if done == 0 => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}
