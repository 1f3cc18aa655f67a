// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations of the mount, carried out in the lower directory.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{FileAttr, FileHandle, FileType, INodeNo, OpenFlags, RenameFlags, Request, TimeOrNow};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Uid};

use crate::copy_up::{copy_up, is_shared};
use crate::lower::{self, Lower, attributes, open_dir, timestamps};
use crate::nodes::Nodes;
use crate::view::View;

/// A file that is open.
#[derive(Debug)]
pub(crate) struct OpenFile {
    node: u64,
    pub(crate) file: File,
}

/// Name, kind and number of a directory's entries.
pub(crate) type Listing = Arc<Vec<(OsString, FileType, u64)>>;

/// The file system.
#[derive(Debug)]
pub(crate) struct Rofiles {
    pub(crate) root: OwnedFd,
    copy_up: bool,
    pub(crate) view: View,
    pub(crate) nodes: Mutex<Nodes>,
    pub(crate) files: Mutex<HashMap<u64, Arc<OpenFile>>>,
    pub(crate) listings: Mutex<HashMap<u64, Listing>>,
    last_handle: AtomicU64,
    /// Held while a file is looked at and copied, so that it is copied once.
    copying: Mutex<()>,
}

/// Changes to a file's attributes.
pub(crate) struct Changes {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<TimeOrNow>,
    pub(crate) mtime: Option<TimeOrNow>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn gone() -> io::Error {
    rustix::io::Errno::NOENT.into()
}

/// The flags to open the lower file with. The kernel says where each write goes, and with `O_APPEND`
/// the lower file system would not listen.
fn lower_flags(flags: i32) -> OFlags {
    let flags = OFlags::from_bits_truncate(flags.cast_unsigned());
    flags - (OFlags::CREATE | OFlags::EXCL | OFlags::NOCTTY | OFlags::APPEND | OFlags::DIRECT)
}

fn writes(flags: OFlags) -> bool {
    flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC)
}

