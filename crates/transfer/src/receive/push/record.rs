// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is kept of a push between its requests, and over restarts.

use std::collections::{BTreeSet, HashSet};

use oxtree_format::{CommitId, ObjectId, ObjectKind};
use oxtree_repo::Repo;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::protocol::message::{Outcome, WireCommit, WireRef, WireUpdate};

/// Where records are kept, by the pushes' ids.
pub trait Book: Send + Sync {
    /// All of them.
    fn load(&self) -> Result<Vec<(String, Vec<u8>)>>;

    /// Writes one, or replaces it.
    fn write(&self, id: &str, record: &[u8]) -> Result<()>;

    /// Deletes one, if it is there.
    fn delete(&self, id: &str) -> Result<()>;
}

const KIND: &str = "pushes";

impl Book for Repo {
    fn load(&self) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(self.notes(KIND)?)
    }

    fn write(&self, id: &str, record: &[u8]) -> Result<()> {
        Ok(self.write_note(KIND, id, record)?)
    }

    fn delete(&self, id: &str) -> Result<()> {
        Ok(self.delete_note(KIND, id)?)
    }
}

/// The record of a push.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// Who has opened it.
    pub(super) owner: Option<String>,
    /// Tells the owner from others of this name. Records of versions before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner_id: Option<String>,
    pub(super) updates: Vec<WireUpdate>,
    #[serde(default)]
    pub(super) dry_run: bool,
    /// The commits that were asked for or have come: they are this push's, and no other one's.
    #[serde(default)]
    pub(super) commits: BTreeSet<WireCommit>,
    /// Those of them that have come, for an owner who may not know of every commit that is there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) brought: BTreeSet<WireCommit>,
    /// Objects that have come; in a dry run, those that would have to.
    #[serde(default)]
    pub(super) objects: u64,
    /// Bytes that have come.
    #[serde(default)]
    pub(super) bytes: u64,
    /// When it was opened, or taken up again, in seconds since 1970.
    #[serde(default)]
    pub(super) opened: u64,
    /// When somebody last did something with it.
    pub(super) used: u64,
    /// How it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<Outcome>,
}

impl Record {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let mut record: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::Protocol(format!("the record of a push: {error}")))?;
        if record.opened == 0 {
            // It was written before that was noted.
            record.opened = record.used;
        }
        Ok(record)
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::Protocol(format!("the record of a push: {error}")))
    }

    /// Whether this is the name of its owner, and the id, if both are known.
    pub(super) fn is_owned_by(&self, name: Option<&str>, id: Option<&str>) -> bool {
        let own = self.owner_id.as_deref();
        self.owner.as_deref() == name && (own.is_none() || id.is_none() || own == id)
    }

    /// The commits that have come, as far as that is noted.
    pub(super) fn brought_ids(&self) -> HashSet<CommitId> {
        self.brought.iter().map(|commit| commit.0).collect()
    }

    /// Notes that the commits among these objects, verified, have come.
    pub(super) fn add_brought<'o>(&mut self, ids: impl IntoIterator<Item = &'o ObjectId>) {
        self.brought.extend(commits(ids));
    }

    /// Whether it does not know all commits among these objects.
    pub(super) fn lacks_commits(&self, ids: &[ObjectId]) -> bool {
        commits(ids).any(|commit| !self.commits.contains(&commit))
    }

    /// Notes the commits among these objects. Returns those that are new.
    pub(super) fn add_commits<'o>(
        &mut self,
        ids: impl IntoIterator<Item = &'o ObjectId>,
    ) -> BTreeSet<WireCommit> {
        let added = commits(ids).filter(|commit| self.commits.insert(commit.clone()));
        added.collect()
    }

    /// Forgets commits that were added, for which there is no room.
    pub(super) fn take_back(&mut self, added: &BTreeSet<WireCommit>) {
        self.commits.retain(|commit| !added.contains(commit));
        self.brought.retain(|commit| !added.contains(commit));
    }

    /// The refs that it is to change, or has.
    pub(super) fn refs(&self) -> Vec<WireRef> {
        match &self.outcome {
            None => self.updates.iter().map(|it| it.name.clone()).collect(),
            Some(outcome) => outcome.refs.iter().map(|it| it.name.clone()).collect(),
        }
    }

    /// How it has ended. What it was for need not be kept any more.
    pub(super) fn end(&mut self, outcome: Outcome) {
        self.updates = Vec::new();
        self.commits = BTreeSet::new();
        self.brought = BTreeSet::new();
        self.outcome = Some(outcome);
    }
}

fn commits<'o>(ids: impl IntoIterator<Item = &'o ObjectId>) -> impl Iterator<Item = WireCommit> {
    let commits = ids.into_iter().filter(|id| id.kind == ObjectKind::Commit);
    commits.map(|id| WireCommit(CommitId(id.checksum)))
}
