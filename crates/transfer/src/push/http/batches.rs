// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sends objects over HTTP: one request after another gets its body, while earlier ones wait for
//! their answers.
//!
//! One body is written at a time, by the last thread of the pipeline, through a channel with room
//! for one piece. So memory and order are those of one stream, and the second connection only
//! covers the wait for an answer. Each answer says how its body fared, which measures the link.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Sender;
use tokio::task::AbortHandle;

use super::api::{Api, JSON};
use super::body::{BodyWriter, Part, StreamedBody};
use super::retry::Failure;
use super::{PushOptions, not_understood};
use crate::error::{Error, IdleTimeout, Result};
use crate::protocol::frame::{self, FrameKind};
use crate::protocol::message::Progress;
use crate::push::batches::Arrived;
use crate::push::link::{Gauge, Link};
use crate::push::rate::Paced;
use crate::push::send::Outlet;

/// The type of a body of objects.
const OBJECTS: &str = "application/vnd.oxtree.objects";

/// Requests that may wait for their answers, with the one that is being sent.
const UNDER_WAY: usize = 2;

/// The largest answer to one, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// How long the answers of those that were sent are waited for when another has failed.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What is known of a request once its body is complete.
#[derive(Default)]
struct Facts {
    /// Milliseconds that it took to make it, without those that the connection took to get rid of it.
    making: AtomicU64,
    /// Bytes of it that go as they are stored.
    as_stored: AtomicU64,
}

/// What the answers tell of the link, and of what is there.
pub(super) struct Answers {
    pub(super) link: Arc<Link>,
    pub(super) arrived: Arc<Arrived>,
    gauge: Mutex<Gauge>,
}

impl Answers {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self {
            gauge: Mutex::new(Gauge::new(Arc::clone(&link))),
            arrived: Arc::default(),
            link,
        }
    }

    /// Notes what the server says of a batch.
    fn note(&self, batch: usize, facts: &Facts, said: Progress) {
        self.arrived.note(batch);
        let making = Duration::from_millis(facts.making.load(Ordering::Relaxed));
        let mut gauge = self.gauge.lock().unwrap_or_else(PoisonError::into_inner);
        gauge.answered(said, making);
        drop(gauge);
        self.link
            .wrote_ahead(facts.as_stored.load(Ordering::Relaxed));
    }
}

/// The request that is being sent.
struct Open {
    facts: Arc<Facts>,
    begun: Instant,
    blocked: Duration,
    as_stored: u64,
}

/// The batches of a shipment, on their way.
pub(super) struct Batches<'a> {
    api: &'a Arc<Api>,
    runtime: &'a Runtime,
    path: &'a str,
    answers: &'a Arc<Answers>,
    body: Paced<BodyWriter<'a>>,
    open: Option<Open>,
    /// How many were begun.
    begun: usize,
    /// How many of them have an answer.
    answered: usize,
    /// How many have arrived.
    arrived: usize,
    told: (mpsc::Sender<Told>, mpsc::Receiver<Told>),
    idle: Option<Duration>,
    requests: Vec<AbortHandle>,
    /// Why it does not go on.
    failure: Option<Failure>,
}

/// How a request has ended.
type Told = Result<(), Failure>;

impl<'a> Batches<'a> {
    /// They go to this path.
    pub(super) fn new(
        (runtime, api): (&'a Runtime, &'a Arc<Api>),
        path: &'a str,
        answers: &'a Arc<Answers>,
        options: &PushOptions,
    ) -> Self {
        Self {
            api,
            runtime,
            path,
            answers,
            body: Paced::new(BodyWriter::new(runtime, options.idle), options.rate),
            open: None,
            begun: 0,
            answered: 0,
            arrived: 0,
            told: mpsc::channel(),
            idle: options.idle,
            requests: Vec::new(),
            failure: None,
        }
    }

    /// Waits for all answers. How many batches have arrived, and why not all.
    pub(super) fn finish(mut self, sent: Result<()>) -> (usize, Result<(), Failure>) {
        // A body that is not complete is none.
        self.open = None;
        self.speak_into(None);
        let ours = sent.err();
        if ours.is_none() {
            // It is noted.
            let _ = self.hear(0);
        }
        let deadline = Instant::now() + LAST_WORDS;
        while self.answered < self.begun {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(answer) = self.told.1.recv_timeout(left) else {
                break;
            };
            self.note(answer);
        }
        self.requests.iter().for_each(AbortHandle::abort);
        self.api
            .traffic
            .sent
            .fetch_add(self.body.written(), Ordering::Relaxed);
        let ended = match (self.failure, ours) {
            // Ours is only that the request is gone.
            (Some(failure), Some(Error::Connection(_)) | None) => Err(failure),
            (_, Some(error)) => Err(error.into()),
            (None, None) => Ok(()),
        };
        (self.arrived, ended)
    }

