// SPDX-License-Identifier: MIT OR Apache-2.0
//! A delta whose files lie in a folder: in a repository, or anywhere.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oxtree_format::delta::{Signed, Superblock, part};

use super::apply::each_part;
use super::payload::Head;
use super::stored::SUPERBLOCK;
use crate::{Error, Repo, Result, Stats, Transaction, fs, traverse};

/// The largest superblock that is read, in bytes. Parts may be in it.
const MAX_SUPERBLOCK: u64 = 1 << 30;

/// What is in a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartContent {
    /// How many owners and modes.
    pub modes: usize,
    /// How many sets of extended attributes.
    pub xattrs: usize,
    /// The length of the blob in bytes.
    pub blob: u64,
    /// The length of the operations in bytes.
    pub operations_len: usize,
    /// How many operations of each kind, in the order of [`part::count`].
    pub operations: [u64; 7],
}

/// The files of a delta. The superblock is in memory, parts of their own are not.
#[derive(Debug)]
pub struct DeltaFiles {
    folder: PathBuf,
    dir: OwnedFd,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl DeltaFiles {
    /// Opens the delta at a path: a folder with a `superblock`, or the file that is one, with the parts beside
    /// it.
    pub fn open(path: &Path) -> Result<Self> {
        let io = || Error::io("opening", path);
        let is_dir = std::fs::metadata(path).map_err(io())?.is_dir();
        let (folder, name) = match (is_dir, path.parent(), path.file_name()) {
            (true, _, _) => (path, SUPERBLOCK.as_ref()),
            (false, Some(folder), Some(name)) if folder.as_os_str().is_empty() => {
                (Path::new("."), name)
            }
            (false, Some(folder), Some(name)) => (folder, name),
            _ => return Err(io()(io::Error::from(io::ErrorKind::InvalidInput))),
        };
        let dir = fs::open_dir_follow(folder).map_err(io())?;
        let path = folder.join(name);
        let bytes = fs::read_file(&dir, name, MAX_SUPERBLOCK)
            .and_then(|bytes| bytes.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(Error::io("opening", &path))?;
        Ok(Self {
            folder: folder.to_owned(),
            dir,
            path,
            bytes,
        })
    }

    /// The signatures around the superblock; [`None`] if it is not signed.
    pub fn signed(&self) -> Result<Option<Signed<'_>>> {
        Signed::parse(&self.bytes).map_err(|error| self.wrong(error))
    }

    /// The size of the superblock's file in bytes.
    pub fn superblock_size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The superblock.
    pub fn superblock(&self) -> Result<Superblock<'_>> {
        let bytes = match self.signed()? {
            Some(signed) => signed.superblock,
            None => &self.bytes,
        };
        Superblock::parse(bytes).map_err(|error| self.wrong(error))
    }

    fn wrong(&self, error: oxtree_format::Error) -> Error {
        Error::Format {
            path: self.path.clone(),
            reason: format!("this is no static delta, or it is truncated or damaged ({error})"),
        }
    }

    /// Opens a part's file.
    pub fn open_part(&self, index: usize) -> Result<File> {
        let name = index.to_string();
        fs::open_file(&self.dir, &*name).map_err(Error::io(
            "opening the part of a delta",
            self.folder.join(&name),
        ))
    }

    /// A part, from the superblock or its file.
    pub(crate) fn part<'a>(
        &self,
        superblock: &Superblock<'a>,
        index: usize,
    ) -> Result<Box<dyn Read + 'a>> {
        match superblock.inline_part(index) {
            Some(bytes) => Ok(Box::new(bytes)),
            None => Ok(Box::new(self.open_part(index)?)),
        }
    }

    /// What is in a part, counted from 0. It is read twice, and its checksum is not looked at.
    pub fn describe_part(&self, superblock: &Superblock<'_>, index: usize) -> Result<PartContent> {
        let wrong = |reason: String| Error::Format {
            path: self.folder.join(index.to_string()),
            reason,
        };
        let part = superblock.part(index);
        let part = part.ok_or_else(|| wrong("no such part".to_owned()))?;
        let (mut first, mut second) =
            (self.part(superblock, index)?, self.part(superblock, index)?);
        let head = Head::read(&mut first, &mut second);
        let head = head.map_err(|error| wrong(error.to_string()))?;
        let operations = part::count(&head.operations, part.objects);
        Ok(PartContent {
            modes: head.modes.len(),
            xattrs: head.xattrs.len(),
            blob: head.blob,
            operations_len: head.operations.len(),
            operations: operations.map_err(|error| wrong(error.to_string()))?,
        })
    }

    /// Makes the commit that the delta leads to, whole. The commit it is made of has to be there.
    pub fn apply(&self, repo: &Repo) -> Result<Stats> {
        let superblock = self.superblock()?;
        let transaction = Transaction::begin(repo)?;
        transaction.check_delta_source(&superblock)?;
        for fallback in superblock.fallbacks() {
            if !traverse::Objects::has(&transaction, &fallback.object)? {
                return Err(Error::Invalid(
                    "Cannot execute delta offline: contains nonempty http fallback entries"
                        .to_owned(),
                ));
            }
        }
        self.apply_parts(&superblock, &transaction)?;
        transaction.write_delta_commit(&superblock)?;
        let to = superblock.name.to;
        traverse::check_complete(&transaction, to, superblock.name.from)?;
        transaction.commit_complete(&[], &[to])
    }

    /// Makes the objects of all parts that make something new. Returns how many there were, and the size of their
    /// files in bytes.
    pub fn apply_parts(
        &self,
        superblock: &Superblock<'_>,
        transaction: &Transaction<'_>,
    ) -> Result<(u64, u64)> {
        each_part(superblock, transaction, |index, _| {
            let mut packed = self.part(superblock, index)?;
            transaction.apply_delta_part(superblock, index, &mut packed)
        })
    }
}
