// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server as a function: a request in, an answer out.

use std::convert::Infallible;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderValue, VARY};
use hyper::{HeaderMap, Method, Request, Uri};
use oxtree_transfer::semaphore::ClientSemaphore;
use tower::ServiceExt;

use crate::access::issuers::Issuers;
use crate::access::tokens::{TokenFile, random};
use crate::access::{Gate, Permission, Visitor};
use crate::api::fault::{Answer, Fault};
use crate::api::{self, Visit};
use crate::crowd::ClientId;
use crate::fetch::{decode, fetch};
use crate::log::Log;
use crate::memory::{Memory, Permit, Turns};
use crate::proxies::{Client, Proxies};
use crate::send_budget::{SendBudget, Share};
use crate::site::{Site, now};
use crate::unread::bound;
use crate::watch::{Class, Counters, Seen, watch};
use crate::{Config, Result, legacy};
use oxtree_format::checksum::hex;

/// What all requests share.
pub(crate) struct App {
    pub(crate) sites: Vec<Arc<Site>>,
    pub(crate) agent: String,
    pub(crate) gate: Gate,
    proxies: Proxies,
    pub(crate) counters: Arc<Counters>,
    /// Whether all may be read by everybody, so that caches in between may keep it.
    pub(crate) is_public: bool,
    log: Option<Arc<Log>>,
    /// Where it is noted down that tokens were made or revoked.
    pub(crate) audit: Option<Log>,
    ending: AtomicBool,
    /// What was away when somebody last asked whether the server is ready.
    pub(crate) away: tokio::sync::Mutex<Option<(Instant, Option<String>)>>,
    /// Streams of objects that are taken in at once.
    streams: Turns,
    /// And of these, those that are unpacked from zstd.
    pub(crate) compressed: ClientSemaphore,
    /// Lists of ids that are looked for at once.
    lists: Turns,
    /// Files that are packed at once.
    packing: Turns,
    /// Lists of refs or objects that are made at once.
    answers: Turns,
    /// For bodies that are held as a whole.
    pub(crate) memory: Memory,
    /// For answers until clients take them.
    sending: Arc<SendBudget>,
}

/// Streams of objects at once, in all and of one client: each needs up to 5 MiB.
const STREAMS: usize = 24;
const OWN_STREAMS: usize = 18;

/// Streams in zstd at once, in all and of one client: each needs up to 12 MiB more.
const SQUEEZED: usize = 6;
const OWN_SQUEEZED: usize = 4;

/// Lists of ids at once, in all and of one client: each needs 1.6 MiB.
const LISTS: usize = 32;
const OWN_LISTS: usize = 24;

/// Lists of refs or objects that are made at once, in all and for one client. Each may have megabytes.
const ANSWERS: usize = 16;
const OWN_ANSWERS: usize = 6;

/// Files that are packed at once, in all and for one client. Each needs a thread.
const PACKING: usize = 64;
const OWN_PACKING: usize = 16;

impl App {
    pub(crate) fn new(config: Config) -> Result<Self> {
        let lifetime = config.push_lifetime;
        let anonymous = Arc::new(config.anonymous.clone());
        let sites = config.sites.into_iter();
        let sites: Result<Vec<_>> = sites
            .map(|site| Ok(Arc::new(Site::new(site, lifetime, &anonymous)?)))
            .collect();
        let mut sites = sites?;
        // A name that another one begins with comes later.
        sites.sort_by(|a, b| b.name.cmp(&a.name));
        let anonymous = config.anonymous;
        let open = |path: Option<&Path>, mode| path.map(|path| Log::open(path, mode)).transpose();
        let log = open(config.access_log.as_deref(), 0o640)?.map(Arc::new);
        let audit = open(config.audit_log.as_deref(), 0o600)?;
        let tokens = config.tokens.map(TokenFile::new);
        if let Some(tokens) = &tokens {
            tokens.all()?;
        }
        Ok(Self {
            sites,
            agent: config.agent,
            is_public: anonymous.can(Permission::Read) && anonymous.refs.is_none(),
            gate: Gate::new(anonymous, tokens, Issuers::new(config.issuers)),
            proxies: Proxies(config.trusted_proxies),
            counters: Arc::default(),
            log,
            audit,
            ending: AtomicBool::new(false),
            away: tokio::sync::Mutex::default(),
            streams: Turns::for_bodies(STREAMS, OWN_STREAMS),
            compressed: ClientSemaphore::new(SQUEEZED, OWN_SQUEEZED),
            lists: Turns::for_bodies(LISTS, OWN_LISTS),
            packing: Turns::new(PACKING, OWN_PACKING),
            answers: Turns::new(ANSWERS, OWN_ANSWERS),
            memory: Memory::new(),
            sending: SendBudget::new(),
        })
    }

