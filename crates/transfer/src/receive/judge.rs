// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said of the change of one ref: by its name, by what the pusher says, by the objects that have
//! come. [`admit`](super::admit) asks in the right order.

use std::collections::{BTreeMap, HashMap, HashSet};

use oxtree_format::refs::RefName;
use oxtree_format::{Commit, CommitId, DirId, ObjectId, ObjectKind};
use oxtree_repo::refs::UNKNOWN_COMMIT;
use oxtree_repo::sign::Subject;

use super::Receiver;
use super::admit::Verdict;
use super::bindings::Bindings;
use super::hook::is_change;
use super::policy::{Commits, Policy, Stale, is_generated};
use super::view::View;
use crate::error::{Error, Result};
use crate::protocol::message::{RefOutcome, Status, WireUpdate};
use crate::store::{Quarantine, Rules};

/// How far back an ancestor is looked for.
pub(super) const MAX_HISTORY: usize = 100_000;

/// What is said of a ref when it does not simply change.
pub(super) enum Word {
    /// It is this already.
    Is(Status),
    /// It changes, but this has to be said.
    Although(String),
    /// It stays as it is, and that is no failure.
    Skip(String),
    /// The push is refused.
    Refuse(String),
}

/// How a new commit compares with the one that is there.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) newer: bool,
    pub(super) descends: bool,
    pub(super) differs: bool,
}

/// What counts in a verdict.
pub(super) struct Judge<'a> {
    pub(super) refs: &'a BTreeMap<RefName, CommitId>,
    pub(super) rules: Rules,
    pub(super) policy: &'a Policy,
    pub(super) collection: Option<&'a str>,
    pub(super) dry_run: bool,
}

