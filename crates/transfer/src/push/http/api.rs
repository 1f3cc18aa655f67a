// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests to a server: who asks, how often, and how much of an answer is heard.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use tokio::runtime::Runtime;

use super::refusal::{http_response, is_outcome, reason, wish};
use super::retry::{Failure, Retries};
use super::{HttpOptions, Token};
use crate::error::{Error, IdleTimeout, Result};
use crate::http::client::{PROXY_NAME, build, other_scheme, rules};
use crate::http::proxy::Rules;
use crate::http::{Distrusted, TlsOptions, describe, distrusted};
use crate::push::PushReport;
use crate::url::HttpUrl;

/// The largest answer that says why something is refused, in bytes.
const MAX_REFUSAL: u64 = 64 << 10;

/// JSON, as it is asked for and told.
pub(super) const JSON: &str = "application/json";

/// A server, and what is the same for each request to it.
#[derive(Debug)]
pub(super) struct Api {
    url: HttpUrl,
    client: reqwest::Client,
    /// The same, by HTTP/1.1 alone.
    plain: reqwest::Client,
    /// Which proxies both use.
    rules: Rules,
    token: Option<Token>,
    idle: Option<Duration>,
    retries: u32,
    pub(super) traffic: Traffic,
}

/// What was said to the server, and what it has said.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) sent: AtomicU64,
    received: AtomicU64,
    requests: AtomicU64,
}

impl Traffic {
    /// The report of a push, with the traffic so far: bytes of bodies that were sent, of those that
    /// came, and the number of requests.
    pub(super) fn told(&self, report: PushReport) -> PushReport {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        PushReport {
            bytes_sent: load(&self.sent),
            bytes_received: load(&self.received),
            turns: load(&self.requests),
            ..report
        }
    }
}

/// A request that can be made again.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// Below the repository's URL.
    pub(super) path: String,
    /// Its type, and what it is.
    pub(super) body: Option<(&'static str, Bytes)>,
    pub(super) accept: &'static str,
}

impl Ask {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
            accept: JSON,
        }
    }

    pub(super) fn post(path: impl Into<String>, kind: &'static str, body: Vec<u8>) -> Self {
        Self {
            method: Method::POST,
            path: path.into(),
            body: Some((kind, body.into())),
            accept: JSON,
        }
    }
}

impl Api {
    pub(super) fn new(url: &HttpUrl, how: &HttpOptions, idle: Option<Duration>) -> Result<Self> {
        let token = how.token.clone();
        if token.is_some() && !url.is_private() && !how.plain {
            let reason = format!(
                "{url}: a token is not sent where others can read it: use https, or say \
                 --plain-http"
            );
            return Err(Error::Destination(reason));
        }
        let rules = rules(&how.network, &how.tls)?;
        let address = url.at("");
        let proxy = rules.proxy(&address).filter(|proxy| !proxy.is_here());
        if let (Some(proxy), Some(_), "http", false) = (proxy, &token, address.scheme(), how.plain)
        {
            let reason = format!(
                "{url}: a token is not sent where others can read it, and requests go through the \
                 proxy {proxy}: use https or no proxy, or say --plain-http"
            );
            return Err(Error::Destination(reason));
        }
        let mut network = how.network.clone();
        // Nobody else is to get what is for this server.
        network.redirects = false;
        let http1 = TlsOptions {
            http1_only: true,
            ..how.tls.clone()
        };
        Ok(Self {
            client: build(&network, &how.tls)?,
            plain: build(&network, &http1)?,
            rules,
            url: url.clone(),
            token,
            idle,
            retries: network.retries,
            traffic: Traffic::default(),
        })
    }

    /// The repository's URL.
    pub(super) fn url(&self) -> String {
        self.url.to_string()
    }

    pub(super) fn retries(&self) -> Retries {
        Retries::new(self.retries)
    }

