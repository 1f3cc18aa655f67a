// SPDX-License-Identifier: MIT OR Apache-2.0
//! Admit: may these refs change in this way? Asked twice. Before anything is sent, on the pusher's
//! word, so that a refusal costs nobody a long upload; and with the whole push in the quarantine,
//! when only what was verified counts.

use std::collections::{BTreeMap, HashMap, HashSet};

use oxtree_format::refs::RefName;
use oxtree_format::{Commit, CommitId, DirId, ObjectId, ObjectKind};
use oxtree_repo::sign::Subject;

use super::hook::is_change;
use super::policy::{Commits, Policy, Stale, is_generated};
use super::sight::Eyes;
use crate::destination::{Destination, Quarantine, Rules};
use crate::protocol::message::{RefOutcome, Status, WireUpdate};
use crate::{Error, Result};

/// How far back an ancestor is looked for.
pub(super) const MAX_HISTORY: usize = 100_000;

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

/// The first verdict, before any object is there, but where the new commits' roots are known.
pub fn before<D: Destination>(
    destination: &D,
    updates: &[WireUpdate],
    dry_run: bool,
    roots: &HashMap<CommitId, DirId>,
) -> Result<Verdict> {
    let rules = destination.rules()?;
    let judge = Judge {
        refs: &destination.refs()?,
        rules,
        policy: destination.policy(),
        dry_run,
    };
    let mut verdict = Vec::with_capacity(updates.len());
    for update in updates {
        // Whoever does not say what the commit is like is judged by the commit.
        let is_said = update.timestamp > 0 || update.fast_forward;
        let word = match (judge.by_name(update), update.old.as_ref()) {
            (None, Some(old)) if update.new.is_some() && is_said => {
                let load = |id: &ObjectId| destination.load(id);
                let new = update.new.as_ref().and_then(|new| roots.get(&new.0));
                let step = Step {
                    newer: update.timestamp > timestamp(&old.0, &load)?,
                    descends: update.fast_forward,
                    differs: new.is_none() || root(&old.0, &load)?.as_ref() != new,
                };
                judge.by_direction(update, step)
            }
            (word, _) => word,
        };
        verdict.push(outcome(update, word));
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
    let rules = destination.rules()?;
    let judge = Judge {
        refs: &destination.refs()?,
        rules,
        policy: destination.policy(),
        dry_run: false,
    };
    let partial = destination.partial()?;
    let brought: HashSet<CommitId> = came.iter().copied().collect();
    let eyes = Eyes::new(judge.policy, &brought);
    let mut commits = check_history(quarantine, updates, judge.refs, came)?;
    let mut verdict = Vec::with_capacity(updates.len());
    for update in updates {
        let new = update.new.as_ref().map(|commit| commit.0);
        let word = match (judge.by_name(update), new) {
            (None, Some(new)) => judge.by_objects(quarantine, update, new, (eyes, &mut commits))?,
            (word, new) => {
                // What it lacked may have come.
                if let (Some(Word::Is(_)), Some(new)) =
                    (&word, new.filter(|id| partial.contains(id)))
                {
                    quarantine.check_complete(new, None)?;
                    commits.insert(new);
                }
                word
            }
        };
        verdict.push(outcome(update, word));
    }
    judge.by_signatures(quarantine, &mut verdict, &commits)?;
    if !is_refused(&verdict) {
        eyes.end_histories(quarantine, updates)?;
    }
    Ok((verdict, commits))
}

/// What is said of a ref when it does not simply change.
enum Word {
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
struct Step {
    newer: bool,
    descends: bool,
    differs: bool,
}

/// What counts in a verdict.
struct Judge<'a> {
    refs: &'a BTreeMap<RefName, CommitId>,
    rules: Rules,
    policy: &'a Policy,
    dry_run: bool,
}

impl Judge<'_> {
    /// What can be said without looking at any commit.
    fn by_name(&self, update: &WireUpdate) -> Option<Word> {
        let name = &update.name.0;
        if self.policy.no_generated_refs && is_generated(name) {
            let reason = "it is made from the other refs here";
            return Some(Word::Skip(reason.to_owned()));
        }
        let identity = self.policy.identity.as_ref();
        let refusal = identity
            .and_then(|identity| identity.refuses(name, self.dry_run, update.new.is_none()));
        refusal
            .map(Word::Refuse)
            .or_else(|| by_ref(update, self.refs, self.again(update)))
            .or_else(|| self.by_rules(update))
    }

    /// Whether what is there is to be there once more: a copy of it can follow it.
    fn again(&self, update: &WireUpdate) -> bool {
        let policy = self.policy;
        let copied = policy.commits == Commits::Copy && policy.stale == Stale::Skip;
        copied && policy.forced(update.force) && !self.rules.deny_non_fast_forward
    }

    fn by_rules(&self, update: &WireUpdate) -> Option<Word> {
        let refusal = "deleting refs is not allowed here (receive.deny-deletes)";
        (update.new.is_none() && self.rules.deny_deletes).then(|| Word::Refuse(refusal.to_owned()))
    }

    fn by_direction(&self, update: &WireUpdate, step: Step) -> Option<Word> {
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

    fn by_objects<Q: Quarantine>(
        &self,
        quarantine: &Q,
        update: &WireUpdate,
        new: CommitId,
        (eyes, commits): (Eyes<'_>, &mut HashSet<CommitId>),
    ) -> Result<Option<Word>> {
        let old = update.old.as_ref().map(|c| c.0);
        eyes.check(new)?;
        // Also where the commit is public: a ref is about to promise that it is whole.
        if !commits.contains(&new) {
            quarantine.check_complete(new, old)?;
            commits.insert(new);
        }
        let load = |id: &ObjectId| eyes.load(quarantine, id);
        let bytes = load(&new.object())?;
        let commit = parse(new, &bytes)?;
        let future = self.policy.future.as_ref();
        if let Some(refusal) = future.and_then(|future| future.refuses(commit.timestamp)) {
            return Ok(Some(Word::Refuse(refusal)));
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
    fn by_signatures<Q: Quarantine>(
        &self,
        quarantine: &Q,
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
    fn unsigned<Q: Quarantine>(&self, quarantine: &Q, id: CommitId) -> Result<Option<String>> {
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

/// Is the ref what the pusher thinks it is? `again`: though it is what it shall be, it changes.
fn by_ref(update: &WireUpdate, refs: &BTreeMap<RefName, CommitId>, again: bool) -> Option<Word> {
    let now = refs.get(&update.name.0).copied();
    let (old, new) = (
        update.old.as_ref().map(|c| c.0),
        update.new.as_ref().map(|c| c.0),
    );
    if now == new && !(again && now == old) {
        return Some(Word::Is(Status::Unchanged));
    }
    if now != old {
        let now = now.map_or_else(|| "gone".to_owned(), |now| format!("at {now}"));
        return Some(Word::Refuse(format!(
            "it has changed meanwhile and is now {now}; push again"
        )));
    }
    let other = in_the_way(update, refs)?;
    let reason = format!("its name is in conflict with {other}");
    Some(Word::Refuse(reason))
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

type Load<'a> = dyn Fn(&ObjectId) -> Result<Vec<u8>> + 'a;

/// The time of a commit; 0 if it is not there (a ref that points nowhere may be mended).
fn timestamp(commit: &CommitId, load: &Load<'_>) -> Result<u64> {
    match load(&commit.object()) {
        Ok(bytes) => Ok(parse(*commit, &bytes)?.timestamp),
        Err(Error::Repo(error)) if error.is_missing_object() => Ok(0),
        Err(error) => Err(error),
    }
}

/// The root of a commit, if that is there.
pub(super) fn root(commit: &CommitId, load: &Load<'_>) -> Result<Option<DirId>> {
    match load(&commit.object()) {
        Ok(bytes) => Ok(Some(parse(*commit, &bytes)?.root)),
        Err(Error::Repo(error)) if error.is_missing_object() => Ok(None),
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
