// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading objects.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{BorrowedFd, OwnedFd};

use flate2::bufread::DeflateDecoder;
use oxtree_format::file::{PREFIX_LEN, header_len, split_header};
use oxtree_format::{
    Commit, CommitId, DirMeta, DirMetaId, DirTreeId, FileHeader, FileId, FilezHeader,
    MAX_METADATA_SIZE, ObjectId, ObjectKind, Xattrs,
};
use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType};

use super::stored::{self, OSTREEMETA};
use crate::fs::{self, xattr};
use crate::{Error, Mode, Repo, Result};

/// A file object that was opened: its header, and its content still to be read.
#[derive(Debug)]
pub struct FileObject {
    /// Owner, mode, link target, extended attributes.
    pub header: FileHeader,
    /// The content's size in bytes; 0 for a symbolic link.
    pub size: u64,
    /// The content. Reading it does not verify it.
    pub content: FileContent,
}

/// The content of a [`FileObject`].
#[derive(Debug)]
pub enum FileContent {
    /// There is none: a symbolic link.
    None,
    /// A plain file.
    Plain(File),
    /// A deflated one.
    Deflated(Box<DeflateDecoder<BufReader<File>>>),
}

impl Read for FileContent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None => Ok(0),
            Self::Plain(file) => file.read(buffer),
            Self::Deflated(decoder) => decoder.read(buffer),
        }
    }
}

impl Repo {
    /// Whether the object is here or in a parent repository.
    pub fn has_object(&self, object: &ObjectId) -> Result<bool> {
        if self.has_own_object(object)? {
            return Ok(true);
        }
        self.parent()
            .map_or(Ok(false), |parent| parent.has_object(object))
    }

    /// Whether the object is in this very repository.
    pub fn has_own_object(&self, object: &ObjectId) -> Result<bool> {
        let path = self.loose(object);
        let stat = fs::stat(self.objects(), &path).map_err(self.object_io("looking for", &path))?;
        Ok(stat.is_some())
    }

    /// The bytes of a metadata object. They are not verified, only bounded.
    pub fn load_metadata(&self, object: &ObjectId) -> Result<Vec<u8>> {
        let path = self.loose(object);
        let bytes = fs::read_file(self.objects(), &path, MAX_METADATA_SIZE)
            .map_err(self.object_io("reading", &path))?;
        match (bytes, self.parent()) {
            (Some(bytes), _) => Ok(bytes),
            (None, Some(parent)) => parent.load_metadata(object),
            (None, None) => Err(Error::not_found(*object)),
        }
    }

    /// The bytes of a commit, which [`Commit::parse`] accepts.
    pub fn load_commit(&self, id: CommitId) -> Result<Vec<u8>> {
        let bytes = self.load_metadata(&id.object())?;
        Commit::parse(&bytes).map_err(|error| Error::corrupt(id, error))?;
        Ok(bytes)
    }

    /// The bytes of a dirtree.
    pub fn load_dirtree(&self, id: DirTreeId) -> Result<Vec<u8>> {
        self.load_metadata(&id.object())
    }

    /// A dirmeta.
    pub fn load_dirmeta(&self, id: DirMetaId) -> Result<DirMeta> {
        let bytes = self.load_metadata(&id.object())?;
        DirMeta::parse(&bytes).map_err(|error| Error::corrupt(id, error))
    }

