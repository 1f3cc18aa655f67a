// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory for data that is read but not yet sent: 256 MiB for all clients.
//!
//! A client decides how fast it reads, and an HTTP/2 client opens hundreds of streams per
//! connection. Each answer asks this budget before it makes its next piece. The more a connection
//! or a client holds already, the smaller the next piece is; a client that holds its whole share
//! gets no further piece until it reads. A share is a part of the *free* memory. So the first
//! client never uses up the budget, and a client that comes later always gets some.
//!
//! ```text
//!  answer ──► Share::poll_piece ──► Permit ──► Permit::keep(bytes) ──► connection ──► client
//!                   ▲                                                       │
//!                   └───────────────── memory given back ◄──────────────────┘
//! ```
//!
//! hyper asks a body for its next piece before the stream has a window. So a stream without a
//! window holds one piece.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::limits::ClientId;

/// Bytes for all clients together.
const TOTAL: usize = 256 << 20;

/// Bytes that one connection holds in large pieces.
const CONNECTION: usize = 2 << 20;

/// Bytes of a piece where the connection or the client holds much already.
pub(crate) const SMALL: usize = 4 << 10;

/// The memory of all answers.
#[derive(Debug)]
pub(crate) struct SendBudget {
    state: Mutex<State>,
    /// Wakes an answer of a client that holds nothing and waits for memory of other clients.
    given_back: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// The clients that hold any.
    clients: HashMap<ClientId, Holding>,
}

/// The memory that a client holds.
#[derive(Debug, Default)]
struct Holding {
    bytes: usize,
    /// Wakes one of its answers that wait, when the client gives something back. Each that gets memory wakes the next.
    given_back: Arc<Notify>,
}

impl SendBudget {
    pub(crate) fn new() -> Arc<Self> {
        Self::of(TOTAL)
    }

    pub(crate) fn of(free: usize) -> Arc<Self> {
        let clients = HashMap::new();
        Arc::new(Self {
            state: Mutex::new(State { free, clients }),
            given_back: Arc::default(),
        })
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.state().free
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer's access to the budget.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    budget: Arc<SendBudget>,
    client: ClientId,
    /// Bytes that the answer's connection holds.
    connection: Arc<AtomicUsize>,
}

impl Share {
    /// The share of a client, for an answer of a connection that holds the bytes in `connection`.
    pub(crate) fn new(
        budget: &Arc<SendBudget>,
        client: ClientId,
        connection: &Arc<AtomicUsize>,
    ) -> Self {
        Self {
            budget: Arc::clone(budget),
            client,
            connection: Arc::clone(connection),
        }
    }

    pub(crate) fn client(&self) -> &ClientId {
        &self.client
    }

    /// Takes `len` bytes if the client then holds at most one `part`th of what is free.
    fn take(&self, len: usize, part: usize) -> Option<Permit> {
        let mut state = self.budget.state();
        let held = state.clients.get(&self.client).map_or(0, |held| held.bytes);
        if held + len > state.free / part {
            return None;
        }
        state.free -= len;
        state.clients.entry(self.client.clone()).or_default().bytes += len;
        drop(state);
        self.connection.fetch_add(len, Ordering::Relaxed);
        let share = self.clone();
        Some(Permit { share, len })
    }

    /// Wakes an answer that finds no memory.
    fn given_back(&self) -> Arc<Notify> {
        let state = self.budget.state();
        let held = state.clients.get(&self.client);
        Arc::clone(held.map_or(&self.budget.given_back, |held| &held.given_back))
    }

    /// Memory for a piece of up to `wanted` bytes; [`None`] if the client holds all that it may.
    fn piece(&self, wanted: usize) -> Option<Permit> {
        let holds = self.connection.load(Ordering::Relaxed);
        let large = (holds + wanted <= CONNECTION).then(|| self.take(wanted, 4));
        large.flatten().or_else(|| self.take(wanted.min(SMALL), 2))
    }

    /// Memory for an answer that is held as a whole; [`None`] if the client holds too much already.
    pub(crate) fn whole(&self, len: usize) -> Option<Permit> {
        self.take(len, 4)
    }
}

/// Memory that an answer holds, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    share: Share,
    len: usize,
}

