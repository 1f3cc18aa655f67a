// SPDX-License-Identifier: MIT OR Apache-2.0
//! Budgets of what requests need from the server: memory for bodies, and threads.
//!
//! JSON bodies are held in memory as a whole, and the parsed form can need six times as much. All
//! of them share 192 MiB; bodies up to 64 KiB have 32 MiB of their own. A request gets everything
//! it needs before its body is read, or waits. So no request that holds memory waits for more.
//!
//! Requests wait in turn, but not forever, and only a limited number of them. Each client has a
//! share smaller than the whole. A request waits among those of its own client first, then among
//! all. So a client that is slow with everything it may have only delays itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::{Answer, Fault};
use crate::limits::ClientId;

/// How long a request waits.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Requests with a body that wait at once: some of it is here already, in HTTP/2 up to a megabyte.
const WAITING: usize = 200;

/// And of these, those of one client.
const OWN_WAITING: usize = 100;

/// A bounded number of something, of which each client may have a smaller number.
#[derive(Debug)]
pub(crate) struct RequestSemaphore {
    free: Arc<Semaphore>,
    waiting: Semaphore,
    /// Of each client: how many it may have, and how many of its requests may wait.
    own: usize,
    own_waiting: usize,
    clients: Arc<Clients>,
    timeout: Duration,
}

/// The clients that have or want something.
#[derive(Debug, Default)]
struct Clients(Mutex<HashMap<ClientId, Share>>);

#[derive(Debug)]
struct Share {
    free: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Requests that have or want something.
    requests: usize,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<ClientId, Share>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request of a client. The client is forgotten with its last one.
#[derive(Debug)]
struct Entry {
    clients: Arc<Clients>,
    client: ClientId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut clients = self.clients.lock();
        if let Some(share) = clients.get_mut(&self.client) {
            share.requests -= 1;
            if share.requests == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

/// The units that a request holds until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _free: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    _entry: Entry,
}

impl RequestSemaphore {
    /// For requests without a body: the limits of all together, and per client.
    pub(crate) fn new(count: usize, own: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            waiting: Semaphore::new(Semaphore::MAX_PERMITS),
            own,
            own_waiting: Semaphore::MAX_PERMITS,
            clients: Arc::default(),
            timeout: TIMEOUT,
        }
    }

    /// For requests that have one.
    pub(crate) fn for_bodies(count: usize, own: usize) -> Self {
        Self {
            waiting: Semaphore::new(WAITING),
            own_waiting: OWN_WAITING,
            ..Self::new(count, own)
        }
    }

    /// One more request of a client, and the client's share.
    fn enter(&self, client: &ClientId) -> (Entry, Arc<Semaphore>, Arc<Semaphore>) {
        let mut clients = self.clients.lock();
        let share = clients.entry(client.clone()).or_insert_with(|| Share {
            free: Arc::new(Semaphore::new(self.own)),
            waiting: Arc::new(Semaphore::new(self.own_waiting)),
            requests: 0,
        });
        share.requests += 1;
        let entry = Entry {
            clients: Arc::clone(&self.clients),
            client: client.clone(),
        };
        (entry, Arc::clone(&share.free), Arc::clone(&share.waiting))
    }

    /// Waits until `count` are free, in the client's share and in all. They are free again when the permit is
    /// dropped.
    pub(crate) async fn wait(&self, client: &ClientId, count: u32, reason: &str) -> Answer<Permit> {
        let busy = || Fault {
            retry_after: Some(10),
            ..Fault::new(StatusCode::SERVICE_UNAVAILABLE, reason)
        };
        let (entry, own, own_waiting) = self.enter(client);
        let permit = |own, free| Permit {
            _free: free,
            _own: own,
            _entry: entry,
        };
        let now = Arc::clone(&own).try_acquire_many_owned(count);
        let now = now.and_then(|own| {
            let free = Arc::clone(&self.free).try_acquire_many_owned(count);
            Ok((own, free?))
        });
        if let Ok((own, free)) = now {
            return Ok(permit(own, free));
        }
        let _waits = (
            own_waiting.try_acquire().map_err(|_| busy())?,
            self.waiting.try_acquire().map_err(|_| busy())?,
        );
        let free = Arc::clone(&self.free);
        let acquired = tokio::time::timeout(self.timeout, async {
            let own = own.acquire_many_owned(count).await?;
            Ok((own, free.acquire_many_owned(count).await?))
        });
        match acquired.await {
            Ok(Ok::<_, tokio::sync::AcquireError>((own, free))) => Ok(permit(own, free)),
            _ => Err(busy()),
        }
    }
}

/// Bytes for large bodies that are held as a whole, and what is made of them: in all, and for one client. One
/// client leaves enough for the largest body of another.
const LARGE: usize = 192 << 20;
const OWN_LARGE: usize = 96 << 20;

/// And for small ones: large ones are not to keep them out.
const SMALL: usize = 32 << 20;
const OWN_SMALL: usize = 16 << 20;

/// So much is small.
const SMALL_BODY: usize = 64 << 10;

/// The memory for bodies. A request that gets some has all that it needs, so no request that has some waits for
/// more of it.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    /// In KiB, both.
    large: RequestSemaphore,
    small: RequestSemaphore,
}

