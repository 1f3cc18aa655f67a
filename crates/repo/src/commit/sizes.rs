// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ostree.sizes`: how much there is to be downloaded of a commit.

use oxtree_format::gvariant::OwnedVariant;
use oxtree_format::sizes::{self, SizesEntry};
use oxtree_format::{DirId, FileId, ObjectId, ObjectKind};
use rayon::prelude::*;

use crate::traverse::{Found, Walk};
use crate::{Repo, Result, Transaction};

/// The value of the metadata key `ostree.sizes` for this tree, whose objects are in the transaction
/// or in its repository, which is an archive: sizes are those of its files.
pub fn sizes_of(root: DirId, transaction: &Transaction<'_>) -> Result<OwnedVariant> {
    let mut objects = Vec::new();
    Walk::new(transaction).tree(root, &[], &mut |found: &Found<'_>| {
        objects.push(found.object);
        Ok(())
    })?;
    let staged = transaction.staged()?;
    let mut entries: Vec<SizesEntry> = objects
        .into_par_iter()
        .with_min_len(64)
        .map(|object| match staged.has_own_object(&object)? {
            true => entry(&staged, object),
            false => entry(transaction.repo(), object),
        })
        .collect::<Result<_>>()?;
    Ok(sizes::write(&mut entries))
}

fn entry(repo: &Repo, object: ObjectId) -> Result<SizesEntry> {
    let archived = repo.stored_size(&object)?;
    let unpacked = match object.kind {
        ObjectKind::File => {
            let (header, size) = repo.file_info(FileId(object.checksum))?;
            header.symlink.map_or(size, |target| target.len() as u64)
        }
        _ => archived,
    };
    Ok(SizesEntry {
        checksum: object.checksum,
        archived,
        unpacked,
        kind: Some(object.kind),
    })
}
