// SPDX-License-Identifier: MIT OR Apache-2.0
//! Detached metadata, above all signatures: it can change while the commit stays what it is.
//!
//! It is therefore asked for with each commit that a ref is set to, or is at already, unless the receiver has all
//! of it: a commit that was pushed before it was signed gets its signature with the next push. Nothing that is here
//! is lost for that: what comes is joined with it ([`oxtree_format::detached::join`]). A pusher that may write a ref may
//! add to what is kept beside its commits.

use std::collections::{HashMap, HashSet};

use oxtree_format::detached::join::{ItemId, Room, items};
use oxtree_format::{Commit, CommitId, ObjectId, ObjectKind};

use super::Receiver;
use super::admit::Verdict;
use super::hook::is_change;
use super::judge::MAX_HISTORY;
use super::policy::{Commits, Policy};
use super::view::View;
use crate::error::{Error, Result};
use crate::protocol::message::{RefOutcome, Status, WireUpdate};
use crate::store::Quarantine;

fn object(commit: CommitId) -> ObjectId {
    ObjectId::new(ObjectKind::CommitMeta, commit.0)
}

/// What there is beside a commit. What cannot be read is nothing.
fn names(loaded: Result<Vec<u8>>) -> Result<HashSet<ItemId>> {
    match loaded {
        Err(Error::Repo(error)) if error.is_missing_object() => Ok(HashSet::new()),
        loaded => Ok(items(&loaded?)),
    }
}

/// Whether all that the pusher says to have is among what is here; not if it says nothing.
fn has_all(update: &WireUpdate, here: &HashSet<ItemId>) -> bool {
    let said = update.detached.as_ref();
    said.is_some_and(|said| said.iter().all(|item| here.contains(&item.0)))
}

/// Whether the pusher may add to what is beside the commits of this ref.
fn may_add(policy: &Policy, update: &WireUpdate, dry_run: bool) -> bool {
    let identity = policy.identity.as_ref();
    identity.is_none_or(|one| {
        !one.promote_only && one.refuses(&update.name.0, dry_run, false).is_none()
    })
}

/// Which updates set a ref to a commit.
fn by_commit(updates: &[WireUpdate]) -> HashMap<CommitId, Vec<&WireUpdate>> {
    let mut all: HashMap<CommitId, Vec<&WireUpdate>> = HashMap::new();
    for update in updates {
        if let Some(new) = &update.new {
            all.entry(new.0).or_default().push(update);
        }
    }
    all
}

/// Of detached metadata among these objects, only that is missing which would add something. `missing` is what has
/// not come with this push.
pub(super) fn ask(
    receiver: &Receiver,
    updates: &[WireUpdate],
    dry_run: bool,
    ids: &[ObjectId],
    missing: &mut [bool],
) -> Result<()> {
    let policy = &receiver.policy;
    let by_commit = by_commit(updates);
    for (id, missing) in ids.iter().zip(missing).filter(|(_, missing)| **missing) {
        if id.kind != ObjectKind::CommitMeta {
            continue;
        }
        *missing = match by_commit.get(&CommitId(id.checksum)) {
            // History that comes along.
            None => !policy.promotes_only(),
            Some(updates) => {
                let here = names(receiver.store.load(id))?;
                let wants = |update: &&WireUpdate| {
                    may_add(policy, update, dry_run) && !has_all(update, &here)
                };
                updates.iter().any(wants)
            }
        };
    }
    Ok(())
}

/// What becomes of the detached metadata that has come.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    /// The commits beside which it becomes public.
    pub(super) commits: HashSet<CommitId>,
    /// What the pusher should know.
    pub(super) warnings: Vec<String>,
}

