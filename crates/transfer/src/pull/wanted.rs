// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a pull is to bring, and which refs it sets here.

use std::collections::HashSet;

use oxtree_format::CommitId;
use oxtree_format::refs::{CollectionId, RefName, Refspec, RemoteName};
use oxtree_repo::traverse::Objects as _;
use oxtree_repo::{CommitState, RefUpdate, Repo, Transaction};

use crate::error::Result;

/// A commit that is to be pulled, and the ref that it comes with.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: Option<RefName>,
    pub(crate) commit: CommitId,
}

/// As what refs are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// As our own.
    Heads,
    /// As those of a remote.
    Remote(RemoteName),
    /// As those of somebody else's collection, of which we are a mirror.
    Mirror(CollectionId),
}

impl Namespace {
    /// Where a mirror of a collection has its refs: its own are our own.
    pub(crate) fn of_mirror(repo: &Repo, collection: &CollectionId) -> Self {
        match repo.config().collection_id.as_ref() == Some(collection) {
            true => Self::Heads,
            false => Self::Mirror(collection.clone()),
        }
    }

    /// The commit that a ref is at now, complete or not.
    pub(crate) fn current(&self, repo: &Repo, name: &RefName) -> Result<Option<CommitId>> {
        match self {
            Self::Mirror(collection) => {
                let refs = repo.collection_refs()?;
                Ok(refs.get(&(collection.clone(), name.clone())).copied())
            }
            // A ref that cannot be read is replaced.
            other => Ok(repo.read_ref_if_sound(&other.refspec(name.clone()))?),
        }
    }

    fn refspec(&self, name: RefName) -> Refspec {
        let remote = match self {
            Self::Remote(remote) => Some(remote.clone()),
            Self::Heads | Self::Mirror(_) => None,
        };
        Refspec { remote, name }
    }
}

/// A commit that a pull looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) commit: CommitId,
    /// The commit itself is in the repository.
    pub(crate) is_there: bool,
    /// It is noted that something of it is missing there.
    pub(crate) was_partial: bool,
    /// All of it is there.
    pub(crate) is_complete: bool,
    /// The commit before it, if that is there by the time that this one comes.
    pub(crate) base: Option<CommitId>,
}

impl Step {
    /// What is known of a commit before anything is done.
    pub(crate) fn look_at(repo: &Repo, commit: CommitId) -> Result<Self> {
        let is_there = repo.has_object(&commit.object())?;
        let was_partial = repo.is_partial(commit)?;
        Ok(Self {
            commit,
            is_there,
            was_partial,
            is_complete: is_there && !was_partial,
            base: None,
        })
    }
}

/// Whether a commit is in the repository (or a parent of it) with all that it needs.
pub(crate) fn is_complete(repo: &Repo, commit: CommitId) -> Result<bool> {
    Ok(repo.has_object(&commit.object())? && repo.commit_state(commit)? == CommitState::Normal)
}

/// Whether a way back of `before` steps goes at least as far as one of `now`; [`None`] goes to the
/// beginning.
pub(crate) fn reaches(before: Option<u64>, now: Option<u64>) -> bool {
    match (before, now) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(before), Some(now)) => before >= now,
    }
}

/// Makes public what was staged: objects, then the notes on what is complete, then the refs.
pub(crate) fn publish(
    repo: &Repo,
    transaction: Transaction<'_>,
    steps: &[Step],
    wanted: &[Wanted],
    into: &Namespace,
    whole: bool,
) -> Result<()> {
    if transaction.is_resumed() {
        let commits: HashSet<CommitId> = steps.iter().map(|step| step.commit).collect();
        transaction.retain_commits(&commits, &commits)?;
    }
    let mut complete = Vec::new();
    for step in steps {
        match whole {
            true if step.was_partial => complete.push(step.commit),
            // Known before the commit can be found.
            false if !step.is_there => repo.set_commit_state(step.commit, CommitState::Partial)?,
            _ => {}
        }
    }
    let mut seen = HashSet::new();
    let mut refs: Vec<(&RefName, CommitId)> = Vec::new();
    // Of a ref that is named twice the first counts.
    for Wanted { name, commit } in wanted {
        if let Some(name) = name.as_ref().filter(|name| seen.insert(*name)) {
            refs.push((name, *commit));
        }
    }
    if let Namespace::Mirror(collection) = into {
        transaction.commit_complete(&[], &complete)?;
        for (name, commit) in refs {
            repo.write_collection_ref(collection, name, Some(commit))?;
        }
        return Ok(());
    }
    let updates: Vec<RefUpdate> = refs
        .into_iter()
        .map(|(name, commit)| RefUpdate::set(into.refspec(name.clone()), commit))
        .collect();
    transaction.commit_complete(&updates, &complete)?;
    Ok(())
}
