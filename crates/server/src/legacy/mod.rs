// SPDX-License-Identifier: MIT OR Apache-2.0
//! The requests of clients of the Go program ostree-upload, with its statuses: a list of all objects,
//! the missing ones, and one request that sends them and publishes. Behind it are pushes like any other:
//! each object is verified, only complete commits are published, and all refs change or none, if their
//! current commits are those that the client saw.

mod lists;
mod upload;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, StatusCode};
use oxtree_format::ObjectId;
use oxtree_transfer::protocol::http::PushState;
use oxtree_transfer::protocol::message::{RefOutcome, Status, WireCommit, WireRef, WireUpdate};
use oxtree_transfer::receive::push::{Intent, Opened, Push};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

pub(crate) use self::lists::Lists;
use self::upload::Upload;
pub(crate) use self::wire::unauthorized;
use self::wire::{nothing, plain, read_json};
use crate::answer::{Answer, Fault, blocking, json};
use crate::app::App;
use crate::body::{BodyReader, Pace};
use crate::clock::now;
use crate::context::Context;
use crate::multipart::{self, Multipart};
use crate::request::object_name;

/// `GET /ping`
pub(crate) async fn ping() -> Response {
    json(StatusCode::OK, &serde_json::json!({}))
}

/// `GET /api/v1/info`
pub(crate) async fn info(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let answer = async {
        nothing(&headers, body).await?;
        let served = Arc::clone(context.served()?);
        let permit = app.answer_permit(&context.client_id()).await?;
        blocking(move || {
            let _permit = permit;
            let mode = match served.repo.mode() {
                // As libostree has named it since.
                mode if mode.is_archive() => "archive",
                mode => mode.as_str(),
            };
            let refs = served.repo.local_refs();
            let refs = refs.map_err(|error| Fault::from(oxtree_transfer::Error::from(error)))?;
            let seen = refs
                .into_iter()
                .filter(|(name, _)| context.may_see_ref(name.as_str()));
            let revs: HashMap<String, String> = seen
                .map(|(name, commit)| (name.to_string(), commit.to_string()))
                .collect();
            Ok(json(
                StatusCode::OK,
                &serde_json::json!({"mode": mode, "revs": revs}),
            ))
        })
        .await
    };
    answer.await.map_err(plain)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    #[serde(default)]
    server: String,
    client: WireCommit,
}

/// The name of an object that a client has.
struct Name(ObjectId);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let parsed = parse(&String::deserialize(from)?).map(Self);
        parsed.map_err(|fault| D::Error::custom(fault.text))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    refs: HashMap<String, Pair>,
    #[serde(default)]
    objects: Option<Vec<Name>>,
}

/// `POST /api/v1/queue`
pub(crate) async fn queue(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    Extension(lists): Extension<Arc<Lists>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let answer = async {
        let client = context.client_id();
        let (wish, held): (Wish, _) = read_json(&app, &client, &headers, body).await?;
        let updates = wish.refs.iter().map(|(name, pair)| update(name, pair));
        let updates: Vec<WireUpdate> = updates.collect::<Answer<_>>()?;
        let names = wish.objects.unwrap_or_default();
        let objects: Vec<ObjectId> = names.into_iter().map(|Name(object)| object).collect();
        let served = Arc::clone(context.served()?);
        blocking(move || {
            let _held = held;
            let destination = context.destination()?;
            let intent = Intent {
                owner: context.client.name.clone(),
                owner_id: context.client.id.clone(),
                updates,
                dry_run: false,
            };
            let id = app.random_id()?;
            match served
                .pushes
                .open(id.clone(), &destination, intent, now())?
            {
                Opened::Refused(outcome) => Err(refused(&outcome.refs)),
                Opened::Open(_) => {
                    let noted = lists.note(&served, client, id.clone(), objects);
                    if noted.is_err() {
                        // Without its list the push cannot continue.
                        served.pushes.abort(&id)?;
                    }
                    noted?;
                    Ok(json(StatusCode::OK, &serde_json::json!({"id": id})))
                }
            }
        })
        .await
    };
    answer.await.map_err(plain)
}

