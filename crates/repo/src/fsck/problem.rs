// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a check can find, in libostree's words.

use std::fmt;

use oxtree_format::{CommitId, ObjectId, ObjectKind};

use crate::{DamagedRef, Error};

/// Something that is not as it should be.
#[derive(Debug)]
pub enum Problem {
    /// A ref points at a commit that is not there.
    DanglingRef {
        /// The ref.
        name: String,
        /// Says so.
        error: Error,
    },
    /// A commit is not bound to a ref that points at it.
    Binding {
        /// The commit.
        commit: CommitId,
        /// What is wrong.
        reason: String,
    },
    /// A ref to which a commit is bound does not point at it.
    BackRef {
        /// The ref.
        name: String,
        /// The commit.
        commit: CommitId,
        /// Whether there is such a ref.
        exists: bool,
    },
    /// A ref cannot be read.
    Ref(DamagedRef),
    /// A file of the repository that is no object cannot be used.
    File {
        /// Its path below the repository.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An object is missing or damaged.
    Object(Damage),
}

impl Problem {
    /// True for an object that is missing below a commit, which never ends a check.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Object(damage) if damage.is_missing())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DanglingRef { name, error } => {
                write!(f, "Loading commit for ref {name}: {error}")
            }
            Self::Binding { commit, reason } => write!(f, "Commit {commit}: {reason}"),
            Self::BackRef {
                name,
                commit,
                exists,
            } => {
                let verb = match exists {
                    true => "does not resolve to that commit",
                    false => "does not exist",
                };
                write!(f, "{name} in bindings for commit {commit} {verb}")
            }
            Self::Ref(damaged) => write!(f, "Damaged ref {damaged}"),
            Self::File { path, reason } => write!(f, "Damaged file {path}: {reason}"),
            Self::Object(damage) => damage.fmt(f),
        }
    }
}

impl std::error::Error for Problem {}

/// More paths of one object are not collected.
pub const MAX_PATHS: usize = 8;

/// An object that is missing or damaged.
#[derive(Debug)]
pub struct Damage {
    /// The object.
    pub object: ObjectId,
    /// What is wrong with it.
    pub error: Error,
    /// The commits it belongs to. Not known where a ref led to the object.
    pub commits: Vec<CommitId>,
    /// The refs whose histories have one of the commits, sorted.
    pub refs: Vec<String>,
    /// Paths it has in the commits: one of each commit, each path once, [`MAX_PATHS`] at most. None
    /// for a commit.
    pub paths: Vec<String>,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Commits that are now marked as damaged, because this object is not there.
    pub marked: Vec<CommitId>,
}

impl Damage {
    pub(super) fn new(object: ObjectId, error: Error) -> Self {
        Self {
            object,
            error,
            commits: Vec::new(),
            refs: Vec::new(),
            paths: Vec::new(),
            deleted: false,
            marked: Vec::new(),
        }
    }

    /// Where the object belongs, in words: `/etc/passwd of main, stable`. [`None`] if that is not
    /// known.
    pub fn place(&self) -> Option<String> {
        let paths = self.paths.join(", ");
        let refs = match &self.refs[..] {
            [] if self.commits.is_empty() => return None,
            [] => "commits that no ref leads to".to_owned(),
            refs => refs.join(", "),
        };
        Some(match paths.is_empty() {
            true => refs,
            false => format!("{paths} of {refs}"),
        })
    }

    /// True if the object is not there at all.
    pub fn is_missing(&self) -> bool {
        self.error.is_missing_object()
    }

    /// True if the object's bytes are not what they should be; false if they could not be read.
    pub fn is_corrupt(&self) -> bool {
        matches!(
            self.error,
            Error::Corrupt { .. } | Error::ChecksumMismatch { .. }
        )
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commits: Vec<String> = self.commits.iter().map(ToString::to_string).collect();
        let (object, commits) = (&self.object, commits.join(", "));
        if self.is_missing() {
            return match commits.is_empty() {
                true => write!(f, "Object missing: {object}"),
                false => write!(f, "Object missing in commits {commits}: {object}"),
            };
        }
        if !commits.is_empty() {
            write!(f, "In commits {commits}: ")?;
        }
        match object.kind {
            ObjectKind::File => write!(f, "fsck content object {}: ", object.checksum)?,
            _ => write!(f, "fsck {object}: ")?,
        }
        match &self.error {
            // The object was named already.
            Error::Corrupt { reason, .. } => f.write_str(reason),
            error => error.fmt(f),
        }
    }
}
