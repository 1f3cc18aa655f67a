// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests and answers in the form of ostree-upload.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use oxtree_repo::memory::Buffer;
use serde::de::DeserializeOwned;

use crate::answer::{Answer, Fault};
use crate::app::App;
use crate::body::at_most;
use crate::limits::ClientId;
use crate::limits::Permit;
use crate::request::{JSON_TIMES, has_type, read_bytes};

/// The largest list, in bytes.
const MAX_JSON: usize = 10 << 20;

/// So much may be where nothing is to be.
const MAX_NOTHING: usize = 1 << 10;

/// An answer in the words of the original: plain text.
pub(super) fn plain(fault: Fault) -> Response {
    let Fault { status, text, .. } = &fault;
    let (status, text) = (*status, format!("{text}\n"));
    let mut response = fault.into_response();
    let mut answer = (status, text).into_response();
    // `Retry-After` and the like.
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().remove(CONTENT_LENGTH);
    answer.headers_mut().extend(response.headers().clone());
    answer
}

/// The answer to a client without a valid token, in the original's words on its paths.
pub(crate) fn unauthorized(path: &str, answer: Response) -> Response {
    let is_old = path.ends_with("/api/v1/info") || path.contains("/api/v1/queue");
    match is_old && answer.status() == StatusCode::UNAUTHORIZED {
        true => (StatusCode::UNAUTHORIZED, "Unauthorized\n").into_response(),
        false => answer,
    }
}

/// A body of one JSON object. The memory for what is in it is held as long as the second.
pub(super) async fn read_json<T: DeserializeOwned>(
    app: &App,
    client: &ClientId,
    headers: &HeaderMap,
    body: Body,
) -> Answer<(T, Permit)> {
    let held = app
        .memory
        .hold(client, at_most(&body, MAX_JSON), JSON_TIMES);
    let held = held.await?;
    let bytes = read(headers, body, MAX_JSON).await?;
    if bytes.trim_ascii().is_empty() {
        return Err(Fault::bad_request("Request body must not be empty"));
    }
    let parsed = serde_json::from_slice(&bytes);
    let parsed = parsed.map_err(|error| {
        Fault::bad_request(format!("Request body is not as it should be: {error}"))
    })?;
    Ok((parsed, held))
}

/// No body.
pub(super) async fn nothing(headers: &HeaderMap, body: Body) -> Answer<()> {
    match read(headers, body, MAX_NOTHING)
        .await?
        .trim_ascii()
        .is_empty()
    {
        true => Ok(()),
        false => Err(Fault::bad_request(
            "Request body must only contain a single JSON object",
        )),
    }
}

async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Answer<Buffer> {
    let empty = headers.get(CONTENT_TYPE).is_none_or(HeaderValue::is_empty);
    if !empty && !has_type(headers, "application/json") {
        return Err(Fault::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type header is not application/json",
        ));
    }
    read_bytes(body, limit).await
}
