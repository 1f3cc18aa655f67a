// SPDX-License-Identifier: MIT OR Apache-2.0
//! The API: its routes, and who may use them.

mod change;
pub(crate) mod fault;
pub(crate) mod pushes;
mod repo;
mod status;
mod tokens;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Extension, Router};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use oxtree_repo::memory::Buffer;
use serde::de::DeserializeOwned;

use self::fault::{Answer, Fault};
use crate::access::{Permission, Visitor};
use crate::app::App;
use crate::body::{Pace, at_most};
use crate::crowd::ClientId;
use crate::legacy;
use crate::memory::Permit;
use crate::site::Site;

#[cfg(test)]
mod tests;

/// A way to ask for something.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// What one has to be allowed; [`None`] for nothing.
    pub(crate) permission: Option<Permission>,
    handler: MethodRouter<Arc<App>>,
}

/// Who asks, and of which repository.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) site: Option<Arc<Site>>,
    pub(crate) visitor: Arc<Visitor>,
    /// From where they ask.
    pub(crate) from: IpAddr,
}

impl Visit {
    /// The repository that is asked for.
    pub(crate) fn site(&self) -> Answer<&Arc<Site>> {
        let none = || Fault::not_found("there is no repository of that name here");
        self.site.as_ref().ok_or_else(none)
    }

    /// The client whose share of what is limited this needs.
    pub(crate) fn client(&self) -> ClientId {
        self.visitor.client(self.from)
    }
}

/// The route of a handler.
fn route(
    method: &'static str,
    path: &'static str,
    permission: Option<Permission>,
    handler: MethodRouter<Arc<App>>,
) -> Route {
    Route {
        method,
        path,
        permission,
        handler,
    }
}

/// Below the URL of a repository.
pub(crate) fn of_repositories() -> Vec<Route> {
    use Permission::{Promote, Push, Read};
    let lists = Arc::new(legacy::Lists::default());
    let old = |handler: MethodRouter<Arc<App>>| handler.layer(Extension(Arc::clone(&lists)));
    vec![
        route("get", "/ping", None, get(legacy::ping)),
        route("get", "/api/v1/info", Some(Push), get(legacy::info)),
        route(
            "post",
            "/api/v1/queue",
            Some(Push),
            old(post(legacy::queue)),
        ),
        route(
            "get",
            "/api/v1/queue/{id}",
            Some(Push),
            old(get(legacy::missing)),
        ),
        route(
            "put",
            "/api/v1/queue/{id}",
            Some(Push),
            old(put(legacy::upload)),
        ),
        route(
            "delete",
            "/api/v1/queue/{id}",
            Some(Push),
            old(delete(legacy::delete)),
        ),
        route("get", "/api/v1/repo", None, get(repo::describe)),
        route("get", "/api/v1/jobs", Some(Read), get(repo::jobs)),
        route("get", "/api/v1/pushes", Some(Promote), get(pushes::list)),
        route("post", "/api/v1/pushes", Some(Promote), post(pushes::open)),
        route(
            "get",
            "/api/v1/pushes/{id}",
            Some(Promote),
            get(pushes::show),
        ),
        route(
            "delete",
            "/api/v1/pushes/{id}",
            Some(Promote),
            delete(pushes::abort),
        ),
        route(
            "post",
            "/api/v1/pushes/{id}/missing",
            Some(Promote),
            post(pushes::missing),
        ),
        route(
            "post",
            "/api/v1/pushes/{id}/objects",
            Some(Push),
            post(pushes::take),
        ),
        route(
            "put",
            "/api/v1/pushes/{id}/objects/{object}",
            Some(Push),
            put(pushes::put),
        ),
        route(
            "post",
            "/api/v1/pushes/{id}/finish",
            Some(Promote),
            post(pushes::finish),
        ),
    ]
}

/// Below the server's root.
pub(crate) fn of_the_server() -> Vec<Route> {
    use Permission::Admin;
    vec![
        route("get", "/healthz", None, get(status::healthy)),
        route("get", "/readyz", None, get(status::ready)),
        route("get", "/metrics", None, get(status::metrics)),
        route("get", "/api/v1/openapi.json", None, get(status::openapi)),
        route("get", "/api/v1/repos", None, get(repo::list)),
        route("get", "/api/v1/tokens", Some(Admin), get(tokens::list)),
        route("post", "/api/v1/tokens", Some(Admin), post(tokens::create)),
        route(
            "delete",
            "/api/v1/tokens/{name}",
            Some(Admin),
            delete(tokens::revoke),
        ),
    ]
}

/// Puts routes together, each behind its permission.
pub(crate) fn router(routes: Vec<Route>, app: &Arc<App>) -> Router {
    let mut router = Router::new();
    let mut methods: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for route in &routes {
        let allowed = methods.entry(route.path).or_default();
        allowed.push(route.method.to_uppercase());
        if route.method == "get" {
            allowed.push("HEAD".to_owned());
        }
    }
    for route in routes {
        let guard = from_fn_with_state((Arc::clone(app), route.permission), permit);
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

/// The answer to a method that there is not, where others are allowed.
pub(crate) fn no_method(allowed: &str) -> Response {
    let text = format!("there is no such method here, but {allowed}");
    let mut response = Fault::new(StatusCode::METHOD_NOT_ALLOWED, text).into_response();
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

/// Lets those pass who are allowed.
async fn permit(
    State((app, permission)): State<(Arc<App>, Option<Permission>)>,
    Extension(visit): Extension<Visit>,
    request: Request,
    next: Next,
) -> Response {
    let repo = visit.site.as_ref().map_or("", |site| &site.name);
    match permission {
        Some(permission) if !visit.visitor.may(permission, repo) => {
            refusal(&app, &visit.visitor, permission).into_response()
        }
        _ => next.run(request).await,
    }
}

/// What somebody is told who may not do something.
pub(crate) fn refusal(app: &App, visitor: &Visitor, permission: Permission) -> Fault {
    match &visitor.name {
        None if !app.gate.knows_tokens() => Fault::new(
            StatusCode::UNAUTHORIZED,
            "this needs a token, and the server has none: its operator can create one with oxtree \
             token create and name its file with --tokens, or allow all pushes with \
             --allow-anonymous-push",
        ),
        None => Fault::new(StatusCode::UNAUTHORIZED, "this needs a token"),
        // Who has it elsewhere is not told that it is lacking.
        Some(name) if visitor.can(permission) => {
            let text = format!("token {name} is not for this repository");
            Fault::new(StatusCode::FORBIDDEN, text)
        }
        Some(name) => {
            let lacks = match permission {
                // Which would do as well.
                Permission::Promote => Permission::Push,
                other => other,
            };
            let lacks = format!("{lacks:?}").to_lowercase();
            let text =
                format!("token {name} does not allow this: it lacks the permission {lacks} here");
            Fault::new(StatusCode::FORBIDDEN, text)
        }
    }
}

/// Does what may block, in a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Answer<T> + Send + 'static,
) -> Answer<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Fault::internal("a thread of the server has crashed")),
    }
}

/// The largest list in JSON that is read.
const MAX_JSON: usize = 16 << 20;

/// So many times as much memory as the text, at the most, is needed for what it says.
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
    let read = crate::body::read_whole(body, limit, Pace::HELD).await;
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
