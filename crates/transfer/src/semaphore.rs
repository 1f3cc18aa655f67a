// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counting semaphores: they bound the bytes that wait in a queue, the memory of large objects, or
//! the number of uploads. [`Semaphore`] has one budget for all threads. [`ClientSemaphore`] also
//! bounds each client's part of it, so that a slow client keeps only itself waiting.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A semaphore whose units are bytes, or whatever the caller counts.
#[derive(Debug)]
pub struct Semaphore {
    /// Units in use; [`None`] once it is closed.
    taken: Mutex<Option<usize>>,
    freed: Condvar,
    most: usize,
}

impl Semaphore {
    /// A semaphore of so many units.
    pub const fn new(most: usize) -> Self {
        Self {
            taken: Mutex::new(Some(0)),
            freed: Condvar::new(),
            most,
        }
    }

    /// Waits until there is room for `bytes`, and takes it. What is larger than all the room waits
    /// until nothing else is there.
    pub fn take(&self, bytes: usize) {
        let full = |taken: &mut Option<usize>| self.is_full(*taken, bytes);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_while(taken, full);
        let mut taken = waited.unwrap_or_else(PoisonError::into_inner);
        *taken = taken.map(|taken| taken + bytes);
    }

    /// Takes room as [`Semaphore::take`], until the guard is dropped.
    pub fn hold(&self, bytes: usize) -> Permit<'_> {
        self.take(bytes);
        Permit {
            semaphore: self,
            bytes,
        }
    }

    /// The same, but waits no longer than `patience`; none if there was no room until then.
    pub fn hold_within(&self, bytes: usize, patience: Duration) -> Option<Permit<'_>> {
        let taken = self.take_within(bytes, patience);
        taken.then(|| Permit {
            semaphore: self,
            bytes,
        })
    }

    /// Takes room, if there is some within `patience`.
    fn take_within(&self, bytes: usize, patience: Duration) -> bool {
        let full = |taken: &mut Option<usize>| self.is_full(*taken, bytes);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_timeout_while(taken, patience, full);
        let (mut taken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return false;
        }
        *taken = taken.map(|taken| taken + bytes);
        true
    }

    fn is_full(&self, taken: Option<usize>, bytes: usize) -> bool {
        taken.is_some_and(|taken| taken > 0 && taken + bytes > self.most)
    }

    /// Gives it back.
    pub fn give(&self, bytes: usize) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.map(|taken| taken.saturating_sub(bytes));
        self.freed.notify_all();
    }

    /// Nobody is to wait any more: nothing will be taken away.
    pub fn close(&self) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.freed.notify_all();
    }
}

/// Units in use, which are released when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Permit<'r> {
    semaphore: &'r Semaphore,
    bytes: usize,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.semaphore.give(self.bytes);
    }
}

/// A semaphore of which each client may use a part only.
#[derive(Debug)]
pub struct ClientSemaphore {
    all: Semaphore,
    own: usize,
    /// The clients that have or want room, and how many times they do.
    clients: Mutex<BTreeMap<String, (Arc<Semaphore>, usize)>>,
}

impl ClientSemaphore {
    /// A semaphore of `all` units, of which one client may use `own`.
    pub const fn new(all: usize, own: usize) -> Self {
        Self {
            all: Semaphore::new(all),
            own,
            clients: Mutex::new(BTreeMap::new()),
        }
    }

    fn clients(&self) -> MutexGuard<'_, BTreeMap<String, (Arc<Semaphore>, usize)>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for `bytes` in the client's part and in all, but no longer than `patience`; none
    /// if there was none until then.
    pub fn hold_within(
        &self,
        client: &str,
        bytes: usize,
        patience: Duration,
    ) -> Option<ClientPermit<'_>> {
        let began = Instant::now();
        let new = || (Arc::new(Semaphore::new(self.own)), 0);
        let own = {
            let mut clients = self.clients();
            let (own, uses) = clients.entry(client.to_owned()).or_insert_with(new);
            *uses += 1;
            Arc::clone(own)
        };
        let mut share = ClientPermit {
            shares: self,
            client: client.to_owned(),
            own,
            bytes: [0; 2],
        };
        if share.own.take_within(bytes, patience) {
            share.bytes[0] = bytes;
            let left = patience.saturating_sub(began.elapsed());
            if self.all.take_within(bytes, left) {
                share.bytes[1] = bytes;
                return Some(share);
            }
        }
        None
    }
}

/// Units in use by a client, which are released when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct ClientPermit<'s> {
    shares: &'s ClientSemaphore,
    client: String,
    own: Arc<Semaphore>,
    /// Of the client's part, and of all.
    bytes: [usize; 2],
}

impl Drop for ClientPermit<'_> {
    fn drop(&mut self) {
        let [own, all] = self.bytes;
        self.own.give(own);
        self.shares.all.give(all);
        let mut clients = self.shares.clients();
        if let Some((_, uses)) = clients.get_mut(&self.client) {
            *uses -= 1;
            if *uses == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn who_finds_no_room_waits_until_there_is_some() {
        let semaphore = &Semaphore::new(10);
        drop(semaphore.hold_within(11, Duration::ZERO).unwrap());
        drop(semaphore.hold(1));
        // Larger than everything, and yet alone.
        semaphore.take(11);
        std::thread::scope(|scope| {
            let (done, waiting) = channel();
            scope.spawn(move || {
                semaphore.take(5);
                semaphore.take(5);
                done.send(1).unwrap();
                semaphore.take(1);
                done.send(2).unwrap();
            });
            assert!(waiting.recv_timeout(Duration::from_millis(20)).is_err());
            semaphore.give(11);
            assert_eq!(waiting.recv(), Ok(1));
            assert!(semaphore.hold_within(1, Duration::from_millis(1)).is_none());
            assert!(waiting.recv_timeout(Duration::from_millis(20)).is_err());
            semaphore.close();
            assert_eq!(waiting.recv(), Ok(2));
        });
    }

    #[test]
    fn a_client_that_holds_all_it_may_leaves_room_for_another() {
        let shares = &ClientSemaphore::new(10, 6);
        let now = |client, bytes| shares.hold_within(client, bytes, Duration::ZERO);
        let held = now("a", 6).unwrap();
        assert!(now("a", 1).is_none());
        let other = now("b", 4).unwrap();
        assert!(now("b", 1).is_none());
        drop(held);
        // More than a part, and yet alone.
        assert!(now("b", 7).is_none());
        drop(other);
        drop(now("b", 20).unwrap());
        assert!(shares.clients().is_empty());
    }
}
