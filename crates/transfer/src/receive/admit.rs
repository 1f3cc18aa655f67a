// SPDX-License-Identifier: MIT OR Apache-2.0
//! Admit: may these refs change in this way? Asked twice. Before anything is sent, on the pusher's
//! word, so that a refusal costs nobody a long upload; and with the whole push in the quarantine,
//! when only what was verified counts.

use std::collections::{BTreeMap, HashSet};

use oxtree_format::refs::RefName;
use oxtree_format::{Commit, CommitId, ObjectId};

use crate::destination::{Destination, Quarantine, Rules};
use crate::protocol::message::{RefOutcome, Status, WireUpdate};
use crate::{Error, Result};

/// How far back an ancestor is looked for.
const MAX_HISTORY: usize = 100_000;

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

/// The first verdict, before any object is there.
pub fn before<D: Destination>(destination: &D, updates: &[WireUpdate]) -> Result<Verdict> {
    let refs = destination.refs()?;
    let rules = destination.rules()?;
    let mut verdict = Vec::with_capacity(updates.len());
    for update in updates {
        let status = by_ref(update, &refs).or_else(|| by_rules(update, rules));
        let status = match (status, update.old.as_ref()) {
            (None, Some(old)) => {
                let old_time = timestamp(&old.0, &|id| destination.load(id))?;
                let forward = update.fast_forward || update.timestamp > old_time;
                by_direction(update, forward, rules)
            }
            (status, _) => status,
        };
        verdict.push(outcome(update, status));
    }
    Ok(verdict)
}

/// The second verdict: on what has arrived, the commits `came` among it. With it, the commits that
/// are complete and become public: the new ones, and the history that came along.
pub fn decide<D: Destination, Q: Quarantine>(
    destination: &D,
    quarantine: &Q,
    updates: &[WireUpdate],
    came: &[CommitId],
) -> Result<(Verdict, HashSet<CommitId>)> {
    let refs = destination.refs()?;
    let rules = destination.rules()?;
    let partial = destination.partial()?;
    let mut commits = check_history(quarantine, updates, &refs, came)?;
    let mut verdict = Vec::with_capacity(updates.len());
    for update in updates {
        let status = by_ref(update, &refs).or_else(|| by_rules(update, rules));
        let status = match status {
            None => by_objects(quarantine, update, rules, &mut commits)?,
            status => {
                // What it lacked may have come.
                let new = update.new.as_ref().map(|commit| commit.0);
                if let (Some(Ok(_)), Some(new)) = (&status, new.filter(|id| partial.contains(id))) {
                    quarantine.check_complete(new, None)?;
                    commits.insert(new);
                }
                status
            }
        };
        verdict.push(outcome(update, status));
    }
    Ok((verdict, commits))
}

type Refusal = Result<Status, String>;

/// Is the ref what the pusher thinks it is?
fn by_ref(update: &WireUpdate, refs: &BTreeMap<RefName, CommitId>) -> Option<Refusal> {
    let now = refs.get(&update.name.0).copied();
    let (old, new) = (
        update.old.as_ref().map(|c| c.0),
        update.new.as_ref().map(|c| c.0),
    );
    if now == new {
        return Some(Ok(Status::Unchanged));
    }
    if now != old {
        let now = now.map_or_else(|| "gone".to_owned(), |now| format!("at {now}"));
        return Some(Err(format!(
            "it has changed meanwhile and is now {now}; push again"
        )));
    }
    in_the_way(update, refs).map(|other| Err(format!("its name is in conflict with {other}")))
}

/// A ref that is a folder of the new one, or the other way round.
fn in_the_way(update: &WireUpdate, refs: &BTreeMap<RefName, CommitId>) -> Option<RefName> {
    if update.old.is_some() || update.new.is_none() {
        return None;
    }
    let name = update.name.0.as_str();
    let below = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
    refs.keys()
        .find(|r| below(r.as_str(), name) || below(name, r.as_str()))
        .cloned()
}

fn by_rules(update: &WireUpdate, rules: Rules) -> Option<Refusal> {
    let refusal = "deleting refs is not allowed here (receive.deny-deletes)";
    (update.new.is_none() && rules.deny_deletes).then(|| Err(refusal.to_owned()))
}

fn by_direction(update: &WireUpdate, forward: bool, rules: Rules) -> Option<Refusal> {
    if update.new.is_none() || forward {
        return None;
    }
    if rules.deny_non_fast_forward {
        let reason =
            "it would move back, which is not allowed here (receive.deny-non-fast-forward)";
        return Some(Err(reason.to_owned()));
    }
    let reason = "the new commit is neither a descendant of the present one nor newer; \
                  push with --force to replace it";
    (!update.force).then(|| Err(reason.to_owned()))
}

fn by_objects<Q: Quarantine>(
    quarantine: &Q,
    update: &WireUpdate,
    rules: Rules,
    commits: &mut HashSet<CommitId>,
) -> Result<Option<Refusal>> {
    let Some(new) = update.new.as_ref().map(|c| c.0) else {
        return Ok(None);
    };
    let old = update.old.as_ref().map(|c| c.0);
    // Also where the commit is public: a ref is about to promise that it is whole.
    if !commits.contains(&new) {
        quarantine.check_complete(new, old)?;
        commits.insert(new);
    }
    let Some(old) = old else { return Ok(None) };
    let load = |id: &ObjectId| quarantine.load(id);
    let forward =
        is_ancestor(old, new, &load)? || timestamp(&new, &load)? > timestamp(&old, &load)?;
    Ok(by_direction(update, forward, rules))
}

/// Checks that each commit that came along and is not public yet is complete. A parent comes before
/// its child, so that only what differs between the two has to be looked for.
fn check_history<Q: Quarantine>(
    quarantine: &Q,
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

fn outcome(update: &WireUpdate, status: Option<Refusal>) -> RefOutcome {
    let (status, reason) = match status {
        Some(Ok(status)) => (status, None),
        Some(Err(reason)) => (Status::Rejected, Some(reason)),
        None => match (&update.old, &update.new) {
            (None, _) => (Status::Created, None),
            (_, None) => (Status::Deleted, None),
            _ => (Status::Updated, None),
        },
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

type Load<'a> = dyn Fn(&ObjectId) -> Result<Vec<u8>> + 'a;

/// The time of a commit; 0 if it is not there (a ref that points nowhere may be mended).
fn timestamp(commit: &CommitId, load: &Load<'_>) -> Result<u64> {
    match load(&commit.object()) {
        Ok(bytes) => Ok(parse(*commit, &bytes)?.timestamp),
        Err(Error::Repo(error)) if error.is_missing_object() => Ok(0),
        Err(error) => Err(error),
    }
}

fn is_ancestor(old: CommitId, new: CommitId, load: &Load<'_>) -> Result<bool> {
    let mut at = new;
    for _ in 0..MAX_HISTORY {
        if at == old {
            return Ok(true);
        }
        let bytes = match load(&at.object()) {
            Err(Error::Repo(error)) if error.is_missing_object() => return Ok(false),
            bytes => bytes?,
        };
        match parse(at, &bytes)?.parent {
            Some(parent) => at = parent,
            None => return Ok(false),
        }
    }
    Ok(false)
}

fn parse(id: CommitId, bytes: &[u8]) -> Result<Commit<'_>> {
    Commit::parse(bytes).map_err(|error| oxtree_repo::Error::corrupt(id, error).into())
}
