// SPDX-License-Identifier: MIT OR Apache-2.0
//! Work in the background after refs change: summary, retention, webhooks. Waiting jobs are
//! written to the repository, so the next server continues them.
//!
//! One thread per repository makes the summary, once for all pushes that ended meanwhile. A push
//! waits a moment for it, so that a client that pulls right after a push finds the new summary.

mod derive;
mod external_changes;
mod info;
pub(crate) mod outbox;
pub(crate) mod retention;
mod skipped;
pub(crate) mod webhooks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oxtree_repo::Repo;
use oxtree_transfer::protocol::message::RefOutcome;
use oxtree_transfer::receive::policy::Derived;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use self::external_changes::KnownRefs;
pub(crate) use self::info::JobInfo;
use self::info::Tried;
use self::outbox::PendingPush;
use self::retention::Retention;
use self::skipped::Skipped;
use self::webhooks::{Delivery, Webhook};
use crate::clock::now;

/// How notes of this kind are called.
const KIND: &str = "jobs";

/// The job that updates derived files, and its refs: pushes of the meantime are added.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct DeriveJob {
    refs: BTreeSet<String>,
    /// The names of the tokens that have changed them; [`None`] for changes without one.
    #[serde(default)]
    pushers: BTreeSet<Option<String>>,
    /// It was asked for because others have changed refs.
    #[serde(skip)]
    for_external_changes: bool,
    #[serde(flatten)]
    tried: Tried,
}

#[derive(Debug, Default)]
struct Queue {
    derive: Option<DeriveJob>,
    /// The last request for it, the last that was carried out, and the last that failed.
    asked: u64,
    done: u64,
    failed: Option<(u64, String)>,
    skipped: Option<Skipped>,
    retention: Option<Tried>,
    /// When it was carried out last, in seconds since 1970.
    pruned: u64,
    /// It was asked for again while it went on.
    prune_again: bool,
    deliveries: Vec<Delivery>,
    /// How often something has failed, by its kind.
    failures: BTreeMap<&'static str, u64>,
}

/// The jobs of one repository.
#[derive(Debug)]
pub(crate) struct Jobs {
    repo: Arc<Repo>,
    name: String,
    webhooks: Vec<Webhook>,
    retention: Option<Retention>,
    queue: Mutex<Queue>,
    /// Something was done.
    progress: Condvar,
    /// Something is to be done.
    work: Notify,
    /// Each of the webhooks has to be told something.
    calls: Vec<Notify>,
    seen: Mutex<KnownRefs>,
    looking: Mutex<()>,
    /// The repository cannot be written to: nothing can be noted, so nothing is done.
    off: bool,
}

/// Something that was asked for, and can be waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

/// How long a push waits until what is computed from its refs is up to date.
const PATIENCE: Duration = Duration::from_secs(10);

impl Jobs {
    /// Those that are noted down.
    pub(crate) fn load(
        repo: Arc<Repo>,
        name: String,
        webhooks: Vec<Webhook>,
        retention: Option<Retention>,
    ) -> oxtree_repo::Result<Self> {
        let mut queue = Queue::default();
        let mut announced = Vec::new();
        for (name, bytes) in repo.notes(KIND)? {
            match name.as_str() {
                "derive" => {
                    queue.derive = parse(&name, &bytes);
                    queue.asked = 1;
                }
                "retention" => queue.retention = parse(&name, &bytes),
                skipped::NOTE => queue.skipped = parse(&name, &bytes),
                name if name.starts_with(outbox::PREFIX) => {
                    let push = parse::<PendingPush>(name, &bytes);
                    announced.extend(push.map(|push| (name.to_owned(), push)));
                }
                _ => queue.deliveries.extend(parse::<Delivery>(&name, &bytes)),
            }
        }
        let jobs = Self {
            repo,
            name,
            calls: webhooks.iter().map(|_| Notify::new()).collect(),
            webhooks,
            retention,
            queue: Mutex::new(queue),
            progress: Condvar::new(),
            work: Notify::new(),
            seen: Mutex::default(),
            looking: Mutex::default(),
            off: false,
        };
        jobs.tidy();
        if !announced.is_empty() {
            jobs.repo.finish_refs()?;
        }
        for (name, push) in &announced {
            jobs.settle(name, push);
        }
        jobs.look();
        Ok(jobs)
    }

