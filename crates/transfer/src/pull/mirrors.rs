// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a repository is: one place, several that are listed somewhere, or where a metalink says.

use std::path::PathBuf;

use reqwest::Url;

use super::fetch::{Fetcher, Mirrors};
use super::metalink;
use super::remote::local_path;
use crate::error::{Error, Result, invalid};

/// The largest list of mirrors, and the largest metalink, in bytes.
const MAX_LIST: u64 = 1 << 20;

/// So many mirrors are enough.
const MAX_MIRRORS: usize = 64;

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this machine.
    Local(PathBuf),
    /// At a web server.
    Web(Url),
    /// At one of those that are listed here, a line each.
    MirrorList(Url),
    /// Where the summary that this document describes is.
    Metalink(Url),
}

/// A place at a web server, looked up.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) mirrors: Mirrors,
    /// The summary, if it was fetched and verified on the way.
    pub(crate) summary: Option<Vec<u8>>,
}

impl Place {
    /// Reads a URL as it stands in the config.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if let Some(list) = text.strip_prefix("mirrorlist=") {
            return web(list).map(Self::MirrorList);
        }
        if let Some(metalink) = text.strip_prefix("metalink=") {
            return web(metalink).map(Self::Metalink);
        }
        let url = parse(text)?;
        match url.scheme() {
            "file" => local_path(&url).map(Self::Local),
            _ => web(text).map(Self::Web),
        }
    }

    /// Looks up where the repository is; not for one on this machine.
    pub(crate) async fn find(&self, fetcher: &Fetcher) -> Result<Found> {
        let found = |mirrors, summary| Found { mirrors, summary };
        match self {
            Self::Web(url) => Ok(found(one(url.clone())?, None)),
            Self::MirrorList(list) => Ok(found(mirror_list(fetcher, list).await?, None)),
            Self::Metalink(document) => {
                let bytes = fetcher.get(&one(document.clone())?, "", MAX_LIST).await?;
                let file = metalink::parse(&bytes).map_err(|reason| {
                    invalid(format!("Failed to parse metalink {document}: {reason}"))
                })?;
                let (place, summary) = metalink::summary(fetcher, &file).await?;
                Ok(found(one(place)?, Some(summary)))
            }
            Self::Local(path) => Err(invalid(format!(
                "{} is on this machine, but has to be at a web server here",
                path.display()
            ))),
        }
    }
}

/// A single place.
pub(super) fn one(url: Url) -> Result<Mirrors> {
    Mirrors::new(vec![url]).ok_or_else(|| invalid("no URL"))
}

fn parse(text: &str) -> Result<Url> {
    let wrong = || invalid(format!("Failed to parse url \"{text}\""));
    text.parse::<Url>().map_err(|_| wrong())
}

/// A URL at a web server.
pub(super) fn web(text: &str) -> Result<Url> {
    let url = parse(text)?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(invalid(format!("Invalid URI scheme in {text}"))),
    }
}

/// The mirrors of a list that have a repository: those before the first one that answers are left
/// out.
async fn mirror_list(fetcher: &Fetcher, list: &Url) -> Result<Mirrors> {
    let bytes = fetcher.get(&one(list.clone())?, "", MAX_LIST).await?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim);
    let mut places: Vec<Url> = Vec::new();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match web(line) {
            Ok(url) => places.push(url),
            Err(error) => tracing::warn!("mirror list {list}: {error}"),
        }
    }
    places.truncate(MAX_MIRRORS);
    let mut why = invalid(format!(
        "No valid mirrors were found in mirrorlist '{list}'"
    ));
    // Those that work, but may have objects and refs alone.
    let mut silent = Vec::new();
    while !places.is_empty() {
        let place = one(places[0].clone())?;
        let found = match fetcher.find(&place, "config", MAX_LIST).await {
            Ok(None) => fetcher.find(&place, "summary.sig", MAX_LIST).await,
            found => found,
        };
        match found {
            Ok(Some(_)) => break,
            Ok(None) => silent.push(places.remove(0)),
            Err(error @ Error::Fetch { .. }) => {
                tracing::debug!("not a mirror: {error}");
                why = error;
                places.remove(0);
            }
            Err(error) => return Err(error),
        }
    }
    places.extend(silent);
    Mirrors::new(places).ok_or(why)
}
