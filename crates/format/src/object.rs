// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kinds of object, their ids, and the names of loose objects.

use std::fmt;

use crate::{Checksum, Error};

/// The types of objects. The numbers are libostree's, used in static deltas, in `ostree.sizes` and
/// on our wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ObjectKind {
    /// A regular file or symbolic link with its metadata.
    File = 1,
    /// The entries of one directory.
    DirTree = 2,
    /// Owner, mode and extended attributes of one directory.
    DirMeta = 3,
    /// A commit.
    Commit = 4,
    /// Says that a commit was deleted on purpose; named by that commit.
    TombstoneCommit = 5,
    /// Detached metadata of a commit (signatures above all); named by that commit.
    CommitMeta = 6,
    /// A link to a file object, named by the checksum of the file's content alone.
    PayloadLink = 7,
    /// An extended attribute list of a `bare-split-xattrs` repository.
    FileXattrs = 8,
    /// A hard link to a [`ObjectKind::FileXattrs`], named by the file object it belongs to.
    FileXattrsLink = 9,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::File,
        Self::DirTree,
        Self::DirMeta,
        Self::Commit,
        Self::TombstoneCommit,
        Self::CommitMeta,
        Self::PayloadLink,
        Self::FileXattrs,
        Self::FileXattrsLink,
    ];

    /// The kind with libostree's number `n`.
    pub fn from_number(n: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == n)
    }

    /// The name that libostree prints, which is also a loose object's suffix (except for file
    /// objects of archive repositories: `filez`).
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::DirTree => "dirtree",
            Self::DirMeta => "dirmeta",
            Self::Commit => "commit",
            Self::TombstoneCommit => "tombstone-commit",
            Self::CommitMeta => "commitmeta",
            Self::PayloadLink => "payload-link",
            Self::FileXattrs => "file-xattrs",
            Self::FileXattrsLink => "file-xattrs-link",
        }
    }

    /// The kind called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// True for the kinds stored as plain GVariants: everything that hangs below a commit but
    /// file objects.
    pub fn is_metadata(self) -> bool {
        matches!(
            self,
            Self::DirTree | Self::DirMeta | Self::Commit | Self::TombstoneCommit | Self::CommitMeta
        )
    }

    /// True where the name is the SHA-256 of the object's own bytes.
    pub fn is_content_addressed(self) -> bool {
        matches!(
            self,
            Self::File | Self::DirTree | Self::DirMeta | Self::Commit | Self::FileXattrs
        )
    }
}

/// Names one object: its checksum and its kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// The checksum in the object's name.
    pub checksum: Checksum,
    /// The object's kind.
    pub kind: ObjectKind,
}

impl ObjectId {
    /// Names the object of `kind` called `checksum`.
    pub fn new(kind: ObjectKind, checksum: Checksum) -> Self {
        Self { checksum, kind }
    }

    /// The path of a loose object below `objects/`: two digits, `/`, 62 digits, suffix. `archive`
    /// is true for repositories in that mode, whose file objects end in `.filez`.
    pub fn loose_path(&self, archive: bool) -> String {
        let hex = self.checksum.to_hex();
        let suffix = match self.kind {
            ObjectKind::File if archive => "filez",
            kind => kind.name(),
        };
        format!("{}/{}.{suffix}", &hex[..2], &hex[2..])
    }

    /// The same as one word, as which objects of an archive are named in lists.
    pub fn archive_name(&self) -> String {
        self.loose_path(true).replacen('/', "", 1)
    }

    /// The object whose loose path is `dir`/`file`; [`None`] where that is no object's name in a
    /// repository that is (not) `archive`.
    pub fn from_loose(dir: &str, file: &str, archive: bool) -> Option<Self> {
        let (rest, suffix) = file.split_once('.')?;
        let kind = match (suffix, archive) {
            ("filez", true) => ObjectKind::File,
            ("file", true) => return None,
            (suffix, _) => ObjectKind::from_name(suffix)?,
        };
        if dir.len() != 2 {
            return None;
        }
        let checksum = Checksum::from_hex(format!("{dir}{rest}").as_bytes())?;
        Some(Self { checksum, kind })
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.checksum, self.kind.name())
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for ObjectId {
    type Err = Error;

    /// Parses `CHECKSUM.KIND`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::ObjectName(text.to_owned());
        let (checksum, kind) = text.split_once('.').ok_or_else(wrong)?;
        Ok(Self {
            checksum: checksum.parse().map_err(|_| wrong())?,
            kind: ObjectKind::from_name(kind).ok_or_else(wrong)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_names_round_trip() {
        for kind in ObjectKind::ALL {
            for archive in [false, true] {
                let id = ObjectId::new(kind, Checksum::of(b"x"));
                let path = id.loose_path(archive);
                let (dir, file) = path.split_once('/').unwrap();
                assert_eq!(ObjectId::from_loose(dir, file, archive), Some(id));
            }
            let id = ObjectId::new(kind, Checksum::of(b"x"));
            assert_eq!(id.to_string().parse::<ObjectId>().unwrap(), id);
            assert_eq!(ObjectKind::from_number(kind as u8), Some(kind));
        }
        assert_eq!(ObjectKind::from_number(0), None);
    }

    #[test]
    fn foreign_names_are_none() {
        let hex = Checksum::of(b"x").to_hex();
        for (dir, file) in [("", ""), ("zz", "a.file"), ("../", "x.file"), ("a", "b")] {
            assert_eq!(ObjectId::from_loose(dir, file, false), None);
        }
        assert_eq!(ObjectId::from_loose(&hex[..2], &hex[2..], false), None);
        assert_eq!(
            ObjectId::from_loose(&hex[..2], &format!("{}.odd", &hex[2..]), false),
            None
        );
    }
}
