// SPDX-License-Identifier: MIT OR Apache-2.0
//! Budgets of memory and threads, each with a share per client.

mod semaphore;
pub(crate) mod send_budget;
pub(crate) mod unread;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

pub(crate) use self::semaphore::{MemoryBudget, Permit, RequestSemaphore};

/// A client whose share of something is limited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClientId {
    /// All that comes from one address, or one network of 64 bits.
    Network(IpAddr),
    /// All that shows one token.
    Token(String),
}

impl ClientId {
    /// The client at an address.
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::Network(network(address))
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => write!(f, "address {address}"),
            Self::Token(name) => write!(f, "token {name}"),
        }
    }
}

/// The network that is treated as one client: an IPv4 address, or the first 64 bits of an IPv6 address, as
/// providers hand those out whole.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// How many files, connections included, this process may have open.
pub(crate) fn file_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    // Without a limit, a number that no server reaches.
    let limit = limit.unwrap_or(u64::MAX).min(1 << 20);
    usize::try_from(limit).unwrap_or(1 << 20)
}
