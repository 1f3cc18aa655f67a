// SPDX-License-Identifier: MIT OR Apache-2.0
//! A part of a commit's tree.

use oxtree_format::{CommitId, DirTree, ObjectId};
use oxtree_repo::traverse::{self, Found, Objects, Walk};

use crate::error::Result;
use crate::pull::subpath::Part;

/// The objects of a part of a commit, with the folders on the way to it.
pub(super) fn objects(
    source: &impl Objects,
    commit: CommitId,
    part: &Part,
) -> Result<Vec<ObjectId>> {
    let mut objects = Vec::new();
    let mut walk = Walk::new(source);
    let mut pending = vec![(traverse::root(source, commit)?, part.clone())];
    while let Some((dir, part)) = pending.pop() {
        if part == Part::All {
            walk.tree(dir, &[], &mut |found: &Found<'_>| {
                objects.push(found.object);
                Ok(())
            })?;
            continue;
        }
        objects.extend([dir.tree.object(), dir.meta.object()]);
        let bytes = source.load(&dir.tree.object())?;
        let tree =
            DirTree::parse(&bytes).map_err(|error| oxtree_repo::Error::corrupt(dir.tree, error))?;
        let files = tree.files().filter(|(name, _)| part.takes_file(name));
        objects.extend(files.map(|(_, file)| file.object()));
        for (name, dir) in tree.dirs() {
            pending.extend(part.enter(name).map(|part| (dir, part)));
        }
    }
    objects.sort_unstable();
    objects.dedup();
    Ok(objects)
}
