// SPDX-License-Identifier: MIT OR Apache-2.0
//! What clients of the Go program ostree-upload ask, with its statuses: a list of all objects, what is
//! missing of them, and one request that brings it and publishes. Behind it are pushes as any others:
//! each object is verified, nothing is published that is not complete, refs change if they are what the
//! client has seen, all or none.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use oxtree_format::checksum::Hashing;
use oxtree_format::{FileId, ObjectId, ObjectKind};
use oxtree_transfer::destination::Destination;
use oxtree_transfer::local::LocalDestination;
use oxtree_transfer::protocol::frame::{self, FrameKind, MAX_FRAME};
use oxtree_transfer::protocol::message::{
    Limits, RefOutcome, Status, WireCommit, WireRef, WireUpdate,
};
use oxtree_transfer::protocol::stream::{Form, Record, pack};
use oxtree_transfer::receive::push::{Intent, Opened, Push, PushState};
use oxtree_transfer::room::Room;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::fault::{Answer, Fault, json};
use crate::api::pushes::{find, parse_name};
use crate::api::{Visit, blocking, has_type, read_bytes};
use crate::app::App;
use crate::body::BodyReader;
use crate::multipart::{self, Multipart};
use crate::site::{Site, now};

/// The largest list, in bytes.
const MAX_JSON: usize = 10 << 20;

/// Objects in the lists of all pushes that are open, at the most.
const MAX_LISTED: usize = 1 << 20;

/// Objects up to this size are put together.
const SMALL: usize = 1 << 20;

/// So many bytes of them are taken in at once.
const BATCH: usize = 8 << 20;

/// The longest field that is no file, in bytes.
const MAX_FIELD: u64 = 1 << 10;

/// What clients have said that they have, by their pushes.
#[derive(Debug, Default)]
pub(crate) struct Lists(Mutex<HashMap<String, List>>);

#[derive(Debug)]
struct List {
    /// The repository's name.
    site: String,
    objects: Arc<Vec<ObjectId>>,
}

impl Lists {
    fn note(&self, site: &Site, id: String, objects: Vec<ObjectId>) -> Answer<()> {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|id, list| list.site != site.name || site.pushes.get(id, 0).is_some());
        let listed: usize = lists.values().map(|list| list.objects.len()).sum();
        if listed + objects.len() > MAX_LISTED {
            let text = "too many pushes are open: try again later";
            return Err(Fault {
                retry_after: Some(30),
                ..Fault::new(StatusCode::SERVICE_UNAVAILABLE, text)
            });
        }
        let site = site.name.clone();
        let objects = Arc::new(objects);
        lists.insert(id, List { site, objects });
        Ok(())
    }

    fn get(&self, id: &str) -> Option<Arc<Vec<ObjectId>>> {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.get(id).map(|list| Arc::clone(&list.objects))
    }

    fn forget(&self, id: &str) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.remove(id);
    }
}

/// An answer in the words of the original: plain text.
fn plain(fault: Fault) -> Response {
    let Fault { status, text, .. } = &fault;
    let (status, text) = (*status, format!("{text}\n"));
    let mut response = fault.into_response();
    let mut answer = (status, text).into_response();
    // `Retry-After` and the like.
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().remove(hyper::header::CONTENT_LENGTH);
    answer.headers_mut().extend(response.headers().clone());
    answer
}

/// `GET /ping`
pub(crate) async fn ping() -> Response {
    json(StatusCode::OK, &serde_json::json!({}))
}

