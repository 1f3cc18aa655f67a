// SPDX-License-Identifier: MIT OR Apache-2.0
//! A push to a web server: `docs/http.md` is its specification.
//!
//! What is planned, packed and checked is as over a connection. What differs is that the conversation is
//! made of requests, each of which can fail and be made again, and that objects go in batches.

mod api;
mod batches;
mod body;
mod ostree_upload;
mod refusal;
mod retry;
mod token;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, DirId, ObjectId};
use oxtree_repo::Repo;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use self::api::{Api, Ask, JSON};
use self::batches::{Answers, Batches};
pub use self::ostree_upload::push_to_ostree_upload;
use self::retry::Failure;
pub use self::token::Token;
use super::batches::Sizes;
use super::link::Link;
use super::plan::{Plan, Remote, wanted_refs};
use super::session::{Event, MAX_LIST, Session, bounded, check_version};
use super::{PushObserver, PushOptions, PushReport, hold, missing, shipment};
use crate::error::{Error, Result};
use crate::http::{Network, TlsOptions, runtime};
use crate::limits::check;
use crate::protocol::frame::{Frame, FrameKind, MAX_FRAME};
use crate::protocol::http::{PushInfo, PushState};
use crate::protocol::message::{
    Outcome, Receiver, UnfinishedPush, WireCommit, WireMeta, WireRef, WireTree, WireUpdate, bit,
    put_id,
};
use crate::protocol::{DETACHED, ID_LEN};
use crate::url::HttpUrl;

/// The largest answer that lists refs, in bytes.
const MAX_REFS: u64 = 64 << 20;

/// The largest answer that is about a push, in bytes.
const MAX_ANSWER: u64 = 16 << 20;

/// Ids a request, unless the receiver takes fewer.
const MAX_IDS: u64 = 200_000;

/// Lines of answers, one message each.
const LINES: &str = "application/x-ndjson";

/// Ids, and bits.
const BYTES: &str = "application/octet-stream";

/// How large the bodies with objects are.
const PARCEL: u64 = 32 << 20;

/// How large the first one is where its answer is to tell what the link is like.
const FIRST_PARCEL: u64 = 2 << 20;

/// How often a push is begun that the server has forgotten, all or in part.
const TIMES: u32 = 3;

/// How to get to a server.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// How to use the network. Redirects are never followed.
    pub network: Network,
    /// What is believed, and who we are.
    pub tls: TlsOptions,
    /// What allows us to push.
    pub token: Option<Token>,
    /// The token may be sent where others can read it.
    pub plain: bool,
}

/// Who the receiver is, and its refs.
#[derive(Deserialize)]
struct About {
    #[serde(flatten)]
    receiver: Receiver,
    refs: Vec<(WireRef, WireCommit)>,
    #[serde(default)]
    partial: Vec<WireCommit>,
    #[serde(default)]
    roots: Vec<(WireTree, WireMeta)>,
}

/// Pushes to the repository at a URL.
pub fn push_http(
    repo: &Repo,
    url: &HttpUrl,
    how: &HttpOptions,
    options: &PushOptions,
    observer: PushObserver<'_>,
) -> Result<PushReport> {
    let wanted = wanted_refs(repo, &options.request)?;
    let _lock = hold(repo)?;
    let mut push = Push {
        repo,
        options,
        observer,
        runtime: runtime()?,
        api: Arc::new(Api::new(url, how, options.idle)?),
        id: None,
    };
    let mut times = 0;
    let report = loop {
        times += 1;
        match push.run(&wanted) {
            // It knows nothing of the push any more.
            Err(error) if push.id.is_some() && error.status() == Some(404) && times < TIMES => {
                tracing::info!("the server has forgotten the push: beginning anew");
                push.id = None;
            }
            report => break report,
        }
    };
    if let (Err(_), Some(id)) = (&report, &push.id) {
        push.abort(id);
    }
    observer.progress.finish();
    report.map(|report| push.api.traffic.told(report))
}

