// SPDX-License-Identifier: MIT OR Apache-2.0
//! The source and the repository, seen as one.

use oxtree_format::{CommitId, ObjectId};
use oxtree_repo::Repo;
use oxtree_repo::object::verify::check_checksum;
use oxtree_repo::traverse::Objects;

/// Metadata of the source, or where that lacks something of the repository.
pub(super) struct Both<'a> {
    pub(super) source: &'a Repo,
    pub(super) repo: &'a Repo,
    /// Whether the source is not trusted. An object that is damaged there is named itself, not
    /// what seems to be missing from it.
    pub(super) verify: bool,
}

impl Both<'_> {
    /// An error unless these are the bytes of the object, or the source is trusted.
    pub(super) fn verify(&self, object: &ObjectId, bytes: &[u8]) -> oxtree_repo::Result<()> {
        match self.verify {
            true => check_checksum(object, bytes),
            false => Ok(()),
        }
    }
}

impl Objects for Both<'_> {
    fn load(&self, object: &ObjectId) -> oxtree_repo::Result<Vec<u8>> {
        let bytes = match self.source.load_metadata(object) {
            Err(error) if error.is_missing_object() => return self.repo.load_metadata(object),
            bytes => bytes?,
        };
        self.verify(object, &bytes)?;
        Ok(bytes)
    }

    fn has(&self, object: &ObjectId) -> oxtree_repo::Result<bool> {
        Ok(self.source.has_object(object)? || self.repo.has_object(object)?)
    }

    fn is_partial(&self, commit: CommitId) -> oxtree_repo::Result<bool> {
        self.repo.is_partial(commit)
    }
}
