// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits: asked for with their signatures, and checked before anything of them is fetched.

use oxtree_format::detached::Detached;
use oxtree_format::{Commit, CommitId, ObjectId, ObjectKind};
use oxtree_repo::object::verify::check_checksum;

use super::held::Asker;
use super::run::Run;
use super::scan::{Scanned, TreeWant};
use super::{CommitWant, path_of};
use crate::error::{Result, invalid};
use crate::pull::fetch::Mirrors;
use crate::pull::wanted::{Step, Wanted, is_complete, reaches};

/// What was fetched of a commit.
pub(super) struct NewCommit {
    /// The commit, unless it was here; [`None`] also if there is none, and it is not a tip.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) detached: Option<Vec<u8>>,
}

impl<'scope: 'threads, 'threads> Run<'_, 'scope, 'threads, '_> {
    /// A commit, which is here or has come.
    pub(super) fn commit(
        &mut self,
        want: &CommitWant,
        new: NewCommit,
        wanted: &[Wanted],
    ) -> Result<()> {
        let transaction = self.source.transaction;
        let (id, object) = (want.id, want.id.object());
        let bytes = match &new.bytes {
            Some(bytes) => bytes.clone(),
            None => match transaction.load_metadata(&object) {
                // Those before it are not at the server.
                Err(error) if error.is_missing_object() && want.tip.is_none() => return Ok(()),
                bytes => bytes?,
            },
        };
        check_checksum(&object, &bytes)?;
        let commit =
            Commit::parse(&bytes).map_err(|error| oxtree_repo::Error::corrupt(id, error))?;
        let known = transaction.repo().load_detached_metadata(id)?;
        let detached = new.detached.as_ref().or(known.as_ref());
        let wanted = want.tip.map(|index| &wanted[index]);
        let name = wanted.and_then(|wanted| wanted.name.as_ref());
        let detached_bytes = detached.map(Vec::as_slice);
        self.policy
            .check(id, &bytes, &commit, detached_bytes, name)?;
        if new.bytes.is_some() {
            self.source.store_metadata(&object, &bytes)?;
        }
        match new.detached.filter(|theirs| known.as_ref() != Some(theirs)) {
            Some(theirs) if Detached::parse(&theirs).is_ok() => {
                self.source.store_detached(id, &theirs)?;
            }
            // Nobody has asked for signatures, and it has none.
            Some(_) => {
                tracing::warn!("the detached metadata of commit {id} cannot be read: left out");
            }
            None => {}
        }
        let seen = self.seen.get(&id).copied();
        if seen.is_some_and(|before| reaches(before, want.depth)) {
            return Ok(());
        }
        self.seen.insert(id, want.depth);
        if seen.is_none() {
            let old = match name {
                Some(name) => self.policy.into.current(transaction.repo(), name)?,
                None => None,
            };
            self.look_into(id, &commit, old)?;
        }
        if let (Some(parent), true) = (commit.parent, want.depth != Some(0)) {
            self.commits.push_back(CommitWant {
                id: parent,
                depth: want.depth.map(|left| left - 1),
                tip: None,
            });
        }
        Ok(())
    }

    /// Notes what is wanted of a commit. `old` is where its ref is now.
    fn look_into(
        &mut self,
        id: CommitId,
        commit: &Commit<'_>,
        old: Option<CommitId>,
    ) -> Result<()> {
        let transaction = self.source.transaction;
        let step = Step::look_at(transaction.repo(), id)?;
        self.steps.push(step);
        if step.is_complete || self.source.what.commits_only {
            return Ok(());
        }
        let mut bases = Vec::new();
        for base in [commit.parent, old].into_iter().flatten() {
            if base != id && is_complete(transaction.repo(), base)? {
                bases.push(oxtree_repo::traverse::root(transaction, base)?);
            }
        }
        let mut scanned = Scanned::default();
        let root = TreeWant {
            dir: commit.root,
            bases,
            part: self.source.what.part.clone(),
            depth: 0,
        };
        self.source.enter(root, &mut scanned)?;
        self.found(scanned);
        Ok(())
    }
}

/// The detached metadata of a commit, if it has any.
pub(in crate::pull) async fn get_detached(
    asker: &Asker,
    signatures: &Mirrors,
    id: CommitId,
) -> Result<Option<Vec<u8>>> {
    let path = path_of(&ObjectId::new(ObjectKind::CommitMeta, id.0));
    asker.find(signatures, path).await
}

/// A commit; [`None`] if it is not there, and is no tip.
pub(super) async fn get_commit(
    asker: &Asker,
    objects: &Mirrors,
    id: CommitId,
    is_tip: bool,
    tombstones: bool,
) -> Result<Option<Vec<u8>>> {
    let error = match asker.object(objects, &id.object()).await {
        Ok(bytes) => return Ok(Some(bytes)),
        Err(error) if error.is_missing_file() => error,
        Err(error) => return Err(error),
    };
    if !is_tip {
        return Ok(None);
    }
    if tombstones {
        let path = path_of(&ObjectId::new(ObjectKind::TombstoneCommit, id.0));
        if asker.find(objects, path).await?.is_some() {
            return Err(invalid(format!("Commit {id} was deleted at the server")));
        }
    }
    Err(error)
}