/// Asks a server for the pushes that are running or were cut off.
pub fn status_http(
    url: &HttpUrl,
    how: &HttpOptions,
    options: &PushOptions,
) -> Result<Vec<UnfinishedPush>> {
    #[derive(Deserialize)]
    struct Listed {
        pushes: Vec<PushInfo>,
    }
    let api = Api::new(url, how, options.idle)?;
    let found = api.ask(&runtime()?, &Ask::get("api/v1/pushes"), MAX_ANSWER)?;
    let found = parse::<Listed>(&found)?.pushes.into_iter();
    let open = found.filter(|push| push.state != PushState::Ended);
    let unfinished = open.map(|push| UnfinishedPush {
        age: push.idle,
        objects: push.objects,
        bytes: push.bytes,
        running: true,
    });
    Ok(unfinished.collect())
}

struct Push<'a> {
    repo: &'a Repo,
    options: &'a PushOptions,
    observer: PushObserver<'a>,
    runtime: Runtime,
    api: Arc<Api>,
    /// The push at the server, once it is open.
    id: Option<String>,
}

impl Push<'_> {
    fn run(&mut self, wanted: &BTreeMap<RefName, CommitId>) -> Result<PushReport> {
        let about = self.about()?;
        let refs = about
            .refs
            .into_iter()
            .map(|(name, id)| (name.0, id.0))
            .collect();
        let partial: HashSet<CommitId> = about.partial.into_iter().map(|id| id.0).collect();
        let roots = about.roots.into_iter();
        let roots = roots.map(|(tree, meta)| DirId {
            tree: tree.0,
            meta: meta.0,
        });
        let (request, roots) = (&self.options.request, roots.collect());
        let remote = Remote {
            refs: &refs,
            partial: &partial,
            roots: &roots,
            takes_detached: about.receiver.can(DETACHED),
        };
        let plan = Plan::new(self.repo, request, wanted, remote)?;
        let mut report = PushReport {
            offered: plan.objects.len() as u64,
            dry_run: self.options.dry_run,
            ..PushReport::default()
        };
        if !plan.updates.is_empty() {
            report.outcome = self.publish(&plan, &about.receiver, &mut report)?;
        }
        report.outcome.refs.extend(plan.unchanged);
        report.outcome.refs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(report)
    }

    /// Who the server is.
    fn about(&self) -> Result<About> {
        let about = match self.ask(&Ask::get("api/v1/repo"), MAX_REFS) {
            Err(error) if error.status() == Some(404) => {
                let url = self.api.url();
                return Err(Error::NoApi { url });
            }
            about => parse::<About>(&about?)?,
        };
        check_version(&about.receiver.versions)?;
        let longest = about.partial.len().max(about.roots.len());
        bounded("refs", about.refs.len().max(longest), MAX_LIST)?;
        Ok(about)
    }

    fn publish(
        &mut self,
        plan: &Plan,
        receiver: &Receiver,
        report: &mut PushReport,
    ) -> Result<Outcome> {
        let refs = plan.updates.len() as u64;
        check(
            "a list of refs to push",
            refs,
            receiver.limits.refs,
            "max-refs",
        )?;
        let id = match self.open(&plan.updates)? {
            Ok(id) => id,
            Err(refused) => return Ok(refused),
        };
        self.id = Some(id.clone());
        let wanted = self.wanted(&id, &plan.objects, receiver)?;
        let objects = missing(self.repo, wanted, receiver)?;
        report.missing = objects.len() as u64;
        report.missing_bytes = objects.iter().map(|(_, size)| size).sum();
        self.deliver(&id, plan, objects, receiver)
    }

    /// Sends objects, and has all published. A server that was started anew may have given to another push
    /// what had come for this one: that is sent again.
    fn deliver(
        &self,
        id: &str,
        plan: &Plan,
        mut objects: Vec<(ObjectId, u64)>,
        receiver: &Receiver,
    ) -> Result<Outcome> {
        let mut times = 0;
        loop {
            times += 1;
            if !self.options.dry_run && !objects.is_empty() {
                self.send(id, plan, objects, receiver)?;
            }
            let waiting = "Waiting for the receiver to verify and publish";
            self.observer.progress.start(waiting, None);
            let failed = match self.finish(id) {
                Err(failed @ Error::Remote(_)) if times < TIMES => failed,
                ended => return ended,
            };
            if self.options.dry_run || !self.is_open(id)? {
                return Err(failed);
            }
            let lost = self.wanted(id, &plan.objects, receiver)?;
            if lost.is_empty() {
                return Err(failed);
            }
            tracing::info!("sending {} objects again: {failed}", lost.len());
            objects = missing(self.repo, lost, receiver)?;
        }
    }

    /// Whether the push goes on. If the server does not know it any more, a 404 says so.
    fn is_open(&self, id: &str) -> Result<bool> {
        let info = self.ask(&Ask::get(format!("api/v1/pushes/{id}")), MAX_ANSWER)?;
        Ok(parse::<PushInfo>(&info)?.state == PushState::Open)
    }

    /// Opens the push; the outcome if it is refused at once.
    fn open(&self, updates: &[WireUpdate]) -> Result<Result<String, Outcome>> {
        let dry_run = self.options.dry_run;
        let asked = serde_json::json!({"updates": updates, "dry_run": dry_run});
        let asked = Ask::post("api/v1/pushes", JSON, asked.to_string().into_bytes());
        let asked = self
            .api
            .ask_or_be_refused(&self.runtime, &asked, MAX_ANSWER);
        let (status, answer) = asked?;
        if status == StatusCode::CONFLICT {
            return parse(&answer).map(Err);
        }
        let id = parse::<PushInfo>(&answer)?.id;
        match is_id(&id) {
            true => Ok(Ok(id)),
            false => Err(Error::Protocol(
                "the server's name for the push is none".to_owned(),
            )),
        }
    }

    /// Which of these the server lacks.
    fn wanted(&self, id: &str, objects: &[ObjectId], receiver: &Receiver) -> Result<Vec<ObjectId>> {
        let path = format!("api/v1/pushes/{id}/missing");
        let most = receiver.limits.ids.clamp(1, MAX_IDS);
        let mut wanted = Vec::new();
        for some in objects.chunks(usize::try_from(most).unwrap_or(usize::MAX)) {
            let mut ids = Vec::with_capacity(some.len() * ID_LEN);
            some.iter().for_each(|id| put_id(&mut ids, id));
            let need = some.len().div_ceil(8);
            let mut asked = Ask::post(path.clone(), BYTES, ids);
            asked.accept = BYTES;
            let bitmap = self.ask(&asked, need as u64)?;
            if bitmap.len() != need {
                let reason = "unexpected length of a bitmap from the far side";
                return Err(Error::Protocol(reason.to_owned()));
            }
            let some = some.iter().enumerate();
            wanted.extend(some.filter(|(at, _)| bit(&bitmap, *at)).map(|(_, id)| *id));
        }
        Ok(wanted)
    }

    /// Sends objects. What does not get through is sent again.
    fn send(
        &self,
        id: &str,
        plan: &Plan,
        mut objects: Vec<(ObjectId, u64)>,
        receiver: &Receiver,
    ) -> Result<()> {
        let path = format!("api/v1/pushes/{id}/objects");
        let mut retries = self.api.retries();
        let mut link: Option<Arc<Link>> = None;
        loop {
            let bytes = objects.iter().map(|(_, size)| size).sum();
            self.observer.progress.start("Sending objects", Some(bytes));
            let mut shipment = shipment(self.repo, plan, &objects, self.options, receiver);
            let link = link.get_or_insert_with(|| Arc::new(shipment.link()));
            shipment.batches = Some(Sizes {
                first: if link.is_known() {
                    PARCEL
                } else {
                    FIRST_PARCEL
                },
                most: PARCEL,
            });
            let answers = Arc::new(Answers::new(Arc::clone(link)));
            let server = (&self.runtime, &self.api);
            let mut batches = Batches::new(server, &path, &answers, self.options);
            let progress = self.observer.progress;
            let sent = shipment.send(&mut batches, link, &answers.arrived, progress);
            let (arrived, ended) = batches.finish(sent);
            match ended {
                Ok(()) => return Ok(()),
                Err(failure) => {
                    if arrived > 0 {
                        retries.reset();
                    }
                    retries.wait(failure)?;
                }
            }
            if !self.is_open(id)? {
                return Ok(());
            }
            let left: Vec<ObjectId> = objects.iter().map(|(id, _)| *id).collect();
            let left: HashSet<ObjectId> = self.wanted(id, &left, receiver)?.into_iter().collect();
            objects.retain(|(id, _)| left.contains(id));
            if objects.is_empty() {
                return Ok(());
            }
        }
    }

    /// Has it admitted and published, and hears meanwhile what the server says.
    fn finish(&self, id: &str) -> Result<Outcome> {
        let mut ask = Ask::post(format!("api/v1/pushes/{id}/finish"), JSON, Vec::new());
        ask.accept = LINES;
        ask.body = None;
        let mut retries = self.api.retries();
        loop {
            let tried = self.runtime.block_on(async {
                let response = self.api.try_once(&ask).await?;
                self.outcome(response).await
            });
            match tried {
                Ok(outcome) => return Ok(outcome),
                Err(failure) => retries.wait(failure)?,
            }
        }
    }

    async fn outcome(&self, mut response: Response) -> Result<Outcome, Failure> {
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with(LINES) {
            let body = self.api.body(&mut response, MAX_ANSWER).await?;
            return parse(&body).map_err(Failure::Lasting);
        }
        let mut session = Session::finishing();
        let mut line = Vec::new();
        let mut empty = 0;
        while let Some(chunk) = self.api.chunk(&mut response).await? {
            for part in chunk.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if line.len().max(empty) > MAX_FRAME {
                    let reason = "the server's answer has no end".to_owned();
                    return Err(Failure::Lasting(Error::Protocol(reason)));
                }
                if !line.ends_with(b"\n") {
                    continue;
                }
                let payload = std::mem::take(&mut line);
                if payload.trim_ascii().is_empty() {
                    empty += payload.len();
                    continue;
                }
                let frame = Frame {
                    kind: FrameKind::Control,
                    payload,
                };
                match session.receive(frame).map_err(Failure::Lasting)? {
                    Event::Outcome(outcome) => return Ok(outcome),
                    Event::Notice(text) => (self.observer.notice)(&text),
                    _ => {}
                }
            }
        }
        let reason = "it has ended before the push was answered";
        let error = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, reason);
        Err(Failure::Passing(Error::Connection(error), None))
    }

    /// Tells the server that nothing more will come. It is only a courtesy.
    fn abort(&self, id: &str) {
        let mut ask = Ask::get(format!("api/v1/pushes/{id}"));
        ask.method = Method::DELETE;
        let within = std::time::Duration::from_secs(2);
        let told = async { tokio::time::timeout(within, self.api.try_once(&ask)).await };
        drop(self.runtime.block_on(told));
    }

    fn ask(&self, ask: &Ask, limit: u64) -> Result<Vec<u8>> {
        self.api.ask(&self.runtime, ask, limit)
    }
}

/// Whether this can be the name of a push: it becomes a part of URLs.
fn is_id(id: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !id.is_empty() && id.len() <= 128 && id.chars().all(word)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| not_understood(&error))
}

fn not_understood(error: &serde_json::Error) -> Error {
    Error::Protocol(format!("the server's answer is not understood: {error}"))
}
