// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits made of others for a ref, as a publisher's receiver does (ostree-push 1.2.0; flatpak's
//! `build-commit-from` is alike): the same tree, message and time, bound to the ref it is to be at,
//! after the commit that is there now.

use oxtree_format::commit::keys;
use oxtree_format::gvariant::{Entry, OwnedVariant};
use oxtree_format::refs::RefName;
use oxtree_format::{Commit, CommitId};

use super::CommitBuilder;
use super::dict_order::HashDict;
use crate::{CommitState, Error, Result, Transaction};

/// The ref that a flatpak commit is for.
const FLATPAK_REF: &str = "xa.ref";
/// The commit that one was made of.
const FLATPAK_FROM: &str = "xa.from_commit";

/// Whether flatpak keeps an application or a runtime under this name.
pub fn is_flatpak_ref(name: &RefName) -> bool {
    let name = name.as_str();
    name.starts_with("app/") || name.starts_with("runtime/")
}

impl Transaction<'_> {
    /// Writes a commit for the ref `name` with the content of `source`, which is in the transaction
    /// or the repository. Detached metadata, and so signatures, are not copied: they are not good
    /// for another commit. The order of the metadata is GLib's, so the checksum is the one that
    /// ostree-push 1.2.0 comes to.
    pub fn copy_commit(
        &self,
        source: CommitId,
        name: &RefName,
        parent: Option<CommitId>,
    ) -> Result<CommitId> {
        let repo = self.repo();
        if repo.commit_state(source)? != CommitState::Normal {
            let reason = format!("Cannot copy irregular commit {source}");
            return Err(Error::Invalid(reason));
        }
        let bytes = self.load_metadata(&source.object())?;
        let commit = Commit::parse(&bytes).map_err(|error| Error::corrupt(source, error))?;
        let mut dict = HashDict::default();
        for Entry(key, value) in commit.metadata.iter() {
            dict.insert(key.to_owned(), OwnedVariant::from(value));
        }
        let refs = vec![name.as_str()];
        dict.insert(keys::REF_BINDING.to_owned(), OwnedVariant::of(&refs));
        let collection = keys::COLLECTION_BINDING;
        match &repo.config().collection_id {
            Some(id) => dict.insert(collection.to_owned(), OwnedVariant::of(id.as_str())),
            None => dict.remove(collection),
        }
        if is_flatpak_ref(name) {
            dict.insert(FLATPAK_REF.to_owned(), OwnedVariant::of(name.as_str()));
            let from = source.to_string();
            dict.insert(FLATPAK_FROM.to_owned(), OwnedVariant::of(from.as_str()));
        }
        let copy = CommitBuilder {
            metadata: dict.into_pairs(),
            detached: Vec::new(),
            parent,
            subject: commit.subject.to_owned(),
            body: commit.body.to_owned(),
            timestamp: commit.timestamp,
        };
        copy.write(commit.root, self)
    }
}