impl Permit {
    /// Bytes that may be held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that hold their memory until they are sent.
    pub(crate) fn keep(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Kept {
            bytes,
            _permit: self,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Share {
            budget,
            client,
            connection,
        } = &self.share;
        connection.fetch_sub(self.len, Ordering::Relaxed);
        let mut state = budget.state();
        state.free += self.len;
        if let Some(held) = state.clients.get_mut(client) {
            held.bytes -= self.len;
            held.given_back.notify_one();
            if held.bytes == 0 {
                // The others wait for all clients from now on.
                held.given_back.notify_waiters();
                state.clients.remove(client);
            }
        }
        drop(state);
        budget.given_back.notify_one();
    }
}

struct Kept<B> {
    bytes: B,
    _permit: Permit,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Kept<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Asks for pieces, and waits while the client holds all that it may.
#[derive(Debug)]
pub(crate) struct Asking {
    share: Share,
    waiting: Option<Pin<Box<OwnedNotified>>>,
}

impl Asking {
    pub(crate) fn new(share: Share) -> Self {
        let waiting = None;
        Self { share, waiting }
    }

    /// Memory for a piece of up to `wanted` bytes, and of at least one.
    pub(crate) fn poll_piece(&mut self, wanted: usize, context: &mut Context<'_>) -> Poll<Permit> {
        let mut woken = false;
        loop {
            if let Some(permit) = self.share.piece(wanted) {
                self.waiting = None;
                if woken {
                    // There may be some for the next, too.
                    self.share.given_back().notify_one();
                }
                return Poll::Ready(permit);
            }
            // A new one looks once more, as memory may have been given back in between.
            let is_new = self.waiting.is_none();
            let told = || Box::pin(self.share.given_back().notified_owned());
            let waiting = self.waiting.get_or_insert_with(told);
            match waiting.as_mut().poll(context) {
                Poll::Ready(()) => {
                    self.waiting = None;
                    woken = true;
                }
                Poll::Pending if is_new => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(budget: &Arc<SendBudget>, address: &str) -> Share {
        let client = ClientId::at(address.parse().unwrap());
        Share::new(budget, client, &Arc::default())
    }

    /// Takes small pieces until there are no more.
    fn exhaust(share: &Share) -> Vec<Permit> {
        std::iter::from_fn(|| share.piece(1)).collect()
    }

    #[test]
    fn each_client_finds_some() {
        let budget = SendBudget::of(300);
        let clients = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
        let held: Vec<_> = clients
            .iter()
            .map(|one| exhaust(&share(&budget, one)))
            .collect();
        let counts: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [100, 67, 44, 30]);
        assert_eq!(budget.state().clients.len(), 4);
        drop(held);
        assert!(budget.state().clients.is_empty());
        assert_eq!(budget.state().free, 300);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let budget = SendBudget::of(300);
        let _held = exhaust(&share(&budget, "2001:db8::1"));
        assert!(share(&budget, "2001:db8::2").piece(1).is_none());
        assert!(share(&budget, "2001:db8:0:1::2").piece(1).is_some());
    }

    /// Many answers of a client wait, and all of them get their turn; so does one of a client that holds nothing.
    #[tokio::test]
    async fn all_that_wait_go_on() {
        let budget = SendBudget::of(24 * SMALL);
        let first = share(&budget, "192.0.2.1");
        let held = exhaust_small(&first);
        let mut others = Vec::new();
        for number in 2..12 {
            let one = share(&budget, &format!("192.0.2.{number}"));
            others.push(exhaust_small(&one));
        }
        assert_eq!(budget.free(), SMALL);
        let waiting: Vec<_> = (0..5)
            .map(|_| first.clone())
            .chain([share(&budget, "192.0.2.99")])
            .map(|share| {
                tokio::spawn(async move {
                    let mut asking = Asking::new(share);
                    let piece = |context: &mut Context<'_>| asking.poll_piece(SMALL, context);
                    drop(std::future::poll_fn(piece).await);
                })
            })
            .collect();
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(waiting.iter().all(|one| !one.is_finished()));
        drop((held, others));
        for one in waiting {
            one.await.unwrap();
        }
        assert_eq!(budget.free(), 24 * SMALL);
    }

    fn exhaust_small(share: &Share) -> Vec<Permit> {
        std::iter::from_fn(|| share.piece(SMALL)).collect()
    }

    #[test]
    fn a_connection_that_holds_much_gets_small_pieces() {
        let share = share(&SendBudget::new(), "192.0.2.1");
        let large: Vec<_> = (0..32).map(|_| share.piece(128 << 10).unwrap()).collect();
        let lens: Vec<_> = large.iter().map(Permit::len).collect();
        assert_eq!(lens[..16], [128 << 10; 16]);
        assert_eq!(lens[16..], [SMALL; 16]);
    }
}
