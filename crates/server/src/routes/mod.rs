// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server as a function: a request in, an answer out. Here is the list of all routes.
//!
//! A row of the list is everything that the server has to know about a route: its method and path,
//! the permission that it needs (`-` for none, or if the handler decides), its class in the metrics,
//! its handler, and its summary in the OpenAPI document. Requests that match no row are requests for
//! files of a repository.

mod openapi;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use axum::{Extension, Router};
use hyper::body::Body as _;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderValue, VARY};
use hyper::{HeaderMap, Method, Request, Uri};
use tower::ServiceExt;

pub use self::openapi::openapi_document;
use crate::access::{Client, Permission};
use crate::answer::{Fault, no_method};
use crate::api::{pushes, repo, status, tokens};
use crate::app::App;
use crate::clock::now;
use crate::context::Context;
use crate::files::fetch;
use crate::legacy;
use crate::limits::ClientId;
use crate::limits::send_budget::Share;
use crate::limits::unread::bound;
use crate::metrics::{Class, Seen, watch};
use crate::proxies::Peer;
use crate::request::decode;

/// A way to ask for something.
struct Route {
    method: &'static str,
    path: &'static str,
    /// The permission that a client needs; [`None`] for none.
    permission: Option<Permission>,
    class: Class,
    summary: &'static str,
    handler: MethodRouter<Arc<App>>,
}

macro_rules! routes {
    ($($method:ident $path:literal $permission:tt $class:ident $handler:path, $summary:literal;)*) => {
        vec![$(Route {
            method: stringify!($method),
            path: $path,
            permission: routes!(@permission $permission),
            class: Class::$class,
            summary: $summary,
            handler: axum::routing::$method($handler),
        }),*]
    };
    (@permission -) => { None };
    (@permission $permission:ident) => { Some(Permission::$permission) };
}

/// Below the URL of a repository.
fn of_repositories() -> Vec<Route> {
    routes! {
        get    "/ping"                                -       Api     legacy::ping,    "Is anybody there? (ostree-upload)";
        get    "/api/v1/info"                         Push    Api     legacy::info,    "The repository's mode and refs (ostree-upload)";
        post   "/api/v1/queue"                        Push    Api     legacy::queue,   "Open a push, with all objects that it needs (ostree-upload)";
        get    "/api/v1/queue/{id}"                   Push    Api     legacy::missing, "Which of its objects are missing (ostree-upload)";
        put    "/api/v1/queue/{id}"                   Push    Objects legacy::upload,  "Bring all objects, and publish (ostree-upload)";
        delete "/api/v1/queue/{id}"                   Push    Api     legacy::delete,  "Give up a push (ostree-upload)";
        get    "/api/v1/repo"                         -       Api     repo::describe,  "Describe the receiver, its limits and its refs";
        get    "/api/v1/jobs"                         Read    Api     repo::jobs,      "List background jobs";
        get    "/api/v1/pushes"                       Promote Api     pushes::list,    "The pushes that are open or have ended lately";
        post   "/api/v1/pushes"                       Promote Api     pushes::open,    "Open a push";
        get    "/api/v1/pushes/{id}"                  Promote Api     pushes::show,    "Show the state of a push";
        delete "/api/v1/pushes/{id}"                  Promote Api     pushes::abort,   "Give up a push";
        post   "/api/v1/pushes/{id}/missing"          Promote Api     pushes::missing, "Which of these objects are to be sent";
        post   "/api/v1/pushes/{id}/objects"          Push    Objects pushes::take,    "Send many objects";
        put    "/api/v1/pushes/{id}/objects/{object}" Push    Objects pushes::put,     "Send one object, as an archive stores it";
        post   "/api/v1/pushes/{id}/finish"           Promote Finish  pushes::finish,  "Check and publish the received objects";
    }
}

/// Below the server's root.
fn of_the_server() -> Vec<Route> {
    routes! {
        get    "/healthz"              -     Server status::healthy,   "Whether the server runs";
        get    "/readyz"               -     Server status::ready,     "Whether it takes requests";
        get    "/metrics"              -     Server status::metrics,   "Numbers in the text format of Prometheus";
        get    "/api/v1/openapi.json"  -     Server openapi::document, "This document";
        get    "/api/v1/repos"         -     Server repo::list,        "The repositories that the client may read";
        get    "/api/v1/tokens"        Admin Server tokens::list,      "All tokens, without their secrets";
        post   "/api/v1/tokens"        Admin Server tokens::create,    "Make a token";
        delete "/api/v1/tokens/{name}" Admin Server tokens::revoke,    "Revoke a token";
    }
}

