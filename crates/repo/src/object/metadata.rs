// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing metadata objects.

use oxtree_format::{
    Checksum, Commit, CommitId, DirMeta, DirTree, MAX_METADATA_SIZE, ObjectId, ObjectKind, Xattrs,
};

use super::place::Form;
use super::write::verify;
use crate::fs::tmpfile::IfExists;
use crate::transaction::Transaction;
use crate::{Error, Result};

/// Checks that `bytes` are a well-formed object of `kind`.
pub fn check_metadata(object: &ObjectId, bytes: &[u8]) -> Result<()> {
    use oxtree_format::gvariant::{Dict, from_bytes};
    let size = bytes.len() as u64;
    if size > MAX_METADATA_SIZE {
        let error = oxtree_format::Error::TooLarge {
            size,
            max: MAX_METADATA_SIZE,
        };
        return Err(Error::corrupt(*object, error));
    }
    let checked = match object.kind {
        ObjectKind::Commit => Commit::parse(bytes).map(drop),
        ObjectKind::DirTree => DirTree::parse(bytes).map(drop),
        ObjectKind::DirMeta => DirMeta::parse(bytes).map(drop),
        ObjectKind::FileXattrs => Xattrs::parse(bytes).map(drop),
        ObjectKind::CommitMeta if bytes.is_empty() => Ok(()),
        ObjectKind::CommitMeta | ObjectKind::TombstoneCommit => {
            from_bytes::<Dict<'_>>(bytes).map(drop).map_err(Into::into)
        }
        kind => Err(oxtree_format::Error::ObjectName(kind.name().to_owned())),
    };
    checked.map_err(|error| Error::corrupt(*object, error))
}

impl Transaction<'_> {
    /// Writes a commit, dirtree or dirmeta, which is checked to be one. With `expected`, its
    /// checksum has to be that.
    pub fn write_metadata(
        &self,
        kind: ObjectKind,
        bytes: &[u8],
        expected: Option<Checksum>,
    ) -> Result<Checksum> {
        let object = ObjectId::new(kind, Checksum::of(bytes));
        verify(
            expected.map(|checksum| ObjectId::new(kind, checksum)),
            &object,
        )?;
        check_metadata(&object, bytes)?;
        self.count_wanted(kind);
        if !self.has_staged(&object)? {
            self.store_plain(&object, bytes, IfExists::Keep)?;
        }
        self.forget_tombstone(&object)?;
        Ok(object.checksum)
    }

    /// Stores a metadata object from a trusted repository: only its form is checked.
    pub(super) fn write_metadata_trusted(&self, object: &ObjectId, bytes: &[u8]) -> Result<()> {
        check_metadata(object, bytes)?;
        self.count_wanted(object.kind);
        self.store_plain(object, bytes, IfExists::Keep)
    }

    /// A commit that was deleted once is wanted again.
    pub(super) fn forget_tombstone(&self, object: &ObjectId) -> Result<()> {
        if object.kind == ObjectKind::Commit {
            let tombstone = ObjectId::new(ObjectKind::TombstoneCommit, object.checksum);
            self.repo().delete_object(&tombstone)?;
        }
        Ok(())
    }

    /// Writes a commit's detached metadata (a serialized `a{sv}`), in place of what it has.
    pub fn write_detached_metadata(&self, commit: CommitId, bytes: &[u8]) -> Result<()> {
        let object = ObjectId::new(ObjectKind::CommitMeta, commit.0);
        check_metadata(&object, bytes)?;
        self.store_plain(&object, bytes, IfExists::Replace)
    }

    /// Writes the note that a commit was deleted on purpose.
    pub fn write_tombstone(&self, commit: CommitId) -> Result<()> {
        let object = ObjectId::new(ObjectKind::TombstoneCommit, commit.0);
        let bytes = oxtree_format::tombstone::write(commit);
        self.store_plain(&object, &bytes, IfExists::Keep)
    }

    fn store_plain(&self, object: &ObjectId, bytes: &[u8], if_exists: IfExists) -> Result<()> {
        self.reserve(bytes.len() as u64)?;
        self.store(object, bytes, Form::Plain, if_exists)?;
        self.count(object, bytes.len() as u64);
        Ok(())
    }
}
