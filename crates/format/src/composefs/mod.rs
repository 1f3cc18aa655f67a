// SPDX-License-Identifier: MIT OR Apache-2.0
//! composefs images: a commit as a read-only file system, whose files are found in the repository.
//!
//! An image is an EROFS file system (see <https://erofs.docs.kernel.org>) for the lower layer of an
//! overlayfs: it has all directories, symbolic links, modes and extended attributes, but of each file
//! only the size and, in attributes, where its content is and which fs-verity digest it has. The
//! digest of the whole image vouches for all of that, so every writer must make
//! the same bytes. This is the format 0 of libcomposefs:
//!
//! ```text
//! 0     u32 0xd078629a | u32 1 | u32 flags (1: there are POSIX ACLs) | u32 format 0 | zeros
//! 1024  superblock of EROFS, 128 bytes: features MTIME and XATTR_FILTER, times 0
//! 1152  inodes, each at a multiple of 32 bytes and followed by its attributes and its tail
//!       attributes that more than one inode has
//!       data that is no tail, in blocks of 4 KiB
//! ```
//!
//! All numbers are little-endian. Where each inode has its place is in [`Layout`], what is written
//! of it in `write.rs`, and the attributes in `attributes.rs`. The inodes come in this order: the root,
//! what is in it, sorted by the bytes of the names, then what is in the first directory of these, and so on.
//!
//! The root is opaque for overlayfs, and has 256 whiteouts, `00` to `ff`, which hide the directories of the
//! repository's objects from readers of the merged layers (a name in use has none).

mod attributes;
mod layout;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

pub use layout::Layout;

use crate::dirmeta::{S_IFDIR, S_IFLNK, S_IFREG};
use crate::{Checksum, Error, FileId, Xattrs};

/// A character device; the device 0:0 is a whiteout.
const S_IFCHR: u32 = 0o020_000;

/// The most that a file can have, in bytes, to be described by one chunk of EROFS.
const MAX_FILE_SIZE: u64 = 1 << 43;

/// A symbolic link's target is shorter than this, in bytes.
const MAX_TARGET: usize = 4096;

/// So many inodes are enough for any system, and not more than memory holds.
const MAX_INODES: usize = 1 << 24;

/// The longest name of a directory entry, in bytes.
const MAX_NAME: usize = 255;

/// A file or directory, without its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The permission bits.
    pub mode: u32,
    /// The extended attributes.
    pub xattrs: Arc<Xattrs>,
    /// The rest.
    pub kind: Kind,
}

/// The kinds of inodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// The size of its content in bytes.
        size: u64,
        /// Where its content is.
        object: FileId,
        /// The fs-verity digest that its content has to have.
        digest: Option<Checksum>,
    },
    /// A symbolic link.
    Symlink {
        /// Its target.
        target: String,
    },
    /// An entry that hides what has its name in the layers below.
    Whiteout,
}

impl Inode {
    /// The mode with its type bits.
    fn full_mode(&self) -> u32 {
        let kind = match self.kind {
            Kind::Directory => S_IFDIR,
            Kind::File { .. } => S_IFREG,
            Kind::Symlink { .. } => S_IFLNK,
            Kind::Whiteout => S_IFCHR,
        };
        kind | self.mode & 0o7777
    }

    fn is_dir(&self) -> bool {
        self.kind == Kind::Directory
    }
}

/// One of an image's inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InodeId(u32);

impl InodeId {
    /// The directory at the top.
    pub const ROOT: Self = Self(0);

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// A tree of inodes that is to become an image.
#[derive(Clone, Debug)]
pub struct Image {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    inode: Inode,
    name: String,
    parent: InodeId,
    children: Vec<InodeId>,
}

impl Image {
    /// An image with nothing in it but its root, a directory.
    pub fn new(root: Inode) -> Self {
        debug_assert!(root.is_dir());
        let root = Node {
            inode: root,
            name: String::new(),
            parent: InodeId::ROOT,
            children: Vec::new(),
        };
        Self { nodes: vec![root] }
    }

    /// Adds something to a directory, in any order.
    pub fn add(&mut self, parent: InodeId, name: String, inode: Inode) -> Result<InodeId, Error> {
        if name.is_empty() || name.len() > MAX_NAME || name.contains(['/', '\0']) {
            return Err(Error::FileName(name));
        }
        if self.nodes.len() >= MAX_INODES {
            return Err(Error::ImageTooLarge("/".to_owned()));
        }
        let id = InodeId(self.nodes.len() as u32);
        self.nodes[parent.index()].children.push(id);
        self.nodes.push(Node {
            inode,
            name,
            parent,
            children: Vec::new(),
        });
        Ok(id)
    }

    /// Adds a directory of root's, with mode 0755, unless there is something with that name in the root.
    pub fn ensure_root_directory(&mut self, name: &str) -> Result<(), Error> {
        if !self.root_has(name) {
            let dir = Inode {
                uid: 0,
                gid: 0,
                mode: 0o755,
                xattrs: Arc::default(),
                kind: Kind::Directory,
            };
            self.add(InodeId::ROOT, name.to_owned(), dir)?;
        }
        Ok(())
    }

    /// Gives everything its place. The content of the image does not change after that.
    pub fn layout(mut self) -> Result<Layout, Error> {
        self.add_whiteouts()?;
        let order = self.sort()?;
        Layout::new(self, order)
    }

    /// The whiteouts are the root directory's owner's, and have its label.
    fn add_whiteouts(&mut self) -> Result<(), Error> {
        const LABEL: &[u8] = b"security.selinux";
        let root = &self.nodes[0].inode;
        let label = root.xattrs.get(LABEL);
        let label = label.map(|label| (LABEL.to_vec(), label.to_vec()));
        let whiteout = Inode {
            uid: root.uid,
            gid: root.gid,
            mode: 0o644,
            xattrs: Arc::new(Xattrs::new(label.into_iter().collect())?),
            kind: Kind::Whiteout,
        };
        let names = (0..=255).map(|number| format!("{number:02x}"));
        let names: Vec<String> = names.filter(|name| !self.root_has(name)).collect();
        for name in names {
            self.add(InodeId::ROOT, name, whiteout.clone())?;
        }
        Ok(())
    }

    fn inode(&self, id: InodeId) -> &Inode {
        &self.nodes[id.index()].inode
    }

    fn too_large(&self, id: InodeId) -> Error {
        Error::ImageTooLarge(self.nodes[id.index()].name.clone())
    }

    fn ids(&self) -> impl Iterator<Item = InodeId> {
        (0..self.nodes.len()).map(|index| InodeId(index as u32))
    }

    fn root_has(&self, name: &str) -> bool {
        let mut children = self.nodes[0].children.iter();
        children.any(|child| self.nodes[child.index()].name == name)
    }

    /// Sorts the directories, and returns the inodes in the order of the image.
    fn sort(&mut self) -> Result<Vec<InodeId>, Error> {
        let mut order = Vec::with_capacity(self.nodes.len());
        order.push(InodeId::ROOT);
        let mut at = 0;
        while let Some(&id) = order.get(at) {
            let mut children = std::mem::take(&mut self.nodes[id.index()].children);
            children.sort_unstable_by_key(|child| self.nodes[child.index()].name.as_bytes());
            let name = |child: InodeId| &self.nodes[child.index()].name;
            if let Some(pair) = children
                .windows(2)
                .find(|pair| name(pair[0]) == name(pair[1]))
            {
                return Err(Error::Unsorted(name(pair[0]).clone()));
            }
            order.extend_from_slice(&children);
            self.nodes[id.index()].children = children;
            at += 1;
        }
        Ok(order)
    }
}
