// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fetches files from web servers: many at once, retried where that may help, and no byte more
//! than requested.
//!
//! - A request that failed for a temporary reason is repeated after a pause, and asks only for the
//!   rest.
//! - Speed limits are applied to all requests together, so many requests on a slow link do not
//!   look dead.
//! - The first answer decides how many requests run at once: 128 with HTTP/2, 48 connections with
//!   HTTP/1.1, 8 with HTTP/1.0. The number is halved when connections fail.
//! - Metadata of more than 1 MiB is fetched one at a time, as it may have up to 128 MiB.

mod download;
mod page;
mod redirect;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Version};

pub(crate) use self::download::{Chunk, Conditions, Download, Fresh};
pub(crate) use self::page::is_page;
use crate::error::{Error, FetchFault, Result};
use crate::http::proxy::Rules;
use crate::http::{Cookies, Network, TlsOptions, client};

/// How many requests are under way before it is known what the server can do.
const AT_FIRST: usize = 16;
/// One connection with many streams.
const HTTP2: usize = 128;
/// A connection each.
const HTTP1: usize = 48;
/// A new connection for each.
const HTTP10: usize = 8;
/// However much trouble there is.
const AT_LEAST: usize = 2;

/// One or more places that have the same files, the best first. Each ends without a slash.
#[derive(Clone, Debug)]
pub(crate) struct Mirrors(Arc<[reqwest::Url]>);

impl Mirrors {
    /// At least one place.
    pub(crate) fn new(places: Vec<reqwest::Url>) -> Option<Self> {
        (!places.is_empty()).then(|| Self(places.into()))
    }

    pub(crate) fn places(&self) -> &[reqwest::Url] {
        &self.0
    }

    /// The file at `path` in the place number `index`.
    fn url(&self, index: usize, path: &str) -> Option<reqwest::Url> {
        let mut url = self.0.get(index)?.clone();
        let base = url.path().trim_end_matches('/');
        let full = match path.is_empty() {
            true => base.to_owned(),
            false => format!("{base}/{path}"),
        };
        url.set_path(&full);
        Some(url)
    }
}

/// Fetches files. A clone shares everything.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: reqwest::Client,
    /// Which proxies it uses.
    rules: Rules,
    /// What is sent to the servers that are asked, and to no others.
    headers: HeaderMap,
    /// Go where a server sends us on to.
    redirects: bool,
    cookies: Cookies,
    /// How often a request is made again.
    retries: u32,
    /// Fewer bytes a second than this, all requests together...
    slow: u64,
    /// ...for so long are too few.
    timeout: Duration,
    /// How many requests may be under way.
    parallel: AtomicUsize,
    /// That was said by the user.
    parallel_fixed: bool,
    /// Bytes that have come in.
    received: AtomicU64,
}

impl Fetcher {
    /// Ready to fetch, as the network's and a remote's settings say.
    pub(crate) fn new(network: &Network, tls: &TlsOptions, cookies: Cookies) -> Result<Self> {
        let fixed = network.parallel.filter(|parallel| *parallel > 0);
        let without_headers = Network {
            headers: Vec::new(),
            ..network.clone()
        };
        Ok(Self(Arc::new(Inner {
            client: client::build(&without_headers, tls)?,
            rules: client::rules(network, tls)?,
            headers: client::headers(&network.headers)?,
            redirects: network.redirects,
            cookies,
            retries: network.retries,
            slow: network.low_speed_bytes,
            timeout: network.low_speed_time.max(Duration::from_secs(1)),
            parallel: AtomicUsize::new(fixed.unwrap_or(AT_FIRST)),
            parallel_fixed: fixed.is_some(),
            received: AtomicU64::new(0),
        })))
    }

    /// How many requests may be under way.
    pub(crate) fn parallel(&self) -> usize {
        self.0.parallel.load(Ordering::Relaxed)
    }

    /// Bytes that have come in.
    pub(crate) fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// A file of at most `limit` bytes, all of it; [`None`] if there is none.
    pub(crate) async fn find(
        &self,
        from: &Mirrors,
        path: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>> {
        match self.get(from, path, limit).await {
            Err(error) if error.is_missing_file() => Ok(None),
            got => got.map(Some),
        }
    }

    /// A file of at most `limit` bytes, all of it. A web page is none: the server has no such file.
    pub(crate) async fn get(&self, from: &Mirrors, path: &str, limit: u64) -> Result<Vec<u8>> {
        let mut download = Download::new(self.clone(), from.clone(), path.to_owned(), limit);
        loop {
            let bytes = download.rest(Vec::new()).await?;
            if !is_page(&bytes) {
                return Ok(bytes);
            }
            download.was_page().await?;
        }
    }

    /// Learns from a response how much the server can do at once.
    fn learn(&self, version: Version) {
        if self.0.parallel_fixed {
            return;
        }
        let can = match version {
            Version::HTTP_2 | Version::HTTP_3 => HTTP2,
            Version::HTTP_11 => HTTP1,
            _ => HTTP10,
        };
        // Only from what it was at first: what trouble has taught stays.
        let _ =
            self.0
                .parallel
                .compare_exchange(AT_FIRST, can, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A connection could not be had, or broke: asks for less at once.
    fn slow_down(&self) {
        if !self.0.parallel_fixed {
            let halve = |parallel: usize| Some((parallel / 2).max(AT_LEAST));
            let _ = self
                .0
                .parallel
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, halve);
        }
    }
}

/// An error about a file at a server. What is secret in the URL is left out.
pub(crate) fn fault(url: &reqwest::Url, fault: FetchFault, reason: impl Into<String>) -> Error {
    let mut shown = url.clone();
    // Neither can fail for http and https, and nothing else is fetched.
    let _ = shown.set_password(None);
    let _ = shown.set_username("");
    Error::Fetch {
        url: shown.to_string(),
        reason: reason.into(),
        fault,
    }
}

/// The error that a status other than success is.
fn refused(url: &reqwest::Url, status: StatusCode, way: &str) -> Error {
    let kind = match status {
        StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE => FetchFault::Missing,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => FetchFault::Trouble,
        status if status.is_server_error() => FetchFault::Trouble,
        _ => FetchFault::Other,
    };
    let words = status.canonical_reason().unwrap_or_default();
    let reason = format!("Server returned HTTP {} {words}", status.as_u16());
    fault(url, kind, format!("{}{way}", reason.trim_end()))
}
