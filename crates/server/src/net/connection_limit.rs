// SPDX-License-Identifier: MIT OR Apache-2.0
//! The connection limit per client, so that no client uses up all connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::network;

/// Clients, and how many connections each has.
#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    most: usize,
    clients: Mutex<HashMap<IpAddr, usize>>,
}

/// CountedConnection connection, until this is dropped.
#[derive(Debug)]
pub(crate) struct CountedConnection {
    limit: Arc<ConnectionLimit>,
    client: IpAddr,
}

impl ConnectionLimit {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let clients = Mutex::default();
        Arc::new(Self { most, clients })
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// CountedConnection more from there, if there may be one more.
    pub(crate) fn enter(self: &Arc<Self>, from: IpAddr) -> Option<CountedConnection> {
        let client = network(from);
        let mut clients = self.clients();
        let open = clients.entry(client).or_default();
        if *open >= self.most {
            return None;
        }
        *open += 1;
        let limit = Arc::clone(self);
        Some(CountedConnection { limit, client })
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let mut clients = self.limit.clients();
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
        let limit = ConnectionLimit::new(2);
        let enter = |from: &str| limit.enter(from.parse().unwrap());
        let (first, _second) = (enter("192.0.2.1").unwrap(), enter("192.0.2.1").unwrap());
        assert!(enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        let _third = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none());
        let _one = (enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap());
        assert!(enter("2001:db8::3").is_none());
        assert!(enter("2001:db8:0:1::3").is_some());
        assert_eq!(limit.clients().len(), 2);
    }
}
