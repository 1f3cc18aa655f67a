// SPDX-License-Identifier: MIT OR Apache-2.0
//! Visibility: which refs and commits a client may know of that is limited to some refs. It is decided
//! here, for reading and for pushes, for tokens and for SSH identities.
//!
//! A ref is visible if its name fits one of the client's patterns. A commit is visible if it is in the
//! history of a visible ref. That would be a way in: a client that pushes a commit which names a hidden one
//! as its parent would make that one part of a visible history. So a note is made of such a commit when it
//! comes, and to every client that may not see all refs its history ends there, whichever ref is
//! set to it later.
//!
//! ```
//! use std::sync::Arc;
//!
//! use oxtree_repo::{Mode, RefUpdate, Repo};
//! use oxtree_transfer::visibility::{RefVisibility, Visibility as _};
//!
//! let dir = tempfile::tempdir()?;
//! let repo = Arc::new(Repo::create(&dir.path().join("repo"), Mode::Archive, None)?);
//! let app = RefVisibility::new(&repo, &Arc::default(), ["app/*".to_owned()]);
//! let commit = "1".repeat(64).parse()?;
//! repo.update_refs(&[RefUpdate::set("os/stable".parse()?, commit)])?;
//! assert!(!app.sees(commit)?);
//! repo.update_refs(&[RefUpdate::set("app/x".parse()?, commit)])?;
//! assert!(app.sees(commit)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ends;
mod index;
mod known;
mod reachable;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::Arc;

use oxtree_format::CommitId;
use oxtree_repo::Repo;
use oxtree_repo::refs::pattern::fits;

pub use self::ends::tidy;
pub use self::index::CommitIndex;
use crate::error::Result;

/// What a client may know of.
pub trait Visibility: Debug + Send + Sync {
    /// Whether it may know of a ref of this name.
    fn sees_ref(&self, name: &str) -> bool;

    /// Whether it may know of a commit, be it there or not.
    fn sees(&self, commit: CommitId) -> Result<bool>;

    /// Is told before this commit becomes public that the client has brought it, and does not see its
    /// parent: from now on, its history ends with it for all clients that may not see everything.
    fn end_history(&self, commit: CommitId) -> Result<()>;
}

/// The visibility of a client that may see the refs whose names fit some patterns.
#[derive(Clone, Debug)]
pub struct RefVisibility {
    repo: Arc<Repo>,
    index: Arc<CommitIndex>,
    patterns: Vec<String>,
}

impl RefVisibility {
    /// That of a client with these patterns. What is found out is kept in the index, for other clients
    /// of the same repository, too.
    pub fn new(
        repo: &Arc<Repo>,
        index: &Arc<CommitIndex>,
        patterns: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut patterns: Vec<String> = patterns.into_iter().collect();
        patterns.sort_unstable();
        patterns.dedup();
        Self {
            repo: Arc::clone(repo),
            index: Arc::clone(index),
            patterns,
        }
    }
}

impl Visibility for RefVisibility {
    fn sees_ref(&self, name: &str) -> bool {
        concerns(&self.patterns, name)
    }

    fn sees(&self, commit: CommitId) -> Result<bool> {
        Ok(self.index.sees(&self.repo, &self.patterns, commit)?)
    }

    fn end_history(&self, commit: CommitId) -> Result<()> {
        Ok(self.index.end_history(&self.repo, &self.patterns, commit)?)
    }
}

fn concerns(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| fits(pattern, name))
}
