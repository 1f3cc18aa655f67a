// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files as an archive stores them, of a repository in any mode.

use std::fs::File;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use oxtree_format::{FileId, FilezHeader};
use oxtree_repo::{FileObject, Repo};

use crate::Result;

/// Who takes it may pack it anew: it need not be small.
const LEVEL: Compression = Compression::fast();

/// A file that is stored, or that is packed when it is asked for.
#[derive(Debug)]
pub enum Archived {
    /// As it is, and its size.
    Stored(File, u64),
    /// Not packed.
    Plain(FileObject),
}

impl Archived {
    /// Opens a file object.
    pub fn open(repo: &Repo, id: FileId) -> Result<Self> {
        let stored = match repo.mode().is_archive() {
            true => repo.open_filez(id)?,
            false => None,
        };
        Ok(match stored {
            Some((file, size)) => Self::Stored(file, size),
            None => Self::Plain(repo.open_file(id)?),
        })
    }

    /// Its size in bytes, if that is known already.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Stored(_, size) => Some(*size),
            Self::Plain(_) => None,
        }
    }

    /// Writes it.
    pub fn write(self, to: &mut impl Write) -> io::Result<()> {
        let object = match self {
            Self::Stored(mut file, _) => return io::copy(&mut file, to).map(drop),
            Self::Plain(object) => object,
        };
        let header = FilezHeader {
            size: object.size,
            file: object.header,
        };
        to.write_all(&header.stored_bytes())?;
        if header.file.is_symlink() {
            return Ok(());
        }
        let mut content = object.content;
        let mut packer = DeflateEncoder::new(to, LEVEL);
        io::copy(&mut content, &mut packer)?;
        packer.finish().map(drop)
    }
}
