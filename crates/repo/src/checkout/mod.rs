// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checking out: from a commit, or a part of one, to files on disk.
//!
//! Where the repository's mode allows it, a file in the checkout is a hard link to its object: as
//! root from `bare`, in user mode from `bare-user` and `bare-user-only`. Everything else is copied,
//! sharing the blocks where the file system can. Empty files are always copied, because a file
//! system limits how many links one inode can have.
//!
//! Everything happens relative to open directories, and no symbolic link below the destination is
//! ever followed: neither one of the commit's nor, when joining trees, one that was there before.

mod attributes;
mod cache;
mod copy;
mod file;
mod link;
mod walk;
mod whiteout;

use std::collections::HashSet;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::CWD;

use crate::selinux::SePolicy;
use crate::tree::Entry;
use crate::{Error, Repo, Result};

/// What to do with what is there already. A destination directory may exist only where trees are
/// joined; its owner, mode and time stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Union {
    /// The destination must not exist.
    #[default]
    None,
    /// Files of the commit replace those that are there.
    Files,
    /// Files that are there stay.
    Add,
    /// Files that are there must be the same as those of the commit.
    Identical,
}

/// When a file is a hard link to its object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// Where possible.
    #[default]
    Allow,
    /// Always; an error where it is not possible.
    Require,
    /// Never. Directories then get the current time, too.
    Never,
}

/// How to check out.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Leave owners and extended attributes alone, drop set-user-id and set-group-id bits of files,
    /// and make every file readable by its owner. Always on for `bare-user-only`.
    pub user: bool,
    /// Joining with what is there.
    pub union: Union,
    /// Hard links.
    pub links: Links,
    /// `.wh.NAME` deletes NAME, `.wh..wh..opq` empties its directory first (as OCI layers have it).
    /// With [`Union::Files`], directories replace files, too.
    pub whiteouts: bool,
    /// `.ostree-wh.NAME` becomes NAME, a character device 0:0 (as overlayfs has it).
    pub passthrough_whiteouts: bool,
    /// Take mode bits outside of 0775 from directories.
    pub plain_dirs: bool,
    /// Make each file and directory durable.
    pub fsync: bool,
    /// Paths to leave out, relative to what is checked out, but with a slash at the beginning, and
    /// one at the end for directories.
    pub skip: HashSet<String>,
    /// Everything gets the label that this has for it, in place of the commit's. Links to objects
    /// cannot have labels of their own, so it goes with [`Links::Never`] only.
    pub sepolicy: Option<Arc<SePolicy>>,
    /// What is put before paths to look up their labels.
    pub sepolicy_prefix: String,
    /// In user mode from an archive repository, keep the inflated files in the repository's
    /// `uncompressed-objects-cache`, and link to them.
    pub cache: bool,
}

/// What a checkout did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Directories that were made.
    pub directories: u64,
    /// Files and symbolic links that are hard links to their objects.
    pub linked: u64,
    /// Files and symbolic links that were copied.
    pub copied: u64,
    /// Files that were there already and stayed.
    pub kept: u64,
}

#[derive(Debug, Default)]
struct Counters {
    directories: AtomicU64,
    linked: AtomicU64,
    copied: AtomicU64,
    kept: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    fn stats(&self) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            directories: load(&self.directories),
            linked: load(&self.linked),
            copied: load(&self.copied),
            kept: load(&self.kept),
        }
    }
}

/// Checks `source` out to `destination`. See [`checkout_at`].
pub fn checkout(
    repo: &Repo,
    source: &Entry,
    destination: &Path,
    options: &Options,
) -> Result<Stats> {
    checkout_at(repo, source, CWD, destination, options)
}

/// Checks `source`, an entry of a [`crate::tree::Tree`] of this repository, out to `destination`
/// relative to `at`: a directory becomes the destination, a file is put into it under its own
/// name. What an error leaves behind stays there.
pub fn checkout_at(
    repo: &Repo,
    source: &Entry,
    at: BorrowedFd<'_>,
    destination: &Path,
    options: &Options,
) -> Result<Stats> {
    if options.union == Union::Identical && options.links != Links::Require {
        let reason = "--union-identical requires --require-hardlinks";
        return Err(Error::Invalid(reason.to_owned()));
    }
    if options.sepolicy.is_some() && options.links != Links::Never {
        let reason = "labels by a policy need copies instead of hard links";
        return Err(Error::Invalid(reason.to_owned()));
    }
    let checkout = walk::Checkout::new(repo, destination, options)?;
    checkout.run(at, source)?;
    checkout.finish()
}

/// For `map_err`: a step of a checkout, in libostree's words.
fn step<E: Into<std::io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Error {
    let step = step.into();
    move |source| Error::Checkout {
        step,
        source: source.into(),
    }
}
