// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which commits a pull looks at, and what is known of each.

use std::collections::HashMap;

use oxtree_format::{Commit, CommitId};
use oxtree_repo::Repo;

use super::both::Both;
use crate::error::Result;
use crate::pull::wanted::{Step, is_complete, reaches};

/// The way back from commits to those before them.
pub(super) struct History<'a> {
    repo: &'a Repo,
    both: &'a Both<'a>,
    depth: Option<u64>,
    /// How far was gone back from each commit.
    seen: HashMap<CommitId, Option<u64>>,
}

/// Is told of each commit with its bytes, and can refuse it.
type Check<'c> = dyn Fn(CommitId, &[u8], &Commit<'_>) -> Result<()> + 'c;

impl<'a> History<'a> {
    pub(super) fn new(repo: &'a Repo, both: &'a Both<'a>, depth: Option<u64>) -> Self {
        Self {
            repo,
            both,
            depth,
            seen: HashMap::new(),
        }
    }

    /// The commits to be looked at because of `tip`, oldest first, that were not seen yet. The way
    /// ends where a parent is not at the source.
    pub(super) fn follow(&mut self, tip: CommitId, check: &Check<'_>) -> Result<Vec<Step>> {
        let mut steps: Vec<Step> = Vec::new();
        let mut next = Some((tip, self.depth));
        while let Some((id, left)) = next {
            let bytes = match self.both.source.load_metadata(&id.object()) {
                Err(error) if error.is_missing_object() && id != tip => break,
                bytes => bytes?,
            };
            self.both.verify(&id.object(), &bytes)?;
            let commit =
                Commit::parse(&bytes).map_err(|error| oxtree_repo::Error::corrupt(id, error))?;
            check(id, &bytes, &commit)?;
            let seen = self.seen.get(&id).copied();
            if seen.is_some_and(|before| reaches(before, left)) {
                break;
            }
            self.seen.insert(id, left);
            if seen.is_none() {
                steps.push(Step::look_at(self.repo, id)?);
            }
            next = match (commit.parent, left) {
                (Some(parent), None) => Some((parent, None)),
                (Some(parent), Some(left)) if left > 0 => Some((parent, Some(left - 1))),
                _ => None,
            };
            if let (Some(step), Some(parent)) = (steps.last_mut(), commit.parent)
                && step.commit == id
            {
                let comes = next.is_some() && self.both.source.has_object(&parent.object())?;
                let is_base = comes || is_complete(self.repo, parent)?;
                step.base = is_base.then_some(parent);
            }
        }
        steps.reverse();
        Ok(steps)
    }
}
