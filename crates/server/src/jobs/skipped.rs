// SPDX-License-Identifier: MIT OR Apache-2.0
//! Updates that were skipped on purpose: a new summary would lose the signatures of the old one. Such an
//! update is listed as a job until a summary is written.

use std::collections::BTreeSet;

use oxtree_transfer::receive::policy::Derived;
use serde::{Deserialize, Serialize};

use super::info::JobInfo;
use super::{Jobs, Queue};

/// The note on it.
pub(super) const NOTE: &str = "skipped";

/// The refs that the summary does not know yet, and why not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Skipped {
    refs: BTreeSet<String>,
    reason: String,
}

impl Skipped {
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn info(&self) -> JobInfo {
        JobInfo {
            kind: "derive",
            state: "skipped",
            tries: 0,
            refs: self.refs.iter().cloned().collect(),
            to: None,
            next: None,
            error: None,
            reason: Some(self.reason.clone()),
        }
    }
}

impl Jobs {
    /// Notes what has become of these refs' summary.
    pub(super) fn derived(&self, queue: &mut Queue, refs: &BTreeSet<String>, derived: Derived) {
        let before = queue.skipped.take();
        if let Derived::Skipped(reason) = derived {
            tracing::warn!("{}: {reason}", self.repo.path().display());
            let mut refs = refs.clone();
            refs.extend(before.into_iter().flat_map(|skipped| skipped.refs));
            let skipped = queue.skipped.insert(Skipped { refs, reason });
            self.note(NOTE, Some(skipped));
        } else if before.is_some() {
            self.note::<()>(NOTE, None);
        }
    }

    /// Forgets what was skipped, if a summary was written since.
    pub(super) fn review(&self) -> oxtree_repo::Result<()> {
        if self.lock().skipped.is_some() && self.repo.is_summary_after(&self.repo.refs_stamp()?)? {
            self.derived(&mut self.lock(), &BTreeSet::new(), Derived::Done);
        }
        Ok(())
    }
}
