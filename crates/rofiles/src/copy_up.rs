// SPDX-License-Identifier: MIT OR Apache-2.0
//! Giving a name that is one of several links a file of its own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::lower::Lower;

/// Whether writing to this file would write to other names, too.
pub(crate) fn is_shared(stat: &Stat) -> bool {
    let kind = FileType::from_raw_mode(stat.st_mode);
    matches!(kind, FileType::RegularFile | FileType::Symlink) && stat.st_nlink > 1
}

/// Replaces a link by a copy with the same content and metadata. Other processes see either the link
/// or the copy.
pub(crate) fn copy_up(entry: &Lower, stat: &Stat) -> io::Result<()> {
    let copy = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => copy_symlink(entry)?,
        _ => copy_file(entry, stat)?,
    };
    let done = dress(entry, &copy, stat).and_then(|()| {
        rustix::fs::renameat(copy.dir(), copy.name(), entry.dir(), entry.name())
            .map_err(io::Error::from)
    });
    if done.is_err() {
        // The first error says more than one about a leftover would.
        let _ = rustix::fs::unlinkat(copy.dir(), copy.name(), AtFlags::empty());
    }
    done
}

fn copy_symlink(entry: &Lower) -> io::Result<Lower> {
    let target = entry.read_link()?;
    let target = OsStr::from_bytes(&target);
    new_beside(entry, |copy| {
        rustix::fs::symlinkat(target, copy.dir(), copy.name()).map_err(io::Error::from)
    })
    .map(|(copy, ())| copy)
}

fn copy_file(entry: &Lower, stat: &Stat) -> io::Result<Lower> {
    let from = entry.open(OFlags::RDONLY, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let (copy, to) = new_beside(entry, |copy| copy.open(flags, Mode::from_raw_mode(0o600)))?;
    let written = copy_content(&from, &to).and_then(|()| {
        // Before the mode: it takes away set-user-id bits.
        rustix::fs::fchown(
            &to,
            Some(rustix::fs::Uid::from_raw(stat.st_uid)),
            Some(rustix::fs::Gid::from_raw(stat.st_gid)),
        )?;
        Ok(rustix::fs::fchmod(
            &to,
            Mode::from_raw_mode(stat.st_mode & 0o7777),
        )?)
    });
    match written {
        Ok(()) => Ok(copy),
        Err(error) => {
            let _ = rustix::fs::unlinkat(copy.dir(), copy.name(), AtFlags::empty());
            Err(error)
        }
    }
}

fn copy_content(mut from: &File, mut to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    // Lets the kernel copy where it can.
    io::copy(&mut from, &mut to).map(drop)
}

/// Owner of a link, attributes and times.
fn dress(entry: &Lower, copy: &Lower, stat: &Stat) -> io::Result<()> {
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        copy.chown(Some(stat.st_uid), Some(stat.st_gid))?;
    }
    let names = match entry.list_xattrs() {
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => Vec::new(),
        names => names?,
    };
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = OsStr::from_bytes(name);
        let value = entry.get_xattr(name)?;
        copy.set_xattr(name, &value, XattrFlags::empty())?;
    }
    let time = |tv_sec, tv_nsec: u64| Timespec {
        tv_sec,
        tv_nsec: i64::try_from(tv_nsec).unwrap_or(0),
    };
    copy.set_times(&Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    })
}

/// Makes something under a name that nobody uses.
fn new_beside<T>(entry: &Lower, make: impl Fn(&Lower) -> io::Result<T>) -> io::Result<(Lower, T)> {
    loop {
        let number = std::hash::RandomState::new().build_hasher().finish();
        let copy = entry.beside(OsString::from(format!(".rofiles-{number:016x}")))?;
        match make(&copy) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return Ok((copy, made?)),
        }
    }
}