impl Judge<'_> {
    /// Why a ref cannot be set to a commit that is bound to others, if it cannot.
    fn by_bindings(&self, update: &WireUpdate, id: CommitId, commit: &Commit<'_>) -> Option<Word> {
        let bindings = Bindings::new(self.policy, self.collection, self.refs)?;
        let reason = bindings.refuse(id, commit, &update.name.0)?;
        Some(Word::Refuse(reason))
    }

    /// The same of a commit that has come already, or that the pusher may know to be here.
    pub(super) fn by_known_bindings(
        &self,
        receiver: &Receiver,
        update: &WireUpdate,
        known: &HashMap<CommitId, Vec<u8>>,
    ) -> Result<Option<Word>> {
        let (Some(new), true) = (&update.new, self.policy.minds_bindings()) else {
            return Ok(None);
        };
        let new = new.0;
        let here;
        let bytes = match known.get(&new) {
            Some(bytes) => bytes,
            None => {
                let mut missing = [false];
                self.policy.hide(&[new.object()], &mut missing)?;
                if missing[0] {
                    return Ok(None);
                }
                here = match receiver.store.load(&new.object()) {
                    Err(Error::Repo(error)) if error.is_missing_object() => return Ok(None),
                    bytes => bytes?,
                };
                &here
            }
        };
        Ok(self.by_bindings(update, new, &parse(new, bytes)?))
    }

    /// What can be said without looking at any commit.
    pub(super) fn by_name(&self, update: &WireUpdate) -> Option<Word> {
        let name = &update.name.0;
        if self.policy.no_generated_refs && is_generated(name) {
            let reason = "it is made from the other refs here";
            return Some(Word::Skip(reason.to_owned()));
        }
        let identity = self.policy.identity.as_ref();
        let refusal = identity
            .and_then(|identity| identity.refuses(name, self.dry_run, update.new.is_none()));
        let refusal = refusal.map(|reason| match update.stays() {
            // What is offered is not taken, and nothing else was to change.
            true => Word::Is(Status::Unchanged),
            false => Word::Refuse(reason),
        });
        refusal
            .or_else(|| self.by_ref(update))
            .or_else(|| self.by_rules(update))
    }

    /// Is the ref what the pusher thinks it is?
    fn by_ref(&self, update: &WireUpdate) -> Option<Word> {
        let now = self.refs.get(&update.name.0).copied();
        let (old, new) = (
            update.old.as_ref().map(|c| c.0),
            update.new.as_ref().map(|c| c.0),
        );
        if now == new && !(self.again(update) && now == old) {
            return Some(Word::Is(Status::Unchanged));
        }
        // Who could not see that a damaged ref is there takes it for a new one.
        let is_damaged = now == Some(UNKNOWN_COMMIT) && old.is_none();
        if now != old && !is_damaged {
            let now = now.map_or_else(|| "gone".to_owned(), |now| format!("at {now}"));
            return Some(Word::Refuse(format!(
                "it has changed meanwhile and is now {now}; push again"
            )));
        }
        let other = in_the_way(update, self.refs)?;
        let visibility = self.policy.visibility.as_ref();
        let other = match visibility.is_none_or(|all| all.sees_ref(other.as_str())) {
            true => other.to_string(),
            false => "that of another ref".to_owned(),
        };
        let reason = format!("its name is in conflict with {other}");
        Some(Word::Refuse(reason))
    }

    /// Whether what is there is to be there once more: a copy of it can follow it.
    fn again(&self, update: &WireUpdate) -> bool {
        let policy = self.policy;
        let copied = policy.commits == Commits::Copy && policy.stale == Stale::Skip;
        copied && policy.forced(update.force) && !self.rules.deny_non_fast_forward
    }

    fn by_rules(&self, update: &WireUpdate) -> Option<Word> {
        if update.new.is_some() {
            return None;
        }
        let refusal = match (self.rules.deny_deletes, self.policy.no_deletes) {
            (false, false) => return None,
            (true, _) => "deleting refs is not allowed here (receive.deny-deletes)",
            (false, true) => {
                "deleting refs is not allowed here (allow_delete in the receiver's configuration, \
                 which is `no` where allow_force is)"
            }
        };
        Some(Word::Refuse(refusal.to_owned()))
    }

    /// A pusher that may only set refs to existing commits is told so before anything is sent.
    pub(super) fn by_promotion(
        &self,
        receiver: &Receiver,
        update: &WireUpdate,
    ) -> Result<Option<Word>> {
        let (Some(new), Some(identity)) = (&update.new, &self.policy.identity) else {
            return Ok(None);
        };
        if !identity.promote_only {
            return Ok(None);
        }
        let id = [new.0.object()];
        let mut missing = receiver.store.missing(&id)?;
        self.policy.hide(&id, &mut missing)?;
        Ok(missing.contains(&true).then(|| {
            let who = &identity.name;
            Word::Refuse(format!("{who} may only set refs to commits that are here"))
        }))
    }

    pub(super) fn by_direction(&self, update: &WireUpdate, step: Step) -> Option<Word> {
        let forced = self.policy.forced(update.force);
        if self.policy.stale == Stale::Skip {
            let reason = stale(update, step)?;
            return Some(match forced && !self.rules.deny_non_fast_forward {
                true => Word::Although(reason),
                false => Word::Skip(reason),
            });
        }
        if step.newer || step.descends {
            return None;
        }
        if self.rules.deny_non_fast_forward {
            let reason =
                "it would move back, which is not allowed here (receive.deny-non-fast-forward)";
            return Some(Word::Refuse(reason.to_owned()));
        }
        let reason = match update.force {
            true => {
                "the new commit is neither a descendant of the present one nor newer, and \
                     --force is not allowed here"
            }
            false => {
                "the new commit is neither a descendant of the present one nor newer; \
                      push with --force to replace it"
            }
        };
        (!forced).then(|| Word::Refuse(reason.to_owned()))
    }

    pub(super) fn by_objects(
        &self,
        quarantine: &dyn Quarantine,
        update: &WireUpdate,
        new: CommitId,
        (view, commits): (View<'_>, &mut HashSet<CommitId>),
    ) -> Result<Option<Word>> {
        let old = update.old.as_ref().map(|c| c.0);
        view.check(new)?;
        // Also where the commit is public: a ref is about to promise that it is whole.
        if !commits.contains(&new) {
            quarantine.check_complete(new, old)?;
            commits.insert(new);
        }
        let load = |id: &ObjectId| view.load(quarantine, id);
        let bytes = load(&new.object())?;
        let commit = parse(new, &bytes)?;
        let future = self.policy.future.as_ref();
        if let Some(refusal) = future.and_then(|future| future.refuses(commit.timestamp)) {
            return Ok(Some(Word::Refuse(refusal)));
        }
        if let Some(refused) = self.by_bindings(update, new, &commit) {
            return Ok(Some(refused));
        }
        let Some(old) = old else { return Ok(None) };
        let step = Step {
            newer: commit.timestamp > timestamp(&old, &load)?,
            descends: is_ancestor(old, new, &load)?,
            differs: root(&old, &load)? != Some(commit.root),
        };
        Ok(self.by_direction(update, step))
    }

    /// Checks the signatures of all that becomes public.
    pub(super) fn by_signatures(
        &self,
        quarantine: &dyn Quarantine,
        verdict: &mut Verdict,
        commits: &HashSet<CommitId>,
    ) -> Result<()> {
        if self.policy.verifiers.is_empty() || !verdict.iter().any(|r| is_change(r.status)) {
            return Ok(());
        }
        for id in commits {
            let Some(reason) = self.unsigned(quarantine, *id)? else {
                continue;
            };
            let tip = |r: &RefOutcome| r.new.as_ref().is_some_and(|new| new.0 == *id);
            let named = verdict.iter().any(tip);
            for outcome in verdict.iter_mut().filter(|r| is_change(r.status)) {
                // History that comes along belongs to each ref as much as to the other.
                if !named || tip(outcome) {
                    outcome.status = Status::Rejected;
                    outcome.reason = Some(reason.clone());
                }
            }
        }
        Ok(())
    }

    /// Why a commit is not signed as it has to be, if it is not.
    fn unsigned(&self, quarantine: &dyn Quarantine, id: CommitId) -> Result<Option<String>> {
        let bytes = quarantine.load(&id.object())?;
        let detached = match quarantine.load(&ObjectId::new(ObjectKind::CommitMeta, id.0)) {
            Err(Error::Repo(error)) if error.is_missing_object() => None,
            detached => Some(detached?),
        };
        let subject = Subject::Commit(id);
        let mut verifiers = self.policy.verifiers.iter();
        let refused = verifiers
            .find_map(|verifier| verifier.verify(subject, &bytes, detached.as_deref()).err());
        Ok(refused.map(|error| match error.to_string() {
            reason if reason.contains(&id.to_string()) => reason,
            reason => format!("commit {id}: {reason}"),
        }))
    }
}

