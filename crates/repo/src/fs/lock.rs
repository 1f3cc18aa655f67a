// SPDX-License-Identifier: MIT OR Apache-2.0
//! Open-file-description locks, the kind that libostree takes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::{Mode, OFlags};

/// Who else may hold the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Other shared holders.
    Shared,
    /// Nobody.
    Exclusive,
}

impl LockKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Exclusive => "exclusive",
        }
    }
}

/// A held lock; let go when dropped, or when the process ends.
#[derive(Debug)]
pub struct FileLock(#[expect(dead_code, reason = "holds the lock as long as it is open")] File);

impl FileLock {
    /// Takes the lock on the file `path` below `dir`, which is made if it is not there. Waits at
    /// most `timeout` ([`None`]: for ever); [`None`] if it was not to be had.
    pub(crate) fn take(
        dir: BorrowedFd<'_>,
        path: &str,
        kind: LockKind,
        timeout: Option<Duration>,
    ) -> io::Result<Option<Self>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(rustix::fs::openat(
            dir,
            path,
            flags,
            Mode::from_raw_mode(0o660),
        )?);
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        while !try_lock(&file, kind)? {
            let left = match timeout {
                Some(timeout) => timeout.saturating_sub(started.elapsed()),
                None => Duration::MAX,
            };
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(100));
        }
        Ok(Some(Self(file)))
    }

    /// Whether somebody holds a lock on this file. It need not exist.
    pub(crate) fn is_taken(dir: BorrowedFd<'_>, path: &str) -> io::Result<bool> {
        let file = match super::open_file(dir, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        let mut range = whole_file(LockKind::Exclusive);
        fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut range)).map_err(io::Error::from)?;
        Ok(range.l_type != libc::F_UNLCK as libc::c_short)
    }
}

fn try_lock(file: &File, kind: LockKind) -> io::Result<bool> {
    let range = whole_file(kind);
    match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The kernel wants `l_pid` to be 0; offset and length 0 are the whole file.
fn whole_file(kind: LockKind) -> libc::flock {
    let kind = match kind {
        LockKind::Shared => libc::F_RDLCK,
        LockKind::Exclusive => libc::F_WRLCK,
    };
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}
