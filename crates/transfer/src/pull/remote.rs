// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a remote's section of the config says, or a URL alone.

use std::path::PathBuf;

use oxtree_format::refs::{CollectionId, RemoteName};
use oxtree_repo::Repo;
use reqwest::Url;

use super::fetch::Fetcher;
use super::mirrors::{self, Place};
use crate::error::{Error, Result, invalid};
use crate::http::proxy::ProxySetting;
use crate::http::{Cookies, Network, TlsOptions};

/// A remote, as far as a pull has to know it.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// [`None`] if only a URL was given.
    pub(crate) name: Option<RemoteName>,
    pub(crate) place: Place,
    /// Where objects are, if not there.
    pub(crate) content: Option<Place>,
    /// Refs to be pulled where none are named.
    pub(crate) branches: Vec<String>,
    /// The collection that its refs are in.
    pub(crate) collection: Option<CollectionId>,
    tls: TlsOptions,
    cookies: Cookies,
}

/// Whether this is a URL, and no name of a remote.
pub fn is_url(text: &str) -> bool {
    ["http://", "https://", "file://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
}

impl Remote {
    /// The remote that is called so in the config, or is at this URL. `url` takes the place of the
    /// configured one.
    pub(crate) fn open(repo: &Repo, name: &str, url: Option<&str>) -> Result<Self> {
        if is_url(name) {
            return Ok(Self {
                name: None,
                place: Place::parse(url.unwrap_or(name))?,
                content: None,
                branches: Vec::new(),
                collection: None,
                tls: TlsOptions::default(),
                cookies: Cookies::default(),
            });
        }
        let name: RemoteName = name.parse().map_err(oxtree_repo::Error::invalid)?;
        let text = |key: &str| repo.remote_setting(&name, key);
        let set = |key: &str| Ok::<_, Error>(text(key)?.filter(|text| !text.is_empty()));
        if let Some(backend) = set("custom-backend")? {
            return Err(invalid(format!(
                "Cannot fetch via oxtree: remote '{name}' uses custom backend '{backend}'"
            )));
        }
        if let Some(state) = set("unconfigured-state")? {
            return Err(invalid(format!("remote unconfigured-state: {state}")));
        }
        let place = match (url, set("metalink")?) {
            (Some(url), _) => Place::parse(url)?,
            (None, Some(metalink)) => Place::Metalink(mirrors::web(&metalink)?),
            (None, None) => Place::parse(&repo.remote_url(&name)?)?,
        };
        let content = match (url, set("contenturl")?) {
            (None, Some(content)) => Some(Place::parse(&content)?),
            _ => None,
        };
        let collection = set("collection-id")?
            .map(|id| id.parse().map_err(oxtree_repo::Error::invalid))
            .transpose()?;
        let cookies = repo.remote_cookies(&name)?.unwrap_or_default();
        Ok(Self {
            place,
            content,
            branches: repo.remote_list(&name, "branches")?,
            collection,
            tls: tls(repo, &name)?,
            cookies: Cookies::parse(&String::from_utf8_lossy(&cookies)),
            name: Some(name),
        })
    }

    /// Ready to fetch from the remote.
    pub(crate) fn fetcher(&self, network: &Network) -> Result<Fetcher> {
        Fetcher::new(network, &self.tls, self.cookies.clone())
    }
}

fn tls(repo: &Repo, name: &RemoteName) -> Result<TlsOptions> {
    let text = |key: &str| repo.remote_setting(name, key);
    let client = match (text("tls-client-cert-path")?, text("tls-client-key-path")?) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        _ => {
            return Err(invalid(format!(
                "Remote \"{name}\" must specify both \"tls-client-cert-path\" and \
                 \"tls-client-key-path\""
            )));
        }
    };
    Ok(TlsOptions {
        permissive: repo.remote_flag(name, "tls-permissive")?.unwrap_or(false),
        ca: text("tls-ca-path")?.map(PathBuf::from),
        client,
        http1_only: repo.remote_flag(name, "http2")? == Some(false),
        proxy: text("proxy")?.map(|address| ProxySetting {
            address,
            origin: format!("the key proxy of remote {name}"),
        }),
    })
}

/// The path of a `file:` URL.
pub(super) fn local_path(url: &Url) -> Result<PathBuf> {
    url.to_file_path()
        .map_err(|()| invalid(format!("{url} is no path on this machine")))
}