    /// A request that is still without a body.
    pub(super) fn request(&self, method: Method, path: &str, accept: &str) -> RequestBuilder {
        self.traffic.requests.fetch_add(1, Ordering::Relaxed);
        let mut request = self
            .client
            .request(method, self.url.at(path))
            .header(ACCEPT, accept);
        // A token can be a header: it was checked when it was made.
        let value = self
            .token
            .as_ref()
            .and_then(|token| HeaderValue::try_from(token.bearer()).ok());
        if let Some(mut value) = value {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request
    }

    /// Asks until there is an answer of at most `limit` bytes.
    pub(super) fn ask(&self, runtime: &Runtime, ask: &Ask, limit: u64) -> Result<Vec<u8>> {
        Ok(self.ask_or_be_refused(runtime, ask, limit)?.1)
    }

    /// The same; with its status, which may also be that of a push that is refused.
    pub(super) fn ask_or_be_refused(
        &self,
        runtime: &Runtime,
        ask: &Ask,
        limit: u64,
    ) -> Result<(StatusCode, Vec<u8>)> {
        let mut retries = self.retries();
        loop {
            let tried = runtime.block_on(async {
                let mut response = self.try_once(ask).await?;
                let body = self.body(&mut response, limit).await?;
                Ok((response.status(), body))
            });
            match tried {
                Ok(answer) => return Ok(answer),
                Err(failure) => retries.wait(failure)?,
            }
        }
    }

    /// Makes the request, and waits for the head of the response.
    pub(super) async fn try_once(&self, ask: &Ask) -> Result<Response, Failure> {
        let mut request = self.request(ask.method.clone(), &ask.path, ask.accept);
        if let Some((kind, body)) = &ask.body {
            self.traffic
                .sent
                .fetch_add(body.len() as u64, Ordering::Relaxed);
            request = request.header(CONTENT_TYPE, *kind).body(body.clone());
        }
        let sent = self.within(request.send()).await?;
        if let Err(error) = &sent
            && !error.is_connect()
            && self.traffic.received.load(Ordering::Relaxed) == 0
        {
            self.is_believed().await?;
        }
        self.judge(sent).await
    }

    /// Whether a server that hangs up does not like our certificate. It says so after the connection was
    /// made, which gets lost with HTTP/2.
    async fn is_believed(&self) -> Result<(), Failure> {
        let asked = self.plain.head(self.url.at("")).send();
        match self.within(asked).await? {
            Err(error) if distrusted(&error).is_some() => Err(self.broken(&error)),
            _ => Ok(()),
        }
    }

    /// The head of a response to whatever was asked, if it is no refusal.
    pub(super) async fn judge(&self, sent: reqwest::Result<Response>) -> Result<Response, Failure> {
        let mut response = sent.map_err(|error| self.broken(&error))?;
        let status = response.status();
        tracing::debug!(
            "{} {} {:?}",
            status.as_u16(),
            response.url().path(),
            response.version()
        );
        if status.is_success() {
            return Ok(response);
        }
        let wish = wish(&response);
        let sent_on = (response.headers().get(LOCATION)).and_then(|place| place.to_str().ok());
        let sent_on = sent_on
            .filter(|_| status.is_redirection())
            .map(str::to_owned);
        let url = response.url().to_string();
        let said = self.body(&mut response, MAX_REFUSAL).await;
        let said = said.unwrap_or_default();
        if status == StatusCode::CONFLICT && is_outcome(&said) {
            let refused = http_response(status, said);
            return Ok(refused);
        }
        let mut reason = self.harmless(&reason(status, &said));
        if let Some(place) = sent_on {
            let place = self.harmless(&place);
            reason = format!("{reason}: it sends us on to {place}, push to that if it is right");
        }
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            reason = format!("{reason}: {PROXY_NAME}");
        }
        reason += &self.rules.through_to(response.url(), status);
        let error = match status == StatusCode::UNAUTHORIZED && self.token.is_none() {
            true => Error::NoToken { url, reason },
            false => Error::Server {
                url,
                status: Some(status.as_u16()),
                reason,
            },
        };
        Err(match status.as_u16() {
            408 | 429 | 500 | 502 | 503 | 504 => Failure::Passing(error, wish),
            _ => Failure::Lasting(error),
        })
    }

    /// All of a response, if it is not too large.
    pub(super) async fn body(
        &self,
        response: &mut Response,
        limit: u64,
    ) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(response).await? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > limit {
                let size = body.len() as u64;
                let what = "an answer of the server in bytes";
                return Err(Failure::Lasting(Error::Limit { what, size, limit }));
            }
        }
        Ok(body)
    }

    /// The next bytes of a response.
    pub(super) async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        let chunk = self.within(response.chunk()).await?;
        let chunk = chunk.map_err(|error| self.broken(&error))?;
        let len = chunk.as_ref().map_or(0, Bytes::len);
        self.traffic
            .received
            .fetch_add(len as u64, Ordering::Relaxed);
        Ok(chunk)
    }

    /// Waits for something, but not for ever.
    pub(super) async fn within<T>(&self, what: impl Future<Output = T>) -> Result<T, Failure> {
        let Some(idle) = self.idle else {
            return Ok(what.await);
        };
        let done = tokio::time::timeout(idle, what).await;
        done.map_err(|_| {
            let seconds = idle.as_secs_f32();
            let way = self.rules.through(&self.url.at(""));
            let text = format!("nothing has come from the far side for {seconds} s{way}");
            let error = IdleTimeout::error(text);
            Failure::Silent(Error::Connection(error))
        })
    }

    fn broken(&self, error: &reqwest::Error) -> Failure {
        let advice = distrusted(error).map(|(who, _)| match who {
            Distrusted::Issuer => ": name who has signed it with --cacert, if you trust them",
            Distrusted::Server => "",
            Distrusted::Us => " (--cert, --key)",
        });
        let reason = describe(error) + advice.unwrap_or_default();
        let reason = self.harmless(&reason);
        // What cannot be begun at all stays so.
        let lasting = error.is_builder()
            || advice.is_some()
            || reason == PROXY_NAME
            || other_scheme(&reason).is_some()
            || is_unknown(error);
        let error = Error::Server {
            url: self.url.to_string(),
            status: None,
            reason: reason + &self.rules.through(&self.url.at("")),
        };
        match lasting {
            true => Failure::Lasting(error),
            false => Failure::Passing(error, None),
        }
    }

    /// A text of the server's without the token, should it be in there.
    fn harmless(&self, text: &str) -> String {
        match &self.token {
            Some(token) => token.hide_in(text),
            None => text.to_owned(),
        }
    }
}

/// Whether there is no such host.
fn is_unknown(error: &reqwest::Error) -> bool {
    error.is_connect() && describe(error).contains("failed to lookup address")
}
