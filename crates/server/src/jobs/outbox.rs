// SPDX-License-Identifier: MIT OR Apache-2.0
//! Jobs that are written down before a push is published. Otherwise they would be lost if the
//! machine stopped between publishing and writing. After a crash, the refs tell whether the push
//! was published. The note is durable if a webhook needs it.

use std::sync::{Arc, Mutex, PoisonError};

use oxtree_format::CommitId;
use oxtree_repo::Repo;
use oxtree_transfer::protocol::message::{RefOutcome, Status};
use serde::{Deserialize, Serialize};

use super::{Jobs, Ticket};
use crate::access::tokens::random;
use oxtree_format::checksum::hex;

/// How notes of this kind begin.
pub(super) const PREFIX: &str = "announced-";

/// A push that is about to be published.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PendingPush {
    pub(super) user: Option<String>,
    pub(super) refs: Vec<RefOutcome>,
}

impl PendingPush {
    /// The names of its refs.
    pub(super) fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.refs.iter().map(|change| change.name.to_string())
    }

    /// Whether it was published: all of its refs are changed at once, from what was announced.
    pub(super) fn was_published(&self, repo: &Repo) -> oxtree_repo::Result<bool> {
        for change in &self.refs {
            let old = change.old.as_ref().map(|commit| commit.0);
            let new = change.new.as_ref().map(|commit| commit.0);
            let now = repo.read_ref_if_sound(&change.name.0.clone().into())?;
            if now == old {
                return Ok(false);
            }
            // Another push may have continued from there.
            let is_there = |new: CommitId| repo.has_object(&new.object());
            if now != new && !new.map_or(Ok(false), is_there)? {
                return Ok(false);
            }
        }
        Ok(!self.refs.is_empty())
    }
}

/// Records what one request is about to publish, and the result.
pub(crate) struct Outbox {
    jobs: Arc<Jobs>,
    user: Option<String>,
    open: Mutex<Option<(String, PendingPush)>>,
}

impl Outbox {
    pub(crate) fn new(jobs: Arc<Jobs>, user: Option<String>) -> Self {
        let open = Mutex::new(None);
        Self { jobs, user, open }
    }

    /// This is about to be published.
    pub(crate) fn announce(&self, refs: &[RefOutcome]) -> Result<(), String> {
        let is_change = |r: &&RefOutcome| {
            matches!(
                r.status,
                Status::Created | Status::Updated | Status::Deleted
            )
        };
        let announced = PendingPush {
            user: self.user.clone(),
            refs: refs.iter().filter(is_change).cloned().collect(),
        };
        if announced.refs.is_empty() {
            return Ok(());
        }
        let random = random::<16>().map_err(|error| error.to_string())?;
        let name = format!("{PREFIX}{}", hex(&random));
        self.jobs.announce(&name, &announced)?;
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some((name, announced));
        Ok(())
    }

    /// It was published. The caller can wait for the derived files.
    pub(crate) fn published(&self) -> Option<Ticket> {
        let (name, announced) = self.take()?;
        Some(self.jobs.published(&name, &announced))
    }

    fn take(&self) -> Option<(String, PendingPush)> {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for Outbox {
    /// Nothing was said of it any more: a ref has moved, say, or the disk is full.
    fn drop(&mut self) {
        if let Some((name, announced)) = self.take() {
            self.jobs.settle(&name, &announced);
        }
    }
}