impl Rofiles {
    pub(crate) fn new(lower: &Path, copy_up: bool, view: View) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: rustix::fs::openat(rustix::fs::CWD, lower, flags, Mode::empty())?,
            copy_up,
            view,
            nodes: Mutex::new(Nodes::new()),
            files: Mutex::default(),
            listings: Mutex::default(),
            last_handle: AtomicU64::new(0),
            copying: Mutex::new(()),
        })
    }

    pub(crate) fn entry(&self, node: INodeNo) -> io::Result<Lower> {
        let (dir, name) = lock(&self.nodes).path(node.0).ok_or_else(gone)?;
        Lower::new(self.root.as_fd(), &dir, name)
    }

    pub(crate) fn entry_in(&self, parent: INodeNo, name: &OsStr) -> io::Result<Lower> {
        let dir = lock(&self.nodes).dir_path(parent.0).ok_or_else(gone)?;
        Lower::new(self.root.as_fd(), &dir, name.to_owned())
    }

    pub(crate) fn file(&self, handle: FileHandle) -> io::Result<Arc<OpenFile>> {
        let file = lock(&self.files).get(&handle.0).cloned();
        file.ok_or_else(|| rustix::io::Errno::BADF.into())
    }

    /// Some handle of a file that has lost its name.
    fn open_file_of(&self, node: INodeNo) -> io::Result<Arc<OpenFile>> {
        let files = lock(&self.files);
        let found = files.values().find(|open| open.node == node.0).cloned();
        found.ok_or_else(gone)
    }

    pub(crate) fn next_handle(&self) -> u64 {
        self.last_handle.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn keep(&self, node: u64, file: File) -> FileHandle {
        let handle = self.next_handle();
        lock(&self.files).insert(handle, Arc::new(OpenFile { node, file }));
        FileHandle(handle)
    }

    /// Refuses what is shared with other names, or makes it this name's own.
    pub(crate) fn make_writable(&self, entry: &Lower) -> io::Result<()> {
        let _one_at_a_time = lock(&self.copying);
        let stat = entry.stat()?;
        match (is_shared(&stat), self.copy_up) {
            (false, _) => Ok(()),
            (true, true) => copy_up(entry, &stat),
            (true, false) => Err(rustix::io::Errno::ROFS.into()),
        }
    }

    pub(crate) fn stat(&self, node: INodeNo) -> io::Result<Stat> {
        match self.entry(node).and_then(|entry| entry.stat()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(rustix::fs::fstat(&self.open_file_of(node)?.file)?)
            }
            stat => stat,
        }
    }

    /// Tells the kernel of an entry.
    pub(crate) fn found(&self, parent: INodeNo, entry: &Lower) -> io::Result<FileAttr> {
        let stat = entry.stat()?;
        let node = lock(&self.nodes).look_up(parent.0, entry.name());
        Ok(attributes(node, &stat))
    }

    pub(crate) fn open(&self, node: INodeNo, flags: OpenFlags) -> io::Result<FileHandle> {
        let entry = self.entry(node)?;
        let flags = lower_flags(flags.0);
        if writes(flags) {
            self.make_writable(&entry)?;
        }
        let file = entry.open(flags, Mode::empty())?;
        Ok(self.keep(node.0, file))
    }

    pub(crate) fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> io::Result<(FileAttr, FileHandle)> {
        let entry = self.entry_in(parent, name)?;
        let wanted = OFlags::from_bits_truncate(flags.cast_unsigned());
        let flags = lower_flags(flags);
        let perm = Mode::from_raw_mode(mode & 0o7777);
        let file = match entry.open(flags | OFlags::CREATE | OFlags::EXCL, perm) {
            Ok(file) => {
                give(&file, request, perm)?;
                file
            }
            // Another process was faster.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && !wanted.contains(OFlags::EXCL) =>
            {
                if writes(flags) {
                    self.make_writable(&entry)?;
                }
                entry.open(flags, Mode::empty())?
            }
            Err(error) => return Err(error),
        };
        let attributes = self.found(parent, &entry)?;
        let handle = self.keep(attributes.ino.0, file);
        Ok((attributes, handle))
    }

    /// Makes something that is no regular file; it then belongs to who asked for it.
    pub(crate) fn make(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        make: impl FnOnce(&Lower) -> rustix::io::Result<()>,
        mode: Option<u32>,
    ) -> io::Result<FileAttr> {
        let entry = self.entry_in(parent, name)?;
        make(&entry)?;
        if let Some((uid, gid)) = other_owner(request) {
            entry.chown(Some(uid), Some(gid))?;
        }
        if let Some(mode) = mode {
            entry.chmod(Mode::from_raw_mode(mode & 0o7777))?;
        }
        self.found(parent, &entry)
    }

    pub(crate) fn change(
        &self,
        node: INodeNo,
        handle: Option<FileHandle>,
        changes: &Changes,
    ) -> io::Result<FileAttr> {
        let open = match handle {
            Some(handle) => Some(self.file(handle)?),
            None if lock(&self.nodes).path(node.0).is_none() => Some(self.open_file_of(node)?),
            None => None,
        };
        match open {
            // It was open for writing before.
            Some(open) => change_open(&open.file, changes)?,
            None => self.change_entry(&self.entry(node)?, changes)?,
        }
        Ok(attributes(node.0, &self.stat(node)?))
    }

    fn change_entry(&self, entry: &Lower, changes: &Changes) -> io::Result<()> {
        let Changes {
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
        } = *changes;
        if mode.is_some() || uid.is_some() || gid.is_some() || size.is_some() {
            self.make_writable(entry)?;
        }
        if uid.is_some() || gid.is_some() {
            entry.chown(uid, gid)?;
        }
        if let Some(mode) = mode {
            entry.chmod(Mode::from_raw_mode(mode & 0o7777))?;
        }
        if let Some(size) = size {
            entry.open(OFlags::WRONLY, Mode::empty())?.set_len(size)?;
        }
        if atime.is_some() || mtime.is_some() {
            entry.set_times(&timestamps(atime, mtime))?;
        }
        Ok(())
    }

    pub(crate) fn rename(
        &self,
        from: (INodeNo, &OsStr),
        to: (INodeNo, &OsStr),
        flags: RenameFlags,
    ) -> io::Result<()> {
        let (source, target) = (self.entry_in(from.0, from.1)?, self.entry_in(to.0, to.1)?);
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        rustix::fs::renameat_with(
            source.dir(),
            source.name(),
            target.dir(),
            target.name(),
            flags,
        )?;
        let (from, to) = ((from.0.0, from.1), (to.0.0, to.1));
        let mut nodes = lock(&self.nodes);
        match flags.contains(rustix::fs::RenameFlags::EXCHANGE) {
            true => nodes.exchanged(from, to),
            false => nodes.renamed(from, to),
        }
        Ok(())
    }

    pub(crate) fn remove(&self, parent: INodeNo, name: &OsStr, flags: AtFlags) -> io::Result<()> {
        let entry = self.entry_in(parent, name)?;
        rustix::fs::unlinkat(entry.dir(), entry.name(), flags)?;
        lock(&self.nodes).removed(parent.0, name);
        Ok(())
    }

    pub(crate) fn link(
        &self,
        node: INodeNo,
        parent: INodeNo,
        name: &OsStr,
    ) -> io::Result<FileAttr> {
        let (source, target) = (self.entry(node)?, self.entry_in(parent, name)?);
        rustix::fs::linkat(
            source.dir(),
            source.name(),
            target.dir(),
            target.name(),
            AtFlags::empty(),
        )?;
        self.found(parent, &target)
    }

    fn list(&self, node: INodeNo) -> io::Result<Listing> {
        let path = lock(&self.nodes).dir_path(node.0).ok_or_else(gone)?;
        let dir = open_dir(self.root.as_fd(), &path, OFlags::RDONLY)?;
        let mut listing = Vec::new();
        for entry in rustix::fs::Dir::read_from(dir)? {
            let entry = entry?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            listing.push((name, lower::kind(entry.file_type()), entry.ino()));
        }
        Ok(Arc::new(listing))
    }

    /// The entries of an open directory, read again when a process starts reading at the beginning.
    pub(crate) fn listing(
        &self,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
    ) -> io::Result<Listing> {
        if offset > 0
            && let Some(listing) = lock(&self.listings).get(&handle.0)
        {
            return Ok(Arc::clone(listing));
        }
        let listing = self.list(node)?;
        lock(&self.listings).insert(handle.0, Arc::clone(&listing));
        Ok(listing)
    }
}

/// The owner of new files, if it differs from the owner of this process.
fn other_owner(request: &Request) -> Option<(u32, u32)> {
    let ours = rustix::process::geteuid().as_raw();
    (request.uid() != ours).then(|| (request.uid(), request.gid()))
}

/// The kernel has already applied the caller's umask to the mode; the umask of this process is ignored.
fn give(file: &File, request: &Request, mode: Mode) -> io::Result<()> {
    if let Some((uid, gid)) = other_owner(request) {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::fchown(file, Some(uid), Some(gid))?;
    }
    Ok(rustix::fs::fchmod(file, mode)?)
}

fn change_open(file: &File, changes: &Changes) -> io::Result<()> {
    let (uid, gid) = (
        changes.uid.map(Uid::from_raw),
        changes.gid.map(Gid::from_raw),
    );
    if uid.is_some() || gid.is_some() {
        rustix::fs::fchown(file, uid, gid)?;
    }
    if let Some(mode) = changes.mode {
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o7777))?;
    }
    if let Some(size) = changes.size {
        file.set_len(size)?;
    }
    if changes.atime.is_some() || changes.mtime.is_some() {
        rustix::fs::futimens(file, &timestamps(changes.atime, changes.mtime))?;
    }
    Ok(())
}
