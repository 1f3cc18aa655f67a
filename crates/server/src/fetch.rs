// SPDX-License-Identifier: MIT OR Apache-2.0
//! What clients fetch by its path: a repository as any web server has it, as far as they may see it.

use std::sync::Arc;

use axum::response::Response;
use hyper::{HeaderMap, Method};
use oxtree_format::{CommitId, FileId, ObjectId, ObjectKind};
use oxtree_transfer::visibility::Visibility as _;

use crate::access::{Permission, Visitor};
use crate::api::fault::{Answer, Fault};
use crate::api::{blocking, no_method, refusal};
use crate::app::App;
use crate::send_budget::Share;
use crate::site::Site;
use crate::{file, packed};

/// Answers a request for a file of a repository. `who`: who asks, and who shows no token, from whom a token takes nothing
/// away.
pub(crate) async fn fetch(
    app: &App,
    site: &Arc<Site>,
    who: [&Arc<Visitor>; 2],
    path: &str,
    (method, headers, share): (&Method, &HeaderMap, &Share),
) -> Answer<Response> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Ok(no_method("GET, HEAD"));
    }
    let readers = who.map(|one| one.may(Permission::Read, &site.name).then_some(one));
    if readers == [None, None] {
        return Err(refusal(app, who[0], Permission::Read));
    }
    let none = || Fault::not_found("there is no such file");
    let path = path.strip_prefix('/').and_then(decode).ok_or_else(none)?;
    let object = object(&path);
    let mut sees = false;
    for reader in readers.into_iter().flatten() {
        sees = sees || may_see(site, reader, &path, object).await?;
    }
    if !sees {
        return Err(none());
    }
    let private = !app.is_public;
    if !site.repo.mode().is_archive() {
        // Clients know archives only.
        if path == "config" {
            return Ok(packed::config(private));
        }
        let is_file = |object: &ObjectId| object.kind == ObjectKind::File;
        if let Some(file) = object.filter(is_file) {
            let file = FileId(file.checksum);
            return packed::answer(app, site, file, (method, headers, share), private).await;
        }
    }
    let found = site.repo.open_public(&path);
    let found = found.map_err(|error| Fault::from(oxtree_transfer::Error::from(error)))?;
    Ok(file::answer(
        method,
        headers,
        &path,
        found.ok_or_else(none)?,
        private,
        share,
    ))
}

/// The object at a path.
fn object(path: &str) -> Option<ObjectId> {
    let (folder, name) = path.strip_prefix("objects/")?.split_once('/')?;
    ObjectId::from_loose(folder, name, true)
}

/// Whether somebody who may read some refs only may have this file. Of objects, commits are for those who may read
/// a ref that they lead to; the others are for those who know their names, which nobody can guess.
async fn may_see(
    site: &Arc<Site>,
    visitor: &Arc<Visitor>,
    path: &str,
    object: Option<ObjectId>,
) -> Answer<bool> {
    if visitor.sees_all() {
        return Ok(true);
    }
    Ok(match (path.split_once('/'), object) {
        // The summary and its index have all refs in them. Clients do without.
        (None, _) => path == "config" || path.ends_with(".flatpakrepo"),
        (Some(("refs", rest)), _) => {
            let name = match rest.split_once('/') {
                Some(("heads", name)) => Some(name),
                Some(("mirrors" | "remotes", name)) => name.split_once('/').map(|(_, name)| name),
                _ => None,
            };
            name.is_some_and(|name| visitor.concerns(name))
        }
        (_, Some(object)) => match object.kind {
            ObjectKind::File | ObjectKind::DirTree | ObjectKind::DirMeta => true,
            _ => may_have(site, visitor, CommitId(object.checksum)).await?,
        },
        _ => false,
    })
}

async fn may_have(site: &Arc<Site>, visitor: &Arc<Visitor>, commit: CommitId) -> Answer<bool> {
    let (site, visitor) = (Arc::clone(site), Arc::clone(visitor));
    blocking(move || Ok(site.visibility(&[&visitor]).sees(commit)?)).await
}

/// A path as it is meant; [`None`] if it is not UTF-8, or no path.
pub(crate) fn decode(path: &str) -> Option<String> {
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
