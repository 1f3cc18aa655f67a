// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walking a directory on disk, one handful of files at a time.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec::IntoIter;

use oxtree_format::dirmeta::S_IFDIR;
use oxtree_format::{DirMeta, DirMetaId, ObjectKind, Xattrs};
use rustix::fs::FileType;

use super::modifier::{Attributes, CommitModifier, Verdict, from_disk};
use crate::fs::{self, xattr};
use crate::mtree::{MAX_DEPTH, MutableTree};
use crate::{Error, Result, Transaction};

/// Files in one piece of work.
const BATCH: usize = 32;

/// A directory that is being read.
#[derive(Debug)]
pub(super) struct OpenDir {
    pub(super) fd: OwnedFd,
    /// For messages: as the user would call it.
    pub(super) path: PathBuf,
    /// As the modifier knows it: absolute within the commit.
    inside: String,
}

impl OpenDir {
    /// The path of something in it as the modifier knows it.
    pub(super) fn inside(&self, name: &str) -> String {
        match self.inside.as_str() {
            "/" => format!("/{name}"),
            dir => format!("{dir}/{name}"),
        }
    }
}

/// Some things in one directory that are not directories.
#[derive(Debug)]
pub(super) struct Batch {
    /// The number of the directory.
    pub(super) node: usize,
    pub(super) dir: Arc<OpenDir>,
    pub(super) names: Vec<String>,
}

/// A directory that was found. Each comes after the one it is in.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: usize,
    pub(super) name: String,
    pub(super) tree: MutableTree,
    depth: usize,
}

/// A directory that was found but not opened yet.
struct Pending {
    parent: usize,
    dir: Arc<OpenDir>,
    name: String,
}

/// Goes through all directories; as an iterator it hands out the files in them.
///
/// It opens a directory only when it gets there, and takes the last one found first, so that few
/// handles and names are held at a time.
pub(super) struct Walk<'a> {
    transaction: &'a Transaction<'a>,
    modifier: &'a CommitModifier,
    nodes: Vec<Node>,
    pending: Vec<Pending>,
    /// The files of the directory that was opened last.
    current: Option<(usize, Arc<OpenDir>, IntoIter<String>)>,
    dirmetas: std::collections::HashMap<DirMeta, DirMetaId>,
    failed: bool,
}

impl<'a> Walk<'a> {
    /// Begins at the directory `path`.
    pub(super) fn new(
        path: &Path,
        modifier: &'a CommitModifier,
        transaction: &'a Transaction<'a>,
    ) -> Result<Self> {
        let fd = fs::open_dir_follow(path).map_err(Error::io("opening", path))?;
        let mut walk = Self {
            transaction,
            modifier,
            nodes: Vec::new(),
            pending: Vec::new(),
            current: None,
            dirmetas: Default::default(),
            failed: false,
        };
        let root = OpenDir {
            fd,
            path: path.to_owned(),
            inside: "/".to_owned(),
        };
        walk.enter(root, 0, String::new())?;
        Ok(walk)
    }

    /// All directories, the root first if it was not skipped.
    pub(super) fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// Reads an opened directory: what it is itself, and the names in it.
    fn enter(&mut self, dir: OpenDir, parent: usize, name: String) -> Result<()> {
        let Some(meta) = self.dirmeta(&dir)? else {
            return Ok(());
        };
        let depth = self.nodes.get(parent).map_or(0, |node| node.depth + 1);
        if depth > MAX_DEPTH {
            return Err(Error::Invalid(format!(
                "{}: more than {MAX_DEPTH} directories inside of each other",
                dir.path.display()
            )));
        }
        let node = self.nodes.len();
        let mut tree = MutableTree::new();
        tree.set_meta(meta);
        self.nodes.push(Node {
            parent,
            name,
            tree,
            depth,
        });
        let dir = Arc::new(dir);
        let entries = fs::entries_once(&dir.fd).map_err(Error::io("reading", &dir.path))?;
        let mut files = Vec::with_capacity(entries.len());
        for (name, kind) in entries {
            let name = utf8_name(name)?;
            if self.is_dir(&dir, &name, kind)? {
                self.pending.push(Pending {
                    parent: node,
                    dir: dir.clone(),
                    name,
                });
            } else {
                files.push(name);
            }
        }
        self.current = Some((node, dir, files.into_iter()));
        Ok(())
    }

