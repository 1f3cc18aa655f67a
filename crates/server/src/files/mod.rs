// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of a repository by path, as any web server serves them, but only those that the client may
//! see.

mod packed;
pub(crate) mod stored;

use axum::response::Response;
use hyper::{HeaderMap, Method};
use oxtree_format::{FileId, ObjectId, ObjectKind};

use crate::answer::{Answer, Fault, no_method};
use crate::app::App;
use crate::context::Context;
use crate::limits::send_budget::Share;
use crate::request::decode;

/// Answers a request for a file of a repository.
pub(crate) async fn fetch(
    app: &App,
    context: &Context,
    path: &str,
    (method, headers, share): (&Method, &HeaderMap, &Share),
) -> Answer<Response> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Ok(no_method("GET, HEAD"));
    }
    let readers = context.readers()?;
    let served = context.served()?;
    let none = || Fault::not_found("there is no such file");
    let path = path.strip_prefix('/').and_then(decode).ok_or_else(none)?;
    let object = object(&path);
    if !context.may_see_file(readers, &path, object).await? {
        return Err(none());
    }
    let private = !app.is_public;
    if !served.repo.mode().is_archive() {
        // Clients know archives only.
        if path == "config" {
            return Ok(packed::config(private));
        }
        let is_file = |object: &ObjectId| object.kind == ObjectKind::File;
        if let Some(file) = object.filter(is_file) {
            let file = FileId(file.checksum);
            return packed::answer(app, served, file, (method, headers, share), private).await;
        }
    }
    let open = app.open_file_permit(share.client()).await?;
    let found = served.repo.open_public(&path);
    let found = found.map_err(|error| Fault::from(oxtree_transfer::Error::from(error)))?;
    Ok(stored::answer(
        method,
        headers,
        &path,
        found.ok_or_else(none)?,
        private,
        (share, open),
    ))
}

/// The object at a path.
fn object(path: &str) -> Option<ObjectId> {
    let (folder, name) = path.strip_prefix("objects/")?.split_once('/')?;
    ObjectId::from_loose(folder, name, true)
}