/// A change as pushes know it.
fn update(name: &str, pair: &Pair) -> Answer<WireUpdate> {
    let wrong = |what: &str| Fault::bad_request(format!("'{what}' makes no sense for {name:?}"));
    let commit = |text: &str| text.parse().map(WireCommit).map_err(|_| wrong(text));
    Ok(WireUpdate {
        name: WireRef(name.parse().map_err(|_| wrong(name))?),
        old: match pair.server.as_str() {
            "" => None,
            old => Some(commit(old)?),
        },
        new: Some(pair.client.clone()),
        force: false,
        timestamp: 0,
        // The client has compared, and does not say so. The commit itself decides.
        fast_forward: true,
        detached: None,
    })
}

fn refused(refs: &[RefOutcome]) -> Fault {
    let refused = refs
        .iter()
        .filter(|result| result.status == Status::Rejected);
    let reasons = refused.map(|result| {
        let reason = result.reason.as_deref().unwrap_or("it is refused");
        format!("{}: {reason}", result.name)
    });
    let reasons: Vec<String> = reasons.collect();
    Fault::new(StatusCode::CONFLICT, reasons.join("; "))
}

/// The name of an object that a client may bring: as an archive has it.
fn parse(name: &str) -> Answer<ObjectId> {
    match name.ends_with(".file") {
        true => {
            let text =
                format!("{name} is no object of an archive, which is all that is taken here");
            Err(Fault::bad_request(text))
        }
        false => object_name(name),
    }
}

/// A push that has not ended: whatever came of it, the original forgets it then.
fn entry(context: &Context, id: &str) -> Answer<Arc<Push>> {
    let push = context.push(id)?;
    match push.state() {
        PushState::Ended => Err(Fault::not_found("queue entry not found")),
        _ => Ok(push),
    }
}

/// `GET /api/v1/queue/{id}`
pub(crate) async fn missing(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    Extension(lists): Extension<Arc<Lists>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let answer = async {
        let push = entry(&context, &id)?;
        nothing(&headers, body).await?;
        let objects = lists
            .get(&id)
            .ok_or_else(|| Fault::not_found("queue entry not found"))?;
        let permit = app.answer_permit(&context.client_id()).await?;
        blocking(move || {
            let _permit = permit;
            let destination = context.destination()?;
            let missing = push.missing(&destination, &objects)?;
            let missing = objects.iter().zip(missing).filter(|(_, missing)| *missing);
            let missing: Vec<String> = missing.map(|(object, _)| object.archive_name()).collect();
            Ok(json(
                StatusCode::OK,
                &serde_json::json!({"objects": missing}),
            ))
        })
        .await
    };
    answer.await.map_err(plain)
}

/// `DELETE /api/v1/queue/{id}`
pub(crate) async fn delete(
    Extension(context): Extension<Context>,
    Extension(lists): Extension<Arc<Lists>>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    let answer = async {
        entry(&context, &id)?;
        lists.forget(&id);
        let served = Arc::clone(context.served()?);
        blocking(move || Ok(served.pushes.abort(&id)?)).await?;
        Ok(StatusCode::OK.into_response())
    };
    answer.await.map_err(plain)
}

/// `PUT /api/v1/queue/{id}`
pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    Extension(lists): Extension<Arc<Lists>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let answer = async {
        let push = entry(&context, &id)?;
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let boundary = kind.and_then(multipart::boundary).ok_or_else(|| {
            let text = "request Content-Type isn't multipart/form-data";
            Fault::bad_request(text)
        })?;
        let permit = app.stream_permit(&context.client_id()).await?;
        blocking(move || {
            let destination = context.destination()?;
            let body = BodyReader::new(body, Pace::of(destination.limits()?));
            let parts = &mut Multipart::new(body, &boundary);
            Upload::new(&push, &destination, &app.memory, context.client_id())?.take(parts)?;
            drop(permit);
            push.touch(now());
            let outcome = push.finish(&destination, &mut |_| {})?;
            lists.forget(&id);
            match outcome.is_ok() {
                true => Ok(StatusCode::OK.into_response()),
                false => Err(refused(&outcome.refs)),
            }
        })
        .await
    };
    answer.await.map_err(plain)
}
