// SPDX-License-Identifier: MIT OR Apache-2.0
//! Admit: may these refs change in this way? Asked twice. Before anything is sent, on the pusher's
//! word, so that a refusal costs nobody a long upload; and with the whole push in the quarantine,
//! when only what was verified counts.

use std::collections::{BTreeMap, HashMap, HashSet};

use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, ObjectId};

use super::Receiver;
use super::detached::{self, Attachments};
use super::judge::{Judge, Step, Word, parse, root, timestamp};
use super::view::View;
use crate::error::Result;
use crate::protocol::message::{RefOutcome, Status, WireUpdate};
use crate::store::Quarantine;

/// The refs of a push with what is to become of each.
pub type Verdict = Vec<RefOutcome>;

/// True if some ref was refused, so that none may change.
pub fn is_refused(verdict: &Verdict) -> bool {
    verdict.iter().any(|r| r.status == Status::Rejected)
}

/// Marks what was not refused itself as not done.
pub fn refuse_rest(verdict: &mut Verdict) {
    for outcome in verdict.iter_mut().filter(|r| r.status != Status::Rejected) {
        outcome.status = Status::NotDone;
        outcome.reason = Some("another ref of this push was refused".to_owned());
    }
}

/// The first verdict, before any object is there. `known`: new commits that have come already.
pub fn before(
    receiver: &Receiver,
    updates: &[WireUpdate],
    dry_run: bool,
    known: &HashMap<CommitId, Vec<u8>>,
) -> Result<Verdict> {
    let rules = receiver.store.rules()?;
    let judge = Judge {
        refs: &receiver.store.refs()?,
        rules,
        policy: &receiver.policy,
        collection: receiver.store.collection(),
        dry_run,
    };
    let mut verdict = Vec::with_capacity(updates.len());
    for update in updates {
        // Whoever does not say what the commit is like is judged by the commit.
        let is_said = update.timestamp > 0 || update.fast_forward;
        let word = match (judge.by_name(update), update.old.as_ref()) {
            (None, Some(old)) if update.new.is_some() && is_said => {
                let load = |id: &ObjectId| receiver.store.load(id);
                let new = update.new.as_ref().map(|new| new.0);
                let new = match new.and_then(|new| Some((new, known.get(&new)?))) {
                    Some((new, bytes)) => Some(parse(new, bytes)?.root),
                    None => None,
                };
                let step = Step {
                    newer: update.timestamp > timestamp(&old.0, &load)?,
                    descends: update.fast_forward,
                    differs: new.is_none() || root(&old.0, &load)? != new,
                };
                judge.by_direction(update, step)
            }
            (word, _) => word,
        };
        let word = match word {
            None => judge.by_promotion(receiver, update)?,
            word => word,
        };
        let word = match word {
            None => judge.by_known_bindings(receiver, update, known)?,
            word => word,
        };
        verdict.push(outcome(update, word));
    }
    Ok(verdict)
}

/// What has been decided of a push.
#[derive(Debug)]
pub struct Decision {
    /// What becomes of each ref.
    pub verdict: Verdict,
    /// The commits that are complete and become public: the new ones, and the history that came along.
    pub commits: HashSet<CommitId>,
    /// The commits beside which detached metadata becomes public.
    pub attached: HashSet<CommitId>,
    /// What the pusher should know.
    pub warnings: Vec<String>,
}

/// The second verdict: on what has arrived, the commits `came` among it.
pub fn decide(
    receiver: &Receiver,
    quarantine: &dyn Quarantine,
    updates: &[WireUpdate],
    came: &[CommitId],
) -> Result<Decision> {
    let rules = receiver.store.rules()?;
    let judge = Judge {
        refs: &receiver.store.refs()?,
        rules,
        policy: &receiver.policy,
        collection: receiver.store.collection(),
        dry_run: false,
    };
    let partial = receiver.store.partial()?;
    let brought: HashSet<CommitId> = came.iter().copied().collect();
    let view = View::new(judge.policy, &brought);
    let mut commits = check_history(quarantine, updates, judge.refs, came)?;
    let mut verdict = Vec::with_capacity(updates.len());
    for update in updates {
        let new = update.new.as_ref().map(|commit| commit.0);
        let word = match (judge.by_name(update), new) {
            (None, Some(new)) => judge.by_objects(quarantine, update, new, (view, &mut commits))?,
            (word, new) => {
                // What it lacked may have come.
                if let (Some(Word::Is(_)), Some(new)) =
                    (&word, new.filter(|id| partial.contains(id)))
                    && !view.hides(&new.object())?
                {
                    quarantine.check_complete(new, None)?;
                    commits.insert(new);
                }
                word
            }
        };
        verdict.push(outcome(update, word));
    }
    let mut attached = Attachments::default();
    if !is_refused(&verdict) {
        let who = (judge.policy, view);
        attached = detached::decide(quarantine, who, updates, &mut verdict, &commits)?;
    }
    judge.by_signatures(quarantine, &mut verdict, &commits)?;
    if !is_refused(&verdict) {
        view.end_histories(quarantine)?;
    }
    Ok(Decision {
        verdict,
        commits,
        attached: attached.commits,
        warnings: attached.warnings,
    })
}

/// Checks that each commit that came along and is not public yet is complete. A parent comes before
/// its child, so that only what differs between the two has to be looked for.
fn check_history(
    quarantine: &dyn Quarantine,
    updates: &[WireUpdate],
    refs: &BTreeMap<RefName, CommitId>,
    came: &[CommitId],
) -> Result<HashSet<CommitId>> {
    let mut complete = HashSet::new();
    let public: HashSet<&CommitId> = refs.values().collect();
    for id in came {
        if quarantine.is_public(&id.object())? {
            continue;
        }
        let parent = parse(*id, &quarantine.load(&id.object())?)?.parent;
        let parent = parent.filter(|id| complete.contains(id) || public.contains(id));
        let update = updates
            .iter()
            .find(|update| update.new.as_ref().is_some_and(|new| new.0 == *id));
        let old = || update?.old.as_ref().map(|old| old.0);
        quarantine.check_complete(*id, parent.or_else(old))?;
        complete.insert(*id);
    }
    Ok(complete)
}

fn outcome(update: &WireUpdate, word: Option<Word>) -> RefOutcome {
    let change = match (&update.old, &update.new) {
        (None, _) => Status::Created,
        (_, None) => Status::Deleted,
        _ => Status::Updated,
    };
    let (status, reason) = match word {
        None => (change, None),
        Some(Word::Is(status)) => (status, None),
        Some(Word::Although(reason)) => (change, Some(reason)),
        Some(Word::Skip(reason)) => (Status::Unchanged, Some(reason)),
        Some(Word::Refuse(reason)) => (Status::Rejected, Some(reason)),
    };
    let WireUpdate { name, old, new, .. } = update.clone();
    RefOutcome {
        name,
        old,
        new,
        status,
        reason,
    }
}
