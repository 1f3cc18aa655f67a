// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a request: its path, its headers and its body, within the server's budget of memory.

use std::io::ErrorKind;

use axum::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{HeaderMap, StatusCode};
use oxtree_format::{ObjectId, ObjectKind};
use oxtree_repo::memory::Buffer;
use oxtree_transfer::protocol::message::travels;
use serde::de::DeserializeOwned;

use crate::answer::{Answer, Fault, blocking};
use crate::app::App;
use crate::body::{Pace, at_most, read_whole};
use crate::limits::{ClientId, Permit};

/// The largest list in JSON that is read.
const MAX_JSON: usize = 16 << 20;

/// The parsed form of a JSON text needs at most this many times the memory of the text.
pub(crate) const JSON_TIMES: usize = 6;

/// Of texts up to this length it takes no time to read what they say.
const SHORT: usize = 64 << 10;

/// The body of a request in JSON. The memory for that is held as long as the second.
pub(crate) async fn read_json<T>(app: &App, client: &ClientId, body: Body) -> Answer<(T, Permit)>
where
    T: DeserializeOwned + Send + 'static,
{
    let held = app
        .memory
        .hold(client, at_most(&body, MAX_JSON), JSON_TIMES);
    let held = held.await?;
    let text = read_bytes(body, MAX_JSON).await?;
    let is_short = text.len() <= SHORT;
    let parse = move || {
        serde_json::from_slice(&text).map_err(|error| {
            Fault::bad_request(format!("the body is not what it should be: {error}"))
        })
    };
    let parsed = match is_short {
        true => parse()?,
        false => blocking(parse).await?,
    };
    Ok((parsed, held))
}

/// The body of a request, which may not be larger than `limit`.
pub(crate) async fn read_bytes(body: Body, limit: usize) -> Answer<Buffer> {
    let read = read_whole(body, limit, Pace::HELD).await;
    read.map_err(|error| unread(&error, limit))
}

/// Why a body was not read.
pub(crate) fn unread(error: &std::io::Error, limit: usize) -> Fault {
    match error.kind() {
        ErrorKind::FileTooLarge => Fault::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {limit} bytes"),
        ),
        ErrorKind::TimedOut => Fault::new(StatusCode::REQUEST_TIMEOUT, error.to_string()),
        _ => Fault::bad_request("the body was cut off"),
    }
}

/// Whether a header is of this media type.
pub(crate) fn is_type(headers: &HeaderMap, name: HeaderName, kind: &str) -> bool {
    let values = headers.get_all(name);
    let mut kinds = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    kinds.any(|value| {
        let value = value.split(';').next().unwrap_or_default().trim();
        value.eq_ignore_ascii_case(kind)
    })
}

/// Whether the body is said to be of this media type.
pub(crate) fn has_type(headers: &HeaderMap, kind: &str) -> bool {
    is_type(headers, CONTENT_TYPE, kind)
}

/// An object by the name that it has in an archive, or as protocols call it.
pub(crate) fn object_name(name: &str) -> Answer<ObjectId> {
    let wrong = || Fault::bad_request(format!("'{name}' is no name of an object"));
    let parsed = match name.strip_suffix(".filez") {
        Some(checksum) => checksum
            .parse()
            .map(|checksum| ObjectId::new(ObjectKind::File, checksum))
            .ok(),
        None => name.parse().ok(),
    };
    parsed.filter(|id| travels(id.kind)).ok_or_else(wrong)
}

/// A path as it is meant; [`None`] if it is not UTF-8, or no path.
pub(crate) fn decode(path: &str) -> Option<String> {
    if !path.contains('%') {
        return Some(path.to_owned());
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let byte = digit(*high)? * 16 + digit(*low)?;
                bytes.push(u8::try_from(byte).ok()?);
                rest = after;
            }
            (b'%', _) => return None,
            (byte, after) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_read_as_they_are_meant() {
        for (path, meant) in [
            ("a/b", Some("a/b")),
            ("a%2Fb%20c", Some("a/b c")),
            ("%c3%a4", Some("\u{e4}")),
            ("%ff", None),
            ("%", None),
            ("%2", None),
            ("%zz", None),
            ("%+1", None),
        ] {
            assert_eq!(decode(path).as_deref(), meant, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in any::<String>()) {
            let bytes = text.bytes().map(|byte| format!("%{byte:02x}"));
            prop_assert_eq!(decode(&bytes.collect::<String>()), Some(text));
        }

        #[test]
        fn nothing_is_too_odd(text in "[%a-f0-9/. ]{0,40}") {
            let _ = decode(&text);
        }
    }
}
