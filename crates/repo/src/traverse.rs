// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which objects a commit is made of.
//!
//! Walks keep their own stack, visit each dirtree once, and hold no more than the ids they have
//! found. A walk that is given *bases*, commits that are there already, goes through them in
//! lock-step and skips what is the same at the same place: an update of a large tree reads only the
//! folders that have changed.

use std::collections::{HashMap, HashSet};

use oxtree_format::{Commit, CommitId, DirId, DirTree, FileId, ObjectId, ObjectKind};
use rayon::prelude::*;

use crate::{Error, Repo, Result, Transaction};

/// Deeper trees are refused: libostree refuses to pull them.
pub const MAX_DEPTH: usize = 256;

/// Where objects are found.
pub trait Objects: Sync {
    /// The bytes of a metadata object.
    fn load(&self, object: &ObjectId) -> Result<Vec<u8>>;

    /// Whether an object is there.
    fn has(&self, object: &ObjectId) -> Result<bool>;
}

impl Objects for Repo {
    fn load(&self, object: &ObjectId) -> Result<Vec<u8>> {
        self.load_metadata(object)
    }

    fn has(&self, object: &ObjectId) -> Result<bool> {
        self.has_object(object)
    }
}

impl Objects for Transaction<'_> {
    fn load(&self, object: &ObjectId) -> Result<Vec<u8>> {
        self.load_metadata(object)
    }

    fn has(&self, object: &ObjectId) -> Result<bool> {
        Ok(self.has_staged(object)? || self.repo().has_object(object)?)
    }
}

/// The root directory of a commit.
pub fn root(objects: &impl Objects, commit: CommitId) -> Result<DirId> {
    let bytes = objects.load(&commit.object())?;
    let commit = Commit::parse(&bytes).map_err(|error| Error::corrupt(commit, error))?;
    Ok(commit.root)
}

/// All objects of a commit, each once, but those that are at the same place in a commit of
/// `bases`. The commit itself comes last. Bases that are not there, or not whole, are of no use and
/// do no harm.
pub fn new_objects(
    objects: &impl Objects,
    commit: CommitId,
    bases: &[CommitId],
) -> Result<Vec<ObjectId>> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    walk(objects, commit, bases, &mut |object, _| {
        if seen.insert(object) {
            found.push(object);
        }
        Ok(())
    })?;
    found.push(commit.object());
    Ok(found)
}

/// All objects of a commit, each once; the commit itself last.
pub fn all_objects(objects: &impl Objects, commit: CommitId) -> Result<Vec<ObjectId>> {
    new_objects(objects, commit, &[])
}

/// Checks that all objects of a commit are there. What is at the same place in the commit
/// `complete` needs no look. The error names an object that is missing, and where it belongs.
pub fn check_complete(
    objects: &impl Objects,
    commit: CommitId,
    complete: Option<CommitId>,
) -> Result<()> {
    let bases: Vec<CommitId> = complete.into_iter().collect();
    let needed = match new_objects(objects, commit, &bases) {
        Err(error) if error.is_missing_object() => return Err(incomplete(objects, commit, error)),
        needed => needed?,
    };
    let missing = needed
        .par_iter()
        .find_map_any(|object| match objects.has(object) {
            Ok(true) => None,
            Ok(false) => Some(Error::not_found(*object)),
            Err(error) => Some(error),
        });
    match missing {
        None => Ok(()),
        Some(error) if error.is_missing_object() => Err(incomplete(objects, commit, error)),
        Some(error) => Err(error),
    }
}

/// Says where in the commit the first missing object belongs; only now is that worth a slow walk.
fn incomplete(objects: &impl Objects, commit: CommitId, error: Error) -> Error {
    let mut found = None;
    let walked = walk(objects, commit, &[], &mut |object, path| {
        if found.is_none() && !objects.has(&object)? {
            found = Some((object, path.to_owned()));
        }
        Ok(())
    });
    match (found, walked) {
        (Some((object, path)), _) => Error::Incomplete {
            commit,
            object,
            path,
        },
        (None, Err(error)) => error,
        (None, Ok(())) => error,
    }
}

/// A folder still to be visited.
struct Pending {
    dir: DirId,
    /// What is at its place in the bases.
    bases: Vec<DirId>,
    path: String,
    depth: usize,
}

/// Calls `on` with every object below a commit that is at no base's same place, and with the path
/// it belongs to. An object in several places is told of more than once, but each dirtree is
/// entered once only.
fn walk(
    objects: &impl Objects,
    commit: CommitId,
    bases: &[CommitId],
    on: &mut impl FnMut(ObjectId, &str) -> Result<()>,
) -> Result<()> {
    let dir = root(objects, commit)?;
    let bases: Vec<DirId> = bases
        .iter()
        .filter_map(|base| root(objects, *base).ok())
        .collect();
    let mut entered = HashSet::new();
    let mut stack = vec![Pending {
        dir,
        bases,
        path: "/".to_owned(),
        depth: 0,
    }];
    while let Some(Pending {
        dir,
        bases,
        path,
        depth,
    }) = stack.pop()
    {
        if !bases.iter().any(|base| base.meta == dir.meta) {
            on(dir.meta.object(), &path)?;
        }
        if bases.iter().any(|base| base.tree == dir.tree) || !entered.insert(dir.tree) {
            continue;
        }
        if depth > MAX_DEPTH {
            return Err(Error::Invalid(format!(
                "Exceeded maximum recursion at {path}"
            )));
        }
        on(dir.tree.object(), &path)?;
        let bytes = objects.load(&dir.tree.object())?;
        let tree = DirTree::parse(&bytes).map_err(|error| Error::corrupt(dir.tree, error))?;
        let same = Same::of(objects, &bases);
        for (name, file) in tree.files().filter(|(_, file)| !same.files.contains(file)) {
            on(file.object(), &join(&path, name))?;
        }
        for (name, dir) in tree.dirs() {
            let bases = same.dirs.get(name).cloned().unwrap_or_default();
            stack.push(Pending {
                dir,
                bases,
                path: join(&path, name),
                depth: depth + 1,
            });
        }
    }
    Ok(())
}

/// What is in the folders of the bases.
#[derive(Default)]
struct Same {
    files: HashSet<FileId>,
    dirs: HashMap<String, Vec<DirId>>,
}

impl Same {
    fn of(objects: &impl Objects, bases: &[DirId]) -> Self {
        let mut same = Self::default();
        for base in bases {
            let object = ObjectId::new(ObjectKind::DirTree, base.tree.0);
            let Ok(bytes) = objects.load(&object) else {
                continue;
            };
            let Ok(tree) = DirTree::parse(&bytes) else {
                continue;
            };
            same.files.extend(tree.files().map(|(_, file)| file));
            for (name, dir) in tree.dirs() {
                same.dirs.entry(name.to_owned()).or_default().push(dir);
            }
        }
        same
    }
}

fn join(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}
