// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publish: objects first, then the refs by compare-and-swap, all or none.

use std::collections::HashSet;

use oxtree_format::CommitId;
use oxtree_format::refs::Refspec;
use oxtree_repo::{Expected, RefUpdate};

use super::admit::{Verdict, refuse_rest};
use crate::destination::Quarantine;
use crate::protocol::message::Status;
use crate::{Error, Result};

/// Does what the verdict says. A ref that has moved in the last instant becomes a refusal.
pub fn publish<Q: Quarantine>(
    quarantine: Q,
    verdict: &mut Verdict,
    commits: &HashSet<CommitId>,
) -> Result<()> {
    let changes = verdict.iter().filter(|r| r.status != Status::Unchanged);
    let updates: Vec<RefUpdate> = changes
        .map(|change| RefUpdate {
            refspec: Refspec::from(change.name.0.clone()),
            expected: Expected::Exactly(change.old.as_ref().map(|commit| commit.0)),
            new: change.new.as_ref().map(|commit| commit.0),
        })
        .collect();
    match quarantine.publish(&updates, commits) {
        Err(Error::Repo(oxtree_repo::Error::RefMoved { name, actual, .. })) => {
            let now = actual.map_or_else(|| "gone".to_owned(), |now| format!("at {now}"));
            for outcome in verdict.iter_mut().filter(|r| r.name.to_string() == name) {
                outcome.status = Status::Rejected;
                outcome.reason = Some(format!(
                    "it has changed meanwhile and is now {now}; push again"
                ));
            }
            refuse_rest(verdict);
            Ok(())
        }
        done => done,
    }
}
