// SPDX-License-Identifier: MIT OR Apache-2.0
//! A directory tree under construction.
//!
//! Trees from directories, tar streams and other commits are laid over each other here, and then
//! written as dirtree objects. A directory that comes from a commit stays an id until somebody
//! looks into it, so that taking over a whole commit costs nothing.

use std::collections::BTreeMap;

use oxtree_format::{DirId, DirMetaId, DirTree, DirTreeId, FileId, ObjectKind, dirtree};

use crate::object::verify::check_checksum;
use crate::{Error, Result, Transaction};

/// Directories nested deeper than this are refused. No path of that depth fits into Linux's
/// `PATH_MAX`, and it bounds the recursion over a tree.
pub const MAX_DEPTH: usize = 2048;

/// One directory with all that is below it.
#[derive(Debug, Default)]
pub struct MutableTree {
    meta: Option<DirMetaId>,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    /// As in this object, which was not looked at yet.
    Stored(DirTreeId),
    /// Names, which order like their bytes.
    Open(BTreeMap<String, Entry>),
}

/// What a name in a directory stands for.
#[derive(Debug)]
pub enum Entry {
    /// A regular file or symbolic link.
    File(FileId),
    /// A directory.
    Dir(MutableTree),
}

impl Default for Contents {
    fn default() -> Self {
        Self::Open(BTreeMap::new())
    }
}

impl MutableTree {
    /// An empty directory that has no metadata yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory as it is in some commit.
    pub fn stored(dir: DirId) -> Self {
        Self {
            meta: Some(dir.meta),
            contents: Contents::Stored(dir.tree),
        }
    }

    /// The directory's own owner, mode and extended attributes, once they are known.
    pub fn meta(&self) -> Option<DirMetaId> {
        self.meta
    }

    /// Sets [`MutableTree::meta`].
    pub fn set_meta(&mut self, meta: DirMetaId) {
        self.meta = Some(meta);
    }

    /// The entries by name; reads them from the object where that was not done yet.
    pub fn entries(&mut self, objects: &Transaction<'_>) -> Result<&mut BTreeMap<String, Entry>> {
        if let Contents::Stored(id) = self.contents {
            self.contents = Contents::Open(read_entries(id, objects)?);
        }
        match &mut self.contents {
            Contents::Open(entries) => Ok(entries),
            Contents::Stored(_) => unreachable!("opened above"),
        }
    }

    /// What is called `name`.
    pub fn lookup(&mut self, name: &str, objects: &Transaction<'_>) -> Result<Option<&mut Entry>> {
        Ok(self.entries(objects)?.get_mut(name))
    }

    /// Puts a file at `name`. Another file gives way to it, a directory does not.
    pub fn set_file(&mut self, name: &str, id: FileId, objects: &Transaction<'_>) -> Result<()> {
        check_name(name)?;
        let entries = self.entries(objects)?;
        if let Some(Entry::Dir(_)) = entries.get(name) {
            return Err(Error::Invalid(format!(
                "Can't replace directory with file: {name}"
            )));
        }
        entries.insert(name.to_owned(), Entry::File(id));
        Ok(())
    }

    /// The directory at `name`, a new one if there was nothing.
    pub fn ensure_dir(
        &mut self,
        name: &str,
        objects: &Transaction<'_>,
    ) -> Result<&mut MutableTree> {
        check_name(name)?;
        let entries = self.entries(objects)?;
        match entries
            .entry(name.to_owned())
            .or_insert_with(|| Entry::Dir(MutableTree::new()))
        {
            Entry::Dir(dir) => Ok(dir),
            Entry::File(_) => Err(Error::Invalid(format!(
                "Can't replace file with directory: {name}"
            ))),
        }
    }

    /// Lays `over` on top: its files replace ours, directories are joined, and theirs decides on
    /// owner and mode.
    pub fn overlay(&mut self, over: MutableTree, objects: &Transaction<'_>) -> Result<()> {
        if over.meta.is_some() {
            self.meta = over.meta;
        }
        let empty = matches!(&self.contents, Contents::Open(entries) if entries.is_empty());
        match (over.contents, &self.contents) {
            (contents, _) if empty => self.contents = contents,
            (Contents::Stored(a), Contents::Stored(b)) if a == *b => {}
            (contents, _) => {
                let entries = match contents {
                    Contents::Open(entries) => entries,
                    Contents::Stored(id) => read_entries(id, objects)?,
                };
                for (name, entry) in entries {
                    match entry {
                        Entry::File(id) => self.set_file(&name, id, objects)?,
                        Entry::Dir(dir) => {
                            self.ensure_dir(&name, objects)?.overlay(dir, objects)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes the dirtrees of this directory and all below it.
    pub fn write(&self, transaction: &Transaction<'_>) -> Result<DirId> {
        self.write_at(transaction, 0)
    }

    fn write_at(&self, transaction: &Transaction<'_>, depth: usize) -> Result<DirId> {
        if depth > MAX_DEPTH {
            return Err(Error::Invalid(format!(
                "more than {MAX_DEPTH} directories inside of each other"
            )));
        }
        let meta = self.meta.ok_or_else(|| {
            // A tree gets its metadata from the first thing that is put there.
            Error::Invalid("Can't commit an empty tree".to_owned())
        })?;
        let entries = match &self.contents {
            Contents::Stored(tree) => return Ok(DirId { tree: *tree, meta }),
            Contents::Open(entries) => entries,
        };
        let (mut files, mut dirs) = (Vec::new(), Vec::new());
        for (name, entry) in entries {
            match entry {
                Entry::File(id) => files.push((name.as_str(), *id)),
                Entry::Dir(dir) => {
                    dirs.push((name.as_str(), dir.write_at(transaction, depth + 1)?));
                }
            }
        }
        let bytes =
            dirtree::write(files, dirs).map_err(|error| Error::Invalid(error.to_string()))?;
        let tree = transaction.write_metadata(ObjectKind::DirTree, &bytes, None)?;
        let tree = DirTreeId(tree);
        Ok(DirId { tree, meta })
    }
}

fn check_name(name: &str) -> Result<()> {
    dirtree::check_name(name).map_err(|error| Error::Invalid(error.to_string()))
}

fn read_entries(id: DirTreeId, objects: &Transaction<'_>) -> Result<BTreeMap<String, Entry>> {
    let bytes = objects.load_metadata(&id.object())?;
    // A damaged dirtree must not become part of a new commit under another name.
    check_checksum(&id.object(), &bytes)?;
    let tree = DirTree::parse(&bytes).map_err(|error| Error::corrupt(id, error))?;
    let files = tree
        .files()
        .map(|(name, id)| (name.to_owned(), Entry::File(id)));
    let dirs = tree
        .dirs()
        .map(|(name, id)| (name.to_owned(), Entry::Dir(MutableTree::stored(id))));
    Ok(files.chain(dirs).collect())
}
