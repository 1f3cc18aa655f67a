// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server as a function: a request in, an answer out.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use oxtree_transfer::room::Room;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

use crate::access::issuers::Issuers;
use crate::access::tokens::{TokenFile, random};
use crate::access::{Gate, Permission, Visitor};
use crate::api::fault::{Answer, Fault};
use crate::api::{self, Visit, refusal};
use crate::proxies::{Client, Proxies};
use crate::site::{Site, now};
use crate::watch::{AccessLog, Counters, Seen, watch};
use crate::{Config, Result, file, legacy};
use oxtree_format::checksum::hex;

/// What all requests share.
pub(crate) struct App {
    pub(crate) sites: Vec<Arc<Site>>,
    pub(crate) agent: String,
    pub(crate) gate: Gate,
    proxies: Proxies,
    pub(crate) counters: Arc<Counters>,
    /// Whether all may be read by everybody, so that caches in between may keep it.
    is_public: bool,
    log: Option<Arc<AccessLog>>,
    ending: AtomicBool,
    /// Streams of objects that are taken in at once.
    streams: Arc<Semaphore>,
    /// And of these, those that are unpacked from zstd.
    pub(crate) squeezed: Room,
}

/// Streams of objects at once: each needs up to 5 MiB.
const STREAMS: usize = 24;

/// Streams in zstd at once: each needs up to 12 MiB more.
const SQUEEZED: usize = 6;

/// How long a stream waits for its turn.
const TURN: Duration = Duration::from_secs(60);

impl App {
    pub(crate) fn new(config: Config) -> Result<Self> {
        let lifetime = config.push_lifetime;
        let sites = config.sites.into_iter();
        let sites: Result<Vec<_>> = sites
            .map(|site| Ok(Arc::new(Site::new(site, lifetime)?)))
            .collect();
        let mut sites = sites?;
        // A name that another one begins with comes later.
        sites.sort_by(|a, b| b.name.cmp(&a.name));
        let anonymous = config.anonymous;
        let log = config.access_log.as_deref().map(AccessLog::open);
        Ok(Self {
            sites,
            agent: config.agent,
            is_public: anonymous.can(Permission::Read) && anonymous.refs.is_none(),
            gate: Gate::new(
                anonymous,
                config.tokens.map(TokenFile::new),
                Issuers::new(config.issuers),
            ),
            proxies: Proxies(config.trusted_proxies),
            counters: Arc::default(),
            log: log.transpose()?.map(Arc::new),
            ending: AtomicBool::new(false),
            streams: Arc::new(Semaphore::new(STREAMS)),
            squeezed: Room::new(SQUEEZED),
        })
    }

    /// Waits until one more stream of objects can be taken in. What it says meanwhile waits in the
    /// network.
    pub(crate) async fn stream_permit(&self) -> Answer<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.streams).acquire_owned();
        match tokio::time::timeout(TURN, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Fault {
                retry_after: Some(10),
                ..Fault::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many pushes are bringing objects; try again later",
                )
            }),
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// An id that nobody can guess.
    pub(crate) fn random_id(&self) -> Answer<String> {
        let bytes = random::<16>().map_err(|error| Fault::internal(error.to_string()))?;
        Ok(hex(&bytes))
    }

    /// Gives up what nobody has used for too long.
    pub(crate) fn expire(&self) {
        for site in &self.sites {
            if let Err(error) = site.pushes.expire(now()) {
                tracing::warn!("{}: {error}", site.name);
            }
        }
    }

    /// The repository that a path leads to, and the rest of the path, which begins with a slash.
    fn find<'p>(&self, path: &'p str) -> (Option<Arc<Site>>, &'p str) {
        for site in &self.sites {
            if site.name.is_empty() {
                return (Some(Arc::clone(site)), path);
            }
            let rest = path
                .strip_prefix('/')
                .and_then(|path| path.strip_prefix(site.name.as_str()));
            if let Some(rest) = rest.filter(|rest| rest.starts_with('/')) {
                return (Some(Arc::clone(site)), rest);
            }
        }
        (None, path)
    }
}

/// All that is asked for comes through here.
pub(crate) struct Doors {
    app: Arc<App>,
    server: Router,
    repositories: Router,
}

/// Whether something is asked of the server itself.
fn is_of_the_server(path: &str) -> bool {
    let fixed = [
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/openapi.json",
        "/api/v1/repos",
        "/api/v1/tokens",
    ];
    fixed.contains(&path) || path.starts_with("/api/v1/tokens/")
}

