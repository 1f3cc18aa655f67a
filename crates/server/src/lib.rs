// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories over HTTP: for clients, as any web server serves them; for those who push, an API.
//!
//! What is decided about a push, and how it is published, is in `oxtree_transfer::receive`. Here are
//! requests and answers. The API is described in `docs/http.md`.

pub mod access;
mod api;
mod app;
mod body;
mod client;
mod crew;
mod crowd;
mod delivery;
mod fetch;
mod file;
#[doc(hidden)]
pub mod fuzz;
mod jobs;
mod legacy;
mod listen;
mod log;
mod memory;
pub mod multipart;
mod packed;
mod preface;
mod proxies;
mod send_budget;
mod site;
mod stall;
mod streams;
mod talk;
mod tls;
mod unread;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use access::issuers::{IssuerConfig, KeySource, Rule};
pub use access::tokens::{Sizes, Token, TokenError, TokenFile, random};
pub use access::{Permission, Visitor};
pub use ipnet::IpNet;
pub use jobs::retention::{Retention, RetentionRule};
pub use jobs::webhooks::Webhook;
pub use listen::run;
pub use site::{OpenDestination, SiteConfig};
pub use tls::TlsFiles;

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Which one.
    pub address: SocketAddr,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

/// What is served, and where.
#[derive(Debug)]
pub struct Config {
    /// Where to listen, if systemd has opened no sockets.
    pub listen: Vec<Address>,
    /// The certificate; with it, TLS is spoken on systemd's sockets.
    pub tls: Option<TlsFiles>,
    /// Listen on other addresses than this machine's own without TLS, too.
    pub insecure: bool,
    /// The repositories.
    pub sites: Vec<SiteConfig>,
    /// Who the server says it is.
    pub agent: String,
    /// What those may do who show no token.
    pub anonymous: Visitor,
    /// Where the tokens are.
    pub tokens: Option<PathBuf>,
    /// Others whose tokens count.
    pub issuers: Vec<IssuerConfig>,
    /// Proxies that are believed when they say who asks.
    pub trusted_proxies: Vec<IpNet>,
    /// A file that gets a line for each request.
    pub access_log: Option<PathBuf>,
    /// A file that gets a line for each token that is made or revoked by the API.
    pub audit_log: Option<PathBuf>,
    /// Seconds after which a push is forgotten that nobody has done anything with.
    pub push_lifetime: u64,
    /// How long a client may take to say what it wants, or to agree on how to talk, and want nothing.
    pub header_timeout: Duration,
    /// So long the server goes on when it is told to end, and says that it is not ready.
    pub shutdown_delay: Duration,
    /// How long it may take nothing of what is sent to it.
    pub send_timeout: Duration,
    /// Connections at once.
    pub max_connections: usize,
    /// And of those, how many of one client: an address, or a network of IPv6. Those of this machine and of proxies
    /// that are believed are not counted.
    pub max_connections_per_client: usize,
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the server could not start, or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A repository cannot be served.
    #[error("{}: {source}", path.display())]
    Repository {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: Box<oxtree_transfer::Error>,
    },
    /// An address cannot be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The tokens cannot be read.
    #[error(transparent)]
    Tokens(#[from] access::tokens::TokenError),
    /// Everybody on the way could read the tokens.
    #[error(
        "{0} can be reached from other machines, and there is no TLS: name a certificate and its key, \
         or say that this is meant (--insecure-http)"
    )]
    Insecure(SocketAddr),
    /// Whoever can reach it could push.
    #[error("{0} can be reached from other machines, and pushes would need no token there")]
    OpenToAll(SocketAddr),
    /// TLS is to be spoken, and there is nothing to show.
    #[error("TLS on {0} needs a certificate and its key")]
    NoCertificate(SocketAddr),
    /// The certificate or its key is of no use.
    #[error("certificate {} and key {}: {reason}", certificates.display(), key.display())]
    Tls {
        /// Where the certificate is.
        certificates: PathBuf,
        /// Where the key is.
        key: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What certificates of clients are to be signed with is of no use.
    #[error("tls_client_ca {}: {reason}", path.display())]
    ClientCa {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A log cannot be written.
    #[error("opening the log {}: {source}", path.display())]
    Log {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The system does not give what a server needs.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What went wrong.
        source: std::io::Error,
    },
}
