// SPDX-License-Identifier: MIT OR Apache-2.0
//! For those who watch the server.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;

use super::fault::{Answer, Fault, json};
use crate::app::App;

/// Whether the server runs.
pub(super) async fn healthy() -> Response {
    json(StatusCode::OK, &serde_json::json!({"status": "ok"}))
}

/// Whether it takes requests: not while it is about to end.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Answer {
    match app.is_ending() {
        true => Err(Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is about to end",
        )),
        false => Ok(healthy().await),
    }
}
