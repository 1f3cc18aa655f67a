// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree from a directory on disk.
//!
//! One thread at a time walks (cheap: names and types), while all threads of the pool stat, read,
//! hash, deflate and write the files that the walk has found. Nothing is held of a file but its
//! name and id once it is stored.

use std::fs::File;
use std::io::Seek;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oxtree_format::{FileHeader, FileId, Xattrs};
use rayon::prelude::*;
use rustix::fs::{FileType, Stat};

use super::modifier::{Attributes, CommitModifier, Verdict, from_disk};
use super::walk::{Batch, Node, OpenDir, Walk, escaped};
use crate::fs::{self, xattr};
use crate::mtree::MutableTree;
use crate::object::adopt::Given;
use crate::{Error, Result, Transaction};

/// Stores all that is in the directory `path`, links not followed, and returns it as a tree. The
/// tree is empty, without metadata, if the modifier skips the directory itself.
pub fn tree_from_dir(
    path: &Path,
    modifier: &CommitModifier,
    transaction: &Transaction<'_>,
) -> Result<MutableTree> {
    let importer = Importer {
        modifier,
        transaction,
    };
    let mut walk = Walk::new(path, modifier, transaction)?;
    let stored: Vec<(usize, Vec<(String, FileId)>)> = (&mut walk)
        .par_bridge()
        .map(|batch| batch.and_then(|batch| importer.store_batch(batch)))
        .collect::<Result<_>>()?;
    let mut nodes = walk.into_nodes();
    for (node, files) in stored {
        let tree = &mut nodes[node].tree;
        for (name, id) in files {
            tree.set_file(&name, id, transaction)?;
        }
    }
    assemble(nodes, transaction)
}

/// Puts each directory into the one it is in, beginning with the last found.
fn assemble(mut nodes: Vec<Node>, transaction: &Transaction<'_>) -> Result<MutableTree> {
    while let Some(node) = nodes.pop() {
        match nodes.get_mut(node.parent) {
            None => return Ok(node.tree),
            Some(parent) => parent
                .tree
                .ensure_dir(&node.name, transaction)?
                .overlay(node.tree, transaction)?,
        }
    }
    Ok(MutableTree::new())
}

struct Importer<'a> {
    modifier: &'a CommitModifier,
    transaction: &'a Transaction<'a>,
}

