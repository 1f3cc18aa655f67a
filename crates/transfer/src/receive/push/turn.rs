// SPDX-License-Identifier: MIT OR Apache-2.0
//! One stream of a push after the other: each needs the memory of one, and uses all cores by itself. What
//! is on its way meanwhile waits in the network.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// So long a stream waits at the most: the one before it may come over a connection that is dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turn {
    taken: Mutex<bool>,
    free: Condvar,
}

impl Turn {
    /// Waits for its turn, and takes it.
    pub(super) fn wait(&self) -> Taken<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .free
            .wait_timeout_while(taken, PATIENCE, |taken| *taken);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = true;
        Taken(self)
    }
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Taken<'t>(&'t Turn);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn one_after_the_other() {
        let (turn, busy) = (Turn::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _turn = turn.wait();
                    assert!(!busy.swap(true, Ordering::SeqCst));
                    std::thread::sleep(Duration::from_millis(5));
                    assert!(busy.swap(false, Ordering::SeqCst));
                });
            }
        });
    }
}
