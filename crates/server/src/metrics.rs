// SPDX-License-Identifier: MIT OR Apache-2.0
//! Metrics for Prometheus, and the access log.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use hyper::{Method, Response, StatusCode, Version};
use serde::Serialize;

use crate::body::map;
use crate::clock::now;
use crate::log::Log;
use crate::proxies::Peer;

/// The class of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Class {
    /// It was refused before that was looked at.
    #[default]
    Refused,
    /// A file of a repository.
    Files,
    /// The API, except the classes below.
    Api,
    /// Objects that come in.
    Objects,
    /// The request that publishes a push.
    Finish,
    /// Something of the server itself.
    Server,
}

impl Class {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Refused, "refused"),
        (Self::Files, "files"),
        (Self::Api, "api"),
        (Self::Objects, "objects"),
        (Self::Finish, "finish"),
        (Self::Server, "server"),
    ];
}

/// Up to where the requests of a histogram are counted, in milliseconds, and as Prometheus has it.
const BOUNDS: [(u64, &str); 8] = [
    (5, "0.005"),
    (25, "0.025"),
    (100, "0.1"),
    (500, "0.5"),
    (2500, "2.5"),
    (10_000, "10"),
    (60_000, "60"),
    (600_000, "600"),
];

/// How long requests took, from the head to the end of the answer.
#[derive(Debug, Default)]
struct Durations {
    /// Up to each bound, and beyond the last one.
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Durations {
    fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS.iter().position(|(most, _)| micros <= most * 1000);
        add(&self.counts[at.unwrap_or(BOUNDS.len())], 1);
        add(&self.micros, micros);
    }

    fn put(&self, text: &mut String, class: &str) {
        let name = "oxtree_request_duration_seconds";
        let bounds = BOUNDS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        let mut count = 0;
        for (bound, counter) in bounds.zip(&self.counts) {
            count += counter.load(Ordering::Relaxed);
            let _ = writeln!(
                text,
                "{name}_bucket{{class=\"{class}\",le=\"{bound}\"}} {count}"
            );
        }
        let took = Duration::from_micros(self.micros.load(Ordering::Relaxed)).as_secs_f64();
        let _ = writeln!(
            text,
            "{name}_sum{{class=\"{class}\"}} {took}\n{name}_count{{class=\"{class}\"}} {count}"
        );
    }
}

/// Numbers that only grow, except the connections.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    durations: [Durations; Class::ALL.len()],
    /// By the first digit of the status.
    answers: [AtomicU64; 6],
    pub(crate) sent: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) objects: AtomicU64,
    pub(crate) object_bytes: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// A number in the text format of Prometheus.
pub(crate) fn put(text: &mut String, name: &str, kind: &str, help: &str, values: &[(&str, u64)]) {
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "# HELP oxtree_{name} {help}\n# TYPE oxtree_{name} {kind}"
    );
    for (labels, value) in values {
        let _ = writeln!(text, "oxtree_{name}{labels} {value}");
    }
}

impl Counters {
    pub(crate) fn put(&self, text: &mut String) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|c| format!("{{status=\"{c}\"}}"));
        let answers: Vec<(&str, u64)> = classes
            .iter()
            .zip(&self.answers[1..])
            .map(|(class, counter)| (class.as_str(), get(counter)))
            .collect();
        put(
            text,
            "requests_total",
            "counter",
            "Requests that were answered.",
            &answers,
        );
        let _ = writeln!(
            text,
            "# HELP oxtree_request_duration_seconds How long requests took, from the head to the end of the answer.\n\
             # TYPE oxtree_request_duration_seconds histogram"
        );
        for ((_, class), durations) in Class::ALL.iter().zip(&self.durations) {
            durations.put(text, class);
        }
        for (name, help, counter) in [
            ("sent_bytes_total", "Bytes of bodies sent.", &self.sent),
            (
                "received_objects_total",
                "Objects that pushes brought.",
                &self.objects,
            ),
            (
                "received_bytes_total",
                "Bytes of objects that pushes brought.",
                &self.object_bytes,
            ),
            (
                "pushes_opened_total",
                "Pushes that were opened.",
                &self.opened,
            ),
            (
                "pushes_published_total",
                "Pushes that were published.",
                &self.published,
            ),
            (
                "pushes_refused_total",
                "Pushes that were refused.",
                &self.refused,
            ),
        ] {
            put(text, name, "counter", help, &[("", get(counter))]);
        }
        let connections = [("", get(&self.connections))];
        put(
            text,
            "connections",
            "gauge",
            "Connections that are open.",
            &connections,
        );
    }
}

/// A request, for the log. The query of the URL is left out: it may be a secret.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) client: Peer,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) version: Version,
    pub(crate) began: Instant,
}

#[derive(Serialize)]
struct Line<'a> {
    time: u64,
    remote: IpAddr,
    tls: bool,
    user: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    protocol: String,
    status: u16,
    bytes: u64,
    millis: u64,
}

/// The outcome of a request. It is recorded when its body is dropped.
struct Record {
    seen: Seen,
    user: Option<String>,
    status: StatusCode,
    class: Class,
    sent: u64,
    counters: Arc<Counters>,
    log: Option<Arc<Log>>,
}

/// Has an answer noted in the metrics and the access log when it was sent, or given up.
pub(crate) fn watch(
    response: Response<Body>,
    seen: Seen,
    user: Option<String>,
    counters: &Arc<Counters>,
    log: Option<&Arc<Log>>,
) -> Response<Body> {
    let status = response.status();
    if let Some(counter) = counters.answers.get(usize::from(status.as_u16() / 100)) {
        add(counter, 1);
    }
    let mut record = Record {
        seen,
        user,
        status,
        class: response.extensions().get().copied().unwrap_or_default(),
        sent: 0,
        counters: Arc::clone(counters),
        log: log.cloned(),
    };
    response.map(|body| Body::new(map(body, move |piece| record.count(piece))))
}

impl Record {
    fn count(&mut self, piece: Bytes) -> Bytes {
        self.sent += piece.len() as u64;
        piece
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        add(&self.counters.sent, self.sent);
        let took = self.seen.began.elapsed();
        self.counters.durations[self.class as usize].note(took);
        let Some(log) = &self.log else { return };
        // A full disk is no reason to stop.
        let _ = log.add(&Line {
            time: now(),
            remote: self.seen.client.address,
            tls: self.seen.client.tls,
            user: self.user.as_deref(),
            method: self.seen.method.as_str(),
            path: &self.seen.path,
            protocol: format!("{:?}", self.seen.version),
            status: self.status.as_u16(),
            bytes: self.sent,
            millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
    }
}
