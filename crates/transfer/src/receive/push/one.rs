// SPDX-License-Identifier: MIT OR Apache-2.0
//! One push: what may be done with it when.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use oxtree_format::{Commit, CommitId, FileId, ObjectId, ObjectKind};

use super::Intent;
use super::ledger::Place;
use super::objects::{self, Before, Bounds, Brought};
use super::record::{Book, Record};
use super::turn::Turn;
use crate::error::{Error, Result};
use crate::protocol::http::{PushInfo, PushState};
use crate::protocol::message::{
    Limits, Message, Outcome, Progress, WireCommit, WireRef, WireUpdate,
};
use crate::protocol::stream;
use crate::receive::Receiver;
use crate::receive::progress::Observer;
use crate::receive::take_in::{conclude, judge};
use crate::receive::view::View;
use crate::receive::{admit, detached, record};
use crate::semaphore::ClientSemaphore;
use crate::store::Quarantine;

/// Where the objects are.
enum Stage {
    /// In quarantine, once one was needed.
    Open(Option<Box<dyn Quarantine>>),
    /// It has ended: nothing is here any more.
    Ended,
}

/// A push. Used by many threads at once.
pub struct Push {
    id: String,
    book: Arc<dyn Book>,
    record: Mutex<Record>,
    /// What the record takes up.
    place: Mutex<Place>,
    /// Requests share it, and whoever ends the push has it alone.
    stage: RwLock<Stage>,
    finishing: AtomicBool,
    turn: Turn,
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push")
            .field("id", &self.id)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

struct MessageObserver<'a>(&'a mut dyn FnMut(&Message));

impl Observer for MessageObserver<'_> {
    fn tell(&mut self, message: &Message) -> Result<()> {
        (self.0)(message);
        Ok(())
    }
}

