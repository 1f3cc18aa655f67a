// SPDX-License-Identifier: MIT OR Apache-2.0
//! What there is in the place of a file that is new: the base of a patch.

use std::collections::{HashMap, HashSet};

use crate::traverse::{Found, Walk};
use crate::{Repo, Result};
use oxtree_format::{CommitId, FileId, ObjectKind};

/// How much larger one of two files of the same name may be, in sixteenths. (Their sizes as stored.)
const SIMILAR: u64 = 21;

/// For each file of `wanted` that has one, the file that it replaces: the one that was at its path, or
/// else one that is gone, of the same name and of similar size. `steps` are commits, each with the one
/// before it.
pub fn find(
    repo: &Repo,
    steps: &[(CommitId, CommitId)],
    wanted: &HashSet<FileId>,
) -> Result<HashMap<FileId, FileId>> {
    let mut bases = HashMap::new();
    for (commit, base) in steps {
        let old = files(repo, *base, *commit)?;
        let gone = Gone::new(&old);
        for (path, file) in files(repo, *commit, *base)? {
            if wanted.contains(&file)
                && !bases.contains_key(&file)
                && let Some(base) = gone.instead_of(repo, &path, file)?
            {
                bases.insert(file, base);
            }
        }
    }
    Ok(bases)
}

/// The files of `commit` that are not at the same place in `other`.
fn files(repo: &Repo, commit: CommitId, other: CommitId) -> Result<Vec<(String, FileId)>> {
    let mut files = Vec::new();
    Walk::new(repo).commit(commit, &[other], &mut |found: &Found<'_>| {
        if found.object.kind == ObjectKind::File {
            files.push((found.path(), FileId(found.object.checksum)));
        }
        Ok(())
    })?;
    Ok(files)
}

/// The files that a commit replaces or drops.
struct Gone<'a> {
    paths: HashMap<&'a str, FileId>,
    names: HashMap<&'a str, Vec<(&'a str, FileId)>>,
}

impl<'a> Gone<'a> {
    fn new(files: &'a [(String, FileId)]) -> Self {
        let mut gone = Self {
            paths: HashMap::new(),
            names: HashMap::new(),
        };
        for (path, file) in files {
            gone.paths.insert(path, *file);
            gone.names
                .entry(name(path))
                .or_default()
                .push((path, *file));
        }
        gone
    }

    fn instead_of(&self, repo: &Repo, path: &str, file: FileId) -> Result<Option<FileId>> {
        if let Some(base) = self.paths.get(path) {
            return Ok(Some(*base));
        }
        let Some(same_name) = self.names.get(name(path)) else {
            return Ok(None);
        };
        // The more folders above it have the same names, the better.
        let in_common = |other: &str| {
            let folders = other.rsplit('/').zip(path.rsplit('/'));
            folders.take_while(|(a, b)| a == b).count()
        };
        let best = same_name.iter().max_by_key(|(other, _)| in_common(other));
        let Some((_, base)) = best else {
            return Ok(None);
        };
        let sizes = [
            repo.stored_size(&file.object())?,
            repo.stored_size(&base.object())?,
        ];
        let similar = sizes[0].max(sizes[1]) * 16 <= sizes[0].min(sizes[1]) * SIMILAR;
        Ok(similar.then_some(*base))
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
