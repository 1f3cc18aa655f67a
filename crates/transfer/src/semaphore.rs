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

    /// Waits until `bytes` units are free, and takes them. More units than there are can be had when
    /// none is in use.
    pub fn acquire(&self, bytes: usize) {
        let full = |taken: &mut Option<usize>| self.is_full(*taken, bytes);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_while(taken, full);
        let mut taken = waited.unwrap_or_else(PoisonError::into_inner);
        *taken = taken.map(|taken| taken + bytes);
    }

    /// The same, unless it takes longer than `timeout`.
    fn acquire_within(&self, bytes: usize, timeout: Duration) -> bool {
        let full = |taken: &mut Option<usize>| self.is_full(*taken, bytes);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_timeout_while(taken, timeout, full);
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

    /// Gives units back.
    pub fn release(&self, bytes: usize) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.map(|taken| taken.saturating_sub(bytes));
        self.freed.notify_all();
    }

    /// Ends all waits, now and later: no units will be given back.
    pub fn close(&self) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.freed.notify_all();
    }
}

/// A semaphore of which each client may use a part only.
#[derive(Debug)]
pub struct ClientSemaphore {
    all: Semaphore,
    own: usize,
    /// The clients that have or want units, and how many times they do.
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

    /// Waits until `bytes` units are free, of the client's part and of all; [`None`] if they are not
    /// within `timeout`.
    pub fn acquire_within(
        &self,
        client: &str,
        bytes: usize,
        timeout: Duration,
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
        if share.own.acquire_within(bytes, timeout) {
            share.bytes[0] = bytes;
            let left = timeout.saturating_sub(began.elapsed());
            if self.all.acquire_within(bytes, left) {
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
        self.own.release(own);
        self.shares.all.release(all);
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
    fn acquiring_waits_until_units_are_free() {
        let semaphore = &Semaphore::new(10);
        assert!(semaphore.acquire_within(11, Duration::ZERO));
        semaphore.release(11);
        // Larger than everything, and yet alone.
        semaphore.acquire(11);
        std::thread::scope(|scope| {
            let (done, waiting) = channel();
            scope.spawn(move || {
                semaphore.acquire(5);
                semaphore.acquire(5);
                done.send(1).unwrap();
                semaphore.acquire(1);
                done.send(2).unwrap();
            });
            assert!(waiting.recv_timeout(Duration::from_millis(20)).is_err());
            semaphore.release(11);
            assert_eq!(waiting.recv(), Ok(1));
            assert!(!semaphore.acquire_within(1, Duration::from_millis(1)));
            assert!(waiting.recv_timeout(Duration::from_millis(20)).is_err());
            semaphore.close();
            assert_eq!(waiting.recv(), Ok(2));
        });
    }

    #[test]
    fn a_client_cannot_use_the_part_of_another() {
        let shares = &ClientSemaphore::new(10, 6);
        let now = |client, bytes| shares.acquire_within(client, bytes, Duration::ZERO);
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