impl Push {
    pub(super) fn new(id: String, book: Arc<dyn Book>, record: Record, place: Place) -> Self {
        let stage = match record.outcome {
            None => Stage::Open(None),
            Some(_) => Stage::Ended,
        };
        Self {
            id,
            book,
            record: Mutex::new(record),
            place: Mutex::new(place),
            stage: RwLock::new(stage),
            finishing: AtomicBool::new(false),
            turn: Turn::default(),
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who has opened it.
    pub fn owner(&self) -> Option<String> {
        self.record().owner.clone()
    }

    /// Whether it was opened under this name, and this id if both have one.
    pub fn is_owned_by(&self, name: Option<&str>, id: Option<&str>) -> bool {
        self.record().is_owned_by(name, id)
    }

    /// What it is at.
    pub fn state(&self) -> PushState {
        match self.record().outcome {
            Some(_) => PushState::Ended,
            None if self.finishing.load(Ordering::Relaxed) => PushState::Finishing,
            None => PushState::Open,
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn save(&self) -> Result<()> {
        self.write(&self.record())
    }

    fn write(&self, record: &Record) -> Result<()> {
        let bytes = record.to_bytes()?;
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.resize(bytes.len())?;
        self.book.write(&self.id, &bytes)
    }

    /// Writes the record with these commits added, if there is room for them.
    fn write_with<'o>(
        &self,
        record: &mut Record,
        ids: impl IntoIterator<Item = &'o ObjectId>,
    ) -> Result<()> {
        let added = record.add_commits(ids);
        let written = self.write(record);
        if written.is_err() {
            record.take_back(&added);
        }
        written
    }

    /// Notes that it was used.
    pub fn touch(&self, now: u64) {
        let mut record = self.record();
        record.used = record.used.max(now);
    }

    pub(super) fn info(&self, now: u64, lifetime: u64) -> PushInfo {
        let state = self.state();
        let record = self.record();
        PushInfo {
            id: self.id.clone(),
            state,
            owner: record.owner.clone(),
            refs: record.refs(),
            dry_run: record.dry_run,
            objects: record.objects,
            bytes: record.bytes,
            idle: now.saturating_sub(record.used),
            expires: record.used.saturating_add(lifetime).saturating_sub(now),
            outcome: record.outcome.clone(),
        }
    }

    /// Does something with the quarantine, which is opened if there is none yet.
    fn with<T>(
        &self,
        receiver: &Receiver,
        work: impl FnOnce(&dyn Quarantine) -> Result<T>,
    ) -> Result<T> {
        loop {
            match &*self.stage.read().unwrap_or_else(PoisonError::into_inner) {
                Stage::Open(Some(quarantine)) => return work(&**quarantine),
                Stage::Open(None) => {}
                Stage::Ended => return Err(ended()),
            }
            let mut stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
            if let Stage::Open(none @ None) = &mut *stage {
                *none = Some(receiver.shared_quarantine()?);
            }
        }
    }

    /// Of these objects, which are to be sent.
    pub fn missing(&self, receiver: &Receiver, ids: &[ObjectId]) -> Result<Vec<bool>> {
        let limits = receiver.limits()?;
        let key = "max-ids and receive.max-memory";
        crate::limits::check("a list of object ids", ids.len() as u64, limits.ids, key)?;
        let (dry_run, brought, updates) = {
            let record = self.record();
            let updates = match ids.iter().any(|id| id.kind == ObjectKind::CommitMeta) {
                true => record.updates.clone(),
                false => Vec::new(),
            };
            (record.dry_run, record.brought_ids(), updates)
        };
        let mut missing = match dry_run {
            true => receiver.store.missing(ids)?,
            false => self.with(receiver, |quarantine| quarantine.missing(ids))?,
        };
        detached::ask(receiver, &updates, dry_run, ids, &mut missing)?;
        View::new(&receiver.policy, &brought).hide(ids, &mut missing)?;
        let mut record = self.record();
        if dry_run {
            record.objects += missing.iter().filter(|missing| **missing).count() as u64;
        }
        // Those that are here already are its own, too: another push may have left them.
        if record.lacks_commits(ids) {
            self.write_with(&mut record, ids)?;
        }
        Ok(missing)
    }

    /// Takes a stream of objects: data frames, from the first to the last byte. The progress is that
    /// of this stream. What came before an error is there all the same. A stream in zstd, which needs
    /// more memory, waits until there is room for one more.
    pub fn take(
        &self,
        receiver: &Receiver,
        from: &mut impl Read,
        compressed: &ClientSemaphore,
    ) -> Result<Progress> {
        let limits = receiver.limits()?;
        let bounds = Bounds {
            limits,
            before: self.before(limits)?,
            compressed: (compressed, &receiver.policy.client),
        };
        self.with(receiver, |quarantine| {
            let _turn = self.turn.wait();
            let (brought, taken) = objects::take(quarantine, from, bounds);
            let hides = receiver.policy.visibility.is_some();
            self.note(&brought, hides && taken.is_ok())?;
            taken.map(|()| brought.progress)
        })
    }

    /// Takes one object of so many bytes, as an archive stores it.
    pub fn put(
        &self,
        receiver: &Receiver,
        object: ObjectId,
        len: u64,
        from: &mut dyn Read,
    ) -> Result<()> {
        let limits = receiver.limits()?;
        let came = self.before(limits)?.bytes.saturating_add(len);
        limits.check_stream(came, len)?;
        self.put_up_to(receiver, object, len, from)
    }

    /// The same for a file of which nobody has said how large it is stored.
    pub fn put_file(&self, receiver: &Receiver, file: FileId, from: &mut dyn Read) -> Result<()> {
        let limits = receiver.limits()?;
        let left = limits.bytes.saturating_sub(self.before(limits)?.bytes);
        self.put_up_to(receiver, file.object(), left, from)
    }

    fn put_up_to(
        &self,
        receiver: &Receiver,
        object: ObjectId,
        most: u64,
        from: &mut dyn Read,
    ) -> Result<()> {
        let limits = receiver.limits()?;
        limits.check_objects(self.before(limits)?.objects.saturating_add(1))?;
        let form = match object.kind.is_metadata() {
            true => stream::Form::Metadata,
            false => stream::Form::Filez,
        };
        let len = most;
        let record = stream::Record { object, form, len };
        self.with(receiver, |quarantine| {
            let mut from = from.take(most);
            quarantine.put(&record, &mut from, limits.object)?;
            let brought = Brought {
                progress: Progress {
                    objects: 1,
                    bytes: most - from.limit(),
                    ..Progress::default()
                },
                commits: vec![object],
            };
            self.note(&brought, receiver.policy.visibility.is_some())
        })
    }

    /// What has come so far, if more may come.
    fn before(&self, limits: Limits) -> Result<Before> {
        let record = self.record();
        let time = limits.time;
        if time > 0 && record.used.saturating_sub(record.opened) > time {
            let reason = format!("it has taken longer than {time} s (receive.timeout)");
            return Err(Error::State(reason));
        }
        if record.dry_run {
            let reason = "it is a dry run, for which no objects are taken";
            return Err(Error::State(reason.to_owned()));
        }
        Ok(Before {
            objects: record.objects,
            bytes: record.bytes,
        })
    }

    /// Notes what has come. `verified`: its commits are what they are said to be, which has to be
    /// remembered.
    fn note(&self, brought: &Brought, verified: bool) -> Result<()> {
        let mut record = self.record();
        if verified {
            record.add_brought(&brought.commits);
        }
        record.objects += brought.progress.objects;
        record.bytes += brought.progress.bytes;
        self.write_with(&mut record, &brought.commits)
    }

    /// Admits what has come, and publishes it. Waits for streams that are still coming in. Once the
    /// push has an outcome, that is the answer to whoever asks again. After an error it is open as
    /// before: what lacks can be sent.
    pub fn finish(&self, receiver: &Receiver, tell: &mut dyn FnMut(&Message)) -> Result<Outcome> {
        let mut stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Ended = *stage {
            return self.record().outcome.clone().ok_or_else(ended);
        }
        self.finishing.store(true, Ordering::Relaxed);
        let outcome = self.settle(receiver, &mut stage, &mut MessageObserver(tell));
        self.finishing.store(false, Ordering::Relaxed);
        let outcome = outcome?;
        *stage = Stage::Ended;
        let mut record = self.record();
        record.end(outcome.clone());
        // What is published is published; at worst it is forgotten how that went.
        if let Err(error) = self.write(&record) {
            tracing::warn!("push {}: {error}", self.id);
        }
        Ok(outcome)
    }

    fn settle(
        &self,
        receiver: &Receiver,
        stage: &mut Stage,
        to: &mut MessageObserver<'_>,
    ) -> Result<Outcome> {
        let Record {
            updates,
            dry_run,
            mut commits,
            brought,
            objects,
            ..
        } = self.record().clone();
        if receiver.policy.visibility.is_some() {
            // Of the others, it cannot be told here who has brought them.
            commits = brought;
        }
        if dry_run {
            let mut refs = admit::before(receiver, &updates, true, &HashMap::new())?;
            if admit::is_refused(&refs) {
                admit::refuse_rest(&mut refs);
            }
            return Ok(Outcome {
                refs,
                objects,
                ..Outcome::default()
            });
        }
        let quarantine = match std::mem::replace(stage, Stage::Open(None)) {
            Stage::Open(Some(quarantine)) => quarantine,
            _ => receiver.shared_quarantine()?,
        };
        let tips = updates
            .iter()
            .filter_map(|update| Some(update.new.as_ref()?.0));
        let came = match in_order(&*quarantine, tips, &commits) {
            Ok(came) => came,
            Err(error) => {
                *stage = Stage::Open(Some(quarantine));
                return Err(error);
            }
        };
        let verdict = match judge(receiver, &*quarantine, &updates, objects, &came, to) {
            Ok(verdict) => verdict,
            Err(error) => {
                *stage = Stage::Open(Some(quarantine));
                return Err(error);
            }
        };
        let mut outcome = conclude(receiver, quarantine, verdict, objects, to)?;
        record(receiver, &mut outcome);
        Ok(outcome)
    }

    /// Ends it without an outcome.
    pub(super) fn give_up(&self) -> Result<()> {
        match self.stage.try_write() {
            Ok(mut stage) => *stage = Stage::Ended,
            Err(TryLockError::Poisoned(stage)) => *stage.into_inner() = Stage::Ended,
            Err(TryLockError::WouldBlock) => {
                let reason = "requests for it are still under way";
                return Err(Error::State(reason.to_owned()));
            }
        }
        Ok(())
    }

    /// Somebody goes on with it that was cut off.
    pub(super) fn take_up(&self, now: u64) {
        let mut record = self.record();
        record.opened = now;
        record.used = record.used.max(now);
    }

    /// When somebody last did something with it, in seconds since 1970.
    pub(super) fn used(&self) -> u64 {
        self.record().used
    }

    /// Objects that have come.
    pub(super) fn objects(&self) -> u64 {
        self.record().objects
    }

    /// Whether nobody has used it for so many seconds, and nobody does.
    pub(super) fn is_left(&self, now: u64, seconds: u64) -> bool {
        self.used().saturating_add(seconds) <= now && self.stage.try_write().is_ok()
    }

    /// Whether it is to change the same refs, for the same owner.
    pub(super) fn changes_what(&self, intent: &Intent) -> bool {
        fn names(updates: &[WireUpdate]) -> BTreeSet<&WireRef> {
            updates.iter().map(|update| &update.name).collect()
        }
        let record = self.record();
        let is_own = record.is_owned_by(intent.owner.as_deref(), intent.owner_id.as_deref());
        is_own && names(&record.updates) == names(&intent.updates)
    }

    /// Whether it is to do the very same.
    pub(super) fn is_for(&self, intent: &Intent) -> bool {
        let record = self.record();
        record.updates == intent.updates && record.dry_run == intent.dry_run
    }

    /// Ends it if nobody has used it since, and nobody does; true if it has ended.
    pub(super) fn expire(&self, since: u64) -> bool {
        self.record().used < since && self.give_up().is_ok()
    }
}

fn ended() -> Error {
    Error::State("it has ended".to_owned())
}

/// The commits of a push that can be reached from what refs are set to, a parent before its child.
fn in_order(
    quarantine: &dyn Quarantine,
    tips: impl IntoIterator<Item = CommitId>,
    commits: &BTreeSet<WireCommit>,
) -> Result<Vec<CommitId>> {
    let mut left = commits.clone();
    let mut all = Vec::new();
    for tip in tips {
        let (mut chain, mut next) = (Vec::new(), Some(tip));
        while let Some(id) = next.filter(|id| left.remove(&WireCommit(*id))) {
            chain.push(id);
            next = match quarantine.load(&id.object()) {
                Ok(bytes) => {
                    let commit = Commit::parse(&bytes);
                    let commit = commit.map_err(|e| oxtree_repo::Error::corrupt(id, e))?;
                    commit.parent
                }
                // Whether that is a fault is for others to say.
                Err(Error::Repo(error)) if error.is_missing_object() => {
                    chain.pop();
                    None
                }
                Err(error) => return Err(error),
            };
        }
        all.extend(chain.into_iter().rev());
    }
    Ok(all)
}