    /// None at all.
    pub(crate) fn off(repo: Arc<Repo>, name: String) -> Self {
        Self {
            repo,
            name,
            webhooks: Vec::new(),
            retention: None,
            queue: Mutex::default(),
            progress: Condvar::new(),
            work: Notify::new(),
            calls: Vec::new(),
            seen: Mutex::default(),
            looking: Mutex::default(),
            off: true,
        }
    }

    /// Makes what was noted down fit what is asked for now.
    fn tidy(&self) {
        let mut queue = self.lock();
        let is_wanted = |one: &Delivery| self.webhooks.iter().any(|webhook| one.is_for(webhook));
        let (wanted, others) = std::mem::take(&mut queue.deliveries)
            .into_iter()
            .partition(is_wanted);
        queue.deliveries = wanted;
        for delivery in others {
            self.note::<()>(&delivery.id, None);
        }
        match &self.retention {
            None if queue.retention.take().is_some() => self.note::<()>("retention", None),
            Some(retention) if queue.retention.is_none() => {
                let job = queue.retention.insert(retention.next(now()));
                self.note("retention", Some(job));
            }
            _ => {}
        }
    }

    fn seen(&self) -> MutexGuard<'_, KnownRefs> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what waits; deletes the note if nothing does.
    fn note<T: Serialize>(&self, name: &str, job: Option<&T>) {
        let noted = match job {
            None => self.repo.delete_note(KIND, name).map_err(|e| e.to_string()),
            Some(job) => self.write(name, job, false),
        };
        if let Err(error) = noted {
            tracing::error!("job {name} would be lost now: {error}");
        }
    }

    /// Writes a note; `for_ever`: whatever becomes of the machine.
    fn write<T: Serialize>(&self, name: &str, job: &T, for_ever: bool) -> Result<(), String> {
        let bytes = serde_json::to_vec(job).map_err(|error| error.to_string())?;
        let written = match for_ever {
            true => self.repo.write_note_durably(KIND, name, &bytes),
            false => self.repo.write_note(KIND, name, &bytes),
        };
        written.map_err(|error| error.to_string())
    }

    /// Has what is computed from the refs of this push brought up to date.
    fn derive(&self, queue: &mut Queue, push: &PendingPush) -> Ticket {
        queue.asked += 1;
        let job = queue.derive.get_or_insert_default();
        job.refs.extend(push.names());
        job.pushers.insert(push.user.clone());
        self.note("derive", Some(job));
        self.work.notify_one();
        Ticket(queue.asked)
    }

    /// Waits a while for that. The error is for the pusher's user.
    pub(crate) fn wait(&self, Ticket(ticket): Ticket) -> Result<Derived, String> {
        let queue = self.lock();
        let waits = |queue: &mut Queue| {
            let failed = queue.failed.as_ref().is_some_and(|(at, _)| *at >= ticket);
            queue.done < ticket && !failed
        };
        let (queue, _) = self
            .progress
            .wait_timeout_while(queue, PATIENCE, waits)
            .unwrap_or_else(PoisonError::into_inner);
        match &queue.failed {
            _ if queue.done >= ticket => {
                Ok(queue.skipped.as_ref().map_or(Derived::Done, |skipped| {
                    Derived::Skipped(skipped.reason().to_owned())
                }))
            }
            Some((at, error)) if *at >= ticket => {
                Err(format!("{error} (it is tried again: see api/v1/jobs)"))
            }
            _ => Err("the summary is still being made (see api/v1/jobs)".to_owned()),
        }
    }

