// SPDX-License-Identifier: MIT OR Apache-2.0
//! What those can see who watch the server: an access log, and numbers.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::{Method, Response, StatusCode, Version};
use serde::Serialize;

use crate::log::Log;
use crate::proxies::Client;
use crate::site::now;

/// Numbers that only grow, but for the connections.
#[derive(Debug, Default)]
pub(crate) struct Counters {
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

/// A request, for the log. What came after a question mark is left out: it may be a secret.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) client: Client,
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

/// A body that notes down what has become of it.
struct Watched {
    body: Body,
    seen: Seen,
    user: Option<String>,
    status: StatusCode,
    sent: u64,
    counters: Arc<Counters>,
    log: Option<Arc<Log>>,
}

/// Lets an answer be noted down when it was sent, or was given up.
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
    let (counters, log) = (Arc::clone(counters), log.cloned());
    response.map(|body| {
        Body::new(Watched {
            body,
            seen,
            user,
            status,
            sent: 0,
            counters,
            log,
        })
    })
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(piece) = frame.data_ref()
        {
            self.sent += piece.len() as u64;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        add(&self.counters.sent, self.sent);
        let Some(log) = &self.log else { return };
        let millis = self.seen.began.elapsed().as_millis();
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
            millis: u64::try_from(millis).unwrap_or(u64::MAX),
        });
    }
}
