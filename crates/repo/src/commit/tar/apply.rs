// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the members of a tar stream do to a tree, as libostree has it.

use oxtree_format::dirmeta::S_IFDIR;
use oxtree_format::{DirMeta, DirMetaId, FileId, Xattrs};

use super::super::walk::store_dirmeta;
use super::{Step, TarOptions, What};
use crate::mtree::{Entry, MutableTree};
use crate::{Error, Result, Transaction};

/// Does all steps, hard links last.
pub(super) fn apply(
    steps: Vec<Step>,
    stored: &[FileId],
    options: &TarOptions,
    tree: &mut MutableTree,
    transaction: &Transaction<'_>,
) -> Result<()> {
    let mut links = Vec::new();
    for Step { path, owner, what } in steps {
        let Some((name, folders)) = path.split_last() else {
            if let What::Dir(meta) = what {
                tree.set_meta(meta);
            }
            continue;
        };
        if options.autocreate_parents && find(tree, folders, transaction)?.is_none() {
            create(tree, folders, dirmeta(owner, transaction)?, transaction)?;
        }
        let parent = expect(tree, folders, transaction)?;
        match what {
            What::Dir(meta) => parent.ensure_dir(name, transaction)?.set_meta(meta),
            What::File(number) => parent.set_file(name, stored[number], transaction)?,
            What::Link(target) => links.push((path, target)),
        }
    }
    for (path, target) in links {
        link(&path, &target, tree, transaction)?;
    }
    if options.autocreate_parents && tree.meta().is_none() {
        tree.set_meta(dirmeta((0, 0), transaction)?);
    }
    Ok(())
}

/// The directory at `path`, if all on the way are directories.
fn find<'t>(
    mut tree: &'t mut MutableTree,
    path: &[String],
    transaction: &Transaction<'_>,
) -> Result<Option<&'t mut MutableTree>> {
    for name in path {
        match tree.lookup(name, transaction)? {
            Some(Entry::Dir(dir)) => tree = dir,
            _ => return Ok(None),
        }
    }
    Ok(Some(tree))
}

fn expect<'t>(
    mut tree: &'t mut MutableTree,
    path: &[String],
    transaction: &Transaction<'_>,
) -> Result<&'t mut MutableTree> {
    for name in path {
        match tree.lookup(name, transaction)? {
            Some(Entry::Dir(dir)) => tree = dir,
            _ => return Err(Error::PathNotFound(name.clone())),
        }
    }
    Ok(tree)
}

/// Makes the directories of `path`. Those that are there, the root among them, get the same
/// metadata.
fn create(
    mut tree: &mut MutableTree,
    path: &[String],
    meta: DirMetaId,
    transaction: &Transaction<'_>,
) -> Result<()> {
    tree.set_meta(meta);
    for name in path {
        tree = tree.ensure_dir(name, transaction)?;
        tree.set_meta(meta);
    }
    Ok(())
}

fn dirmeta((uid, gid): (u32, u32), transaction: &Transaction<'_>) -> Result<DirMetaId> {
    let meta = DirMeta {
        uid,
        gid,
        mode: S_IFDIR | 0o755,
        xattrs: Xattrs::NONE,
    };
    store_dirmeta(transaction, &meta)
}

fn link(
    path: &[String],
    target: &[String],
    tree: &mut MutableTree,
    transaction: &Transaction<'_>,
) -> Result<()> {
    let full = target.join("/");
    let (name, folders) = target.split_last().map_or(("", target), |(n, f)| (n, f));
    let found = expect(tree, folders, transaction)
        .and_then(|parent| parent.lookup(name, transaction))
        .map_err(|error| broken(&full, &error))?;
    let id = match found {
        Some(Entry::File(id)) => *id,
        Some(Entry::Dir(_)) => {
            let reason =
                format!("Expected hardlink file target at \"{full}\" but found a directory");
            return Err(broken(&full, &reason));
        }
        None => {
            let error = Error::PathNotFound(name.to_owned());
            return Err(broken(&full, &error));
        }
    };
    let Some((name, folders)) = path.split_last() else {
        return Ok(());
    };
    expect(tree, folders, transaction)?.set_file(name, id, transaction)
}

fn broken(target: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::Invalid(format!(
        "Processing deferred hardlink {target}: Failed to find object: {reason}"
    ))
}