    /// Notes what is about to be published.
    fn announce(&self, name: &str, push: &PendingPush) -> Result<(), String> {
        // The next push has done the rest of the work, too.
        self.write(name, push, !self.webhooks.is_empty())?;
        self.seen().announced(name, push);
        Ok(())
    }

    /// Finds out from the repository whether a push was published whose request never ended.
    fn settle(&self, name: &str, push: &PendingPush) {
        match push.was_published(&self.repo) {
            Ok(true) => {
                self.published(name, push);
            }
            Ok(false) => {
                self.note::<()>(name, None);
                self.seen().settled(name, push, false);
            }
            // The next server asks again.
            Err(error) => {
                tracing::error!("{name}: {error}");
                self.seen().settled(name, push, false);
            }
        }
    }

    /// That was published: notes who wants to be told, has what is too old go, and what is computed from the refs
    /// brought up to date.
    fn published(&self, name: &str, push: &PendingPush) -> Ticket {
        self.seen().settled(name, push, true);
        let mut queue = self.lock();
        self.tell_of(&mut queue, push);
        let ticket = self.derive(&mut queue, push);
        // All of it is noted.
        self.note::<()>(name, None);
        ticket
    }

    /// Refs have changed: notes who wants to be told, and has what is too old go.
    fn tell_of(&self, queue: &mut Queue, push: &PendingPush) {
        let changes: Vec<&RefOutcome> = push.refs.iter().collect();
        for (webhook, calls) in self.webhooks.iter().zip(&self.calls) {
            let delivery = webhook.delivery(&self.name, push.user.as_deref(), &changes);
            let Some(delivery) = delivery else { continue };
            if let Err(error) = self.write(&delivery.id, &delivery, true) {
                tracing::error!("job {} would be lost now: {error}", delivery.id);
            }
            queue.deliveries.push(delivery);
            calls.notify_one();
        }
        let soon = queue.pruned.saturating_add(retention::INTERVAL);
        if let Some(job) = &mut queue.retention {
            if job.running {
                queue.prune_again = true;
            } else if job.error.is_none() && job.next > soon {
                job.next = soon;
                self.note("retention", Some(job));
                self.work.notify_one();
            }
        }
    }

    /// How many jobs there are of each kind in each state; and how often one of a kind has failed.
    pub(crate) fn count(
        &self,
    ) -> (
        BTreeMap<[&'static str; 2], u64>,
        BTreeMap<&'static str, u64>,
    ) {
        let mut count = BTreeMap::new();
        let mut failures = BTreeMap::new();
        for kind in ["derive", "retention", "webhook"] {
            failures.insert(kind, 0);
            for state in ["waiting", "running", "failed", "skipped"] {
                count.insert([kind, state], 0);
            }
        }
        for job in self.all() {
            *count.entry([job.kind, job.state]).or_default() += 1;
        }
        failures.extend(&self.lock().failures);
        (count, failures)
    }

    /// All jobs that wait, run or have failed.
    pub(crate) fn all(&self) -> Vec<JobInfo> {
        let queue = self.lock();
        let derive = queue.derive.iter().map(|job| JobInfo {
            refs: job.refs.iter().cloned().collect(),
            ..job.tried.info("derive")
        });
        let retention = queue.retention.iter().map(|job| job.info("retention"));
        let calls = queue.deliveries.iter().map(|job| JobInfo {
            to: Some(job.url.clone()),
            ..job.tried.info("webhook")
        });
        let skipped = queue.skipped.iter().map(Skipped::info);
        derive
            .chain(skipped)
            .chain(retention)
            .chain(calls)
            .collect()
    }
}

fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Option<T> {
    match serde_json::from_slice(bytes) {
        Ok(job) => Some(job),
        Err(error) => {
            tracing::error!("job {name} is not understood, and left out: {error}");
            None
        }
    }
}
