// SPDX-License-Identifier: MIT OR Apache-2.0
//! A push to a server of the Go program ostree-upload, which compares nothing, verifies nothing and
//! publishes at the end of the one request that brings all objects. What can be checked from here, is.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use oxtree_format::checksum::Hashing;
use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, FileId, ObjectId, ObjectKind};
use oxtree_repo::Repo;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::api::{Api, Ask, JSON};
use super::body::{BodyWriter, StreamedBody};
use super::retry::Failure;
use super::{HttpOptions, MAX_REFS, parse};
use crate::error::{Error, Result};
use crate::http::{random, runtime};
use crate::protocol::message::{Outcome, RefOutcome, Status, WireUpdate};
use crate::push::plan::{Plan, Remote, wanted_refs};
use crate::push::rate::Paced;
use crate::push::{PushObserver, PushOptions, PushReport, hold};
use crate::store::archived::Archived;
use crate::url::HttpUrl;

/// The largest list that such a server takes, in bytes.
const MAX_LIST: usize = 10 << 20;

/// The largest answer that is heard of a list, in bytes.
const MAX_ANSWER: u64 = 16 << 20;

/// How often a server is asked whether it has published, after it has said that it takes too long.
const ROUND: Duration = Duration::from_secs(2);

/// How long that is asked, if nothing is said of how long to wait.
const PATIENCE: Duration = Duration::from_secs(600);

/// Its repository.
#[derive(Deserialize)]
struct Info {
    mode: String,
    revs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Queued {
    id: String,
}

#[derive(Deserialize)]
struct Missing {
    objects: Vec<String>,
}

struct Old<'a> {
    repo: &'a Repo,
    options: &'a PushOptions,
    observer: PushObserver<'a>,
    runtime: Runtime,
    api: Arc<Api>,
}

/// Pushes to such a server.
pub fn push_to_ostree_upload(
    repo: &Repo,
    url: &HttpUrl,
    how: &HttpOptions,
    options: &PushOptions,
    observer: PushObserver<'_>,
) -> Result<PushReport> {
    let wanted = wanted_refs(repo, &options.request)?;
    let _lock = hold(repo)?;
    let old = Old {
        repo,
        options,
        observer,
        runtime: runtime()?,
        api: Arc::new(Api::new(url, how, options.idle)?),
    };
    let report = old.run(&wanted);
    observer.progress.finish();
    report.map(|report| old.api.traffic.told(report))
}