    /// Waits until one more stream of objects can be taken in. What it says meanwhile waits in the
    /// network.
    pub(crate) async fn stream_permit(&self, client: &ClientId) -> Answer<Permit> {
        let reason = "too many pushes are bringing objects; try again later";
        self.streams.wait(client, 1, reason).await
    }

    /// Waits until one more list of ids can be looked for.
    pub(crate) async fn list_permit(&self, client: &ClientId) -> Answer<Permit> {
        let reason = "too many lists of objects are on their way; try again later";
        self.lists.wait(client, 1, reason).await
    }

    /// Waits until one more list can be made for a client.
    pub(crate) async fn answer_permit(&self, client: &ClientId) -> Answer<Permit> {
        let reason = "too many lists are being made; try again later";
        self.answers.wait(client, 1, reason).await
    }

    /// Waits until one more file can be packed for a client.
    pub(crate) async fn packing_permit(&self, client: &ClientId) -> Answer<Permit> {
        let reason = "too many files are being packed; try again later";
        self.packing.wait(client, 1, reason).await
    }

    /// Whether there is a proxy at this address that is believed.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.believes(address)
    }

    /// Goes on with new logs, where those of before were moved away.
    pub(crate) fn reopen_logs(&self) {
        for log in self.log.as_deref().into_iter().chain(&self.audit) {
            log.reopen();
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

    /// Gives up what nobody has used for too long, and looks whether others have changed refs.
    pub(crate) fn see_to(&self) {
        for site in &self.sites {
            if let Err(error) = site.pushes.expire(now()) {
                tracing::warn!("{}: {error}", site.name);
            }
            site.jobs.look();
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

    /// Answers a request of a client. `held`: bytes that its connection holds for answers.
    pub(crate) async fn answer(
        &self,
        request: Request<Body>,
        peer: Client,
        held: &Arc<AtomicUsize>,
    ) -> Response {
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
        let share = Share::new(&self.app.sending, ClientId::at(from), held);
        let (response, user) = match visitor {
            Ok(visitor) => {
                let user = visitor.name.clone();
                (self.route(request, visitor, from, &share).await, user)
            }
            Err(fault) => (fault.into_response(), None),
        };
        let mut response = legacy::unauthorized(&seen.path, response);
        if seen.method == Method::HEAD {
            leave_out_body(&mut response);
        }
        let mut response = bound(response, &share);
        keep_from_caches(response.headers_mut());
        let (counters, log) = (&self.app.counters, self.app.log.as_ref());
        watch(response, seen, user, counters, log)
    }

    async fn route(
        &self,
        mut request: Request<Body>,
        visitor: Arc<Visitor>,
        from: IpAddr,
        share: &Share,
    ) -> Response {
        let path = request.uri().path().to_owned();
        if decode(&path).is_none() {
            return Fault::bad_request("the path is not UTF-8").into_response();
        }
        if is_of_the_server(&path) {
            let site = None;
            request.extensions_mut().insert(Visit {
                site,
                visitor,
                from,
            });
            return of_class(Class::Server, call(&self.server, request).await);
        }
        let (site, rest) = self.app.find(&path);
        let Some(site) = site else {
            return Fault::not_found("there is nothing of that name").into_response();
        };
        if !rest.starts_with("/api/") && rest != "/ping" {
            let who = [&visitor, self.app.gate.anonymous()];
            let asked = (request.method(), request.headers(), share);
            let fetched = fetch(&self.app, &site, who, rest, asked).await;
            let fetched = fetched.unwrap_or_else(IntoResponse::into_response);
            return of_class(Class::Files, fetched);
        }
        let class = Class::of_api(rest, request.method());
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
        of_class(class, call(&self.repositories, request).await)
    }
}

/// An answer to HEAD has no body. In HTTP/2 hyper would send it all the same.
fn leave_out_body(response: &mut Response) {
    let body = std::mem::take(response.body_mut());
    let len = body.size_hint().exact().filter(|len| *len > 0);
    if let Some(len) = len {
        let headers = response.headers_mut();
        headers.entry(CONTENT_LENGTH).or_insert(len.into());
    }
}

/// Tells caches not to store an answer that is no file: it depends on the token, and on the moment. A
/// file's own headers say which caches may store it.
fn keep_from_caches(headers: &mut HeaderMap) {
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(VARY, HeaderValue::from_static("Authorization"));
    }
}

/// Says for the numbers what kind of request this answers.
fn of_class(class: Class, mut response: Response) -> Response {
    response.extensions_mut().insert(class);
    response
}

async fn call(router: &Router, request: Request<Body>) -> Response {
    let answered: Result<Response, Infallible> = router.clone().oneshot(request).await;
    answered.unwrap_or_else(|never| match never {})
}
