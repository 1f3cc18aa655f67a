// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a server says when it does not do what it is asked for.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

/// How much of what it says is shown, in characters.
const SHOWN: usize = 500;

/// Whether it is the outcome of a push.
pub(super) fn is_outcome(said: &[u8]) -> bool {
    serde_json::from_slice::<crate::protocol::message::Outcome>(said).is_ok()
}

/// A response that was read already.
pub(super) fn http_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = hyper::Response::new(body);
    *response.status_mut() = status;
    response.into()
}

/// What a refusal says.
pub(super) fn reason(status: StatusCode, said: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
    }
    let words = status.canonical_reason().unwrap_or_default();
    let told = match serde_json::from_slice::<Refusal>(said) {
        Ok(refusal) => refusal.error,
        // The page that a proxy has for people.
        Err(_) if said.starts_with(b"<") => title(&String::from_utf8_lossy(said), status),
        Err(_) => String::from_utf8_lossy(said).trim().to_owned(),
    };
    let told: String = told
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect();
    let head = format!("the server answers {} {words}", status.as_u16());
    match told.is_empty() {
        true => head.trim_end().to_owned(),
        false => format!("{}: {told}", head.trim_end()),
    }
}

/// What a page has for a title, if it says more than its status.
fn title(page: &str, status: StatusCode) -> String {
    let title = page
        .split_once("<title>")
        .and_then(|(_, rest)| rest.split_once("</title>"));
    let title = title.map_or("", |(title, _)| title.trim());
    match title == status.to_string() {
        true => String::new(),
        false => title.to_owned(),
    }
}

/// When the server wants to be asked again.
pub(super) fn wish(response: &Response) -> Option<Duration> {
    let wish = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = wish.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let when = jiff::fmt::rfc2822::parse(wish).ok()?.timestamp();
    let seconds = when.as_second() - jiff::Timestamp::now().as_second();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}