    fn is_dir(&self, dir: &OpenDir, name: &str, kind: FileType) -> Result<bool> {
        if kind != FileType::Unknown {
            return Ok(kind.is_dir());
        }
        let stat = fs::stat(&dir.fd, name).map_err(Error::io("reading", dir.path.join(name)))?;
        Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()))
    }

    /// The metadata of a directory, stored; [`None`] if it is to be skipped.
    fn dirmeta(&mut self, dir: &OpenDir) -> Result<Option<DirMetaId>> {
        let io = |action| Error::io(action, &dir.path);
        let mode = self.transaction.repo().mode();
        let stat = fs::fstat(&dir.fd).map_err(io("reading"))?;
        let skip =
            self.modifier.skips_xattrs(mode) || self.transaction.repo().config().disable_xattrs;
        let xattrs = match skip {
            true => Xattrs::NONE,
            false => xattr::of_fd(&dir.fd)
                .map(from_disk)
                .map_err(io("reading extended attributes of"))?,
        };
        let mut attributes = Attributes {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: S_IFDIR | (stat.st_mode & 0o7777),
            xattrs,
        };
        match self
            .modifier
            .apply_to_dir(&dir.inside, &mut attributes, mode)?
        {
            Verdict::Skip => Ok(None),
            Verdict::Take => self.store_dirmeta(attributes.into()).map(Some),
        }
    }

    fn store_dirmeta(&mut self, meta: DirMeta) -> Result<DirMetaId> {
        if let Some(id) = self.dirmetas.get(&meta) {
            self.transaction.count_wanted(ObjectKind::DirMeta);
            return Ok(*id);
        }
        let id = store_dirmeta(self.transaction, &meta)?;
        self.dirmetas.insert(meta, id);
        Ok(id)
    }

    fn advance(&mut self) -> Result<Option<Batch>> {
        loop {
            if let Some((node, dir, names)) = &mut self.current {
                let batch: Vec<String> = names.take(BATCH).collect();
                if !batch.is_empty() {
                    return Ok(Some(Batch {
                        node: *node,
                        dir: dir.clone(),
                        names: batch,
                    }));
                }
                self.current = None;
            }
            let Some(Pending { parent, dir, name }) = self.pending.pop() else {
                return Ok(None);
            };
            let path = dir.path.join(&name);
            let fd = fs::open_dir(&dir.fd, &*name).map_err(Error::io("opening", &path))?;
            let inside = dir.inside(&name);
            self.enter(OpenDir { fd, path, inside }, parent, name)?;
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance();
        self.failed = next.is_err();
        next.transpose()
    }
}

impl From<Attributes> for DirMeta {
    fn from(attributes: Attributes) -> Self {
        let Attributes {
            uid,
            gid,
            mode,
            xattrs,
        } = attributes;
        Self {
            uid,
            gid,
            mode,
            xattrs,
        }
    }
}

/// Stores a dirmeta.
pub(super) fn store_dirmeta(transaction: &Transaction<'_>, meta: &DirMeta) -> Result<DirMetaId> {
    let id = transaction.write_metadata(ObjectKind::DirMeta, &meta.to_bytes(), None)?;
    Ok(DirMetaId(id))
}

/// A name as dirtrees have them.
pub(super) fn utf8_name(name: Vec<u8>) -> Result<String> {
    String::from_utf8(name).map_err(|error| {
        let name = escaped(error.as_bytes());
        Error::Invalid(format!("Invalid UTF-8 in filename {name}"))
    })
}

/// Bytes as text, what is not UTF-8 as `\xff`.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
