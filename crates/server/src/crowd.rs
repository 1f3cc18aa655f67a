// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clients, and how many connections each has: no client may take all there are.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// Clients, and how many connections each has.
#[derive(Debug)]
pub(crate) struct Crowd {
    most: usize,
    clients: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection, until this is dropped.
#[derive(Debug)]
pub(crate) struct One {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

/// The network that counts as one client: an IPv4 address, or the first 64 bits of an IPv6 address, as
/// providers hand those out whole.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

impl Crowd {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let clients = Mutex::default();
        Arc::new(Self { most, clients })
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more from there, if there may be one more.
    pub(crate) fn enter(self: &Arc<Self>, from: IpAddr) -> Option<One> {
        let client = network(from);
        let mut clients = self.clients();
        let open = clients.entry(client).or_default();
        if *open >= self.most {
            return None;
        }
        *open += 1;
        let crowd = Arc::clone(self);
        Some(One { crowd, client })
    }
}

impl Drop for One {
    fn drop(&mut self) {
        let mut clients = self.crowd.clients();
        if let Some(open) = clients.get_mut(&self.client) {
            *open -= 1;
            if *open == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_so_many_and_no_more() {
        let crowd = Crowd::new(2);
        let enter = |from: &str| crowd.enter(from.parse().unwrap());
        let (first, _second) = (enter("192.0.2.1").unwrap(), enter("192.0.2.1").unwrap());
        assert!(enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        let _third = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none());
        let _one = (enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap());
        assert!(enter("2001:db8::3").is_none());
        assert!(enter("2001:db8:0:1::3").is_some());
        assert_eq!(crowd.clients().len(), 2);
    }
}
