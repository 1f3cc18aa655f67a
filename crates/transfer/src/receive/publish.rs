// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publish: objects first, then the refs by compare-and-swap, all or none.

use std::collections::HashSet;

use oxtree_format::CommitId;
use oxtree_format::refs::Refspec;
use oxtree_repo::refs::UNKNOWN_COMMIT;
use oxtree_repo::{Expected, RefUpdate};

use super::admit::{Verdict, refuse_rest};
use super::hook::is_change;
use super::policy::{Commits, Policy};
use crate::error::{Error, Result};
use crate::protocol::message::Status;
use crate::store::Quarantine;

/// Makes of what has come what the refs are set to: copies of the commits if the owner wants that,
/// and signatures. Returns which commits become public.
pub fn prepare(
    quarantine: &dyn Quarantine,
    policy: &Policy,
    verdict: &mut Verdict,
    commits: HashSet<CommitId>,
) -> Result<HashSet<CommitId>> {
    let mut public = match policy.commits {
        Commits::Keep => commits,
        Commits::Copy => HashSet::new(),
    };
    let signers = policy.signers();
    for change in verdict.iter_mut().filter(|change| is_change(change.status)) {
        let Some(new) = change.new.as_mut() else {
            continue;
        };
        if policy.commits == Commits::Copy {
            let old = change.old.as_ref().map(|old| old.0);
            let old = old.filter(|old| *old != UNKNOWN_COMMIT);
            new.0 = quarantine.copy_commit(new.0, &change.name.0, old)?;
            public.insert(new.0);
        }
        quarantine.sign(new.0, &signers)?;
    }
    Ok(public)
}

/// Does what the verdict says. A ref that has moved in the last instant becomes a refusal.
pub fn publish(
    quarantine: Box<dyn Quarantine + '_>,
    verdict: &mut Verdict,
    commits: &HashSet<CommitId>,
    attached: &HashSet<CommitId>,
) -> Result<()> {
    let changes = verdict.iter().filter(|change| is_change(change.status));
    let updates: Vec<RefUpdate> = changes
        .map(|change| RefUpdate {
            refspec: Refspec::from(change.name.0.clone()),
            expected: Expected::Exactly(change.old.as_ref().map(|commit| commit.0)),
            new: change.new.as_ref().map(|commit| commit.0),
        })
        .collect();
    match quarantine.publish(&updates, commits, attached) {
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
