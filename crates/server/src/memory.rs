// SPDX-License-Identifier: MIT OR Apache-2.0
//! Room for a bounded number of something, for which requests wait in turn, but not for ever, and not too many.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::fault::{Answer, Fault};

/// How long is waited.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests with a body that wait at once: some of it is here already, in HTTP/2 up to a megabyte.
const WAITING: usize = 200;

/// Things of which there are so many.
#[derive(Debug)]
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    waiting: Semaphore,
    patience: Duration,
}

impl Turns {
    /// For requests without a body.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            waiting: Semaphore::new(Semaphore::MAX_PERMITS),
            patience: PATIENCE,
        }
    }

    /// For requests that have one.
    pub(crate) fn for_bodies(count: usize) -> Self {
        Self {
            waiting: Semaphore::new(WAITING),
            ..Self::new(count)
        }
    }

    /// Waits until there are so many; they are free again when what is returned is dropped.
    pub(crate) async fn wait(&self, count: u32, reason: &str) -> Answer<OwnedSemaphorePermit> {
        let busy = || Fault {
            retry_after: Some(10),
            ..Fault::new(StatusCode::SERVICE_UNAVAILABLE, reason)
        };
        let free = Arc::clone(&self.free);
        if let Ok(permit) = Arc::clone(&free).try_acquire_many_owned(count) {
            return Ok(permit);
        }
        let _waits = self.waiting.try_acquire().map_err(|_| busy())?;
        let permit = tokio::time::timeout(self.patience, free.acquire_many_owned(count));
        permit.await.ok().and_then(Result::ok).ok_or_else(busy)
    }
}

/// Bytes for large bodies that are held as a whole, and what is made of them.
const LARGE: usize = 96 << 20;

/// And for small ones: large ones are not to keep them out.
const SMALL: usize = 32 << 20;

/// So much is small.
const SMALL_BODY: usize = 64 << 10;

/// The memory for bodies. Who gets some has all that it needs, so nobody who has some waits for more of it.
#[derive(Debug)]
pub(crate) struct Memory {
    /// In KiB, both.
    large: Turns,
    small: Turns,
}

/// Memory that somebody has.
pub(crate) type Held = OwnedSemaphorePermit;

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            large: Turns::for_bodies(LARGE >> 10),
            small: Turns::for_bodies(SMALL >> 10),
        }
    }

    /// Waits until there is memory for a body of up to `len` bytes and what it becomes, together `times` as much.
    pub(crate) async fn hold(&self, len: usize, times: usize) -> Answer<Held> {
        let (turns, most) = match len <= SMALL_BODY {
            true => (&self.small, SMALL),
            false => (&self.large, LARGE),
        };
        let bytes = len.saturating_mul(times).clamp(1, most);
        let count = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        let reason = "too many large requests are on their way; try again later";
        turns.wait(count, reason).await
    }

    /// The same for a thread that may block.
    pub(crate) fn hold_blocking(&self, len: usize, times: usize) -> Answer<Held> {
        tokio::runtime::Handle::current().block_on(self.hold(len, times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_finds_no_room_is_told_so_in_time() {
        let mut memory = Memory::new();
        memory.large.patience = Duration::from_millis(50);
        let all = memory.hold(usize::MAX, 6).await.unwrap();
        // The small ones have their own.
        drop(memory.hold(SMALL_BODY, 6).await.unwrap());
        let fault = memory.hold(16 << 20, 6).await.unwrap_err();
        assert_eq!(fault.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(fault.retry_after.is_some());
        memory.large.patience = PATIENCE;
        let later = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(all);
        };
        let (held, ()) = tokio::join!(memory.hold(16 << 20, 6), later);
        drop(held.unwrap());
    }

    #[tokio::test]
    async fn who_would_wait_behind_too_many_need_not() {
        let turns = Turns::for_bodies(1);
        let _taken = turns.wait(1, "").await.unwrap();
        let waiting = u32::try_from(WAITING).unwrap();
        let _waiting = turns.waiting.try_acquire_many(waiting).unwrap();
        assert!(turns.wait(1, "").await.is_err());
    }
}
