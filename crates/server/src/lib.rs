// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories over HTTP: for clients, as any web server serves them; for those who push, an API.
//!
//! What is decided about a push, and how it is published, is in `oxtree_transfer::receive`. Here are
//! requests and answers. The API is described in `docs/http.md`.

mod access;
mod api;
mod app;
mod body;
mod file;
mod listen;
mod site;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use access::{Permission, Visitor};
pub use listen::run;
pub use site::{OpenDestination, SiteConfig};

/// What is served, and where.
#[derive(Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// The repositories.
    pub sites: Vec<SiteConfig>,
    /// Who the server says it is.
    pub agent: String,
    /// What those may do who show no token.
    pub anonymous: Visitor,
    /// Seconds after which a push is forgotten that nobody has done anything with.
    pub push_lifetime: u64,
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
    /// The system does not give what a server needs.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What went wrong.
        source: std::io::Error,
    },
}
