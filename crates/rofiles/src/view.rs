// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file attributes that the kernel gets, and how long it may cache them.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyCreate,
    ReplyEntry, ReplyOpen,
};

/// No number is ever used twice.
const GENERATION: Generation = Generation(0);

/// How files are shown. The names are those of mount options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// How long a name stays what it is.
    pub(crate) entry: Duration,
    /// How long attributes stay what they are.
    pub(crate) attr: Duration,
    /// How long a name that is not there stays missing.
    pub(crate) negative: Duration,
    /// Contents stay in memory when a file is opened again.
    pub(crate) keep_cache: bool,
    /// Contents are not kept in memory.
    pub(crate) direct_io: bool,
    /// Each file has all permissions but these.
    pub(crate) umask: Option<u16>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            entry: Duration::from_secs(1),
            attr: Duration::from_secs(1),
            negative: Duration::ZERO,
            keep_cache: false,
            direct_io: false,
            umask: None,
            uid: None,
            gid: None,
        }
    }
}

impl View {
    fn shown(&self, attributes: &FileAttr) -> FileAttr {
        FileAttr {
            perm: self.umask.map_or(attributes.perm, |umask| 0o777 & !umask),
            uid: self.uid.unwrap_or(attributes.uid),
            gid: self.gid.unwrap_or(attributes.gid),
            ..*attributes
        }
    }

    fn open_flags(&self) -> FopenFlags {
        let mut flags = FopenFlags::empty();
        flags.set(FopenFlags::FOPEN_KEEP_CACHE, self.keep_cache);
        flags.set(FopenFlags::FOPEN_DIRECT_IO, self.direct_io);
        flags
    }

    pub(crate) fn answer_entry(&self, reply: ReplyEntry, made: io::Result<FileAttr>) {
        match made {
            Ok(attributes) => {
                let shown = self.shown(&attributes);
                reply.entry_with_ttls(&self.attr, &self.entry, &shown, GENERATION);
            }
            Err(error) => reply.error(error.into()),
        }
    }

    /// As [`Self::answer_entry`], but that a name is not there may be remembered.
    pub(crate) fn answer_lookup(&self, reply: ReplyEntry, found: io::Result<FileAttr>) {
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.negative.is_zero() => {
                let attr = Duration::ZERO;
                reply.entry_with_ttls(&attr, &self.negative, &NOTHING, GENERATION);
            }
            found => self.answer_entry(reply, found),
        }
    }

    pub(crate) fn answer_attr(&self, reply: ReplyAttr, attributes: io::Result<FileAttr>) {
        match attributes {
            Ok(attributes) => reply.attr(&self.attr, &self.shown(&attributes)),
            Err(error) => reply.error(error.into()),
        }
    }

    pub(crate) fn answer_open(&self, reply: ReplyOpen, opened: io::Result<FileHandle>) {
        match opened {
            Ok(handle) => reply.opened(handle, self.open_flags()),
            Err(error) => reply.error(error.into()),
        }
    }

    pub(crate) fn answer_create(
        &self,
        reply: ReplyCreate,
        created: io::Result<(FileAttr, FileHandle)>,
    ) {
        match created {
            Ok((attributes, handle)) => {
                let (time, shown) = (self.entry.min(self.attr), self.shown(&attributes));
                reply.created(&time, &shown, GENERATION, handle, self.open_flags());
            }
            Err(error) => reply.error(error.into()),
        }
    }
}

/// The kernel takes node zero as: no file has that name.
const NOTHING: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: UNIX_EPOCH,
    mtime: UNIX_EPOCH,
    ctime: UNIX_EPOCH,
    crtime: UNIX_EPOCH,
    kind: FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 0,
    flags: 0,
};