impl Old<'_> {
    fn run(&self, wanted: &BTreeMap<RefName, CommitId>) -> Result<PushReport> {
        let info = self.info()?;
        // What it has besides, such as refs of remotes, is nothing to us.
        let revs = info.revs.iter();
        let refs = revs.filter_map(|(name, rev)| Some((name.parse().ok()?, rev.parse().ok()?)));
        let refs: BTreeMap<RefName, CommitId> = refs.collect();
        let none = Default::default();
        let plan = Plan::new(
            self.repo,
            &self.options.request,
            wanted,
            Remote {
                refs: &refs,
                partial: &none,
                roots: &HashSet::new(),
                takes_detached: false,
            },
        )?;
        let mut report = PushReport {
            offered: plan.objects.len() as u64,
            ..PushReport::default()
        };
        report.outcome.refs = plan.unchanged;
        if plan.updates.is_empty() {
            return Ok(report);
        }
        if !info.mode.starts_with("archive") {
            let reason = format!(
                "the server's repository is of mode {}: only an archive can be pushed to",
                info.mode
            );
            return Err(Error::NothingToPush(reason));
        }
        let forced = self.options.request.force;
        if let Some(refused) = plan
            .updates
            .iter()
            .find(|update| !forced && is_sideways(update))
        {
            report.outcome.refs.extend(refuse(&plan.updates, refused));
            return Ok(report);
        }
        let sent = self.publish(&plan.updates, &plan.objects, &mut report)?;
        report.outcome.refs.extend(sent.refs);
        report.outcome.objects = sent.objects;
        report.outcome.refs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(report)
    }

    fn info(&self) -> Result<Info> {
        parse(&self.ask(&Ask::get("api/v1/info"), MAX_REFS)?)
    }

    fn ask(&self, ask: &Ask, limit: u64) -> Result<Vec<u8>> {
        self.api.ask(&self.runtime, ask, limit)
    }

    fn publish(
        &self,
        updates: &[WireUpdate],
        objects: &[ObjectId],
        report: &mut PushReport,
    ) -> Result<Outcome> {
        let objects: BTreeMap<String, ObjectId> = objects
            .iter()
            .map(|object| (object.archive_name(), *object))
            .collect();
        let id = self.queue(updates, &objects)?;
        let path = format!("api/v1/queue/{id}");
        let sent = self.missing(&path, &objects).and_then(|missing| {
            let missing = Plan::sizes(self.repo, missing)?;
            report.missing = missing.len() as u64;
            report.missing_bytes = missing.iter().map(|(_, size)| size).sum();
            self.send(&path, &missing, report.missing_bytes)
        });
        if let Err(error) = sent {
            let mut ask = Ask::get(path);
            ask.method = Method::DELETE;
            // Else nobody can push these refs until the server is started anew.
            drop(self.runtime.block_on(self.api.try_once(&ask)));
            return Err(error);
        }
        self.confirm(updates)?;
        Ok(Outcome {
            refs: updates
                .iter()
                .map(|update| outcome(update, done(update)))
                .collect(),
            objects: report.missing,
            ..Outcome::default()
        })
    }

    fn queue(
        &self,
        updates: &[WireUpdate],
        objects: &BTreeMap<String, ObjectId>,
    ) -> Result<String> {
        let text = |commit: &Option<_>| commit.as_ref().map_or(String::new(), ToString::to_string);
        let refs = updates.iter().map(|update| {
            let pair =
                serde_json::json!({"server": text(&update.old), "client": text(&update.new)});
            (update.name.to_string(), pair)
        });
        let refs: BTreeMap<_, _> = refs.collect();
        let names: Vec<&String> = objects.keys().collect();
        let list = serde_json::json!({"refs": refs, "objects": names}).to_string();
        if list.len() > MAX_LIST {
            let reason = format!(
                "the list of {} objects is longer than a server of ostree-upload takes: push fewer \
                 refs at once, or have the server run `oxtree serve`",
                names.len()
            );
            return Err(Error::NothingToPush(reason));
        }
        let ask = Ask::post("api/v1/queue", JSON, list.into_bytes());
        // Whoever asks twice is told that the branch is being updated.
        let queued = self.runtime.block_on(async {
            let mut response = self.api.try_once(&ask).await?;
            self.api.body(&mut response, MAX_ANSWER).await
        });
        let id = parse::<Queued>(&queued.map_err(Failure::error)?)?.id;
        // Made of a time, in base64 as URLs have it.
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '~' | '.');
        match !id.is_empty() && id.len() <= 128 && id.chars().all(word) && !id.contains("..") {
            true => Ok(id),
            false => Err(Error::Protocol(
                "the server's name for the push is none".to_owned(),
            )),
        }
    }

    fn missing(&self, path: &str, objects: &BTreeMap<String, ObjectId>) -> Result<Vec<ObjectId>> {
        let missing: Missing = parse(&self.ask(&Ask::get(path), MAX_ANSWER)?)?;
        let known = |name: &String| {
            let reason = || format!("the server wants {name:?}, which was not offered");
            objects
                .get(name)
                .copied()
                .ok_or_else(|| Error::Protocol(reason()))
        };
        missing.objects.iter().map(known).collect()
    }

    /// One request, with all of it.
    fn send(&self, path: &str, objects: &[(ObjectId, u64)], bytes: u64) -> Result<()> {
        let progress = self.observer.progress;
        progress.start("Sending objects", Some(bytes));
        let boundary = format!("oxtree-{:016x}{:016x}", random()?, random()?);
        let kind = format!("multipart/form-data; boundary={boundary}");
        let (sender, pipe) = StreamedBody::new();
        let request = self.api.request(Method::PUT, path, JSON);
        let request = request
            .header(CONTENT_TYPE, kind)
            .body(reqwest::Body::wrap(pipe));
        let api = Arc::clone(&self.api);
        let answer = self.runtime.spawn(async move {
            let mut response = api.judge(request.send().await).await?;
            api.body(&mut response, MAX_ANSWER).await
        });
        let mut mouth = BodyWriter::new(&self.runtime, self.options.idle);
        mouth.speak_into(Some(sender));
        let mut body = BufWriter::with_capacity(256 << 10, Paced::new(mouth, self.options.rate));
        let written = self.write(&boundary, objects, &mut body).and_then(|()| {
            let last = body.get_mut().inner().map_or(Ok(()), |mouth| mouth.end());
            last.map_err(Error::Connection)
        });
        self.api
            .traffic
            .sent
            .fetch_add(body.get_ref().written(), Ordering::Relaxed);
        // What is still in it is of a body that is not complete.
        drop(body.into_parts());
        progress.start("Waiting for the server to publish", None);
        let answered = self.runtime.block_on(self.api.within(answer));
        match (answered, written) {
            (Ok(Ok(Ok(_))), written) => written,
            (Ok(Ok(Err(Failure::Passing(error, _)))), Ok(())) if error.status() == Some(504) => {
                // It goes on with it all the same.
                tracing::info!("{error}");
                Ok(())
            }
            (Ok(Ok(Err(failure))), Ok(()) | Err(Error::Connection(_))) => {
                Err(interrupted(failure.error()))
            }
            (_, Err(error)) => Err(error),
            (Err(failure), Ok(())) => Err(interrupted(failure.error())),
            (Ok(Err(_)), Ok(())) => {
                let error = io::Error::other("a thread has crashed");
                Err(Error::Connection(error))
            }
        }
    }

    fn write(
        &self,
        boundary: &str,
        objects: &[(ObjectId, u64)],
        to: &mut impl Write,
    ) -> Result<()> {
        for (object, size) in objects {
            let name = object.archive_name();
            let head = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; \
                 filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
            );
            to.write_all(head.as_bytes()).map_err(Error::Connection)?;
            let mut content = Hashing::new(&mut *to);
            self.put(object, &mut content)?;
            let checksum = content.finish();
            let field = format!(
                "\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"checksum\"\r\n\r\n\
                 {name}:{checksum}\r\n"
            );
            to.write_all(field.as_bytes()).map_err(Error::Connection)?;
            self.observer.progress.advance(*size);
        }
        let end = format!("--{boundary}--\r\n");
        let written = to.write_all(end.as_bytes()).and_then(|()| to.flush());
        written.map_err(Error::Connection)
    }

    /// An object as an archive stores it.
    fn put(&self, object: &ObjectId, to: &mut impl Write) -> Result<()> {
        let written = match object.kind {
            ObjectKind::File => Archived::open(self.repo, FileId(object.checksum))?.write(to),
            _ => to.write_all(&self.repo.load_metadata(object)?),
        };
        written.map_err(Error::Connection)
    }

    /// Looks at whether it has done what it says.
    fn confirm(&self, updates: &[WireUpdate]) -> Result<()> {
        let until = Instant::now() + self.options.idle.unwrap_or(PATIENCE);
        loop {
            let revs = self.info()?.revs;
            let lacks = |update: &&WireUpdate| {
                let now = revs.get(&update.name.to_string());
                now != update.new.as_ref().map(ToString::to_string).as_ref()
            };
            let Some(update) = updates.iter().find(lacks) else {
                return Ok(());
            };
            if Instant::now() >= until {
                let name = &update.name;
                let reason = format!("the server has taken everything, but has not set {name}");
                return Err(Error::Remote(reason));
            }
            std::thread::sleep(ROUND);
        }
    }
}

