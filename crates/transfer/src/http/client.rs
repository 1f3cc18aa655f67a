// SPDX-License-Identifier: MIT OR Apache-2.0
//! The HTTP client: what is the same for every request.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Identity;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::proxy::{Proxies, ProxySetting, Rules};
use super::tls::distrusted;
use super::trust;
use crate::error::{Error, Result};

/// How to use the network.
#[derive(Clone, Debug)]
pub struct Network {
    /// Whom we say we are.
    pub user_agent: String,
    /// Headers to be sent with each request, but to no other server that one sends us on to.
    pub headers: Vec<(String, String)>,
    /// How often a request is made again that failed for a reason that may pass.
    pub retries: u32,
    /// A transfer of fewer bytes a second than this...
    pub low_speed_bytes: u64,
    /// ...for so long is given up.
    pub low_speed_time: Duration,
    /// How many requests are under way at once; [`None`] for as many as the server can take.
    pub parallel: Option<usize>,
    /// Proxies of the environment.
    pub proxies: Proxies,
    /// Go where a server sends us on to.
    pub redirects: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            user_agent: concat!("oxtree/", env!("CARGO_PKG_VERSION")).to_owned(),
            headers: Vec::new(),
            retries: 5,
            low_speed_bytes: 1000,
            low_speed_time: Duration::from_secs(30),
            parallel: None,
            proxies: Proxies::default(),
            redirects: true,
        }
    }
}

/// What a remote's section says about connections.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// `tls-permissive`: whatever certificate is good.
    pub permissive: bool,
    /// `tls-ca-path`: the only certificates that are believed.
    pub ca: Option<PathBuf>,
    /// `tls-client-cert-path` and `tls-client-key-path`.
    pub client: Option<(PathBuf, PathBuf)>,
    /// `http2=false`: not even if the server can.
    pub http1_only: bool,
    /// `proxy`, instead of those of the environment.
    pub proxy: Option<ProxySetting>,
}

/// Which proxies are used.
pub(crate) fn rules(network: &Network, tls: &TlsOptions) -> Result<Rules> {
    Rules::new(&network.proxies, tls.proxy.as_ref())
}

/// The client for all requests to a remote, or to a server that is pushed to. It does not go where a server
/// sends it on to.
pub(crate) fn build(network: &Network, tls: &TlsOptions) -> Result<reqwest::Client> {
    match configure(network, tls, false)?.build() {
        Ok(client) => Ok(client),
        // Most likely this system has no certificates: all but https works.
        Err(error) if tls.ca.is_none() => {
            tracing::debug!("no certificates to trust: {}", describe(&error));
            let client = configure(network, tls, true)?.build();
            client.map_err(|error| no_client(tls, &error))
        }
        Err(error) => Err(no_client(tls, &error)),
    }
}

/// Why there can be no client; where we have a certificate, most likely because of that.
fn no_client(tls: &TlsOptions, error: &reqwest::Error) -> Error {
    let reason = describe(error);
    match &tls.client {
        Some(files) => not_ours(files, &reason),
        None => unusable(reason),
    }
}

/// Our certificate and its key are of no use.
pub(super) fn not_ours((cert, key): &(PathBuf, PathBuf), reason: &dyn std::fmt::Display) -> Error {
    unusable(format!(
        "{} with {}: {reason}",
        cert.display(),
        key.display()
    ))
}

fn configure(
    network: &Network,
    tls: &TlsOptions,
    no_certificates: bool,
) -> Result<reqwest::ClientBuilder> {
    // An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = reqwest::Client::builder()
        .user_agent(&network.user_agent)
        .default_headers(headers(&network.headers)?)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(network.low_speed_time)
        .http2_initial_stream_window_size(1 << 20)
        .http2_initial_connection_window_size(8 << 20)
        .tls_danger_accept_invalid_certs(tls.permissive);
    if tls.http1_only {
        client = client.http1_only();
    }
    let only = tls.ca.as_ref().filter(|_| !tls.permissive);
    if let Some(ca) = only {
        client = client.tls_backend_preconfigured(trust::only(ca, tls)?);
    } else {
        if no_certificates {
            client = client.tls_certs_only([]);
        }
        if let Some(files) = &tls.client {
            let identity = Identity::from_pem(&client_pem(files)?);
            client = client.identity(identity.map_err(|error| not_ours(files, &describe(&error)))?);
        }
    }
    Ok(rules(network, tls)?.apply(client))
}

pub(crate) fn headers(pairs: &[(String, String)]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let wrong = |reason: String| unusable(format!("header {name}: {reason}"));
        let key = HeaderName::try_from(name).map_err(|error| wrong(error.to_string()))?;
        let value = HeaderValue::from_str(value).map_err(|error| wrong(error.to_string()))?;
        headers.append(key, value);
    }
    Ok(headers)
}

/// Who we are: the certificate, and its key.
pub(super) fn client_pem((certificate, key): &(PathBuf, PathBuf)) -> Result<Vec<u8>> {
    let mut pem = read(certificate)?;
    if key != certificate {
        pem.extend([b"\n".to_vec(), read(key)?].concat());
    }
    Ok(pem)
}

pub(super) fn read(path: &std::path::Path) -> Result<Vec<u8>> {
    Ok(std::fs::read(path).map_err(oxtree_repo::Error::io("reading", path))?)
}

pub(super) fn unusable(reason: String) -> Error {
    oxtree_repo::Error::Invalid(reason).into()
}

/// A proxy that does not know us.
pub(crate) const PROXY_NAME: &str =
    "the proxy wants a name and a password, as in http://NAME:PASSWORD@HOST:PORT";

/// How a proxy's refusals are called by the client, and what they mean.
const TUNNEL: [(&str, &str); 2] = [
    ("tunnel error: proxy authorization required", PROXY_NAME),
    (
        "tunnel error: unsuccessful",
        "the proxy makes no connection to the server",
    ),
];

/// What went wrong, with its causes, and without the URL.
pub fn describe(error: &reqwest::Error) -> String {
    if let Some((_, reason)) = distrusted(error) {
        return reason;
    }
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            let separator = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{separator}{cause_text}");
        }
        next = cause.source();
    }
    for (theirs, ours) in TUNNEL {
        if text.contains(theirs) {
            return ours.to_owned();
        }
    }
    if text.is_empty() {
        text = error.to_string();
    }
    match other_scheme(&text) {
        Some(hint) => format!("{text} ({hint})"),
        None => text,
    }
}

/// What to try if this is what one sees who talks to a port in the wrong way.
pub(crate) fn other_scheme(text: &str) -> Option<&'static str> {
    // In the words of rustls and of hyper.
    if text.contains("InvalidContentType") {
        Some("no TLS is spoken there; should it be http://?")
    } else if text.contains("invalid HTTP version") {
        Some("no plain HTTP is spoken there; should it be https://?")
    } else {
        None
    }
}
