// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread that carries out what concerns the repository itself, one job at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use oxtree_format::refs::RefName;
use oxtree_transfer::chain;
use oxtree_transfer::receive::LocalReceiver;
use oxtree_transfer::receive::Receiver;

use super::retention::INTERVAL;
use super::{DeriveJob, Jobs, Queue, Tried};
use crate::clock::now;

/// The first pause after a failure, and the longest, in seconds.
const PAUSES: (u64, u64) = (2, 300);

/// Opens the destination of the server's own work.
type OpenOwn = dyn Fn() -> oxtree_transfer::Result<LocalReceiver> + Send + Sync;

impl Jobs {
    /// Does what is to be done, as it comes. `open`: opens the destination of the server's own work.
    pub(crate) async fn work(jobs: Arc<Self>, open: Arc<OpenOwn>) {
        loop {
            let (working, open) = (Arc::clone(&jobs), Arc::clone(&open));
            let next = tokio::task::spawn_blocking(move || working.step(&*open)).await;
            match next {
                Ok(Some(pause)) => {
                    // Something new may come first.
                    let _ = tokio::time::timeout(pause, jobs.work.notified()).await;
                }
                Ok(None) => jobs.work.notified().await,
                Err(error) => {
                    tracing::error!("a job has crashed: {error}");
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
            }
        }
    }

    /// Does all that is due, and says how long it is until the next.
    fn step(&self, open: &OpenOwn) -> Option<Duration> {
        self.step_derive(open);
        self.step_retention();
        let queue = self.lock();
        let derive = queue.derive.as_ref().map(|job| job.tried.next);
        let next = derive
            .into_iter()
            .chain(queue.retention.as_ref().map(|job| job.next));
        let next = next.min()?;
        Some(Duration::from_secs(next.saturating_sub(now())))
    }

    fn step_derive(&self, open: &OpenOwn) {
        let mut queue = self.lock();
        let asked = queue.asked;
        let Some(job) = queue.derive.as_mut().filter(|job| job.tried.next <= now()) else {
            return;
        };
        job.tried.running = true;
        let refs = std::mem::take(&mut job.refs);
        let pushers = std::mem::take(&mut job.pushers);
        let for_external_changes = std::mem::take(&mut job.for_external_changes);
        drop(queue);
        let names: Vec<RefName> = refs.iter().filter_map(|name| name.parse().ok()).collect();
        let mut said = String::new();
        let derived = open().and_then(|mut destination| {
            destination.policy.pusher = only(&pushers);
            let receiver: &Receiver = &destination;
            receiver.derive(&names, &mut said)
        });
        if !said.is_empty() {
            tracing::info!("{}: {said}", self.repo.path().display());
        }
        if for_external_changes && derived.is_ok() {
            self.derived_for_external_changes();
        }
        let mut queue = self.lock();
        let Some(job) = queue.derive.as_mut() else {
            return;
        };
        job.tried.running = false;
        match derived {
            Ok(derived) => {
                if job.refs.is_empty() {
                    queue.derive = None;
                    self.note::<()>("derive", None);
                } else {
                    job.tried = Tried::default();
                    self.note("derive", Some(job));
                }
                queue.done = asked;
                self.derived(&mut queue, &refs, derived);
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!("{}: {error}", self.repo.path().display());
                job.refs.extend(refs);
                job.pushers.extend(pushers);
                job.for_external_changes |= for_external_changes;
                job.tried.failed(error.clone(), PAUSES.0, PAUSES.1);
                self.note("derive", Some(job));
                queue.failed = Some((asked, error));
                *queue.failures.entry("derive").or_default() += 1;
            }
        }
        self.progress.notify_all();
    }

    fn step_retention(&self) {
        let Some(retention) = &self.retention else {
            return;
        };
        let mut queue = self.lock();
        let later = queue.retention_waits();
        let Some(job) = queue.retention.as_mut().filter(|job| job.next <= now()) else {
            return;
        };
        if let Some(later) = later {
            job.next = later;
            self.note("retention", Some(job));
            return;
        }
        job.running = true;
        drop(queue);
        let pruned = retention.prune(&self.repo);
        let mut queue = self.lock();
        match pruned {
            Ok(removed) => {
                queue.pruned = now();
                let mut job = retention.next(queue.pruned);
                if std::mem::take(&mut queue.prune_again) {
                    job.next = queue.pruned + INTERVAL;
                }
                self.note("retention", Some(&job));
                queue.retention = Some(job);
                if removed {
                    // The summary lists deltas.
                    queue.asked += 1;
                    let job = queue.derive.get_or_insert_default();
                    self.note("derive", Some(job));
                    self.work.notify_one();
                }
            }
            Err(error) => {
                let error = error.to_string();
                tracing::error!("{}: {error}", self.repo.path().display());
                if let Some(job) = queue.retention.as_mut() {
                    job.failed(error, 60, 3600);
                    self.note("retention", Some(job));
                }
                *queue.failures.entry("retention").or_default() += 1;
            }
        }
    }
}

impl Queue {
    /// Until when nothing that is too old may go: as long as a summary lists it that clients still go by.
    fn retention_waits(&self) -> Option<u64> {
        let is_fresh = |job: &&DeriveJob| job.tried.error.is_none();
        match (&self.skipped, self.derive.as_ref().filter(is_fresh)) {
            (Some(_), _) => Some(now() + INTERVAL),
            // A job that was not tried yet may be skipped.
            (None, Some(_)) => Some(now() + 1),
            (None, None) => None,
        }
    }
}

/// The pusher of all changes, if there is only one: a hook that is told one of several would take the
/// changes of the others for those of this one.
fn only(pushers: &BTreeSet<Option<String>>) -> Option<String> {
    match pushers.len() {
        1 => pushers.first().cloned().flatten(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_pusher_is_told_only_if_there_is_no_other() {
        let only = |all: &[Option<&str>]| {
            let all = all.iter().map(|one| one.map(str::to_owned));
            super::only(&all.collect())
        };
        assert_eq!(only(&[]), None);
        assert_eq!(only(&[None]), None);
        assert_eq!(only(&[Some("ci"), Some("ci")]).as_deref(), Some("ci"));
        assert_eq!(only(&[Some("ci"), Some("release")]), None);
        assert_eq!(only(&[Some("ci"), None]), None);
    }
}