/// The ref would go back or sideways.
fn is_sideways(update: &WireUpdate) -> bool {
    update.old.is_some() && !update.fast_forward
}

fn refuse(updates: &[WireUpdate], refused: &WireUpdate) -> Vec<RefOutcome> {
    let refuse = |update: &WireUpdate| match (&update.old, &update.new) {
        (Some(old), Some(new)) if update.name == refused.name || is_sideways(update) => {
            RefOutcome {
                reason: Some(format!(
                    "remote commit {old} not descendent of commit {new}"
                )),
                ..outcome(update, Status::Rejected)
            }
        }
        _ => outcome(update, Status::NotDone),
    };
    updates.iter().map(refuse).collect()
}

fn done(update: &WireUpdate) -> Status {
    match update.old {
        Some(_) => Status::Updated,
        None => Status::Created,
    }
}

fn outcome(update: &WireUpdate, status: Status) -> RefOutcome {
    RefOutcome {
        name: update.name.clone(),
        old: update.old.clone(),
        new: update.new.clone(),
        status,
        reason: None,
    }
}

/// What it means that the one request has failed.
fn interrupted(error: Error) -> Error {
    match error {
        Error::Server {
            url,
            status: None,
            reason,
        } => Error::Server {
            url,
            status: None,
            reason: format!(
                "{reason} (the server may believe a part of an object to be a whole one now: before \
                 the next push, delete what is in tmp/ostree-upload of its repository)"
            ),
        },
        error => error,
    }
}
