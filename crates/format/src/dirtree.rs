// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dirtree objects: `(a(say)a(sayay))`, the entries of one directory. Files come with the checksum
//! of their file object, directories with those of their dirtree and dirmeta; both lists are
//! sorted by the bytes of the name.

use oxtree_gvariant::{Seq, from_bytes, to_bytes};

use crate::{Checksum, DirMetaId, DirTreeId, Error, FileId};

/// A parsed dirtree that borrows its object's bytes. Everything in it was checked.
#[derive(Clone, Copy, Debug)]
pub struct DirTree<'a> {
    files: Seq<'a, (&'a str, &'a [u8])>,
    dirs: Seq<'a, (&'a str, &'a [u8], &'a [u8])>,
}

/// A directory's own pair of ids: its entries and its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirId {
    /// The entries.
    pub tree: DirTreeId,
    /// Owner, mode and extended attributes.
    pub meta: DirMetaId,
}

/// Whether a directory entry can have this name: not empty, not `.` or `..`, without `/` and NUL.
pub fn check_name(name: &str) -> Result<(), Error> {
    match name {
        "" | "." | ".." => Err(Error::FileName(name.to_owned())),
        name if name.contains(['/', '\0']) => Err(Error::FileName(name.to_owned())),
        _ => Ok(()),
    }
}

/// Checks names one after the other: valid, and each greater than the one before.
#[derive(Default)]
struct Order<'a>(Option<&'a str>);

impl<'a> Order<'a> {
    fn next(&mut self, name: &'a str) -> Result<(), Error> {
        check_name(name)?;
        if self
            .0
            .is_some_and(|last| last.as_bytes() >= name.as_bytes())
        {
            return Err(Error::Unsorted(name.to_owned()));
        }
        self.0 = Some(name);
        Ok(())
    }
}

impl<'a> DirTree<'a> {
    /// Parses and checks a dirtree object: names that a directory can hold, sorted, each once.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (files, dirs) = from_bytes(bytes)?;
        let tree = Self { files, dirs };
        let mut order = Order::default();
        for (name, id) in tree.files.iter() {
            order.next(name)?;
            Checksum::from_bytes(id)?;
        }
        let mut order = Order::default();
        let mut files = tree.files.iter().map(|(name, _)| name).peekable();
        for (name, id, meta) in tree.dirs.iter() {
            order.next(name)?;
            Checksum::from_bytes(id)?;
            Checksum::from_bytes(meta)?;
            while files
                .next_if(|file| file.as_bytes() < name.as_bytes())
                .is_some()
            {}
            if files.peek() == Some(&name) {
                return Err(Error::FileAndDirectory(name.to_owned()));
            }
        }
        Ok(tree)
    }

    /// The regular files and symbolic links, sorted by name.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&'a str, FileId)> {
        self.files
            .iter()
            .map(|(name, id)| (name, FileId(checked(id))))
    }

    /// The directories, sorted by name.
    pub fn dirs(&self) -> impl ExactSizeIterator<Item = (&'a str, DirId)> {
        self.dirs.iter().map(|(name, tree, meta)| {
            (
                name,
                DirId {
                    tree: DirTreeId(checked(tree)),
                    meta: DirMetaId(checked(meta)),
                },
            )
        })
    }

    /// The file called `name`.
    pub fn file(&self, name: &str) -> Option<FileId> {
        self.files().find(|(n, _)| *n == name).map(|(_, id)| id)
    }

    /// The directory called `name`.
    pub fn dir(&self, name: &str) -> Option<DirId> {
        self.dirs().find(|(n, _)| *n == name).map(|(_, id)| id)
    }
}

/// A checksum whose length [`DirTree::parse`] has checked.
fn checked(bytes: &[u8]) -> Checksum {
    let mut checksum = Checksum([0; 32]);
    checksum.0.copy_from_slice(&bytes[..32]);
    checksum
}

/// The bytes of a dirtree with these entries, which must come sorted by name; names that are
/// invalid, out of order or on both sides are refused.
pub fn write<'n>(
    files: impl IntoIterator<Item = (&'n str, FileId)>,
    dirs: impl IntoIterator<Item = (&'n str, DirId)>,
) -> Result<Vec<u8>, Error> {
    let files: Vec<(&str, FileId)> = files.into_iter().collect();
    let dirs: Vec<(&str, DirId)> = dirs.into_iter().collect();
    let bytes = to_bytes(&(
        files
            .iter()
            .map(|(name, id)| (*name, &id.as_bytes()[..]))
            .collect::<Vec<_>>(),
        dirs.iter()
            .map(|(name, id)| (*name, &id.tree.as_bytes()[..], &id.meta.as_bytes()[..]))
            .collect::<Vec<_>>(),
    ));
    DirTree::parse(&bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_id(hex: &str) -> FileId {
        hex.parse().unwrap()
    }

    #[test]
    fn known_vectors() {
        let empty = write([], []).unwrap();
        assert_eq!(
            Checksum::of(&empty).to_string(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        let f = file_id("44f778e59f0a4748d6b0c90a47347212a231c4ad1e8f7ea5c5dffc7749153a6b");
        let d = DirId {
            tree: DirTreeId(Checksum::of(&empty)),
            meta: "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488"
                .parse()
                .unwrap(),
        };
        let bytes = write([("f", f)], [("d", d)]).unwrap();
        assert_eq!(
            Checksum::of(&bytes).to_string(),
            "7f27d2d1efc2f2e8eef48ffdc74e8e5f7f5ce71a9912e5a2eed038fea42e38b3"
        );
        let tree = DirTree::parse(&bytes).unwrap();
        assert_eq!(tree.file("f"), Some(f));
        assert_eq!(tree.dir("d"), Some(d));
        assert_eq!(tree.file("d"), None);
    }

    #[test]
    fn hostile_names_are_refused() {
        let id = FileId(Checksum::of(b""));
        let dir = DirId {
            tree: DirTreeId(id.0),
            meta: DirMetaId(id.0),
        };
        for name in ["", ".", "..", "a/b", "/"] {
            assert!(write([(name, id)], []).is_err(), "{name}");
            assert!(write([], [(name, dir)]).is_err(), "{name}");
        }
        assert!(write([("b", id), ("a", id)], []).is_err());
        assert!(write([("a", id), ("a", id)], []).is_err());
        assert!(write([], [("a", dir), ("a", dir)]).is_err());
        assert_eq!(
            write([("a", id), ("m", id)], [("c", dir), ("m", dir)]),
            Err(Error::FileAndDirectory("m".into()))
        );
    }
}