impl Importer<'_> {
    fn store_batch(&self, batch: Batch) -> Result<(usize, Vec<(String, FileId)>)> {
        let Batch { node, dir, names } = batch;
        let mut stored = Vec::with_capacity(names.len());
        for name in names {
            if let Some(id) = self.store(&dir, &name)? {
                stored.push((name, id));
            }
        }
        Ok((node, stored))
    }

    /// Stores a file or link; [`None`] if it is skipped.
    fn store(&self, dir: &OpenDir, name: &str) -> Result<Option<FileId>> {
        let path = dir.path.join(name);
        let stat = rustix::fs::statat(&dir.fd, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::io("reading", &path))?;
        let source = Source {
            dir,
            name,
            path,
            stat,
        };
        let known = self
            .modifier
            .devino
            .as_ref()
            .and_then(|cache| cache.lookup(&source.stat));
        if let Some(id) = known {
            return self.store_known(&source, id);
        }
        match FileType::from_raw_mode(source.stat.st_mode) {
            FileType::RegularFile => self.store_regular(&source),
            FileType::Symlink => self.store_symlink(&source),
            _ => Err(unsupported(&source.path)),
        }
    }

    /// A hard link into the repository: what the object says counts, not what the disk says.
    fn store_known(&self, source: &Source<'_>, id: FileId) -> Result<Option<FileId>> {
        if self.modifier.devino_canonical {
            self.transaction.count_cache_hit();
            return Ok(Some(id));
        }
        let mut object = self.transaction.repo().open_file(id)?;
        let before = attributes_of(&object.header);
        let Some(header) = self.header(source, before.clone(), object.header.symlink.take())?
        else {
            return Ok(None);
        };
        if attributes_of(&header) == before {
            self.transaction.count_cache_hit();
            return Ok(Some(id));
        }
        self.transaction
            .write_file(&header, object.size, &mut object.content, None)
            .map(Some)
    }

    fn store_regular(&self, source: &Source<'_>) -> Result<Option<FileId>> {
        let io = |action| Error::io(action, &source.path);
        let mut file = fs::open_file(&source.dir.fd, source.name).map_err(io("opening"))?;
        let stat = fs::fstat(&file).map_err(io("reading"))?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(unsupported(&source.path));
        }
        let xattrs = match self.reads_xattrs() {
            true => xattr::of_fd(&file).map_err(io("reading extended attributes of"))?,
            false => Xattrs::NONE,
        };
        match self.header(source, attributes_on_disk(&stat, xattrs), None)? {
            Some(header) => self
                .store_content(source, &header, &mut file, &stat)
                .map(Some),
            None => Ok(None),
        }
    }

    fn store_content(
        &self,
        source: &Source<'_>,
        header: &FileHeader,
        file: &mut File,
        stat: &Stat,
    ) -> Result<FileId> {
        if self.modifier.consume {
            let mut given = Given {
                dir: source.dir.fd.as_fd(),
                name: source.name,
                file,
                stat,
                path: &source.path,
            };
            if let Some(id) = self.transaction.adopt(header, &mut given)? {
                return Ok(id);
            }
            file.rewind().map_err(Error::io("reading", &source.path))?;
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.transaction
            .write_file_from(header, file, size, &source.path)
    }

    fn store_symlink(&self, source: &Source<'_>) -> Result<Option<FileId>> {
        let io = |action| Error::io(action, &source.path);
        let target = fs::read_link(&source.dir.fd, source.name).map_err(io("reading"))?;
        let target = String::from_utf8(target).map_err(|error| {
            let target = escaped(error.as_bytes());
            Error::Invalid(format!(
                "Invalid UTF-8 in symbolic link {}: {target}",
                source.path.display()
            ))
        })?;
        let xattrs = match self.reads_xattrs() {
            true => {
                let dir = source.dir.fd.as_fd();
                xattr::of_link(dir, source.name.as_bytes(), &source.path)
                    .map_err(io("reading extended attributes of"))?
            }
            false => Xattrs::NONE,
        };
        let attributes = attributes_on_disk(&source.stat, xattrs);
        match self.header(source, attributes, Some(target))? {
            Some(header) => self
                .transaction
                .write_file_bytes(&header, &[], None)
                .map(Some),
            None => Ok(None),
        }
    }

    fn reads_xattrs(&self) -> bool {
        let repo = self.transaction.repo();
        !repo.config().disable_xattrs && !self.modifier.skips_xattrs(repo.mode())
    }

    /// What the modifier makes of something; [`None`] if it is skipped.
    fn header(
        &self,
        source: &Source<'_>,
        mut attributes: Attributes,
        symlink: Option<String>,
    ) -> Result<Option<FileHeader>> {
        let path = source.dir.inside(source.name);
        let mode = self.transaction.repo().mode();
        Ok(match self.modifier.apply(&path, &mut attributes, mode)? {
            Verdict::Take => Some(attributes.into_header(symlink)),
            Verdict::Skip => None,
        })
    }
}

/// Something in a directory.
struct Source<'a> {
    dir: &'a OpenDir,
    name: &'a str,
    path: PathBuf,
    stat: Stat,
}

fn unsupported(path: &Path) -> Error {
    Error::Invalid(format!("Not a regular file or symlink: {}", path.display()))
}

fn attributes_on_disk(stat: &Stat, xattrs: Xattrs) -> Attributes {
    Attributes {
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode,
        xattrs: from_disk(xattrs),
    }
}

pub(super) fn attributes_of(header: &FileHeader) -> Attributes {
    Attributes {
        uid: header.uid,
        gid: header.gid,
        mode: header.mode,
        xattrs: header.xattrs.clone(),
    }
}

impl Attributes {
    /// The header of a file, or of a link to `symlink`.
    pub(super) fn into_header(self, symlink: Option<String>) -> FileHeader {
        let Self {
            uid,
            gid,
            mode,
            xattrs,
        } = self;
        FileHeader {
            uid,
            gid,
            mode,
            symlink,
            xattrs,
        }
    }
}