/// `GET /api/v1/info`
pub(crate) async fn info(
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let answer = async {
        nothing(&headers, body).await?;
        let site = Arc::clone(visit.site()?);
        blocking(move || {
            let mode = match site.repo.mode() {
                // As libostree has named it since.
                mode if mode.is_archive() => "archive",
                mode => mode.as_str(),
            };
            let refs = site.repo.local_refs();
            let refs = refs.map_err(|error| Fault::from(oxtree_transfer::Error::from(error)))?;
            let seen = refs
                .into_iter()
                .filter(|(name, _)| visit.visitor.concerns(name.as_str()));
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
    client: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    refs: HashMap<String, Pair>,
    #[serde(default)]
    objects: Option<Vec<String>>,
}

/// `POST /api/v1/queue`
pub(crate) async fn queue(
    State(app): State<Arc<App>>,
    Extension(visit): Extension<Visit>,
    Extension(lists): Extension<Arc<Lists>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let answer = async {
        let wish: Wish = read_json(&headers, body).await?;
        let updates = wish.refs.iter().map(|(name, pair)| update(name, pair));
        let updates: Vec<WireUpdate> = updates.collect::<Answer<_>>()?;
        let names = wish.objects.unwrap_or_default();
        let objects = names.iter().map(|name| parse(name));
        let objects: Vec<ObjectId> = objects.collect::<Answer<_>>()?;
        let site = Arc::clone(visit.site()?);
        blocking(move || {
            let destination = site.destination(&visit.visitor, visit.from)?;
            let intent = Intent {
                owner: visit.visitor.name.clone(),
                updates,
                dry_run: false,
            };
            let id = app.random_id()?;
            match site.pushes.open(id.clone(), &destination, intent, now())? {
                Opened::Refused(outcome) => Err(refused(&outcome.refs)),
                Opened::Open(_) => {
                    lists.note(&site, id.clone(), objects)?;
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
        new: Some(commit(&pair.client)?),
        force: false,
        timestamp: 0,
        // It has looked, and says nothing of it. What counts is the commit itself.
        fast_forward: true,
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
        false => parse_name(name),
    }
}

/// A push that has not ended: whatever came of it, the original forgets it then.
fn entry(visit: &Visit, id: &str) -> Answer<Arc<Push<LocalDestination>>> {
    let push = find(visit, id)?;
    match push.state() {
        PushState::Ended => Err(Fault::not_found("queue entry not found")),
        _ => Ok(push),
    }
}

/// `GET /api/v1/queue/{id}`
pub(crate) async fn missing(
    Extension(visit): Extension<Visit>,
    Extension(lists): Extension<Arc<Lists>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let answer = async {
        let push = entry(&visit, &id)?;
        nothing(&headers, body).await?;
        let objects = lists
            .get(&id)
            .ok_or_else(|| Fault::not_found("queue entry not found"))?;
        let site = Arc::clone(visit.site()?);
        blocking(move || {
            let destination = site.destination(&visit.visitor, visit.from)?;
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
    Extension(visit): Extension<Visit>,
    Extension(lists): Extension<Arc<Lists>>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    let answer = async {
        entry(&visit, &id)?;
        lists.forget(&id);
        let site = Arc::clone(visit.site()?);
        blocking(move || Ok(site.pushes.abort(&id)?)).await?;
        Ok(StatusCode::OK.into_response())
    };
    answer.await.map_err(plain)
}

/// `PUT /api/v1/queue/{id}`
pub(crate) async fn upload(
    Extension(visit): Extension<Visit>,
    Extension(lists): Extension<Arc<Lists>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let answer = async {
        let push = entry(&visit, &id)?;
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let boundary = kind.and_then(multipart::boundary).ok_or_else(|| {
            let text = "request Content-Type isn't multipart/form-data";
            Fault::internal(text)
        })?;
        let body = BodyReader::new(body);
        let site = Arc::clone(visit.site()?);
        blocking(move || {
            let destination = site.destination(&visit.visitor, visit.from)?;
            let mut upload = Upload {
                push: &push,
                destination: &destination,
                limits: destination.limits()?,
                batch: Vec::new(),
                checksums: HashMap::new(),
            };
            upload.take(&mut Multipart::new(body, &boundary))?;
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

/// Objects on their way in.
struct Upload<'a> {
    push: &'a Push<LocalDestination>,
    destination: &'a LocalDestination,
    limits: Limits,
    /// Small objects, as a stream of frames.
    batch: Vec<u8>,
    /// The SHA-256 of the file that came last, by its name. Its field follows it.
    checksums: HashMap<String, String>,
}

impl Upload<'_> {
    fn take(&mut self, parts: &mut Multipart<impl Read>) -> Answer<()> {
        while let Some(head) = parts.next_part().map_err(broken)? {
            match head.name.as_str() {
                "file" => self.file(&head.file_name.unwrap_or_default(), parts)?,
                "checksum" => self.checksum(parts)?,
                name => return Err(unprocessable(format!("unsupported form field {name}"))),
            }
        }
        self.flush()
    }

    fn file(&mut self, name: &str, from: &mut impl Read) -> Answer<()> {
        let object = parse(name).map_err(|fault| unprocessable(fault.text))?;
        let mut from = Hashing::new(from);
        let most = match object.kind.is_metadata() {
            true => usize::try_from(self.limits.metadata()).unwrap_or(usize::MAX),
            false => SMALL,
        };
        let mut content = Vec::new();
        let limit = most as u64 + 1;
        (&mut from)
            .take(limit)
            .read_to_end(&mut content)
            .map_err(broken)?;
        match content.len() <= most {
            true => self.add(object, &content)?,
            false if object.kind.is_metadata() => {
                let text = format!("{name} has more than {most} bytes");
                return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, text));
            }
            false => {
                self.flush()?;
                let mut rest = content.chain(&mut from);
                let file = FileId(object.checksum);
                self.push.put_file(self.destination, file, &mut rest)?;
                // What comes after the object's own end.
                io::copy(&mut from, &mut io::sink()).map_err(broken)?;
            }
        }
        self.checksums.clear();
        let checksum = from.finish().to_hex();
        self.checksums.insert(name.to_owned(), checksum);
        Ok(())
    }

    fn add(&mut self, object: ObjectId, content: &[u8]) -> Answer<()> {
        let form = match object.kind {
            ObjectKind::File => Form::Filez,
            _ => Form::Metadata,
        };
        let mut record = Vec::with_capacity(content.len() + 64);
        let len = content.len() as u64;
        Record { object, form, len }.put(&mut record);
        record.extend_from_slice(content);
        let most = usize::try_from(self.limits.frame)
            .unwrap_or(MAX_FRAME)
            .min(MAX_FRAME);
        for piece in record.chunks(most.saturating_sub(1024).max(1)) {
            let framed = frame::write(&mut self.batch, FrameKind::Data, &pack(piece, None));
            framed.map_err(broken)?;
        }
        match self.batch.len() >= BATCH {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Answer<()> {
        if !self.batch.is_empty() {
            // It is not in zstd.
            let room = Room::new(0);
            let batch = &mut &self.batch[..];
            self.push.take(self.destination, batch, &room)?;
            self.batch.clear();
        }
        Ok(())
    }

    /// A field that says what the SHA-256 of a file is that has just come.
    fn checksum(&mut self, from: &mut impl Read) -> Answer<()> {
        let mut field = String::new();
        let read = from.take(MAX_FIELD).read_to_string(&mut field);
        read.map_err(|_| unprocessable("bad checksum format"))?;
        let mut words = field.split(':');
        match (words.next(), words.next(), words.next()) {
            (Some(""), Some(_), None) | (Some(_), Some(""), None) => {
                Err(unprocessable("empty object name or checksum"))
            }
            (Some(name), Some(checksum), None) => match self.checksums.get(name) {
                Some(known) if known == checksum => Ok(()),
                _ => Err(unprocessable(format!("bad checksum for {name}"))),
            },
            _ => Err(unprocessable("bad checksum format")),
        }
    }
}

fn unprocessable(text: impl Into<String>) -> Fault {
    Fault::new(StatusCode::UNPROCESSABLE_ENTITY, text)
}

/// The body has come to an end too early, or is none.
fn broken(error: io::Error) -> Fault {
    Fault::internal(error.to_string())
}

/// A body of one JSON object.
async fn read_json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Answer<T> {
    let bytes = read(headers, body).await?;
    if bytes.trim_ascii().is_empty() {
        return Err(Fault::bad_request("Request body must not be empty"));
    }
    let parsed = serde_json::from_slice(&bytes);
    parsed.map_err(|error| {
        Fault::bad_request(format!("Request body is not as it should be: {error}"))
    })
}

/// No body.
async fn nothing(headers: &HeaderMap, body: Body) -> Answer<()> {
    match read(headers, body).await?.trim_ascii().is_empty() {
        true => Ok(()),
        false => Err(Fault::bad_request(
            "Request body must only contain a single JSON object",
        )),
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Answer<Bytes> {
    let empty = headers.get(CONTENT_TYPE).is_none_or(HeaderValue::is_empty);
    if !empty && !has_type(headers, "application/json") {
        return Err(Fault::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type header is not application/json",
        ));
    }
    read_bytes(body, MAX_JSON).await
}
