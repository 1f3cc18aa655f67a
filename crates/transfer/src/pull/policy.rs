// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which commits are taken.

use oxtree_format::refs::RefName;
use oxtree_format::{Commit, CommitId};
use oxtree_repo::sign::{Subject, Verifier};
use oxtree_repo::{Repo, bindings};

use super::wanted::Namespace;
use crate::error::{Result, invalid};

/// The time that a commit may not be older than.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOlder {
    /// That of the commit that the ref is at.
    ThanCurrent,
    /// That of this commit.
    Than(CommitId),
}

/// What a commit has to be to be taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PullPolicy<'a> {
    pub(crate) repo: &'a Repo,
    pub(crate) into: &'a Namespace,
    /// Commits have to be bound to the refs (and to the collection) that they come with.
    pub(crate) verify_bindings: bool,
    /// The collection that the commits are from.
    pub(crate) collection: Option<&'a str>,
    pub(crate) not_older: Option<NotOlder>,
    /// Has to be content with each commit's signatures.
    pub(crate) verifier: Option<&'a dyn Verifier>,
    /// How times are written in messages.
    pub(crate) show_time: fn(u64) -> String,
}

impl PullPolicy<'_> {
    /// Checks a commit, whose bytes are known to be right. `name` is the ref that it comes with.
    pub(crate) fn check(
        &self,
        id: CommitId,
        bytes: &[u8],
        commit: &Commit<'_>,
        detached: Option<&[u8]>,
        name: Option<&RefName>,
    ) -> Result<()> {
        if let Some(verifier) = self.verifier {
            verifier
                .verify(Subject::Commit(id), bytes, detached)
                .map_err(|error| invalid(error.to_string()))?;
        }
        if self.verify_bindings {
            bindings::check(commit, name.map(RefName::as_str), self.collection)
                .map_err(|reason| invalid(format!("Commit {id}: {reason}")))?;
        }
        if let Some(name) = name {
            self.check_time(id, commit, name)?;
        }
        Ok(())
    }

    fn check_time(&self, id: CommitId, commit: &Commit<'_>, name: &RefName) -> Result<()> {
        let from = match self.not_older {
            None => None,
            Some(NotOlder::Than(from)) => Some(from),
            Some(NotOlder::ThanCurrent) => self.into.current(self.repo, name)?,
        };
        let Some(from) = from else {
            return Ok(());
        };
        let bytes = self.repo.load_commit(from)?;
        let old =
            Commit::parse(&bytes).map_err(|error| oxtree_repo::Error::corrupt(from, error))?;
        if commit.timestamp >= old.timestamp {
            return Ok(());
        }
        Err(invalid(format!(
            "Upgrade target revision '{id}' with timestamp '{}' is chronologically older than \
             current revision '{from}' with timestamp '{}'",
            (self.show_time)(commit.timestamp),
            (self.show_time)(old.timestamp),
        )))
    }
}