    /// The detached metadata of a commit, a serialized `a{sv}`; [`None`] if it has none.
    pub fn load_detached_metadata(&self, commit: CommitId) -> Result<Option<Vec<u8>>> {
        match self.load_metadata(&ObjectId::new(ObjectKind::CommitMeta, commit.0)) {
            Ok(bytes) if bytes.is_empty() => Ok(None),
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_missing_object() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a file object.
    pub fn open_file(&self, id: FileId) -> Result<FileObject> {
        match (self.open_own_file(id)?, self.parent()) {
            (Some(file), _) => Ok(file),
            (None, Some(parent)) => parent.open_file(id),
            (None, None) => Err(Error::not_found(id)),
        }
    }

    /// The header of a file object, and its content's size in bytes. Costs less than to open it.
    pub fn file_info(&self, id: FileId) -> Result<(FileHeader, u64)> {
        if self.mode().is_archive()
            && let Some(FilezHeader { size, file }) = self.short_filez_header(id)
        {
            return Ok((file, size));
        }
        let file = self.open_file(id)?;
        Ok((file.header, file.size))
    }

    /// The header of a `.filez`, if it is short and all is well.
    fn short_filez_header(&self, id: FileId) -> Option<FilezHeader> {
        let mut file = fs::open_file(self.objects(), self.loose(&id.object())).ok()?;
        let mut start = [0; 512];
        let len = file.read(&mut start).ok()?;
        let (header, _) = split_header(&start[..len]).ok()?;
        FilezHeader::parse(header).ok()
    }

    /// Opens the `.filez` of an archive repository as it is stored, with its size in bytes;
    /// [`None`] if it is not in this very repository.
    pub fn open_filez(&self, id: FileId) -> Result<Option<(File, u64)>> {
        self.open_filez_in(self.objects(), id)
    }

    fn open_filez_in(&self, dir: BorrowedFd<'_>, id: FileId) -> Result<Option<(File, u64)>> {
        debug_assert!(self.mode().is_archive());
        let path = self.loose(&id.object());
        match fs::open_file(dir, &path) {
            Ok(file) => {
                let size = file
                    .metadata()
                    .map_err(self.object_io("reading", &path))?
                    .len();
                Ok(Some((file, size)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.object_io("opening", &path)(error)),
        }
    }

    fn open_own_file(&self, id: FileId) -> Result<Option<FileObject>> {
        self.open_file_in(self.objects(), id)
    }

    /// Opens a file object in a directory of the layout of `objects/`.
    pub(crate) fn open_file_in(
        &self,
        dir: BorrowedFd<'_>,
        id: FileId,
    ) -> Result<Option<FileObject>> {
        if self.mode().is_archive() {
            return self
                .open_filez_in(dir, id)?
                .map(|(file, size)| read_filez(id, file, size))
                .transpose();
        }
        let path = self.loose(&id.object());
        let stat = fs::stat(dir, &path).map_err(self.object_io("opening", &path))?;
        let Some(stat) = stat else { return Ok(None) };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => self.open_bare_symlink(dir, id, &path, &stat).map(Some),
            FileType::RegularFile => self.open_bare_regular(dir, id, &path).map(Some),
            _ => Err(Error::corrupt(
                id,
                "neither a regular file nor a symbolic link",
            )),
        }
    }

    fn open_bare_symlink(
        &self,
        dir: BorrowedFd<'_>,
        id: FileId,
        path: &str,
        stat: &rustix::fs::Stat,
    ) -> Result<FileObject> {
        let target = rustix::fs::readlinkat(dir, path, Vec::new())
            .map_err(self.object_io("reading", path))?;
        let target = target
            .into_string()
            .map_err(|_| Error::corrupt(id, "link target is not UTF-8"))?;
        let mut header = FileHeader {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode,
            symlink: Some(target),
            xattrs: Xattrs::NONE,
        };
        match self.mode() {
            Mode::BareUserOnly => (header.uid, header.gid) = (0, 0),
            Mode::BareSplitXattrs => header.xattrs = self.split_xattrs(id)?,
            _ if self.config().disable_xattrs => {}
            _ => {
                let full = self.path().join("objects").join(path);
                header.xattrs = xattr::of_link(dir, path.as_bytes(), &full)
                    .map_err(self.object_io("reading extended attributes of", path))?;
            }
        }
        Ok(FileObject {
            header,
            size: 0,
            content: FileContent::None,
        })
    }

    fn open_bare_regular(&self, dir: BorrowedFd<'_>, id: FileId, path: &str) -> Result<FileObject> {
        let file = fs::open_file(dir, path).map_err(self.object_io("opening", path))?;
        let stat = rustix::fs::fstat(&file).map_err(self.object_io("reading", path))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut header = FileHeader {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode,
            symlink: None,
            xattrs: Xattrs::NONE,
        };
        match self.mode() {
            Mode::BareUser => return self.open_bare_user(id, path, file, size),
            Mode::BareUserOnly => (header.uid, header.gid) = (0, 0),
            Mode::BareSplitXattrs => header.xattrs = self.split_xattrs(id)?,
            _ if self.config().disable_xattrs => {}
            _ => {
                header.xattrs = xattr::of_fd(&file)
                    .map_err(self.object_io("reading extended attributes of", path))?;
            }
        }
        Ok(FileObject {
            header,
            size,
            content: FileContent::Plain(file),
        })
    }

    /// In `bare-user` even a symbolic link is a regular file: its target and one NUL.
    fn open_bare_user(&self, id: FileId, path: &str, file: File, size: u64) -> Result<FileObject> {
        let meta = xattr::get(&file, OSTREEMETA)
            .map_err(self.object_io("reading extended attributes of", path))?
            .ok_or_else(|| Error::corrupt(id, format!("no extended attribute {OSTREEMETA}")))?;
        let (uid, gid, mode, xattrs) =
            stored::parse_ostreemeta(&meta).map_err(|error| Error::corrupt(id, error))?;
        let mut header = FileHeader {
            uid,
            gid,
            mode,
            symlink: None,
            xattrs,
        };
        if !stored::is_symlink(mode) {
            return Ok(FileObject {
                header,
                size,
                content: FileContent::Plain(file),
            });
        }
        let mut target = Vec::new();
        file.take(64 << 10)
            .read_to_end(&mut target)
            .map_err(self.object_io("reading", path))?;
        if target.last() == Some(&0) {
            target.pop();
        }
        let target = String::from_utf8(target)
            .ok()
            .filter(|target| !target.is_empty() && !target.contains('\0'))
            .ok_or_else(|| Error::corrupt(id, "invalid link target"))?;
        header.symlink = Some(target);
        Ok(FileObject {
            header,
            size: 0,
            content: FileContent::None,
        })
    }

    /// The attributes of a file object of a `bare-split-xattrs` repository.
    fn split_xattrs(&self, id: FileId) -> Result<Xattrs> {
        let link = ObjectId::new(ObjectKind::FileXattrsLink, id.0);
        let bytes = self.load_metadata(&link)?;
        Xattrs::parse(&bytes).map_err(|error| Error::corrupt(link, error))
    }

    /// The size of an object as it is stored, in bytes.
    pub fn stored_size(&self, object: &ObjectId) -> Result<u64> {
        let path = self.loose(object);
        let stat = fs::stat(self.objects(), &path).map_err(self.object_io("looking for", &path))?;
        match (stat, self.parent()) {
            (Some(stat), _) => Ok(u64::try_from(stat.st_size).unwrap_or(0)),
            (None, Some(parent)) => parent.stored_size(object),
            (None, None) => Err(Error::not_found(*object)),
        }
    }

    /// Every loose object of this very repository, in no particular order.
    pub fn list_objects(&self) -> Result<Vec<ObjectId>> {
        // In a small repository, most of the folders are not there.
        let names = fs::entries(self.objects()).map_err(self.object_io("reading", ""))?;
        let there: Vec<u8> = (0..=255)
            .filter(|first| {
                let folder = format!("{first:02x}");
                names.iter().any(|(name, _)| name == folder.as_bytes())
            })
            .collect();
        let folders: Vec<Vec<ObjectId>> = there
            .into_par_iter()
            .with_min_len(16)
            .map(|first| {
                let mut objects = Vec::new();
                self.list_fanout(first, &mut objects).map(|()| objects)
            })
            .collect::<Result<_>>()?;
        Ok(folders.concat())
    }

    /// The loose objects of this very repository whose checksums begin with these digits (two at
    /// least).
    pub(crate) fn objects_with_prefix(&self, prefix: &str) -> Result<Vec<ObjectId>> {
        let mut objects = Vec::new();
        for first in 0..=255 {
            let folder = format!("{first:02x}");
            if folder.starts_with(prefix) || prefix.starts_with(&folder) {
                self.list_fanout(first, &mut objects)?;
            }
        }
        objects.retain(|object| object.checksum.to_hex().starts_with(prefix));
        Ok(objects)
    }

    fn list_fanout(&self, first: u8, objects: &mut Vec<ObjectId>) -> Result<()> {
        let dir = format!("{first:02x}");
        let fd: OwnedFd = match fs::open_dir(self.objects(), &*dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            fd => fd.map_err(self.object_io("opening", &dir))?,
        };
        for (name, _) in fs::entries_once(&fd).map_err(self.object_io("reading", &dir))? {
            let id = std::str::from_utf8(&name)
                .ok()
                .and_then(|name| ObjectId::from_loose(&dir, name, self.mode().is_archive()));
            objects.extend(id);
        }
        Ok(())
    }

    /// The file object that a payload link leads to; [`None`] if it leads nowhere.
    pub(crate) fn payload_link_target(&self, link: &ObjectId) -> Result<Option<ObjectId>> {
        let path = self.loose(link);
        let target =
            fs::read_link(self.objects(), &path).map_err(self.object_io("reading", &path))?;
        let target = std::str::from_utf8(&target).ok();
        let parts = target.and_then(|target| target.strip_prefix("../")?.split_once('/'));
        Ok(parts.and_then(|(dir, file)| ObjectId::from_loose(dir, file, self.mode().is_archive())))
    }

    /// Deletes an object of this very repository; false if it was not there.
    pub fn delete_object(&self, object: &ObjectId) -> Result<bool> {
        let path = self.loose(object);
        match rustix::fs::unlinkat(self.objects(), &*path, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(self.object_io("deleting", &path)(io::Error::from(error))),
        }
    }

    /// The path of an object below `objects/`.
    pub(crate) fn loose(&self, object: &ObjectId) -> String {
        object.loose_path(self.mode().is_archive())
    }

    /// For `map_err`: an error on a path below `objects/`.
    pub(crate) fn object_io<E: Into<io::Error>>(
        &self,
        action: &'static str,
        path: &str,
    ) -> impl FnOnce(E) -> Error {
        Error::io(action, self.path().join("objects").join(path))
    }
}

/// Reads the header of a `.filez` of `stored` bytes; the content is inflated as it is read.
pub fn read_filez(id: FileId, file: File, stored: u64) -> Result<FileObject> {
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::corrupt(id, "it ends within its header"),
        _ => Error::corrupt(id, error),
    };
    let mut reader = BufReader::with_capacity(
        usize::try_from(stored)
            .unwrap_or(usize::MAX)
            .clamp(64, 64 << 10),
        file,
    );
    let mut prefix = [0; PREFIX_LEN];
    reader.read_exact(&mut prefix).map_err(io)?;
    let len = header_len(prefix).map_err(|error| Error::corrupt(id, error))?;
    if len as u64 > stored {
        return Err(Error::corrupt(id, "header longer than the object"));
    }
    let mut header = vec![0; len];
    reader.read_exact(&mut header).map_err(io)?;
    let FilezHeader { size, file: header } =
        FilezHeader::parse(&header).map_err(|error| Error::corrupt(id, error))?;
    let content = match header.is_symlink() {
        true => FileContent::None,
        false => FileContent::Deflated(Box::new(DeflateDecoder::new(reader))),
    };
    Ok(FileObject {
        header,
        size,
        content,
    })
}
