// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repository in a mode other than `archive`, served as an archive: file objects are compressed for
//! each request. Everything else is as in an archive.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY};
use hyper::{HeaderMap, Method, StatusCode};
use oxtree_format::FileId;
use oxtree_repo::public::Lasts;
use oxtree_transfer::store::archived::Archived;

use super::stored::{cache_control, is_known, set};
use crate::answer::{Answer, Fault, blocking};
use crate::app::App;
use crate::limits::send_budget::Share;
use crate::served::Served;

/// How long a client may read nothing, while its answer occupies a slot that others need.
const PATIENCE: Duration = Duration::from_secs(60);

/// The config of the repository as an archive.
pub(crate) fn config(private: bool) -> Response {
    let text = "[core]\nrepo_version=1\nmode=archive-z2\n";
    response(Body::from(text), Lasts::Short, private)
}

fn response(body: Body, lasts: Lasts, private: bool) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    set(headers, CONTENT_TYPE, "application/octet-stream");
    set(headers, CACHE_CONTROL, &cache_control(lasts, private));
    if private {
        set(headers, VARY, "Authorization");
    }
    response
}

/// Answers with a packed file. Ranges are not supported, as the size is not known before.
pub(crate) async fn answer(
    app: &App,
    served: &Served,
    file: FileId,
    (method, headers, share): (&Method, &HeaderMap, &Share),
    private: bool,
) -> Answer<Response> {
    let permit = app.packing_permit(share.client()).await?;
    let repo = std::sync::Arc::clone(&served.repo);
    let opened = blocking(move || match Archived::open(&repo, file) {
        Err(oxtree_transfer::Error::Repo(error)) if error.is_missing_object() => {
            Err(Fault::not_found("there is no such file"))
        }
        opened => Ok(opened?),
    })
    .await?;
    let mut response = response(Body::empty(), Lasts::Forever, private);
    // The packed form may differ, the content does not.
    let etag = format!("\"{file}.filez\"");
    set(response.headers_mut(), ETAG, &format!("W/{etag}"));
    if is_known(headers, &etag, 0, Lasts::Forever) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    if method == Method::HEAD {
        return Ok(response);
    }
    let body = opened.into_body(Some(PATIENCE), permit);
    *response.body_mut() = Body::new(body);
    Ok(response)
}
