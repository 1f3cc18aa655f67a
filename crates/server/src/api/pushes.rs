// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes: each request is handed to [`oxtree_transfer::receive::push`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Body as _;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{HeaderMap, StatusCode};
use oxtree_format::ObjectId;
use oxtree_transfer::chain;
use oxtree_transfer::protocol::ID_LEN;
use oxtree_transfer::protocol::http::PushState;
use oxtree_transfer::protocol::message::{Message, Outcome, WireUpdate, parse_ids, write_bitmap};
use oxtree_transfer::receive::LocalReceiver;
use oxtree_transfer::receive::push::{Intent, Opened, Push};
use oxtree_transfer::store::Destination;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tokio::runtime::Handle;

use super::change::Wish;
use crate::answer::{Answer, Fault, blocking, json};
use crate::app::App;
use crate::body::{BodyReader, Pace, Patient, at_most, channel_body};
use crate::clock::now;
use crate::context::Context;
use crate::limits::ClientId;
use crate::metrics::add;
use crate::request::{has_type, is_type, object_name, read_json, unread};

/// The media type of many objects.
const OBJECTS: &str = "application/vnd.oxtree.objects";
const BYTES: &str = "application/octet-stream";
const LINES: &str = "application/x-ndjson";

pub(crate) async fn open(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    body: Body,
) -> Answer {
    let (wish, held): (Wish, _) = read_json(&app, &context.client_id(), body).await?;
    let served = Arc::clone(context.served()?);
    blocking(move || {
        let _held = held;
        let destination = context.destination()?;
        let updates: Vec<WireUpdate> = wish.updates.into_iter().map(WireUpdate::from).collect();
        if !context.may_push_objects() {
            check_is_there(&destination, &updates)?;
        }
        let intent = Intent {
            owner: context.client.name.clone(),
            owner_id: context.client.id.clone(),
            updates,
            dry_run: wish.dry_run,
        };
        let id = app.random_id()?;
        match served.pushes.open(id, &destination, intent, now())? {
            Opened::Refused(outcome) => {
                add(&app.counters.refused, 1);
                Ok(json(StatusCode::CONFLICT, &outcome))
            }
            Opened::Open(push) => {
                add(&app.counters.opened, 1);
                let info = served.pushes.info(&push, now());
                let mut response = json(StatusCode::CREATED, &info);
                // Relative to the request's URL, whatever proxy is in front of us.
                if let Ok(place) = HeaderValue::from_str(&format!("pushes/{}", push.id())) {
                    response.headers_mut().insert(LOCATION, place);
                }
                Ok(response)
            }
        }
    })
    .await
}

/// An error unless every commit exists and is visible: a client that may only promote sends none.
fn check_is_there(destination: &LocalReceiver, updates: &[WireUpdate]) -> Answer<()> {
    let new = updates.iter().filter_map(|update| update.new.as_ref());
    let ids: Vec<ObjectId> = new.map(|commit| commit.0.object()).collect();
    let mut missing = destination.store.missing(&ids)?;
    destination.policy.hide(&ids, &mut missing)?;
    match missing.contains(&true) {
        false => Ok(()),
        true => Err(Fault::new(
            StatusCode::FORBIDDEN,
            "this token only allows to set refs to commits that are there",
        )),
    }
}

pub(crate) async fn list(Extension(context): Extension<Context>) -> Answer {
    let is_visible = |push: &Push| context.may_see_push(push);
    let pushes = context.served()?.pushes.list(now(), is_visible);
    Ok(json(StatusCode::OK, &serde_json::json!({"pushes": pushes})))
}

pub(crate) async fn show(Extension(context): Extension<Context>, Path(id): Path<String>) -> Answer {
    let push = context.push(&id)?;
    Ok(json(
        StatusCode::OK,
        &context.served()?.pushes.info(&push, now()),
    ))
}

