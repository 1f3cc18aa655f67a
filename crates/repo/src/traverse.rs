// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which objects a commit is made of.
//!
//! Walks keep their own stack, visit each dirtree once, and hold no more than the ids they have
//! found and the folders still to be visited. A walk that is given *bases*, commits that are there
//! already, goes through them in lock-step and skips what is the same at the same place: an update
//! of a large tree reads only the folders that have changed.
//!
//! ```no_run
//! use oxtree_repo::{Repo, traverse};
//!
//! let repo = Repo::open("/srv/ostree")?;
//! let (old, new) = (repo.resolve_rev("debian/12^")?, repo.resolve_rev("debian/12")?);
//! let update = traverse::new_objects(&repo, new, &[old])?;
//! let bytes = update.iter().map(|object| repo.stored_size(object)).sum::<Result<u64, _>>()?;
//! println!("{} objects, {bytes} bytes", update.len());
//! # Ok::<(), oxtree_repo::Error>(())
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use oxtree_format::{Commit, CommitId, DirId, DirTree, FileId, ObjectId};
use rayon::prelude::*;

use crate::{CommitState, Error, Repo, Result, Transaction};

/// Deeper trees are refused: libostree refuses to pull them.
pub const MAX_DEPTH: usize = 256;

/// Where objects are found.
pub trait Objects: Sync {
    /// The bytes of a metadata object.
    fn load(&self, object: &ObjectId) -> Result<Vec<u8>>;

    /// Whether an object is there.
    fn has(&self, object: &ObjectId) -> Result<bool>;

    /// Whether a commit is known to lack some of its objects.
    fn is_partial(&self, commit: CommitId) -> Result<bool>;
}

impl Objects for Repo {
    fn load(&self, object: &ObjectId) -> Result<Vec<u8>> {
        self.load_metadata(object)
    }

    fn has(&self, object: &ObjectId) -> Result<bool> {
        self.has_object(object)
    }

    fn is_partial(&self, commit: CommitId) -> Result<bool> {
        Ok(self.commit_state(commit)? != CommitState::Normal)
    }
}

impl Objects for Transaction<'_> {
    fn load(&self, object: &ObjectId) -> Result<Vec<u8>> {
        self.load_metadata(object)
    }

    fn has(&self, object: &ObjectId) -> Result<bool> {
        if self.has_staged(object)? {
            return Ok(true);
        }
        self.repo()
            .parent()
            .map_or(Ok(false), |parent| parent.has_object(object))
    }

    fn is_partial(&self, commit: CommitId) -> Result<bool> {
        self.repo().is_partial(commit)
    }
}

/// The root directory of a commit.
pub fn root(objects: &impl Objects, commit: CommitId) -> Result<DirId> {
    let bytes = objects.load(&commit.object())?;
    let commit = Commit::parse(&bytes).map_err(|error| Error::corrupt(commit, error))?;
    Ok(commit.root)
}

/// A commit and those before it, newest first, each with its bytes. Ends where a parent is not
/// there; that the first commit is not there is an error.
pub fn ancestors<O: Objects>(
    objects: &O,
    commit: CommitId,
) -> impl Iterator<Item = Result<(CommitId, Vec<u8>)>> {
    let mut next = Some(commit);
    std::iter::from_fn(move || {
        let id = next.take()?;
        let bytes = match objects.load(&id.object()) {
            Err(error) if error.is_missing_object() && id != commit => return None,
            Err(error) => return Some(Err(error)),
            Ok(bytes) => bytes,
        };
        match Commit::parse(&bytes) {
            Ok(parsed) => next = parsed.parent,
            Err(error) => return Some(Err(Error::corrupt(id, error))),
        }
        Some(Ok((id, bytes)))
    })
}

/// All objects of a commit, each once, but those that are at the same place in a commit of
/// `bases`. The commit itself comes last. Bases that are not there, or not whole, are of no use and
/// do no harm, but that what they have is taken to be there.
pub fn new_objects(
    objects: &impl Objects,
    commit: CommitId,
    bases: &[CommitId],
) -> Result<Vec<ObjectId>> {
    let mut all = Vec::new();
    Walk::new(objects).commit(commit, bases, &mut |found: &Found<'_>| {
        all.push(found.object);
        Ok(())
    })?;
    Ok(all)
}

/// All objects of a commit, each once; the commit itself last.
pub fn all_objects(objects: &impl Objects, commit: CommitId) -> Result<Vec<ObjectId>> {
    new_objects(objects, commit, &[])
}

/// Checks that all objects of a commit are there. What is at the same place in the commit
/// `complete` needs no look, unless that is known to lack something. The error names an object that
/// is missing, and where it belongs.
pub fn check_complete(
    objects: &impl Objects,
    commit: CommitId,
    complete: Option<CommitId>,
) -> Result<()> {
    let bases = match complete {
        Some(base) if !objects.is_partial(base)? => vec![base],
        _ => Vec::new(),
    };
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
    let mut first = None;
    let walked = Walk::new(objects).commit(commit, &[], &mut |found: &Found<'_>| {
        if first.is_none() && !objects.has(&found.object)? {
            first = Some((found.object, found.path()));
        }
        Ok(())
    });
    match (first, walked) {
        (Some((object, path)), _) => Error::Incomplete {
            commit,
            object,
            path,
        },
        (None, Err(error)) => error,
        (None, Ok(())) => error,
    }
}

/// An object that a walk has found.
#[derive(Debug)]
pub struct Found<'a> {
    /// The object.
    pub object: ObjectId,
    folder: &'a Place,
    name: &'a str,
}

