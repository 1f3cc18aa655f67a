// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which commits those may have who may read some refs only: those that lead to one of these refs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use oxtree_format::refs::Refspec;
use oxtree_format::{Commit, CommitId};
use oxtree_repo::{Error, Repo, Result};

/// The commits of each ref that was asked for, as far as they are there. They are read once.
#[derive(Debug, Default)]
pub(crate) struct Histories(Mutex<HashMap<Refspec, History>>);

#[derive(Debug)]
struct History {
    tip: CommitId,
    commits: HashSet<CommitId>,
}

impl Histories {
    /// Whether a commit is one of a ref that `concerns` somebody.
    pub(crate) fn has(
        &self,
        repo: &Repo,
        commit: CommitId,
        concerns: impl Fn(&str) -> bool,
    ) -> Result<bool> {
        let refs = repo.list_refs(None)?;
        let mirrors = repo.mirror_refs()?.into_iter();
        let mut all: BTreeMap<Refspec, CommitId> = refs;
        all.extend(mirrors.map(|((_, name), tip)| (Refspec::from(name), tip)));
        all.retain(|refspec, _| concerns(refspec.name.as_ref()));
        if all.values().any(|tip| *tip == commit) {
            return Ok(true);
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (refspec, tip) in all {
            let history = match known.remove(&refspec) {
                Some(history) if history.tip == tip => history,
                before => History::new(repo, tip, before)?,
            };
            let found = history.commits.contains(&commit);
            known.insert(refspec, history);
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl History {
    /// Goes back from a commit, up to where the ref was before.
    fn new(repo: &Repo, tip: CommitId, before: Option<Self>) -> Result<Self> {
        let mut commits = HashSet::new();
        let mut next = Some(tip);
        while let Some(id) = next {
            if let Some(before) = &before
                && before.tip == id
            {
                commits.extend(&before.commits);
                break;
            }
            let bytes = match repo.load_commit(id) {
                Err(error) if error.is_missing_object() => break,
                loaded => loaded?,
            };
            if !commits.insert(id) {
                break;
            }
            next = Commit::parse(&bytes)
                .map_err(|e| Error::corrupt(id, e))?
                .parent;
        }
        Ok(Self { tip, commits })
    }
}