pub(crate) async fn abort(
    Extension(context): Extension<Context>,
    Path(id): Path<String>,
) -> Answer {
    context.push(&id)?;
    let served = Arc::clone(context.served()?);
    blocking(move || Ok(served.pushes.abort(&id)?)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// An object's name as the client wrote it.
struct Name {
    object: ObjectId,
    /// As an archive has it.
    is_archived: bool,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let object = object_name(&text).map_err(|fault| D::Error::custom(fault.text))?;
        let is_archived = text.ends_with(".filez");
        Ok(Self {
            object,
            is_archived,
        })
    }
}

impl Name {
    fn text(&self) -> String {
        match self.is_archived {
            true => self.object.archive_name(),
            false => self.object.to_string(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    objects: Vec<Name>,
}

pub(crate) async fn missing(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let push = context.push(&id)?;
    let client = context.client_id();
    let destination = blocking(move || context.destination()).await?;
    if has_type(&headers, BYTES) {
        return missing_ids((&app, client), push, destination, body).await;
    }
    let (names, held): (Names, _) = read_json(&app, &client, body).await?;
    blocking(move || {
        let _held = held;
        let names = names.objects;
        let ids: Vec<ObjectId> = names.iter().map(|name| name.object).collect();
        let missing = push.missing(&destination, &ids)?;
        let names = names.iter().zip(missing);
        let names = names.filter(|(_, missing)| *missing);
        let names: Vec<String> = names.map(|(name, _)| name.text()).collect();
        Ok(json(StatusCode::OK, &serde_json::json!({"missing": names})))
    })
    .await
}

/// Bytes of ids that are looked for at once: a number that a whole number of bytes of the bitmap is about.
const IDS: usize = ID_LEN * (16 << 10);

/// The same for ids in a row, of which there may be millions: they are looked for while they come.
async fn missing_ids(
    (app, client): (&App, ClientId),
    push: Arc<Push>,
    destination: LocalReceiver,
    body: Body,
) -> Answer {
    let limits = destination.limits()?;
    let most = usize::try_from(limits.ids).unwrap_or(usize::MAX);
    let most = most.saturating_mul(ID_LEN);
    let too_large = || unread(&std::io::ErrorKind::FileTooLarge.into(), most);
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let at_once = at_most(&body, most).min(IDS);
    let _permit = app.list_permit(&client).await?;
    let destination = Arc::new(destination);
    let look = async |ids: Vec<u8>| {
        let (push, destination) = (Arc::clone(&push), Arc::clone(&destination));
        let look = move || Ok(push.missing(&*destination, &parse_ids(&ids)?)?);
        blocking(look).await.map(write_bitmap)
    };
    let mut patient = Patient::new(body, Pace::of(limits));
    let (mut came, mut bitmap) = (0, Vec::new());
    let mut ids = Vec::with_capacity(at_once);
    while let Some(piece) = patient.next().await {
        let mut piece = piece.map_err(|error| unread(&error, most))?;
        came += piece.len();
        if came > most {
            return Err(too_large());
        }
        while ids.len() + piece.len() >= IDS {
            ids.extend_from_slice(&piece.split_to(IDS - ids.len()));
            let whole = std::mem::replace(&mut ids, Vec::with_capacity(IDS));
            bitmap.extend(look(whole).await?);
        }
        ids.extend_from_slice(&piece);
    }
    if !ids.is_empty() {
        bitmap.extend(look(ids).await?);
    }
    let mut response = Response::new(Body::from(bitmap));
    let kind = HeaderValue::from_static(BYTES);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

pub(crate) async fn take(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    if !has_type(&headers, OBJECTS) {
        return Err(Fault::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("what is sent here is of the type {OBJECTS}"),
        ));
    }
    let push = context.push(&id)?;
    let permit = app.stream_permit(&context.client_id()).await?;
    blocking(move || {
        let destination = context.destination()?;
        let body = BodyReader::new(body, Pace::of(destination.limits()?));
        let mut from = std::io::BufReader::with_capacity(64 << 10, body);
        let progress = push.take(&destination, &mut from, &app.decompressing)?;
        drop(permit);
        push.touch(now());
        add(&app.counters.objects, progress.objects);
        add(&app.counters.object_bytes, progress.bytes);
        Ok(json(StatusCode::OK, &progress))
    })
    .await
}

pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let object = object_name(&name)?;
    let len = headers
        .get(CONTENT_LENGTH)
        .and_then(|len| len.to_str().ok());
    let len: u64 = len.and_then(|len| len.parse().ok()).ok_or_else(|| {
        let reason = "the object's size has to be known before (Content-Length)";
        Fault::new(StatusCode::LENGTH_REQUIRED, reason)
    })?;
    let push = context.push(&id)?;
    let permit = app.stream_permit(&context.client_id()).await?;
    blocking(move || {
        let destination = context.destination()?;
        let mut from = BodyReader::new(body, Pace::of(destination.limits()?));
        let put = push.put(&destination, object, len, &mut from);
        put.map_err(|error| match from.is_late() {
            true => Fault::new(StatusCode::REQUEST_TIMEOUT, chain(&error)),
            false => error.into(),
        })?;
        drop(permit);
        push.touch(now());
        add(&app.counters.objects, 1);
        add(&app.counters.object_bytes, len);
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

pub(crate) async fn finish(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let push = context.push(&id)?;
    let finish = move |tell: &mut dyn FnMut(&Message)| {
        let destination = context.destination()?;
        let was_over = push.state() == PushState::Ended;
        let outcome = push.finish(&destination, tell)?;
        match outcome.is_ok() {
            _ if was_over => {}
            true => add(&app.counters.published, 1),
            false => add(&app.counters.refused, 1),
        }
        Ok(outcome)
    };
    if is_type(&headers, ACCEPT, LINES) {
        return Ok(finish_in_lines(finish));
    }
    let outcome = blocking(move || finish(&mut |_| {})).await?;
    let status = match outcome.is_ok() {
        true => StatusCode::OK,
        false => StatusCode::CONFLICT,
    };
    Ok(json(status, &outcome))
}

/// How long a push that is being published waits for a client that does not read what it is told meanwhile: others
/// wait for the push.
const LISTENING: Duration = Duration::from_secs(5);

/// Answers with what is said while it goes on, a line each, and the outcome as the last.
fn finish_in_lines(
    finish: impl FnOnce(&mut dyn FnMut(&Message)) -> Answer<Outcome> + Send + 'static,
) -> Response {
    let (to, body) = channel_body();
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let line = |message: &Message| {
            let mut line = message.to_frame().payload;
            line.push(b'\n');
            Ok(Bytes::from(line))
        };
        let mut left = LISTENING;
        // If the client has gone, the push is finished all the same.
        let mut tell = |message: &Message| {
            let began = Instant::now();
            let sent = to.send(line(message));
            let _ = runtime.block_on(async { tokio::time::timeout(left, sent).await });
            left = left.saturating_sub(began.elapsed());
        };
        let last = match finish(&mut tell) {
            Ok(outcome) => Message::Outcome {
                outcome,
                more: false,
            },
            Err(fault) => Message::Error { text: fault.text },
        };
        // No thread waits until the client has read the rest.
        runtime.spawn(async move { to.send(line(&last)).await });
    });
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static(LINES);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