impl Found<'_> {
    /// Where in the commit it was found. (An object may be in more places.)
    pub fn path(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        names.extend((!self.name.is_empty()).then_some(self.name));
        let mut folder = self.folder;
        while let Place(Some(node)) = folder {
            names.push(&node.name);
            folder = &node.above;
        }
        names.reverse();
        format!("/{}", names.join("/"))
    }
}

/// A folder within a commit; the root is no node. Names are held once however many are below.
#[derive(Clone, Debug, Default)]
struct Place(Option<Arc<Node>>);

#[derive(Debug)]
struct Node {
    above: Place,
    name: String,
}

/// Is told what a walk finds.
pub trait Visit {
    /// An object, found for the first time in this walk.
    fn found(&mut self, found: &Found<'_>) -> Result<()>;

    /// A dirtree that cannot be read. The walk goes on without it if this is no error here.
    fn unreadable(&mut self, _dirtree: &Found<'_>, error: Error) -> Result<()> {
        Err(error)
    }
}

impl<F: FnMut(&Found<'_>) -> Result<()>> Visit for F {
    fn found(&mut self, found: &Found<'_>) -> Result<()> {
        self(found)
    }
}

/// A walk through one commit or more, which tells of each object once.
#[derive(Debug)]
pub struct Walk<'o, O> {
    objects: &'o O,
    seen: HashSet<ObjectId>,
}

/// A folder still to be visited.
struct Pending {
    dir: DirId,
    /// What is at its place in the bases.
    bases: Vec<DirId>,
    place: Place,
    depth: usize,
}

impl<'o, O: Objects> Walk<'o, O> {
    /// A walk that has seen nothing yet.
    pub fn new(objects: &'o O) -> Self {
        Self {
            objects,
            seen: HashSet::new(),
        }
    }

    /// Visits every object of a commit that this walk has not seen, and that is at no base's same
    /// place. The commit itself comes last.
    pub fn commit(
        &mut self,
        commit: CommitId,
        bases: &[CommitId],
        visit: &mut impl Visit,
    ) -> Result<()> {
        let bases = bases.iter();
        let bases: Vec<DirId> = bases
            .filter_map(|base| root(self.objects, *base).ok())
            .collect();
        self.tree(root(self.objects, commit)?, &bases, visit)?;
        self.tell(commit.object(), &Place::default(), "", visit)?;
        Ok(())
    }

    /// The same for a tree, with trees for bases.
    pub fn tree(&mut self, dir: DirId, bases: &[DirId], visit: &mut impl Visit) -> Result<()> {
        let mut stack = vec![Pending {
            dir,
            bases: bases.to_vec(),
            place: Place::default(),
            depth: 0,
        }];
        while let Some(pending) = stack.pop() {
            self.folder(&pending, &mut stack, visit)?;
        }
        Ok(())
    }

    fn tell(
        &mut self,
        object: ObjectId,
        folder: &Place,
        name: &str,
        visit: &mut impl Visit,
    ) -> Result<bool> {
        let new = self.seen.insert(object);
        if new {
            visit.found(&Found {
                object,
                folder,
                name,
            })?;
        }
        Ok(new)
    }

    fn folder(
        &mut self,
        pending: &Pending,
        stack: &mut Vec<Pending>,
        visit: &mut impl Visit,
    ) -> Result<()> {
        let Pending {
            dir,
            bases,
            place,
            depth,
        } = pending;
        if !bases.iter().any(|base| base.meta == dir.meta) {
            self.tell(dir.meta.object(), place, "", visit)?;
        }
        if bases.iter().any(|base| base.tree == dir.tree)
            || !self.tell(dir.tree.object(), place, "", visit)?
        {
            return Ok(());
        }
        let found = Found {
            object: dir.tree.object(),
            folder: place,
            name: "",
        };
        if *depth > MAX_DEPTH {
            let path = found.path();
            return Err(Error::Invalid(format!(
                "Exceeded maximum recursion at {path}"
            )));
        }
        let bytes = match self.objects.load(&found.object) {
            Ok(bytes) => bytes,
            Err(error) => return visit.unreadable(&found, error),
        };
        let tree = match DirTree::parse(&bytes) {
            Ok(tree) => tree,
            Err(error) => return visit.unreadable(&found, Error::corrupt(dir.tree, error)),
        };
        let news = News::of(self.objects, &tree, bases);
        for (name, file) in news.files {
            self.tell(file.object(), place, name, visit)?;
        }
        let first = stack.len();
        stack.extend(news.dirs.into_iter().map(|(name, dir, bases)| Pending {
            dir,
            bases,
            place: Place(Some(Arc::new(Node {
                above: place.clone(),
                name: name.to_owned(),
            }))),
            depth: depth + 1,
        }));
        // The last one is visited first.
        stack[first..].reverse();
        Ok(())
    }
}

/// What a folder has that the folders at its place in other commits, its bases, have not.
#[derive(Debug)]
pub struct News<'t> {
    /// Files with their names.
    pub files: Vec<(&'t str, FileId)>,
    /// All folders in it with their names, and what is at their place in the bases.
    pub dirs: Vec<(&'t str, DirId, Vec<DirId>)>,
}

impl<'t> News<'t> {
    /// Compares. Bases that cannot be read have nothing.
    pub fn of(objects: &impl Objects, tree: &DirTree<'t>, bases: &[DirId]) -> Self {
        let mut same = Same::of(objects, bases);
        let files = tree.files().filter(|(_, file)| !same.files.contains(file));
        Self {
            files: files.collect(),
            dirs: tree
                .dirs()
                .map(|(name, dir)| (name, dir, same.dirs.remove(name).unwrap_or_default()))
                .collect(),
        }
    }
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
            let Ok(bytes) = objects.load(&base.tree.object()) else {
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
