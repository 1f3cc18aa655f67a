// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading and writing extended attributes of open files and of links.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use oxtree_format::Xattrs;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Linux's limit for one value and for the list of names.
const MAX: usize = 64 << 10;

/// The attributes of an open file or directory.
pub(crate) fn of_fd(fd: impl AsFd) -> io::Result<Xattrs> {
    collect(
        |list| rustix::fs::flistxattr(&fd, list),
        |name, value| rustix::fs::fgetxattr(&fd, name, value),
    )
}

/// The attributes of `name` in `dir`, links not followed. `path` says the same to people, and is
/// used where there is no /proc.
pub(crate) fn of_link(dir: BorrowedFd<'_>, name: &[u8], path: &Path) -> io::Result<Xattrs> {
    let target = link_path(dir, name, path);
    collect(
        |list| rustix::fs::llistxattr(&target, list),
        |name, value| rustix::fs::lgetxattr(&target, name, value),
    )
}

/// One attribute of an open file; [`None`] if it has no such one.
pub(crate) fn get(fd: impl AsFd, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; 512];
    loop {
        match rustix::fs::fgetxattr(&fd, name, &mut value[..]) {
            Ok(len) => {
                value.truncate(len);
                return Ok(Some(value));
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(Errno::RANGE) if value.len() < MAX => value.resize(MAX, 0),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sets attributes of an open file or directory.
pub(crate) fn set_fd(fd: impl AsFd, xattrs: &Xattrs) -> io::Result<()> {
    for (name, value) in xattrs.iter() {
        rustix::fs::fsetxattr(&fd, name, value, XattrFlags::empty()).map_err(|e| named(e, name))?;
    }
    Ok(())
}

/// Sets attributes of `name` in `dir`, links not followed.
pub(crate) fn set_link(
    dir: BorrowedFd<'_>,
    name: &[u8],
    path: &Path,
    xattrs: &Xattrs,
) -> io::Result<()> {
    if xattrs.is_empty() {
        return Ok(());
    }
    let target = link_path(dir, name, path);
    for (name, value) in xattrs.iter() {
        rustix::fs::lsetxattr(&target, name, value, XattrFlags::empty())
            .map_err(|e| named(e, name))?;
    }
    Ok(())
}

fn named(error: Errno, name: &[u8]) -> io::Error {
    let error = io::Error::from(error);
    let name = String::from_utf8_lossy(name);
    io::Error::new(
        error.kind(),
        format!("setting extended attribute {name}: {error}"),
    )
}

/// There are no `*xattrat` calls in older kernels: go through the directory's handle in /proc.
fn link_path(dir: BorrowedFd<'_>, name: &[u8], path: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let handle = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    match rustix::fs::access(&handle, rustix::fs::Access::EXISTS) {
        Ok(()) => handle.join(std::ffi::OsStr::from_bytes(name)),
        Err(_) => path.to_owned(),
    }
}

fn collect(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Xattrs> {
    let mut small = [0; 1024];
    let mut large = Vec::new();
    let names = match list(&mut small) {
        Ok(len) => &small[..len],
        Err(Errno::RANGE) => {
            large.resize(MAX, 0);
            let len = list(&mut large)?;
            &large[..len]
        }
        Err(Errno::OPNOTSUPP) => &[],
        Err(error) => return Err(error.into()),
    };
    let mut pairs = Vec::new();
    let mut buffer = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        buffer.resize(MAX, 0);
        match get(name, &mut buffer) {
            // libostree leaves out attributes without a value, so they cannot be in a checksum.
            Ok(0) => {}
            Ok(len) => pairs.push((name.to_vec(), buffer[..len].to_vec())),
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Xattrs::new(pairs)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}
