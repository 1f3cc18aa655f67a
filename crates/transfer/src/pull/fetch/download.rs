// SPDX-License-Identifier: MIT OR Apache-2.0
//! One file on its way.
//!
//! Where the connection breaks in the middle, the rest is asked for. What is fetched is known by its
//! checksum, or is small: so nothing has to be asked about whether the file is still the same.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{COOKIE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RANGE};
use reqwest::{Response, StatusCode};

use super::page::is_page;
use super::redirect::sent_on;
use super::{Fetcher, Mirrors, fault, refused};
use crate::error::{Error, FetchFault, Result};
use crate::http::describe;

/// The first wait before a request is made again; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The most redirects that are followed.
const MAX_REDIRECTS: usize = 10;

/// What the server is told of the file that we have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// Its `ETag`.
    pub(crate) etag: Option<String>,
    /// Its `Last-Modified`, as the server wrote it.
    pub(crate) modified: Option<String>,
}

/// What a conditional request brings.
#[derive(Debug)]
pub(crate) enum Fresh {
    /// What we have is still right.
    Unchanged,
    /// A new file, and by what to ask for it the next time.
    New(Vec<u8>, Conditions),
}

/// One file on its way.
#[derive(Debug)]
pub(crate) struct Download {
    fetcher: Fetcher,
    from: Mirrors,
    path: String,
    /// The most bytes that it may have.
    limit: u64,
    /// Which of the mirrors is asked.
    mirror: usize,
    retries: u32,
    conditions: Conditions,
    response: Option<Response>,
    /// Bytes that the first response promises.
    promised: Option<u64>,
    /// Bytes that were given out.
    position: u64,
    /// Bytes that come again, because the server starts from the beginning.
    skip: u64,
    window: Window,
}

/// A time in which a certain number of bytes has to come in, by all requests together.
#[derive(Clone, Copy, Debug)]
struct Window {
    start: Instant,
    received: u64,
}

impl Download {
    pub(crate) fn new(fetcher: Fetcher, from: Mirrors, path: String, limit: u64) -> Self {
        let window = Window::now(&fetcher);
        Self {
            fetcher,
            from,
            path,
            limit,
            mirror: 0,
            retries: 0,
            conditions: Conditions::default(),
            response: None,
            promised: None,
            position: 0,
            skip: 0,
            window,
        }
    }

    /// The file, if it is not as it was when these were told.
    pub(crate) async fn unless(mut self, conditions: Conditions) -> Result<Fresh> {
        self.conditions = conditions;
        loop {
            let response = match self.start().await {
                Ok(response) => response,
                Err(error) => {
                    self.again(error).await?;
                    continue;
                }
            };
            if response.status() == StatusCode::NOT_MODIFIED {
                return Ok(Fresh::Unchanged);
            }
            let header = |name| {
                let value = response.headers().get(name)?.to_str().ok()?;
                Some(value.to_owned())
            };
            let told = Conditions {
                etag: header(ETAG),
                modified: header(LAST_MODIFIED),
            };
            self.response = Some(response);
            let bytes = self.rest(Vec::new()).await?;
            if !is_page(&bytes) {
                return Ok(Fresh::New(bytes, told));
            }
            self.was_page().await?;
        }
    }

    /// The server has sent a web page in place of the file, so it has none: begins again with the next mirror.
    pub(crate) async fn was_page(&mut self) -> Result<()> {
        let reason = "the server has answered with a web page, so it has no such file";
        self.again(fault(&self.url(), FetchFault::Missing, reason))
            .await?;
        (self.response, self.promised) = (None, None);
        (self.position, self.skip) = (0, 0);
        Ok(())
    }

    /// How many bytes it has, as far as the server has said.
    pub(crate) fn promised(&self) -> Option<u64> {
        self.promised
    }

