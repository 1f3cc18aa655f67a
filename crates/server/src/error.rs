// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why the server cannot start or go on.

use std::net::SocketAddr;
use std::path::PathBuf;

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
    Tokens(#[from] crate::access::tokens::TokenError),
    /// Everybody on the way could read the tokens.
    #[error(
        "{0} can be reached from other machines, and there is no TLS: name a certificate and its key, \
         or say that this is meant (--insecure-http)"
    )]
    Insecure(SocketAddr),
    /// Every client that can reach it could push.
    #[error("{0} can be reached from other machines, and pushes would need no token there")]
    OpenToAll(SocketAddr),
    /// TLS is to be spoken, and there is nothing to show.
    #[error("TLS on {0} needs a certificate and its key")]
    NoCertificate(SocketAddr),
    /// The certificate or its key is invalid.
    #[error("certificate {} and key {}: {reason}", certificates.display(), key.display())]
    Tls {
        /// Where the certificate is.
        certificates: PathBuf,
        /// Where the key is.
        key: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The certificates of the authorities for client certificates are invalid.
    #[error("tls_client_ca {}: {reason}", path.display())]
    ClientCa {
        /// Where it is.
        path: PathBuf,
        /// The reason.
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
        /// The attempted operation.
        action: &'static str,
        /// The cause.
        source: std::io::Error,
    },
}