impl Doors {
    pub(crate) fn new(app: &Arc<App>) -> Self {
        Self {
            app: Arc::clone(app),
            server: api::router(api::of_the_server(), app),
            repositories: api::router(api::of_repositories(), app),
        }
    }

    /// Answers a request that has come by a connection with somebody.
    pub(crate) async fn answer(&self, request: Request<Body>, peer: Client) -> Response {
        let client = self.app.proxies.client(peer, request.headers());
        let from = client.address;
        let seen = Seen {
            client,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            version: request.version(),
            began: Instant::now(),
        };
        let gate = &self.app.gate;
        let visitor = gate.visitor(request.headers(), from, now()).await;
        let (response, user) = match visitor {
            Ok(visitor) => {
                let user = visitor.name.clone();
                (self.route(request, visitor, from).await, user)
            }
            Err(fault) => (fault.into_response(), None),
        };
        let response = legacy::unauthorized(&seen.path, response);
        let (counters, log) = (&self.app.counters, self.app.log.as_ref());
        watch(response, seen, user, counters, log)
    }

    async fn route(
        &self,
        mut request: Request<Body>,
        visitor: Arc<Visitor>,
        from: IpAddr,
    ) -> Response {
        let path = request.uri().path().to_owned();
        if is_of_the_server(&path) {
            let site = None;
            request.extensions_mut().insert(Visit {
                site,
                visitor,
                from,
            });
            return call(&self.server, request).await;
        }
        let (site, rest) = self.app.find(&path);
        let Some(site) = site else {
            return Fault::not_found("there is nothing of that name").into_response();
        };
        if !rest.starts_with("/api/") && rest != "/ping" {
            let who = [&*visitor, self.app.gate.anonymous()];
            let answered = static_file(&site, who, rest, &request, !self.app.is_public);
            return answered.unwrap_or_else(IntoResponse::into_response);
        }
        let query = request.uri().query();
        let target = query.map_or_else(|| rest.to_owned(), |query| format!("{rest}?{query}"));
        let Ok(target) = Uri::try_from(target) else {
            return Fault::bad_request("what is this path?").into_response();
        };
        *request.uri_mut() = target;
        let site = Some(site);
        request.extensions_mut().insert(Visit {
            site,
            visitor,
            from,
        });
        call(&self.repositories, request).await
    }
}

async fn call(router: &Router, request: Request<Body>) -> Response {
    let answered: Result<Response, Infallible> = router.clone().oneshot(request).await;
    answered.unwrap_or_else(|never| match never {})
}

/// A file of a repository. A token takes nothing away from what all may have.
fn static_file(
    site: &Site,
    who: [&Visitor; 2],
    path: &str,
    request: &Request<Body>,
    private: bool,
) -> Answer<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = StatusCode::METHOD_NOT_ALLOWED.into_response();
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return Ok(response);
    }
    let readers = who.iter();
    let readers = readers.filter(|one| one.may(Permission::Read, &site.name));
    let mut readers = readers.peekable();
    if readers.peek().is_none() {
        return Err(refusal(who[0], Permission::Read));
    }
    let none = || Fault::not_found("there is no such file");
    let path = path.strip_prefix('/').and_then(decode).ok_or_else(none)?;
    if !readers.any(|one| may_see(one, &path)) {
        return Err(none());
    }
    let found = site.repo.open_public(&path);
    let found = found.map_err(|error| Fault::from(oxtree_transfer::Error::from(error)))?;
    Ok(file::answer(
        request.method(),
        request.headers(),
        &path,
        found.ok_or_else(none)?,
        private,
    ))
}

/// Whether somebody who may read some refs only may have this file. Objects are for those who know
/// their names, which nobody can guess.
fn may_see(visitor: &Visitor, path: &str) -> bool {
    if visitor.refs.is_none() || visitor.can(Permission::Admin) {
        return true;
    }
    match path.split_once('/') {
        // They have all refs in them. Clients do without.
        None => path == "config",
        Some(("refs", rest)) => {
            let name = match rest.split_once('/') {
                Some(("heads", name)) => Some(name),
                Some(("mirrors" | "remotes", name)) => name.split_once('/').map(|(_, name)| name),
                _ => None,
            };
            name.is_some_and(|name| visitor.concerns(name))
        }
        Some((folder, _)) => folder == "objects",
    }
}

/// A path as it is meant; [`None`] if it is not UTF-8, or no path.
fn decode(path: &str) -> Option<String> {
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