    fn note(&mut self, answer: Told) {
        self.answered += 1;
        match answer {
            Ok(()) => self.arrived += 1,
            // The first says most, but for what it has brought down with it.
            Err(failure) => match (&self.failure, &failure) {
                (None, _)
                | (Some(Failure::Passing(..) | Failure::Silent(_)), Failure::Lasting(_)) => {
                    self.failure = Some(failure);
                }
                _ => {}
            },
        }
    }

    /// Hears what was answered, and waits until no more than so many are not.
    fn hear(&mut self, most: usize) -> Result<()> {
        while let Ok(answer) = self.told.1.try_recv() {
            self.note(answer);
        }
        while self.failure.is_none() && self.begun - self.answered > most {
            let answer = match self.idle {
                Some(idle) => self.told.1.recv_timeout(idle).ok(),
                None => self.told.1.recv().ok(),
            };
            match answer {
                Some(answer) => self.note(answer),
                None => {
                    let error = IdleTimeout::error("the server does not answer");
                    self.failure = Some(Failure::Silent(Error::Connection(error)));
                }
            }
        }
        match self.failure {
            Some(_) => Err(Error::Connection(io::ErrorKind::BrokenPipe.into())),
            None => Ok(()),
        }
    }

    fn begin(&mut self) -> Open {
        let facts = Arc::new(Facts::default());
        let (sender, pipe) = StreamedBody::new();
        let request = self.api.request(Method::POST, self.path, JSON);
        let request = request.header(CONTENT_TYPE, OBJECTS);
        let sent = request.body(reqwest::Body::wrap(pipe)).send();
        let (api, answers) = (Arc::clone(self.api), Arc::clone(self.answers));
        let (tell, known, batch) = (self.told.0.clone(), Arc::clone(&facts), self.begun);
        let task = self.runtime.spawn(async move {
            let told = answer(&api, sent).await;
            match &told {
                Ok(said) => answers.note(batch, &known, *said),
                Err(_) => answers.link.stop_measuring(),
            }
            // Nobody listens: it was given up.
            let _ = tell.send(told.map(drop));
        });
        self.requests.push(task.abort_handle());
        self.begun += 1;
        self.speak_into(Some(sender));
        Open {
            facts,
            begun: Instant::now(),
            blocked: Duration::ZERO,
            as_stored: 0,
        }
    }

    /// What is written goes there from now on.
    fn speak_into(&mut self, pipe: Option<Sender<Part>>) {
        if let Some(mouth) = self.body.inner() {
            mouth.speak_into(pipe);
        }
    }
}

/// What the server says of a batch. There is no waiting for a sign of life while the body is sent:
/// whoever sends it waits.
async fn answer(
    api: &Api,
    sent: impl Future<Output = reqwest::Result<Response>>,
) -> Result<Progress, Failure> {
    let mut response = api.judge(sent.await).await?;
    let body = api.body(&mut response, MAX_ANSWER).await?;
    serde_json::from_slice(&body).map_err(|error| Failure::Lasting(not_understood(&error)))
}

impl Outlet for Batches<'_> {
    fn put(&mut self, payload: &[u8], as_stored: u64) -> Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                self.hear(UNDER_WAY - 1)?;
                self.begin()
            }
        };
        let begun = Instant::now();
        let written = frame::write(&mut self.body, FrameKind::Data, payload);
        open.blocked += begun.elapsed();
        open.as_stored += as_stored;
        self.open = Some(open);
        match written {
            // Why, the answer says.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.open = None;
                self.speak_into(None);
                self.hear(0)
            }
            Err(error) => Err(Error::Connection(error)),
            Ok(()) => self.hear(UNDER_WAY),
        }
    }

    fn end_batch(&mut self, _batch: usize) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let making = open.begun.elapsed().saturating_sub(open.blocked);
        let making = u64::try_from(making.as_millis()).unwrap_or(u64::MAX);
        open.facts.making.store(making, Ordering::Relaxed);
        open.facts
            .as_stored
            .store(open.as_stored, Ordering::Relaxed);
        let ended = self.body.inner().map_or(Ok(()), |mouth| mouth.end());
        self.speak_into(None);
        match ended {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.hear(0),
            ended => ended.map_err(Error::Connection),
        }
    }
}
