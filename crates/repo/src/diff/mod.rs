// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is different between two trees, each of them a commit or a directory on a disk.
//!
//! Two commits are gone through in lock-step, and what has the same checksum is not looked into:
//! the cost is that of the directories that have changed. Of a tree on a disk everything is read
//! whose counterpart is there, on all cores.

mod side;
mod stats;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use oxtree_format::Checksum;
use rayon::prelude::*;

use self::side::{Entries, Folder, Found, Leaf, Side};
use crate::disk::DiskView;
use crate::mtree::MAX_DEPTH;
use crate::tree::Tree;
use crate::{Error, Mode, Result};

pub use stats::{ObjectCounts, count_objects};

/// Something to be compared.
#[derive(Clone, Copy, Debug)]
pub enum Source<'r> {
    /// The tree of a commit.
    Tree(Tree<'r>),
    /// A directory on a disk.
    Disk(&'r Path),
}

/// The differences. Paths are relative to the two roots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// What is on both sides, and not the same: content, owner, mode, attributes or type. What is
    /// in something that is a directory on one side only is not listed.
    pub modified: Vec<PathBuf>,
    /// What is only on the first side; of a directory not what is in it.
    pub removed: Vec<PathBuf>,
    /// What is only on the second side; of a directory all that is in it, too.
    pub added: Vec<PathBuf>,
}

/// Compares two trees. The roots' own owners and modes do not count. The options are for what is
/// on a disk; the owners in them count for the second side only, as in libostree.
///
/// ```
/// use oxtree_repo::diff::{Source, diff};
///
/// let dir = tempfile::tempdir()?;
/// let (old, new) = (dir.path().join("old"), dir.path().join("new"));
/// for tree in [&old, &new] {
///     std::fs::create_dir(tree)?;
///     std::fs::write(tree.join("same"), "same")?;
/// }
/// std::fs::write(new.join("more"), "more")?;
/// let changes = diff(Source::Disk(&old), Source::Disk(&new), Default::default())?;
/// assert!(changes.modified.is_empty() && changes.removed.is_empty());
/// assert_eq!(changes.added, [std::path::Path::new("more")]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn diff(a: Source<'_>, b: Source<'_>, view: DiskView) -> Result<Diff> {
    let ignore_xattrs = view.ignore_xattrs || a.has_no_xattrs() || b.has_no_xattrs();
    let view = DiskView {
        ignore_xattrs,
        ..view
    };
    let of_first = DiskView {
        owner_uid: None,
        owner_gid: None,
        ..view
    };
    let (a, root_a) = Side::open(&a, of_first)?;
    let (b, root_b) = Side::open(&b, view)?;
    let mut comparison = Comparison {
        a,
        b,
        diff: Diff::default(),
        steps: Vec::new(),
    };
    comparison.folders(&Place::default(), &root_a, &root_b)?;
    while let Some(step) = comparison.steps.pop() {
        comparison.step(step)?;
    }
    Ok(comparison.diff)
}

impl Source<'_> {
    /// Commits of such a repository have none, whatever was committed.
    fn has_no_xattrs(&self) -> bool {
        match self {
            Self::Tree(tree) => {
                let repo = tree.repo();
                repo.config().disable_xattrs || repo.mode() == Mode::BareUserOnly
            }
            Self::Disk(_) => false,
        }
    }
}

/// Where a comparison is.
#[derive(Clone, Debug, Default)]
struct Place {
    path: PathBuf,
    depth: usize,
}

impl Place {
    fn child(&self, name: &[u8]) -> Self {
        Self {
            path: self.path.join(OsString::from_vec(name.to_vec())),
            depth: self.depth + 1,
        }
    }

    /// Nobody has trees of that depth, but a damaged repository can have one without an end.
    fn check(&self) -> Result<()> {
        match self.depth > MAX_DEPTH {
            true => Err(Error::Invalid(format!(
                "more than {MAX_DEPTH} directories inside of each other"
            ))),
            false => Ok(()),
        }
    }
}

