// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree from a commit that is there already.

use std::collections::BTreeMap;

use oxtree_format::{Commit, CommitId, DirId, DirMeta, DirTree, FileId};
use rayon::prelude::*;

use super::dir::attributes_of;
use super::modifier::{Attributes, CommitModifier, Verdict};
use super::walk::store_dirmeta;
use crate::mtree::{Entry, MAX_DEPTH, MutableTree};
use crate::{Error, Result, Transaction};

/// The tree of `commit`. Only where the modifier may change something is it looked at at all, and
/// only the files that do change are written anew.
pub fn tree_from_commit(
    commit: CommitId,
    modifier: &CommitModifier,
    transaction: &Transaction<'_>,
) -> Result<MutableTree> {
    let bytes = transaction.repo().load_commit(commit)?;
    let root = Commit::parse(&bytes)
        .map_err(|error| Error::corrupt(commit, error))?
        .root;
    if modifier.changes_nothing(transaction.repo().mode()) {
        return Ok(MutableTree::stored(root));
    }
    let rewriter = Rewriter {
        modifier,
        transaction,
    };
    Ok(rewriter.dir(root, "/", 0)?.unwrap_or_default())
}

struct Rewriter<'a> {
    modifier: &'a CommitModifier,
    transaction: &'a Transaction<'a>,
}

impl Rewriter<'_> {
    /// A directory and all below it; [`None`] if it is skipped.
    fn dir(&self, id: DirId, path: &str, depth: usize) -> Result<Option<MutableTree>> {
        let DirMeta {
            uid,
            gid,
            mode,
            xattrs,
        } = self.transaction.repo().load_dirmeta(id.meta)?;
        let mut attributes = Attributes {
            uid,
            gid,
            mode,
            xattrs,
        };
        let repo_mode = self.transaction.repo().mode();
        let verdict = self
            .modifier
            .apply_to_dir(path, &mut attributes, repo_mode)?;
        if verdict == Verdict::Skip {
            return Ok(None);
        }
        if depth > MAX_DEPTH {
            return Err(Error::corrupt(id.tree, "directories nested too deep"));
        }
        let mut tree = MutableTree::new();
        tree.set_meta(store_dirmeta(self.transaction, &attributes.into())?);
        *tree.entries(self.transaction)? = self.entries(id, path, depth)?;
        Ok(Some(tree))
    }

    fn entries(&self, id: DirId, path: &str, depth: usize) -> Result<BTreeMap<String, Entry>> {
        let below = |name: &str| format!("{}/{name}", path.trim_end_matches('/'));
        let bytes = self.transaction.load_metadata(&id.tree.object())?;
        let tree = DirTree::parse(&bytes).map_err(|error| Error::corrupt(id.tree, error))?;
        let files: Vec<(&str, FileId)> = tree.files().collect();
        let files: Vec<(String, Option<FileId>)> = files
            .into_par_iter()
            .map(|(name, id)| Ok((name.to_owned(), self.file(id, &below(name))?)))
            .collect::<Result<_>>()?;
        let mut entries = BTreeMap::new();
        for (name, id) in files {
            entries.extend(id.map(|id| (name, Entry::File(id))));
        }
        for (name, id) in tree.dirs() {
            let dir = self.dir(id, &below(name), depth + 1)?;
            entries.extend(dir.map(|dir| (name.to_owned(), Entry::Dir(dir))));
        }
        Ok(entries)
    }

    /// A file, written anew if it changes; [`None`] if it is skipped.
    fn file(&self, id: FileId, path: &str) -> Result<Option<FileId>> {
        let mut object = self.transaction.repo().open_file(id)?;
        let before = attributes_of(&object.header);
        let mut after = before.clone();
        let mode = self.transaction.repo().mode();
        if self.modifier.apply(path, &mut after, mode)? == Verdict::Skip {
            return Ok(None);
        }
        if after == before {
            return Ok(Some(id));
        }
        let header = after.into_header(object.header.symlink.take());
        self.transaction
            .write_file(&header, object.size, &mut object.content, None)
            .map(Some)
    }
}