impl MemoryBudget {
    pub(crate) fn new() -> Self {
        Self {
            large: RequestSemaphore::for_bodies(LARGE >> 10, OWN_LARGE >> 10),
            small: RequestSemaphore::for_bodies(SMALL >> 10, OWN_SMALL >> 10),
        }
    }

    /// Waits until there is memory for a body of up to `len` bytes and what it becomes, together `times` as much.
    pub(crate) async fn hold(&self, client: &ClientId, len: usize, times: usize) -> Answer<Permit> {
        let (semaphore, most) = match len <= SMALL_BODY {
            true => (&self.small, OWN_SMALL),
            false => (&self.large, OWN_LARGE),
        };
        let bytes = len.saturating_mul(times).clamp(1, most);
        let count = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        let reason = "too many large requests are on their way; try again later";
        semaphore.wait(client, count, reason).await
    }

    /// The same for a thread that may block.
    pub(crate) fn hold_blocking(
        &self,
        client: &ClientId,
        len: usize,
        times: usize,
    ) -> Answer<Permit> {
        tokio::runtime::Handle::current().block_on(self.hold(client, len, times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str) -> ClientId {
        ClientId::Token(name.to_owned())
    }

    #[tokio::test]
    async fn a_request_that_finds_no_memory_is_told_so_in_time() {
        let mut memory = MemoryBudget::new();
        let ours = client("ours");
        memory.large.timeout = Duration::from_millis(50);
        let all = memory.hold(&ours, usize::MAX, 6).await.unwrap();
        // The small ones have their own.
        drop(memory.hold(&ours, SMALL_BODY, 6).await.unwrap());
        let fault = memory.hold(&ours, 16 << 20, 6).await.unwrap_err();
        assert_eq!(fault.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(fault.retry_after.is_some());
        memory.large.timeout = TIMEOUT;
        let later = async {
            tokio::task::yield_now().await;
            drop(all);
        };
        let (held, ()) = tokio::join!(memory.hold(&ours, 16 << 20, 6), later);
        drop(held.unwrap());
    }

    #[tokio::test]
    async fn a_client_leaves_enough_for_another() {
        let memory = MemoryBudget::new();
        let (first, second) = (client("first"), client("second"));
        for len in [usize::MAX, SMALL_BODY] {
            let mut held = Vec::new();
            loop {
                let more = memory.hold(&first, len, 6);
                match tokio::time::timeout(Duration::ZERO, more).await {
                    Ok(more) => held.push(more.unwrap()),
                    Err(_) => break,
                }
            }
            // However many more of the first one's wait meanwhile.
            let waits = tokio::time::timeout(TIMEOUT, memory.hold(&first, len, 6));
            let all = async { memory.hold(&second, len, 6).await.unwrap() };
            tokio::select! {
                biased;
                _ = waits => panic!("there is none"),
                _ = all => {}
            }
        }
        // Clients of which no request is left are forgotten.
        assert!(memory.large.clients.lock().is_empty());
        assert!(memory.small.clients.lock().is_empty());
    }

    #[tokio::test]
    async fn a_request_that_would_wait_behind_too_many_need_not() {
        let semaphore = RequestSemaphore::for_bodies(2, 1);
        let (first, second) = (client("first"), client("second"));
        let _taken = semaphore.wait(&first, 1, "").await.unwrap();
        let (_entry, _, waiting) = semaphore.enter(&first);
        let own = u32::try_from(OWN_WAITING).unwrap();
        let others = u32::try_from(WAITING - OWN_WAITING).unwrap();
        let _waiting = waiting.try_acquire_many(own).unwrap();
        assert!(semaphore.wait(&first, 1, "").await.is_err());
        let _taken = semaphore.wait(&second, 1, "").await.unwrap();
        let _others = semaphore.waiting.try_acquire_many(own + others).unwrap();
        assert!(semaphore.wait(&second, 1, "").await.is_err());
    }
}
