// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that get their name only when they are complete.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use super::random_name;

/// A file without a name, or with a temporary one where the file system has no `O_TMPFILE`.
#[derive(Debug)]
pub(crate) struct TmpFile<'d> {
    file: File,
    dir: BorrowedFd<'d>,
    name: Option<String>,
}

/// What to do if the name is taken already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfExists {
    /// Leave what is there.
    Keep,
    /// Put the new file in its place.
    Replace,
}

/// What is large for a file, in bytes.
const LARGE: u64 = 32 << 20;

impl<'d> TmpFile<'d> {
    /// A new empty file of mode 0600 on the file system of `dir`.
    pub(crate) fn new(dir: BorrowedFd<'d>) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        match rustix::fs::openat(dir, ".", flags | OFlags::TMPFILE, mode) {
            Ok(fd) => {
                return Ok(Self {
                    file: fd.into(),
                    dir,
                    name: None,
                });
            }
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        loop {
            let name = random_name(".tmp-");
            match rustix::fs::openat(dir, &*name, flags | OFlags::CREATE | OFlags::EXCL, mode) {
                Ok(fd) => {
                    return Ok(Self {
                        file: fd.into(),
                        dir,
                        name: Some(name),
                    });
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether it takes the disk some time to write it.
    pub(crate) fn is_large(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.len() >= LARGE)
    }

    /// Gives the file its name. True if it got it, false if the name was taken and was kept.
    pub(crate) fn link(
        mut self,
        dir: BorrowedFd<'_>,
        path: impl Arg + Copy,
        if_exists: IfExists,
    ) -> io::Result<bool> {
        if let Some(name) = self.name.take() {
            let done = rename(self.dir, &name, dir, path, if_exists);
            if !matches!(done, Ok(true)) {
                rustix::fs::unlinkat(self.dir, &*name, AtFlags::empty())?;
            }
            return done;
        }
        match self.link_nameless(dir, path) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) if if_exists == IfExists::Keep => Ok(false),
            Err(Errno::EXIST) => {
                let name = random_name(".tmp-");
                self.link_nameless(self.dir, &*name)?;
                self.name = Some(name);
                self.link(dir, path, if_exists)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn link_nameless(&self, dir: BorrowedFd<'_>, path: impl Arg + Copy) -> rustix::io::Result<()> {
        // The first way needs a capability or a recent kernel, the second needs /proc.
        match rustix::fs::linkat(&self.file, "", dir, path, AtFlags::EMPTY_PATH) {
            Err(Errno::NOENT) => {}
            done => return done,
        }
        let proc = format!("/proc/self/fd/{}", self.file.as_fd().as_raw_fd());
        rustix::fs::linkat(CWD, proc, dir, path, AtFlags::SYMLINK_FOLLOW)
    }
}

impl Drop for TmpFile<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Nothing can be done about a failure here; expiry of tmp/ takes care of it.
            let _ = rustix::fs::unlinkat(self.dir, &**name, AtFlags::empty());
        }
    }
}

/// A file that has its name from the start, for directories that nobody else looks into. It is
/// deleted again if it is dropped before it is complete.
#[derive(Debug)]
pub(crate) struct NewFile<'d, 'n> {
    file: File,
    dir: BorrowedFd<'d>,
    path: &'n str,
    complete: bool,
}

impl<'d, 'n> NewFile<'d, 'n> {
    /// A new empty file; [`None`] if there is one already. What the system makes of `mode` is
    /// up to it.
    pub(crate) fn create(
        dir: BorrowedFd<'d>,
        path: &'n str,
        mode: u32,
    ) -> io::Result<Option<Self>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match rustix::fs::openat(dir, path, flags, Mode::from_raw_mode(mode)) {
            Ok(fd) => Ok(Some(Self {
                file: fd.into(),
                dir,
                path,
                complete: false,
            })),
            Err(Errno::EXIST) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Lets the file stay.
    pub(crate) fn keep(mut self) {
        self.complete = true;
    }
}

impl Drop for NewFile<'_, '_> {
    fn drop(&mut self) {
        if !self.complete {
            // The error that led here says more than one about a leftover in a private directory.
            let _ = rustix::fs::unlinkat(self.dir, self.path, AtFlags::empty());
        }
    }
}

/// Renames; false if the name was taken and was kept.
pub(crate) fn rename(
    from_dir: BorrowedFd<'_>,
    from: &str,
    to_dir: BorrowedFd<'_>,
    to: impl Arg + Copy,
    if_exists: IfExists,
) -> io::Result<bool> {
    if if_exists == IfExists::Replace {
        rustix::fs::renameat(from_dir, from, to_dir, to)?;
        return Ok(true);
    }
    match rustix::fs::renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // File systems without RENAME_NOREPLACE. An object that is there has the same content.
        Err(Errno::INVAL) => {
            if super::stat(to_dir, to)?.is_some() {
                return Ok(false);
            }
            rustix::fs::renameat(from_dir, from, to_dir, to)?;
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}
