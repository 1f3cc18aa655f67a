// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stored file as an answer: ranges, conditional requests, caching, and its content in pieces.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE, VARY,
};
use hyper::{HeaderMap, Method, Response, StatusCode};
use oxtree_repo::public::{Lasts, PublicFile, is_flatpak_file};
use oxtree_transfer::http::date;
use rustix::io::ReadWriteFlags;
use tokio::task::JoinHandle;

use crate::body::{NextPiece, Pieces};
use crate::limits;
use crate::limits::send_budget::{Asking, Permit, Share};
use crate::limits::unread::Counted;

/// Bytes that are read at a time, where the client does not hold much already.
const PIECE: usize = 128 << 10;

/// Answers a request for a file. `private`: not everybody may have it, so caches in between must not
/// keep it. The permit is for the file, which stays open until the answer is read.
pub(crate) fn answer(
    method: &Method,
    headers: &HeaderMap,
    path: &str,
    found: PublicFile,
    private: bool,
    (share, open): (&Share, limits::Permit),
) -> Response<Body> {
    let etag = etag(path, &found);
    let modified = match found.lasts {
        // Objects have no time of their own.
        Lasts::Forever => None,
        _ => date::format(found.modified.0),
    };
    let mut response = Response::new(Body::empty());
    let out = response.headers_mut();
    set(out, ETAG, &etag);
    set(out, CACHE_CONTROL, &cache_control(found.lasts, private));
    set(out, CONTENT_TYPE, content_type(path));
    set(out, ACCEPT_RANGES, "bytes");
    if private {
        set(out, VARY, "Authorization");
    }
    if let Some(modified) = &modified {
        set(out, LAST_MODIFIED, modified);
    }
    if is_known(headers, &etag, found.modified.0, found.lasts) {
        out.remove(CONTENT_TYPE);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let (start, end) = match wanted(headers, &etag, modified.as_deref(), found.size) {
        Wanted::All => (0, found.size),
        Wanted::Part(start, end) => {
            let range = format!("bytes {start}-{}/{}", end - 1, found.size);
            set(out, CONTENT_RANGE, &range);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            (start, end)
        }
        Wanted::Nothing => {
            out.remove(CACHE_CONTROL);
            set(out, CONTENT_RANGE, &format!("bytes */{}", found.size));
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return response;
        }
    };
    set(
        response.headers_mut(),
        CONTENT_LENGTH,
        &(end - start).to_string(),
    );
    if method != Method::HEAD {
        let mut content = Content::new(found.file, (start, end), share, open);
        let next = move |context: &mut Context<'_>| content.poll_piece(context);
        *response.body_mut() = Body::new(Pieces::new(Some(end - start), next));
        response.extensions_mut().insert(Counted);
    }
    response
}

/// Software centres open flatpak's files by their type; all others are for programs.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, suffix)| suffix) {
        Some("flatpakrepo") if is_flatpak_file(path) => "application/vnd.flatpak.repo",
        Some("flatpakref") if is_flatpak_file(path) => "application/vnd.flatpak.ref",
        _ => "application/octet-stream",
    }
}

pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The tag of a file named by its content is its name, the same on each server. The tag of a `.filez`
/// has its size, too, as the packed form may differ.
fn etag(path: &str, found: &PublicFile) -> String {
    let (seconds, nanos) = found.modified;
    match found.lasts {
        Lasts::Forever => {
            let name = path.strip_prefix("objects/").unwrap_or(path);
            let name = name.replacen('/', "", 1);
            match name.ends_with(".filez") {
                true => format!("\"{name}-{:x}\"", found.size),
                false => format!("\"{name}\""),
            }
        }
        _ => format!("\"{seconds:x}-{nanos:x}-{:x}\"", found.size),
    }
}

pub(crate) fn cache_control(lasts: Lasts, private: bool) -> String {
    let who = if private { "private" } else { "public" };
    match lasts {
        Lasts::Forever => format!("{who}, max-age=31536000, immutable"),
        Lasts::Long => format!("{who}, max-age=300"),
        Lasts::Short => format!("{who}, no-cache"),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether the client has the very file already.
pub(crate) fn is_known(headers: &HeaderMap, etag: &str, modified: i64, lasts: Lasts) -> bool {
    if headers.contains_key(IF_NONE_MATCH) {
        let tags = headers.get_all(IF_NONE_MATCH);
        let mut tags = tags
            .iter()
            .filter_map(|tags| tags.to_str().ok())
            .flat_map(|tags| tags.split(','));
        return tags.any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
        });
    }
    let since = text(headers, IF_MODIFIED_SINCE).and_then(date::parse);
    lasts != Lasts::Forever && since.is_some_and(|since| modified <= since)
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    All,
    /// From the first to before the second byte.
    Part(u64, u64),
    /// A range outside of the file.
    Nothing,
}

/// The requested part of the file. Several ranges at once are not supported: then it is the whole.
pub(crate) fn wanted(headers: &HeaderMap, etag: &str, modified: Option<&str>, size: u64) -> Wanted {
    let Some(range) = text(headers, RANGE) else {
        return Wanted::All;
    };
    if let Some(condition) = text(headers, IF_RANGE)
        && condition != etag
        && Some(condition) != modified
    {
        return Wanted::All;
    }
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Wanted::All;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (start, end) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Some(first), None) if last.is_empty() => (first, size),
        (None, Some(last)) if first.is_empty() => (size - last.min(size), size),
        _ => return Wanted::All,
    };
    match start < end {
        true => Wanted::Part(start, end),
        false => Wanted::Nothing,
    }
}

