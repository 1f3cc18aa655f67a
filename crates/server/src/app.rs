// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server as a function: a request in, an answer out.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use tower::ServiceExt;

use crate::access::{Permission, Visitor};
use crate::api::fault::{Answer, Fault};
use crate::api::{self, Visit, refusal};
use crate::file;
use crate::site::{Site, now};

/// What all requests share.
pub(crate) struct App {
    pub(crate) sites: Vec<Arc<Site>>,
    pub(crate) agent: String,
    anonymous: Arc<Visitor>,
    ending: AtomicBool,
}

impl App {
    pub(crate) fn new(sites: Vec<Site>, agent: String, anonymous: Visitor) -> Self {
        let mut sites: Vec<_> = sites.into_iter().map(Arc::new).collect();
        // A name that another one begins with comes later.
        sites.sort_by(|a, b| b.name.cmp(&a.name));
        Self {
            sites,
            agent,
            anonymous: Arc::new(anonymous),
            ending: AtomicBool::new(false),
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
        let mut bytes = [0; 16];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut bytes))
            .map_err(|error| Fault::internal(format!("reading /dev/urandom: {error}")))?;
        let mut id = String::with_capacity(32);
        for byte in bytes {
            // Writing to a string does not fail.
            let _ = write!(id, "{byte:02x}");
        }
        Ok(id)
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

/// What is asked of the server itself.
const SERVER: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/api/v1/repos"];

impl Doors {
    pub(crate) fn new(app: &Arc<App>) -> Self {
        Self {
            app: Arc::clone(app),
            server: api::router(api::of_the_server(), app),
            repositories: api::router(api::of_repositories(), app),
        }
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, mut request: Request<Body>) -> Response {
        let path = request.uri().path().to_owned();
        let visitor = Arc::clone(&self.app.anonymous);
        if SERVER.contains(&path.as_str()) {
            request.extensions_mut().insert(Visit {
                site: None,
                visitor,
            });
            return call(&self.server, request).await;
        }
        let (site, rest) = self.app.find(&path);
        let Some(site) = site else {
            return Fault::not_found("there is nothing of that name").into_response();
        };
        if !rest.starts_with("/api/") {
            let answered = static_file(&site, &visitor, rest, &request);
            return answered.unwrap_or_else(IntoResponse::into_response);
        }
        let query = request.uri().query();
        let target = query.map_or_else(|| rest.to_owned(), |query| format!("{rest}?{query}"));
        let Ok(target) = Uri::try_from(target) else {
            return Fault::bad_request("what is this path?").into_response();
        };
        *request.uri_mut() = target;
        let site = Some(site);
        request.extensions_mut().insert(Visit { site, visitor });
        call(&self.repositories, request).await
    }
}

async fn call(router: &Router, request: Request<Body>) -> Response {
    let answered: Result<Response, Infallible> = router.clone().oneshot(request).await;
    answered.unwrap_or_else(|never| match never {})
}

/// A file of a repository.
fn static_file(
    site: &Site,
    visitor: &Visitor,
    path: &str,
    request: &Request<Body>,
) -> Answer<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = StatusCode::METHOD_NOT_ALLOWED.into_response();
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return Ok(response);
    }
    if !visitor.may(Permission::Read, &site.name) {
        return Err(refusal(visitor, Permission::Read));
    }
    let none = || Fault::not_found("there is no such file");
    let path = path.strip_prefix('/').and_then(decode).ok_or_else(none)?;
    let found = site.repo.open_public(&path);
    let found = found.map_err(|error| Fault::from(oxtree_transfer::Error::from(error)))?;
    Ok(file::answer(
        request.method(),
        request.headers(),
        &path,
        found.ok_or_else(none)?,
        false,
    ))
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
