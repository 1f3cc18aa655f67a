// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel asks for, done in the lower directory.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};
use rustix::fs::{AtFlags, FallocateFlags, Gid, Mode, OFlags, Stat, Uid, XattrFlags};

use crate::copy_up::{copy_up, is_shared};
use crate::lower::{self, Lower, attributes, open_dir, timestamps};
use crate::nodes::Nodes;

/// How long the kernel may believe what it was told.
const TTL: Duration = Duration::from_secs(1);

/// No number is ever used twice.
const GENERATION: Generation = Generation(0);

/// A file that is open.
#[derive(Debug)]
struct OpenFile {
    node: u64,
    file: File,
}

/// Name, kind and number of a directory's entries.
type Listing = Arc<Vec<(OsString, FileType, u64)>>;

/// The file system.
#[derive(Debug)]
pub(crate) struct Rofiles {
    root: OwnedFd,
    copy_up: bool,
    nodes: Mutex<Nodes>,
    files: Mutex<HashMap<u64, Arc<OpenFile>>>,
    listings: Mutex<HashMap<u64, Listing>>,
    last_handle: AtomicU64,
    /// Held while a file is looked at and copied, so that it is copied once.
    copying: Mutex<()>,
}

/// What is changed about a file.
struct Changes {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    atime: Option<TimeOrNow>,
    mtime: Option<TimeOrNow>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gone() -> io::Error {
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
    pub(crate) fn new(lower: &Path, copy_up: bool) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: rustix::fs::openat(rustix::fs::CWD, lower, flags, Mode::empty())?,
            copy_up,
            nodes: Mutex::new(Nodes::new()),
            files: Mutex::default(),
            listings: Mutex::default(),
            last_handle: AtomicU64::new(0),
            copying: Mutex::new(()),
        })
    }

    fn entry(&self, node: INodeNo) -> io::Result<Lower> {
        let (dir, name) = lock(&self.nodes).path(node.0).ok_or_else(gone)?;
        Lower::new(self.root.as_fd(), &dir, name)
    }

    fn entry_in(&self, parent: INodeNo, name: &OsStr) -> io::Result<Lower> {
        let dir = lock(&self.nodes).dir_path(parent.0).ok_or_else(gone)?;
        Lower::new(self.root.as_fd(), &dir, name.to_owned())
    }

    fn file(&self, handle: FileHandle) -> io::Result<Arc<OpenFile>> {
        let file = lock(&self.files).get(&handle.0).cloned();
        file.ok_or_else(|| rustix::io::Errno::BADF.into())
    }

    /// Some handle of a file that has lost its name.
    fn open_file_of(&self, node: INodeNo) -> io::Result<Arc<OpenFile>> {
        let files = lock(&self.files);
        let found = files.values().find(|open| open.node == node.0).cloned();
        found.ok_or_else(gone)
    }

    fn next_handle(&self) -> u64 {
        self.last_handle.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn keep(&self, node: u64, file: File) -> FileHandle {
        let handle = self.next_handle();
        lock(&self.files).insert(handle, Arc::new(OpenFile { node, file }));
        FileHandle(handle)
    }

    /// Refuses what is shared with other names, or makes it this name's own.
    fn make_writable(&self, entry: &Lower) -> io::Result<()> {
        let _one_at_a_time = lock(&self.copying);
        let stat = entry.stat()?;
        match (is_shared(&stat), self.copy_up) {
            (false, _) => Ok(()),
            (true, true) => copy_up(entry, &stat),
            (true, false) => Err(rustix::io::Errno::ROFS.into()),
        }
    }

    fn stat(&self, node: INodeNo) -> io::Result<Stat> {
        match self.entry(node).and_then(|entry| entry.stat()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(rustix::fs::fstat(&self.open_file_of(node)?.file)?)
            }
            stat => stat,
        }
    }

    /// Tells the kernel of an entry.
    fn found(&self, parent: INodeNo, entry: &Lower) -> io::Result<FileAttr> {
        let stat = entry.stat()?;
        let node = lock(&self.nodes).look_up(parent.0, entry.name());
        Ok(attributes(node, &stat))
    }

    fn open(&self, node: INodeNo, flags: OpenFlags) -> io::Result<FileHandle> {
        let entry = self.entry(node)?;
        let flags = lower_flags(flags.0);
        if writes(flags) {
            self.make_writable(&entry)?;
        }
        let file = entry.open(flags, Mode::empty())?;
        Ok(self.keep(node.0, file))
    }

    fn create(
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
            // Somebody was faster.
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
    fn make(
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

    fn change(
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

    fn rename(
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

    fn remove(&self, parent: INodeNo, name: &OsStr, flags: AtFlags) -> io::Result<()> {
        let entry = self.entry_in(parent, name)?;
        rustix::fs::unlinkat(entry.dir(), entry.name(), flags)?;
        lock(&self.nodes).removed(parent.0, name);
        Ok(())
    }

    fn link(&self, node: INodeNo, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
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

    /// The entries of an open directory; read anew when somebody begins anew.
    fn listing(&self, node: INodeNo, handle: FileHandle, offset: u64) -> io::Result<Listing> {
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

/// Who is to own what is made, if that is not us.
fn other_owner(request: &Request) -> Option<(u32, u32)> {
    let ours = rustix::process::geteuid().as_raw();
    (request.uid() != ours).then(|| (request.uid(), request.gid()))
}

/// The kernel has taken the umask of who asked from the mode; ours does not count.
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

fn answer_entry(reply: ReplyEntry, made: io::Result<FileAttr>) {
    match made {
        Ok(attributes) => reply.entry(&TTL, &attributes, GENERATION),
        Err(error) => reply.error(error.into()),
    }
}

fn answer_attr(reply: ReplyAttr, attributes: io::Result<FileAttr>) {
    match attributes {
        Ok(attributes) => reply.attr(&TTL, &attributes),
        Err(error) => reply.error(error.into()),
    }
}

fn answer(reply: ReplyEmpty, done: io::Result<()>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
    }
}

fn answer_data(reply: ReplyData, data: io::Result<Vec<u8>>) {
    match data {
        Ok(data) => reply.data(&data),
        Err(error) => reply.error(error.into()),
    }
}

fn answer_xattr(reply: ReplyXattr, value: io::Result<Vec<u8>>, room: u32) {
    match value {
        Ok(value) if room == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > room as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(error.into()),
    }
}

impl Filesystem for Rofiles {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let entry = self.entry_in(parent, name);
        answer_entry(reply, entry.and_then(|entry| self.found(parent, &entry)));
    }

    fn forget(&self, _: &Request, node: INodeNo, times: u64) {
        lock(&self.nodes).forget(node.0, times);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer_attr(reply, self.stat(node).map(|stat| attributes(node.0, &stat)));
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changes = Changes {
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
        };
        answer_attr(reply, self.change(node, handle, &changes));
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        let target = self.entry(node).and_then(|entry| entry.read_link());
        answer_data(reply, target);
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let kind = rustix::fs::FileType::from_raw_mode(mode);
        let perm = Mode::from_raw_mode(mode & 0o7777);
        let make = |entry: &Lower| {
            rustix::fs::mknodat(entry.dir(), entry.name(), kind, perm, device.into())
        };
        answer_entry(reply, self.make(request, parent, name, make, Some(mode)));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let make = |entry: &Lower| rustix::fs::mkdirat(entry.dir(), entry.name(), Mode::RWXU);
        answer_entry(reply, self.make(request, parent, name, make, Some(mode)));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let make = |entry: &Lower| rustix::fs::symlinkat(target, entry.dir(), entry.name());
        answer_entry(reply, self.make(request, parent, name, make, None));
    }

    fn link(&self, _: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(reply, self.link(node, parent, name));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.remove(parent, name, AtFlags::empty()));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.remove(parent, name, AtFlags::REMOVEDIR));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer(
            reply,
            self.rename((parent, name), (new_parent, new_name), flags),
        );
    }

    fn open(&self, _: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.open(node, flags) {
            Ok(handle) => reply.opened(handle, FopenFlags::empty()),
            Err(error) => reply.error(error.into()),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        match self.create(request, parent, name, mode, flags) {
            Ok((attributes, handle)) => {
                reply.created(&TTL, &attributes, GENERATION, handle, FopenFlags::empty());
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let data = self.file(handle).and_then(|open| {
            let mut data = vec![0; size as usize];
            let mut len = 0;
            // Less than was asked for is taken for the end of the file.
            while len < data.len() {
                match open.file.read_at(&mut data[len..], offset + len as u64) {
                    Ok(0) => break,
                    Ok(more) => len += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            data.truncate(len);
            Ok(data)
        });
        answer_data(reply, data);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.file(handle);
        match written.and_then(|open| open.file.write_at(data, offset)) {
            Ok(len) => reply.written(u32::try_from(len).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.files).remove(&handle.0);
        reply.ok();
    }

    fn fsync(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        let done = self.file(handle).and_then(|open| match data_only {
            true => open.file.sync_data(),
            false => open.file.sync_all(),
        });
        answer(reply, done);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        let done = self
            .file(handle)
            .and_then(|open| Ok(rustix::fs::fallocate(&open.file, flags, offset, length)?));
        answer(reply, done);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(self.next_handle()), FopenFlags::empty());
    }

    fn readdir(
        &self,
        _: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listing = match self.listing(node, handle, offset) {
            Ok(listing) => listing,
            Err(error) => return reply.error(error.into()),
        };
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for (next, (name, kind, number)) in (1..).zip(listing.iter()).skip(skip) {
            if reply.add(INodeNo(*number), next, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        lock(&self.listings).remove(&handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let path = lock(&self.nodes).dir_path(node.0).ok_or_else(gone);
        let done = path.and_then(|path| {
            let dir = open_dir(self.root.as_fd(), &path, OFlags::RDONLY)?;
            Ok(rustix::fs::fsync(dir)?)
        });
        answer(reply, done);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        match rustix::fs::fstatvfs(&self.root) {
            Ok(stat) => reply.statfs(
                stat.f_blocks,
                stat.f_bfree,
                stat.f_bavail,
                stat.f_files,
                stat.f_ffree,
                small(stat.f_bsize),
                small(stat.f_namemax),
                small(stat.f_frsize),
            ),
            Err(error) => reply.error(io::Error::from(error).into()),
        }
    }

    fn setxattr(
        &self,
        _: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let done = self.entry(node).and_then(|entry| {
            self.make_writable(&entry)?;
            entry.set_xattr(
                name,
                value,
                XattrFlags::from_bits_retain(flags.cast_unsigned()),
            )
        });
        answer(reply, done);
    }

    fn getxattr(&self, _: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = self.entry(node).and_then(|entry| entry.get_xattr(name));
        answer_xattr(reply, value, size);
    }

    fn listxattr(&self, _: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self.entry(node).and_then(|entry| entry.list_xattrs());
        answer_xattr(reply, names, size);
    }

    fn removexattr(&self, _: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.entry(node).and_then(|entry| {
            self.make_writable(&entry)?;
            entry.remove_xattr(name)
        });
        answer(reply, done);
    }
}
