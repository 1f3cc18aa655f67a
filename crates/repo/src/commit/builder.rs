// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commit object.

use oxtree_format::commit::{NewCommit, keys};
use oxtree_format::gvariant::{Entry, OwnedVariant, to_bytes};
use oxtree_format::{CollectionId, CommitId, DirId, ObjectKind};

use super::dict_order::in_hash_order;
use crate::{Error, Result, Transaction, composefs};

/// What a new commit says besides its tree.
#[derive(Clone, Debug, Default)]
pub struct CommitBuilder {
    /// Metadata in the order in which it is written. libostree has what the user gave first, and
    /// then the bindings.
    pub metadata: Vec<(String, OwnedVariant)>,
    /// Metadata beside the commit, which does not count for its checksum.
    pub detached: Vec<(String, OwnedVariant)>,
    /// The commit before this one.
    pub parent: Option<CommitId>,
    /// The first line of the message.
    pub subject: String,
    /// The rest of the message.
    pub body: String,
    /// Seconds since 1970.
    pub timestamp: u64,
}

impl CommitBuilder {
    /// Says in the metadata which refs may point at the commit (none is a list, too), and in
    /// which collection they are (unless the metadata says that already).
    pub fn bind(&mut self, refs: &[&str], collection: Option<&CollectionId>) {
        let mut refs = refs.to_vec();
        refs.sort_unstable();
        self.metadata
            .push((keys::REF_BINDING.to_owned(), OwnedVariant::of(&refs)));
        let given = self
            .metadata
            .iter()
            .any(|(key, _)| key == keys::COLLECTION_BINDING);
        if let Some(collection) = collection.filter(|_| !given) {
            self.metadata.push((
                keys::COLLECTION_BINDING.to_owned(),
                OwnedVariant::of(collection.as_str()),
            ));
        }
    }

    /// Says which digest the composefs image of the tree `root` has. In libostree, this comes after
    /// [`CommitBuilder::mark_bootable`].
    pub fn add_composefs_digest(
        &mut self,
        root: DirId,
        transaction: &Transaction<'_>,
    ) -> Result<()> {
        let digest = composefs::digest_of(root, transaction)?;
        let digest = OwnedVariant::of(&digest.0.as_slice());
        let metadata = [(keys::COMPOSEFS_DIGEST.to_owned(), digest)];
        self.metadata = in_hash_order(self.metadata.drain(..).chain(metadata));
        Ok(())
    }

    /// Writes the commit of this tree, whose objects are in the transaction or the repository.
    pub fn write(&self, root: DirId, transaction: &Transaction<'_>) -> Result<CommitId> {
        let metadata = self.metadata.iter();
        let commit = NewCommit {
            metadata: metadata
                .map(|(key, value)| (key.as_str(), value.as_ref()))
                .collect(),
            parent: self.parent,
            subject: &self.subject,
            body: &self.body,
            timestamp: self.timestamp,
            root,
        };
        let bytes = commit
            .to_bytes()
            .map_err(|error| Error::Invalid(error.to_string()))?;
        let id = CommitId(transaction.write_metadata(ObjectKind::Commit, &bytes, None)?);
        if !self.detached.is_empty() {
            let detached: Vec<Entry<&str, _>> = self
                .detached
                .iter()
                .map(|(key, value)| Entry(key.as_str(), value.as_ref()))
                .collect();
            transaction.write_detached_metadata(id, &to_bytes(&detached))?;
        }
        Ok(id)
    }
}
