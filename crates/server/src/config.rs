// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration of a server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::access::Client;
use crate::access::issuers::IssuerConfig;
use crate::served::ServedConfig;

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Which one.
    pub address: SocketAddr,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

/// The configuration of a server.
#[derive(Debug)]
pub struct Config {
    /// Where to listen, if systemd has opened no sockets.
    pub listen: Vec<Address>,
    /// The certificate; with it, TLS is spoken on systemd's sockets.
    pub tls: Option<TlsFiles>,
    /// Listen on other addresses than this machine's own without TLS, too.
    pub insecure: bool,
    /// The repositories.
    pub repositories: Vec<ServedConfig>,
    /// The server's name in answers.
    pub agent: String,
    /// The permissions of clients without a token.
    pub anonymous: Client,
    /// Where the tokens are.
    pub tokens: Option<PathBuf>,
    /// Others whose tokens count.
    pub issuers: Vec<IssuerConfig>,
    /// Proxies whose word about the client is trusted.
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
    /// Connections per client: an address, or a network of IPv6. Connections of this machine and of
    /// trusted proxies are not counted.
    pub max_connections_per_client: usize,
}

/// Where the certificate and its key are, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and a root that clients know.
    pub certificates: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that sign the certificates of clients; a client without such a certificate is refused.
    pub client_ca: Option<PathBuf>,
}
