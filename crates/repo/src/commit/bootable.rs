// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--bootable`: what a commit says of the kernel in it.

use oxtree_format::gvariant::OwnedVariant;
use oxtree_format::{DirId, DirTree, DirTreeId};

use super::CommitBuilder;
use super::dict_order::in_hash_order;
use crate::{Error, Result, Transaction};

const BOOTABLE: &str = "ostree.bootable";
const LINUX: &str = "ostree.linux";

impl CommitBuilder {
    /// Says that the tree `root` can be booted, and which kernel it has: there must be exactly one
    /// `vmlinuz` in the directories of `/usr/lib/modules`. In libostree, this comes after [`CommitBuilder::bind`].
    pub fn mark_bootable(&mut self, root: DirId, transaction: &Transaction<'_>) -> Result<()> {
        let release = kernel_release(root, transaction)?;
        let metadata = [
            (BOOTABLE.to_owned(), OwnedVariant::of(&true)),
            (LINUX.to_owned(), OwnedVariant::of(release.as_str())),
        ];
        self.metadata = in_hash_order(self.metadata.drain(..).chain(metadata));
        Ok(())
    }
}

/// The name of the only directory with a kernel.
fn kernel_release(root: DirId, transaction: &Transaction<'_>) -> Result<String> {
    let (mut dir, mut path) = (root.tree, String::new());
    for name in ["usr", "lib", "modules"] {
        path = format!("{path}/{name}");
        dir = subdirectory(dir, name, transaction)?
            .ok_or_else(|| Error::PathNotFound(path.clone()))?;
    }
    let mut found = None;
    for (name, dir) in directories(dir, transaction)? {
        let bytes = transaction.load_metadata(&dir.object())?;
        let tree = DirTree::parse(&bytes).map_err(|error| Error::corrupt(dir, error))?;
        let mut names = tree
            .files()
            .map(|(name, _)| name)
            .chain(tree.dirs().map(|(name, _)| name));
        if names.any(|name| name == "vmlinuz") && found.replace(name).is_some() {
            let many = "Multiple kernels found in /usr/lib/modules";
            return Err(Error::Invalid(many.to_owned()));
        }
    }
    found.ok_or_else(|| Error::Invalid("No kernel found in /usr/lib/modules".to_owned()))
}

fn subdirectory(
    dir: DirTreeId,
    name: &str,
    transaction: &Transaction<'_>,
) -> Result<Option<DirTreeId>> {
    let mut dirs = directories(dir, transaction)?.into_iter();
    Ok(dirs.find(|(other, _)| other == name).map(|(_, id)| id))
}

fn directories(dir: DirTreeId, transaction: &Transaction<'_>) -> Result<Vec<(String, DirTreeId)>> {
    let bytes = transaction.load_metadata(&dir.object())?;
    let tree = DirTree::parse(&bytes).map_err(|error| Error::corrupt(dir, error))?;
    Ok(tree
        .dirs()
        .map(|(name, dir)| (name.to_owned(), dir.tree))
        .collect())
}
