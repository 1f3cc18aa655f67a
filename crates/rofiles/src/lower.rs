// SPDX-License-Identifier: MIT OR Apache-2.0
//! One entry of the lower directory: the open directory it is in, and its name.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use rustix::fs::{
    AtFlags, FileType as Kind, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps,
    UTIME_NOW, UTIME_OMIT, Uid, XattrFlags,
};

/// Opens a directory below `root` without ever leaving it or following a link.
pub(crate) fn open_dir(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(
        root,
        path,
        flags,
        Mode::empty(),
        resolve,
    )?)
}

/// An entry of a directory, whether it is there or not.
#[derive(Debug)]
pub(crate) struct Lower {
    dir: OwnedFd,
    name: OsString,
}

impl Lower {
    pub(crate) fn new(root: BorrowedFd<'_>, dir: &Path, name: OsString) -> io::Result<Self> {
        let dir = open_dir(root, dir, OFlags::PATH)?;
        Ok(Self { dir, name })
    }

    /// The directory it is in.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Another entry of the same directory.
    pub(crate) fn beside(&self, name: OsString) -> io::Result<Self> {
        let dir = self.dir.try_clone()?;
        Ok(Self { dir, name })
    }

    pub(crate) fn stat(&self) -> io::Result<Stat> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::statat(&self.dir, &self.name, nofollow)?)
    }

    pub(crate) fn open(&self, flags: OFlags, mode: Mode) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.dir, &self.name, flags, mode)?.into())
    }

    pub(crate) fn read_link(&self) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.dir, &self.name, Vec::new())?.into_bytes())
    }

    pub(crate) fn chmod(&self, mode: Mode) -> io::Result<()> {
        Ok(rustix::fs::chmodat(
            &self.dir,
            &self.name,
            mode,
            AtFlags::empty(),
        )?)
    }

    pub(crate) fn chown(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::chownat(
            &self.dir, &self.name, uid, gid, nofollow,
        )?)
    }

    pub(crate) fn set_times(&self, times: &Timestamps) -> io::Result<()> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::utimensat(
            &self.dir, &self.name, times, nofollow,
        )?)
    }

    /// There are no calls for extended attributes that take a directory and a name.
    fn proc_path(&self) -> OsString {
        let mut path = format!("/proc/self/fd/{}/", self.dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(self.name.as_bytes());
        OsString::from_vec(path)
    }

    pub(crate) fn list_xattrs(&self) -> io::Result<Vec<u8>> {
        let path = self.proc_path();
        grown(|buffer| rustix::fs::llistxattr(&path, buffer))
    }

    pub(crate) fn get_xattr(&self, name: &OsStr) -> io::Result<Vec<u8>> {
        let path = self.proc_path();
        grown(|buffer| rustix::fs::lgetxattr(&path, name, buffer))
    }

    pub(crate) fn set_xattr(
        &self,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
    ) -> io::Result<()> {
        Ok(rustix::fs::lsetxattr(self.proc_path(), name, value, flags)?)
    }

    pub(crate) fn remove_xattr(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::lremovexattr(self.proc_path(), name)?)
    }
}

/// Reads what says how long it is only when it is read.
fn grown(read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 1 << 10];
    loop {
        match read(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            // 64 KiB is the largest there is.
            Err(rustix::io::Errno::RANGE) if buffer.len() < 64 << 10 => {
                buffer.resize(buffer.len() * 4, 0);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharacterDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::RegularFile | Kind::Unknown => FileType::RegularFile,
    }
}

/// The attributes of a file, as the kernel gets them.
pub(crate) fn attributes(number: u64, stat: &Stat) -> FileAttr {
    let time = |seconds: i64, nanos: u64| -> SystemTime {
        let nanos = Duration::from_nanos(nanos);
        let whole = Duration::from_secs(seconds.unsigned_abs());
        match seconds < 0 {
            true => (UNIX_EPOCH - whole) + nanos,
            false => UNIX_EPOCH + whole + nanos,
        }
    };
    FileAttr {
        ino: INodeNo(number),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind: kind(Kind::from_raw_mode(stat.st_mode)),
        perm: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: u32::try_from(stat.st_rdev).unwrap_or(0),
        blksize: u32::try_from(stat.st_blksize).unwrap_or(4096),
        flags: 0,
    }
}

pub(crate) fn timestamps(atime: Option<TimeOrNow>, mtime: Option<TimeOrNow>) -> Timestamps {
    let spec = |time| match time {
        None => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        Some(TimeOrNow::Now) => Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
        Some(TimeOrNow::SpecificTime(time)) => {
            let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
                Ok(after) => (i64::try_from(after.as_secs()), after.subsec_nanos()),
                Err(before) => {
                    let before = before.duration();
                    let nanos = before.subsec_nanos();
                    let up = u64::from(nanos > 0);
                    let seconds = i64::try_from(before.as_secs() + up).map(|seconds| -seconds);
                    (seconds, if up == 1 { 1_000_000_000 - nanos } else { 0 })
                }
            };
            Timespec {
                tv_sec: seconds.unwrap_or(i64::MAX),
                tv_nsec: i64::from(nanos),
            }
        }
    };
    Timestamps {
        last_access: spec(atime),
        last_modification: spec(mtime),
    }
}
