// SPDX-License-Identifier: MIT OR Apache-2.0
//! Health and metrics for monitoring.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use oxtree_transfer::Error;
use oxtree_transfer::protocol::http::PushState;

use crate::answer::{Answer, Fault, blocking, json};
use crate::app::App;
use crate::metrics::put;

/// Whether the server runs.
pub(crate) async fn healthy() -> Response {
    json(StatusCode::OK, &serde_json::json!({"status": "ok"}))
}

/// How often the server checks its files, at most.
const LOOK: Duration = Duration::from_secs(1);

/// Whether it can do what it is asked: not while it is about to end, or something that it needs is away.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Answer {
    let not = |text: String| Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, text));
    if app.is_ending() {
        return not("the server is about to end".to_owned());
    }
    // Anybody may ask, but nobody has the server look more often.
    let mut known = app.away.lock().await;
    let away = match known.take() {
        Some((at, away)) if at.elapsed() < LOOK => known.insert((at, away)),
        _ => {
            let app = Arc::clone(&app);
            let away = blocking(move || Ok(away(&app))).await?;
            known.insert((Instant::now(), away))
        }
    };
    match &away.1 {
        // Where it is, and what is wrong with it, is in the log.
        Some(what) => not(format!("{what} cannot be read")),
        None => Ok(healthy().await),
    }
}

/// The first thing that the server needs and cannot read.
fn away(app: &App) -> Option<String> {
    for served in &app.repositories {
        let opened = served.own_destination();
        // It is read all the same.
        let opened = opened
            .err()
            .filter(|error| !matches!(error, Error::ReadOnly(_)));
        if let Some(error) = opened {
            tracing::error!("{}: {error}", served.repo.path().display());
            return Some(match served.name.as_str() {
                "" => "the repository".to_owned(),
                name => format!("the repository {name}"),
            });
        }
    }
    let tokens = app.gate.tokens.as_ref()?;
    let error = tokens.all().err()?;
    tracing::error!("{error}");
    Some("the file with the tokens".to_owned())
}

/// Numbers in the text format of Prometheus.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut text = String::new();
    app.counters.put(&mut text);
    let refused = app.gate.refused.load(Ordering::Relaxed);
    let help = "Tokens that were refused.";
    put(
        &mut text,
        "tokens_refused_total",
        "counter",
        help,
        &[("", refused)],
    );
    let [mut open, mut jobs, mut failures] = [const { Vec::new() }; 3];
    for served in &app.repositories {
        let repo = format!("repo=\"{}\"", served.name);
        let count = served.pushes.count();
        let of = |state| count.get(&state).copied().unwrap_or(0) as u64;
        let all = of(PushState::Open) + of(PushState::Finishing);
        open.push((format!("{{{repo}}}"), all));
        let (count, failed) = served.jobs.count();
        jobs.extend(count.iter().map(|([kind, state], n)| {
            let labels = format!("{{{repo},kind=\"{kind}\",state=\"{state}\"}}");
            (labels, *n)
        }));
        let failed = failed.iter();
        failures.extend(failed.map(|(kind, n)| (format!("{{{repo},kind=\"{kind}\"}}"), *n)));
    }
    for (name, kind, help, values) in [
        ("pushes_open", "gauge", "Pushes that are open.", &open),
        (
            "jobs",
            "gauge",
            "Jobs in the background, by what they are at; failed ones are tried again.",
            &jobs,
        ),
        (
            "jobs_failed_total",
            "counter",
            "How often jobs in the background have failed.",
            &failures,
        ),
    ] {
        let values: Vec<(&str, u64)> = values.iter().map(|(l, n)| (l.as_str(), *n)).collect();
        put(&mut text, name, kind, help, &values);
    }
    let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, text).into_response()
}