/// In ostree-push's words, a line each, why a commit is no step forward, if it is none.
fn stale(update: &WireUpdate, step: Step) -> Option<String> {
    let [old, new] = [&update.old, &update.new].map(|commit| {
        commit
            .as_ref()
            .map_or_else(String::new, ToString::to_string)
    });
    let name = &update.name;
    let mut reasons = Vec::new();
    if !step.newer {
        reasons.push(format!(
            "received {name} commit {new} is not newer than current {name} commit {old}"
        ));
    }
    if !step.differs {
        reasons.push(format!(
            "received {name} commit {new} has the same content as current {name} commit {old}"
        ));
    }
    (!reasons.is_empty()).then(|| reasons.join("\n"))
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

type Load<'a> = dyn Fn(&ObjectId) -> Result<Vec<u8>> + 'a;

/// The time of a commit; 0 if it is not there (a ref that points nowhere may be mended).
pub(super) fn timestamp(commit: &CommitId, load: &Load<'_>) -> Result<u64> {
    match load(&commit.object()) {
        // A damaged commit is replaced like one that is missing.
        Ok(bytes) => Ok(parse(*commit, &bytes).map_or(0, |commit| commit.timestamp)),
        Err(Error::Repo(error)) if is_unusable(&error) => Ok(0),
        Err(error) => Err(error),
    }
}

fn is_unusable(error: &oxtree_repo::Error) -> bool {
    error.is_missing_object() || error.is_bad_object()
}

/// The root of a commit, if that is there.
pub(super) fn root(commit: &CommitId, load: &Load<'_>) -> Result<Option<DirId>> {
    match load(&commit.object()) {
        Ok(bytes) => Ok(parse(*commit, &bytes).ok().map(|commit| commit.root)),
        Err(Error::Repo(error)) if is_unusable(&error) => Ok(None),
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

pub(super) fn parse(id: CommitId, bytes: &[u8]) -> Result<Commit<'_>> {
    Commit::parse(bytes).map_err(|error| oxtree_repo::Error::corrupt(id, error).into())
}