/// What is still to be done, the last one first.
enum Step {
    Modified(Place),
    Removed(Place),
    /// A directory on both sides.
    Both(Place, Folder, Folder),
    /// Something on the second side only.
    Added(Place, Option<Folder>),
}

struct Comparison<'r> {
    a: Side<'r>,
    b: Side<'r>,
    diff: Diff,
    steps: Vec<Step>,
}

impl Comparison<'_> {
    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Modified(place) => self.diff.modified.push(place.path),
            Step::Removed(place) => self.diff.removed.push(place.path),
            Step::Both(place, a, b) => {
                if self.a.meta(&a, &place.path)? != self.b.meta(&b, &place.path)? {
                    self.diff.modified.push(place.path.clone());
                }
                self.folders(&place, &a, &b)?;
            }
            Step::Added(place, folder) => {
                if let Some(folder) = folder {
                    place.check()?;
                    let entries = self.b.list(&folder, &place.path)?;
                    self.add(&place, &entries, |_| true);
                }
                self.diff.added.push(place.path);
            }
        }
        Ok(())
    }

    /// Compares what is in two directories. Directories in them are left for later, and after
    /// them, as libostree has it, what is new.
    fn folders(&mut self, place: &Place, a: &Folder, b: &Folder) -> Result<()> {
        if let (Folder::Stored(a), Folder::Stored(b)) = (a, b)
            && a.tree == b.tree
        {
            return Ok(());
        }
        place.check()?;
        let in_a = self.a.list(a, &place.path)?;
        let in_b = self.b.list(b, &place.path)?;
        self.add(place, &in_b, |name| in_a.get(name).is_none());
        self.files(place, &in_a, &in_b)?;
        for (name, folder) in in_a.dirs.into_iter().rev() {
            let place = place.child(&name);
            self.steps.push(match in_b.get(&name) {
                None => Step::Removed(place),
                Some(Found::Leaf(_)) => Step::Modified(place),
                Some(Found::Folder(other)) => Step::Both(place, folder, other.clone()),
            });
        }
        Ok(())
    }

    /// Leaves for later what is new among `entries`.
    fn add(&mut self, place: &Place, entries: &Entries, is_new: impl Fn(&[u8]) -> bool) {
        let dirs = entries
            .dirs
            .iter()
            .map(|(name, folder)| (name, Some(folder)));
        let files = entries.files.iter().map(|(name, _)| (name, None));
        for (name, folder) in dirs.rev().chain(files.rev()) {
            if is_new(name) {
                let step = Step::Added(place.child(name), folder.cloned());
                self.steps.push(step);
            }
        }
    }

    fn files(&mut self, place: &Place, in_a: &Entries, in_b: &Entries) -> Result<()> {
        let mut changed = Vec::new();
        let mut pairs = Vec::new();
        for (name, leaf) in &in_a.files {
            match in_b.get(name) {
                None => self.diff.removed.push(place.child(name).path),
                Some(Found::Folder(_)) => changed.push(place.child(name).path),
                Some(Found::Leaf(other)) => match (leaf, other) {
                    (Leaf::Stored(a), Leaf::Stored(b)) if a == b => {}
                    (Leaf::Stored(_), Leaf::Stored(_)) => changed.push(place.child(name).path),
                    _ => pairs.push((place.child(name).path, leaf, other)),
                },
            }
        }
        let differs = |(path, a, b): &(PathBuf, &Leaf, &Leaf)| -> Result<bool> {
            let (a, b): (Checksum, Checksum) =
                (self.a.checksum(a, path)?, self.b.checksum(b, path)?);
            Ok(a != b)
        };
        let differ: Vec<bool> = pairs.par_iter().map(differs).collect::<Result<_>>()?;
        let differing = pairs.into_iter().zip(differ).filter(|(_, differ)| *differ);
        changed.extend(differing.map(|((path, ..), _)| path));
        changed.sort();
        self.diff.modified.append(&mut changed);
        Ok(())
    }
}