    /// All that is still to come, after what is there.
    pub(crate) async fn rest(&mut self, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The next bytes; [`None`] at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Chunk>> {
        loop {
            let error = match self.next().await {
                Ok(Some(chunk)) if chunk.is_empty() => continue,
                Ok(chunk) => return Ok(chunk),
                Err(error) => error,
            };
            self.response = None;
            self.again(error).await?;
        }
    }

    async fn next(&mut self) -> Result<Option<Chunk>> {
        let mut response = match self.response.take() {
            Some(response) => response,
            None => {
                let response = self.start().await?;
                self.check_range(&response)?;
                if self.position == 0 {
                    self.promised = response.content_length();
                }
                response
            }
        };
        let next = self.within_timeout(response.chunk()).await?;
        let url = || self.url();
        let rules = &self.fetcher.0.rules;
        let chunk = next.map_err(|error| {
            let way = rules.through(&url());
            let reason = format!("Download incomplete: {}{way}", describe(&error));
            fault(&url(), FetchFault::Trouble, reason)
        })?;
        let Some(mut chunk) = chunk else {
            return match self.skip {
                0 => Ok(None),
                _ => Err(fault(&url(), FetchFault::Other, "it has become shorter")),
            };
        };
        let len = chunk.len() as u64;
        self.fetcher.0.received.fetch_add(len, Ordering::Relaxed);
        let skipped = self.skip.min(len);
        self.skip -= skipped;
        let chunk = chunk.split_off(usize::try_from(skipped).unwrap_or(chunk.len()));
        self.position += chunk.len() as u64;
        if self.position > self.limit {
            return Err(self.too_large());
        }
        self.response = Some(response);
        Ok(Some(chunk))
    }

    fn too_large(&self) -> Error {
        let reason = format!("exceeded maximum size of {} bytes", self.limit);
        fault(&self.url(), FetchFault::TooLarge, reason)
    }

    fn url(&self) -> reqwest::Url {
        self.from
            .url(self.mirror, &self.path)
            .unwrap_or_else(|| self.from.places()[0].clone())
    }

    /// Makes the request, and waits for the head of the response.
    async fn start(&mut self) -> Result<Response> {
        self.window = Window::now(&self.fetcher);
        let url = self.url();
        let mut at = url.clone();
        let mut redirects = 0;
        let response = loop {
            let response = self.ask(&url, &at).await?;
            let status = response.status();
            let next = match self.fetcher.0.redirects {
                true => sent_on(&at, &response).map_err(|reason| self.other(reason))?,
                false => None,
            };
            let Some(next) = next else { break response };
            redirects += 1;
            if redirects > MAX_REDIRECTS {
                return Err(self.other("too many redirects".to_owned()));
            }
            tracing::debug!("{} {} leads elsewhere", status.as_u16(), at.path());
            at = next;
        };
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && self.conditions != Conditions::default() {
            return Ok(response);
        }
        if status != StatusCode::OK && status != StatusCode::PARTIAL_CONTENT {
            let way = self.fetcher.0.rules.through_to(&at, status);
            return Err(refused(&url, status, &way));
        }
        if response
            .content_length()
            .is_some_and(|len| len > self.limit)
        {
            return Err(self.too_large());
        }
        Ok(response)
    }

    /// Makes one request, for what is at `url`, or where `url` leads.
    async fn ask(&mut self, url: &reqwest::Url, at: &reqwest::Url) -> Result<Response> {
        let fetcher = self.fetcher.clone();
        let inner = &*fetcher.0;
        let mut request = inner.client.get(at.clone());
        // They may be secrets, and were meant for this server alone.
        if at.origin() == url.origin() {
            request = request.headers(inner.headers.clone());
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        if let Some(cookies) = inner.cookies.header(at, now) {
            request = request.header(COOKIE, cookies);
        }
        if let Some(etag) = &self.conditions.etag {
            request = request.header(IF_NONE_MATCH, etag);
        } else if let Some(modified) = &self.conditions.modified {
            request = request.header(IF_MODIFIED_SINCE, modified);
        }
        if self.position > 0 {
            request = request.header(RANGE, format!("bytes={}-", self.position));
        }
        let sent = self.within_timeout(request.send()).await?;
        let response = sent.map_err(|error| {
            let broken = error.is_connect() || error.is_timeout() || error.is_request();
            let kind = match broken {
                true => FetchFault::Trouble,
                false => FetchFault::Other,
            };
            if error.is_connect() {
                fetcher.slow_down();
            }
            let way = inner.rules.through(at);
            fault(url, kind, describe(&error) + &way)
        })?;
        fetcher.learn(response.version());
        tracing::debug!(
            "{} {} {:?}",
            response.status().as_u16(),
            at.path(),
            response.version()
        );
        Ok(response)
    }

    fn other(&self, reason: String) -> Error {
        fault(&self.url(), FetchFault::Other, reason)
    }

    /// Where the response begins, if it is one to a request for the rest.
    fn check_range(&mut self, response: &Response) -> Result<()> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            self.skip = self.position;
            return Ok(());
        }
        let range = response.headers().get(reqwest::header::CONTENT_RANGE);
        let start = range
            .and_then(|range| {
                range
                    .to_str()
                    .ok()?
                    .strip_prefix("bytes ")?
                    .split('-')
                    .next()
            })
            .and_then(|start| start.parse::<u64>().ok());
        if start != Some(self.position) {
            let reason = "the server sends another part than the one asked for";
            return Err(fault(&self.url(), FetchFault::Other, reason));
        }
        self.skip = 0;
        Ok(())
    }

    /// After an error: waits, and lets the next try begin, or gives up.
    async fn again(&mut self, error: Error) -> Result<()> {
        let Error::Fetch {
            fault: kind, url, ..
        } = &error
        else {
            return Err(error);
        };
        if *kind == FetchFault::Trouble && self.retries < self.fetcher.0.retries {
            tracing::debug!("trying {url} again: {error}");
            let wait = FIRST_WAIT.saturating_mul(1 << self.retries.min(10));
            self.retries += 1;
            tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
            return Ok(());
        }
        // Another mirror may have it.
        if self.mirror + 1 < self.from.places().len() {
            tracing::debug!("asking the next mirror: {error}");
            self.mirror += 1;
            self.retries = 0;
            return Ok(());
        }
        Err(error)
    }

    /// Waits for something of this request, unless for some time too little comes in.
    async fn within_timeout<T>(&mut self, what: impl Future<Output = T>) -> Result<T> {
        let timeout = self.fetcher.0.timeout;
        let enough = self.fetcher.0.slow.saturating_mul(timeout.as_secs());
        let mut what = std::pin::pin!(what);
        loop {
            let left = timeout.saturating_sub(self.window.start.elapsed());
            if let Ok(done) = tokio::time::timeout(left, &mut what).await {
                return Ok(done);
            }
            if self.fetcher.received() - self.window.received < enough.max(1) {
                let reason = format!(
                    "timed out: less than {} bytes a second for {} seconds{}",
                    self.fetcher.0.slow,
                    timeout.as_secs(),
                    self.fetcher.0.rules.through(&self.url())
                );
                self.fetcher.slow_down();
                return Err(fault(&self.url(), FetchFault::Trouble, reason));
            }
            self.window = Window::now(&self.fetcher);
        }
    }
}

impl Window {
    fn now(fetcher: &Fetcher) -> Self {
        Self {
            start: Instant::now(),
            received: fetcher.received(),
        }
    }
}

/// Some bytes of a file.
pub(crate) type Chunk = bytes::Bytes;
