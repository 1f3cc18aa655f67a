// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a folder holds that is not here.

use oxtree_format::{DirId, DirMetaId, DirTree, FileId};
use oxtree_repo::traverse::{MAX_DEPTH, News};

use super::Source;
use crate::error::{Result, invalid};
use crate::pull::subpath::Part;

/// A folder that is to be looked at.
#[derive(Clone, Debug)]
pub(super) struct TreeWant {
    pub(super) dir: DirId,
    /// What is at its place in commits that are complete here.
    pub(super) bases: Vec<DirId>,
    pub(super) part: Part,
    pub(super) depth: usize,
}

/// What was found in a folder.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Files that are to be fetched.
    pub(super) files: Vec<FileId>,
    /// Dirmetas that are to be fetched.
    pub(super) metas: Vec<DirMetaId>,
    /// Folders that are to be fetched.
    pub(super) trees: Vec<TreeWant>,
    /// Folders that are here, but perhaps not all that is in them.
    pub(super) here: Vec<TreeWant>,
}

impl Source<'_> {
    /// Looks at a folder whose dirtree is `bytes`.
    pub(super) fn scan(&self, want: &TreeWant, bytes: &[u8]) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        let tree = DirTree::parse(bytes)
            .map_err(|error| oxtree_repo::Error::corrupt(want.dir.tree, error))?;
        let news = News::of(self.transaction, &tree, &want.bases);
        for (name, file) in news.files {
            let object = file.object();
            if want.part.takes_file(name) && self.is_new(object) && !self.is_here(&object)? {
                scanned.files.push(file);
            }
        }
        for (name, dir, bases) in news.dirs {
            if let Some(part) = want.part.enter(name) {
                let depth = want.depth + 1;
                let want = TreeWant {
                    dir,
                    bases,
                    part,
                    depth,
                };
                self.enter(want, &mut scanned)?;
            }
        }
        Ok(scanned)
    }

    /// Notes what of a folder itself is to be fetched.
    pub(super) fn enter(&self, want: TreeWant, scanned: &mut Scanned) -> Result<()> {
        if want.depth > MAX_DEPTH {
            return Err(invalid(format!(
                "Exceeded maximum recursion at dirtree {}",
                want.dir.tree
            )));
        }
        let meta = want.dir.meta.object();
        let has_meta = |base: &DirId| base.meta == want.dir.meta;
        if !want.bases.iter().any(has_meta) && self.is_new(meta) && !self.is_here(&meta)? {
            scanned.metas.push(want.dir.meta);
        }
        let tree = want.dir.tree.object();
        if want.bases.iter().any(|base| base.tree == want.dir.tree) {
            return Ok(());
        }
        // Where only a part is wanted, another part may be at another place.
        if want.part == Part::All && !self.is_new(tree) {
            return Ok(());
        }
        match self.is_here(&tree)? {
            true => scanned.here.push(want),
            false => scanned.trees.push(want),
        }
        Ok(())
    }
}