/// Whether a path fits the path of a route. `{…}` fits one segment.
fn fits(route: &str, path: &str) -> bool {
    let (mut route, mut path) = (route.split('/'), path.split('/'));
    loop {
        match (route.next(), path.next()) {
            (None, None) => return true,
            (Some(one), Some(segment)) if one == segment => {}
            (Some(one), Some(segment)) if one.starts_with('{') && !segment.is_empty() => {}
            _ => return false,
        }
    }
}

/// Puts routes together, each behind its permission.
fn router(routes: Vec<Route>, app: &Arc<App>) -> Router {
    let mut router = Router::new();
    let mut methods: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for route in routes {
        let allowed = methods.entry(route.path).or_default();
        allowed.push(route.method.to_uppercase());
        if route.method == "get" {
            allowed.push("HEAD".to_owned());
        }
        let guard = from_fn_with_state((route.permission, route.class), guard);
        router = router.route(route.path, route.handler.layer(guard));
    }
    for (path, allowed) in methods {
        let allowed = allowed.join(", ");
        let no_method = move || std::future::ready(no_method(&allowed));
        router = router.route(path, MethodRouter::new().fallback(no_method));
    }
    router
        .fallback(|| async { Fault::not_found("there is nothing of that name") })
        .with_state(Arc::clone(app))
}

/// Lets requests pass whose client has the permission of the route.
async fn guard(
    State((permission, class)): State<(Option<Permission>, Class)>,
    Extension(context): Extension<Context>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let allowed = permission.map_or(Ok(()), |permission| context.require(permission));
    let response = match allowed {
        Ok(()) => next.run(request).await,
        Err(fault) => fault.into_response(),
    };
    of_class(class, response)
}

/// Answers all requests.
pub(crate) struct Service {
    app: Arc<App>,
    server: Router,
    /// The paths of the server's own routes.
    server_paths: Vec<&'static str>,
    repositories: Router,
}

impl Service {
    pub(crate) fn new(app: &Arc<App>) -> Self {
        let lists = Arc::new(legacy::Lists::default());
        Self {
            app: Arc::clone(app),
            server: router(of_the_server(), app),
            server_paths: of_the_server().iter().map(|route| route.path).collect(),
            repositories: router(of_repositories(), app).layer(Extension(lists)),
        }
    }

    /// Answers a request. `held`: bytes that its connection holds for answers.
    pub(crate) async fn answer(
        &self,
        request: Request<Body>,
        peer: Peer,
        held: &Arc<AtomicUsize>,
    ) -> Response {
        let peer = self.app.proxies.client(peer, request.headers());
        let from = peer.address;
        let seen = Seen {
            client: peer,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            version: request.version(),
            began: Instant::now(),
        };
        let client = self.app.gate.client(request.headers(), from, now()).await;
        let share = Share::new(&self.app.sending, ClientId::at(from), held);
        let (response, user) = match client {
            Ok(client) => {
                let user = client.name.clone();
                (self.route(request, client, from, &share).await, user)
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
        client: Arc<Client>,
        from: IpAddr,
        share: &Share,
    ) -> Response {
        let context = Context::new(&self.app.gate, client, from);
        let path = request.uri().path().to_owned();
        if decode(&path).is_none() {
            return Fault::bad_request("the path is not UTF-8").into_response();
        }
        if self.server_paths.iter().any(|route| fits(route, &path)) {
            request.extensions_mut().insert(context);
            return of_class(Class::Server, call(&self.server, request).await);
        }
        let (served, rest) = self.app.find(&path);
        let Some(served) = served else {
            return Fault::not_found("there is nothing of that name").into_response();
        };
        let context = context.with_repository(served);
        if !rest.starts_with("/api/") && rest != "/ping" {
            let asked = (request.method(), request.headers(), share);
            let fetched = fetch(&self.app, &context, rest, asked).await;
            let fetched = fetched.unwrap_or_else(IntoResponse::into_response);
            return of_class(Class::Files, fetched);
        }
        let query = request.uri().query();
        let target = query.map_or_else(|| rest.to_owned(), |query| format!("{rest}?{query}"));
        let Ok(target) = Uri::try_from(target) else {
            return Fault::bad_request("what is this path?").into_response();
        };
        *request.uri_mut() = target;
        request.extensions_mut().insert(context);
        of_class(Class::Api, call(&self.repositories, request).await)
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

/// Sets the class of an answer, unless its route has set one.
fn of_class(class: Class, mut response: Response) -> Response {
    response.extensions_mut().get_or_insert(class);
    response
}

async fn call(router: &Router, request: Request<Body>) -> Response {
    let answered: Result<Response, Infallible> = router.clone().oneshot(request).await;
    answered.unwrap_or_else(|never| match never {})
}
