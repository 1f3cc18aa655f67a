// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers in JSON, and the answer to each error: a status and a text.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use oxtree_transfer::chain;
use serde::Serialize;

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// Seconds after which it may be tried again.
    pub(crate) retry_after: Option<u64>,
}

/// The result of a handler.
pub(crate) type Answer<T = Response> = Result<T, Fault>;

impl Fault {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            retry_after: None,
        }
    }

    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }
}

#[derive(Serialize)]
struct Words<'a> {
    error: &'a str,
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!("{}", self.text);
        }
        let mut response = json(self.status, &Words { error: &self.text });
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<oxtree_transfer::Error> for Fault {
    fn from(error: oxtree_transfer::Error) -> Self {
        use oxtree_transfer::Error;
        let hint = match &error {
            Error::Repo(error) => error.hint(),
            _ => None,
        };
        let text = match hint {
            Some(hint) => format!("{} ({hint})", chain(&error)),
            None => chain(&error),
        };
        let mut fault = Self::new(status(&error), text);
        if fault.status == StatusCode::SERVICE_UNAVAILABLE {
            fault.retry_after = Some(5);
        }
        fault
    }
}

fn status(error: &oxtree_transfer::Error) -> StatusCode {
    use oxtree_transfer::Error;
    match error {
        Error::Repo(error) if error.is_no_space() => StatusCode::INSUFFICIENT_STORAGE,
        Error::Repo(error) if error.is_bad_object() => StatusCode::UNPROCESSABLE_ENTITY,
        Error::Repo(error) if error.is_incomplete() => StatusCode::CONFLICT,
        Error::Repo(error) if error.is_locked() => StatusCode::SERVICE_UNAVAILABLE,
        Error::Object { source, .. } => match status(source) {
            StatusCode::INTERNAL_SERVER_ERROR => StatusCode::UNPROCESSABLE_ENTITY,
            status => status,
        },
        Error::OverLimit { .. } | Error::Limit { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Error::Connection(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            StatusCode::REQUEST_TIMEOUT
        }
        Error::Protocol(_) | Error::Connection(_) => StatusCode::BAD_REQUEST,
        Error::State(_) => StatusCode::CONFLICT,
        Error::ReadOnly(_) => StatusCode::FORBIDDEN,
        Error::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let Ok(bytes) = serde_json::to_vec(value) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// The answer to a method that a path does not have. `allowed`: those that it has.
pub(crate) fn no_method(allowed: &str) -> Response {
    let text = format!("there is no such method here, but {allowed}");
    let mut response = Fault::new(StatusCode::METHOD_NOT_ALLOWED, text).into_response();
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

/// Runs work that may block in a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Answer<T> + Send + 'static,
) -> Answer<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Fault::internal("a thread of the server has crashed")),
    }
}