/// A part of a file. Data in the page cache is read at once, the rest by another thread.
#[derive(Debug)]
struct Content {
    file: Arc<File>,
    at: u64,
    end: u64,
    asking: Asking,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    _open: limits::Permit,
}

impl Content {
    fn new(file: File, (at, end): (u64, u64), share: &Share, open: limits::Permit) -> Self {
        Self {
            file: Arc::new(file),
            at,
            end,
            asking: Asking::new(share.clone()),
            reading: None,
            _open: open,
        }
    }

    fn next_len(&self) -> usize {
        usize::try_from(self.end - self.at).map_or(PIECE, |left| left.min(PIECE))
    }

    /// The bytes that the kernel has in memory, if it has any: reading them does not wait for the disk.
    fn read_cached(&self, len: usize) -> Option<Vec<u8>> {
        let mut piece = vec![0; len];
        let buffers = &mut [io::IoSliceMut::new(&mut piece)];
        let read = rustix::io::preadv2(&self.file, buffers, self.at, ReadWriteFlags::NOWAIT);
        let len = read.ok().filter(|len| *len > 0)?;
        piece.truncate(len);
        Some(piece)
    }

    fn read_from_disk(&self, permit: Permit) -> JoinHandle<io::Result<Bytes>> {
        let (file, at) = (Arc::clone(&self.file), self.at);
        tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; permit.len()];
            let len = file.read_at(&mut piece, at)?;
            piece.truncate(len);
            Ok(permit.keep(piece))
        })
    }

    fn give(&mut self, piece: io::Result<Bytes>) -> NextPiece {
        let piece = match piece {
            Ok(piece) if piece.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            piece => piece,
        };
        if let Ok(piece) = &piece {
            self.at += piece.len() as u64;
        }
        Poll::Ready(Some(piece.map_err(axum::Error::new)))
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> NextPiece {
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => {
                let len = self.next_len();
                let permit = ready!(self.asking.poll_piece(len, context));
                match self.read_cached(permit.len()) {
                    Some(piece) => return self.give(Ok(permit.keep(piece))),
                    None => self.read_from_disk(permit),
                }
            }
        };
        match Pin::new(&mut reading).poll(context) {
            Poll::Pending => {
                self.reading = Some(reading);
                Poll::Pending
            }
            Poll::Ready(read) => self.give(read.map_err(io::Error::other).flatten()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn ranges() {
        let of = |range: &str| wanted(&headers(&[(RANGE, range)]), "\"e\"", None, 100);
        for (range, expected) in [
            ("bytes=0-", Wanted::Part(0, 100)),
            ("bytes=0-0", Wanted::Part(0, 1)),
            ("bytes=10-19", Wanted::Part(10, 20)),
            ("bytes=90-200", Wanted::Part(90, 100)),
            ("bytes=-10", Wanted::Part(90, 100)),
            ("bytes=-1000", Wanted::Part(0, 100)),
            ("bytes=99999999999999999999999-", Wanted::Nothing),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-4", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("bytes=1-2,4-5", Wanted::All),
            ("lines=1-2", Wanted::All),
            ("bytes", Wanted::All),
        ] {
            assert_eq!(of(range), expected, "{range}");
        }
        let part = (RANGE, "bytes=1-");
        let with = |condition: &str| {
            let headers = headers(&[part.clone(), (IF_RANGE, condition)]);
            wanted(&headers, "\"e\"", Some("then"), 100)
        };
        assert_eq!(with("\"e\""), Wanted::Part(1, 100));
        assert_eq!(with("then"), Wanted::Part(1, 100));
        assert_eq!(with("\"other\""), Wanted::All);
        assert_eq!(wanted(&headers(&[]), "\"e\"", None, 100), Wanted::All);
        assert_eq!(wanted(&headers(&[part]), "\"e\"", None, 0), Wanted::Nothing);
    }

    proptest::proptest! {
        #[test]
        fn a_part_is_a_part_of_it(range in "(bytes=)?[-0-9,]{0,24}", size in 0..1000u64) {
            let headers = headers(&[(RANGE, &range)]);
            if let Wanted::Part(start, end) = wanted(&headers, "", None, size) {
                proptest::prop_assert!(start < end && end <= size);
            }
        }
    }

    #[test]
    fn what_the_client_has() {
        let known = |lines: &[(HeaderName, &str)], lasts| {
            is_known(&headers(lines), "\"e\"", 1_000_000_000, lasts)
        };
        let short = Lasts::Short;
        assert!(known(&[(IF_NONE_MATCH, "\"e\"")], short));
        assert!(known(&[(IF_NONE_MATCH, "\"a\", W/\"e\"")], short));
        assert!(known(
            &[(IF_NONE_MATCH, "\"a\""), (IF_NONE_MATCH, "*")],
            short
        ));
        assert!(!known(&[(IF_NONE_MATCH, "\"a\"")], short));
        let at = date::format(1_000_000_000).unwrap();
        let before = date::format(999_999_999).unwrap();
        assert_eq!(at, "Sun, 09 Sep 2001 01:46:40 GMT");
        assert!(known(&[(IF_MODIFIED_SINCE, &at)], short));
        assert!(!known(&[(IF_MODIFIED_SINCE, &before)], short));
        assert!(!known(&[(IF_MODIFIED_SINCE, "yesterday")], short));
        // The tag counts, if there is one.
        let both = [(IF_MODIFIED_SINCE, at.as_str()), (IF_NONE_MATCH, "\"a\"")];
        assert!(!known(&both, short));
        assert!(!known(&[(IF_MODIFIED_SINCE, &at)], Lasts::Forever));
    }
}