/// Decides that. `commits` become public with the push. An error if some that was promised has not come.
pub(super) fn decide(
    quarantine: &dyn Quarantine,
    (policy, view): (&Policy, View<'_>),
    updates: &[WireUpdate],
    verdict: &mut Verdict,
    commits: &HashSet<CommitId>,
) -> Result<Attachments> {
    let mut done = Attachments::default();
    if policy.commits == Commits::Copy {
        // It is not good for the copies.
        return Ok(done);
    }
    let brought = quarantine.detached()?;
    let mut tips = HashSet::new();
    for (update, outcome) in updates.iter().zip(verdict.iter()) {
        let Some(new) = update.new.as_ref().map(|new| new.0) else {
            continue;
        };
        if !is_change(outcome.status) && !is_at(outcome) {
            continue;
        }
        let hidden = view.hides(&new.object())?;
        if !hidden && may_add(policy, update, false) {
            if !brought.contains(&new) && !has_all_said(quarantine, update, new)? {
                return Err(oxtree_repo::Error::MetadataNotFound(object(new)).into());
            }
            tips.insert(new);
        } else if update.detached.is_some() && (hidden || !has_all_said(quarantine, update, new)?) {
            let who = policy.identity.as_ref().map(|one| one.name.as_str());
            let who = who.unwrap_or("this pusher");
            done.warnings.push(format!(
                "{}: detached metadata (signatures) of commit {new} was not taken: {who} may not add to it",
                update.name
            ));
        }
    }
    let mut all: HashSet<CommitId> = commits.union(&tips).copied().collect();
    all.retain(|commit| brought.contains(commit));
    add_history(quarantine, view, &tips, &brought, &mut all)?;
    let room = match policy.limits_refs() {
        true => Room::SHARED,
        false => Room::ALL,
    };
    for commit in all {
        let attached = quarantine.attach(commit, room)?;
        if let Some(kind) = &attached.full {
            let reason = no_room(commit, kind, room);
            match commits.contains(&commit) {
                true => refuse(verdict, commit, &reason),
                false => done.warnings.push(reason),
            }
        }
        done.warnings.extend(attached.left_out.iter().map(|reason| {
            format!("not taken of the detached metadata of commit {commit}: {reason}")
        }));
        if !attached.adds {
            continue;
        }
        done.commits.insert(commit);
        let is_here = |one: &&mut RefOutcome| is_at(one) && is_to(one, commit);
        for outcome in verdict.iter_mut().filter(is_here) {
            let reason = "signatures (or other detached metadata) of its commit were added";
            outcome.reason = Some(reason.to_owned());
        }
    }
    Ok(done)
}

/// Whether a ref is at the commit already.
fn is_at(outcome: &RefOutcome) -> bool {
    outcome.status == Status::Unchanged && outcome.reason.is_none()
}

fn is_to(outcome: &RefOutcome, commit: CommitId) -> bool {
    outcome.new.as_ref().is_some_and(|new| new.0 == commit)
}

/// Whether all that the pusher has said to have is here; also if it has said nothing.
fn has_all_said(quarantine: &dyn Quarantine, update: &WireUpdate, new: CommitId) -> Result<bool> {
    match update.detached.as_ref().is_none_or(Vec::is_empty) {
        true => Ok(true),
        false => Ok(has_all(update, &names(quarantine.load(&object(new)))?)),
    }
}

fn no_room(commit: CommitId, kind: &str, room: Room) -> String {
    let Room {
        signatures, bytes, ..
    } = room;
    format!(
        "commit {commit} has too many signatures of the kind {kind}: at most {signatures}, of {bytes} bytes \
         in all, are taken from this pusher; ostree sign --delete or gpg-sign --delete at the receiver \
         makes room"
    )
}

/// To publish a commit without its signatures could be worse than not at all.
fn refuse(verdict: &mut Verdict, commit: CommitId, reason: &str) {
    let named = verdict.iter().any(|one| is_to(one, commit));
    let changes = verdict.iter_mut().filter(|one| is_change(one.status));
    for outcome in changes.filter(|one| !named || is_to(one, commit)) {
        outcome.status = Status::Rejected;
        outcome.reason = Some(reason.to_owned());
    }
}

/// Adds commits that lead to the tips: what was brought for others belongs to nothing here.
fn add_history(
    quarantine: &dyn Quarantine,
    view: View<'_>,
    tips: &HashSet<CommitId>,
    brought: &HashSet<CommitId>,
    all: &mut HashSet<CommitId>,
) -> Result<()> {
    let mut seen = HashSet::new();
    for tip in tips {
        let mut next = Some(*tip);
        while let Some(id) = next.filter(|id| all.len() < brought.len() && seen.insert(*id)) {
            if seen.len() > MAX_HISTORY || view.hides(&id.object())? {
                break;
            }
            let bytes = match quarantine.load(&id.object()) {
                Err(Error::Repo(error)) if error.is_missing_object() => break,
                bytes => bytes?,
            };
            if brought.contains(&id) {
                all.insert(id);
            }
            let commit = Commit::parse(&bytes);
            next = commit
                .map_err(|error| oxtree_repo::Error::corrupt(id, error))?
                .parent;
        }
    }
    Ok(())
}
