// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keeps a producer from running too far ahead.

use std::sync::{Condvar, Mutex, PoisonError};

/// An amount of memory that is shared out.
pub(super) struct Budget {
    left: Mutex<u64>,
    returned: Condvar,
}

/// A part of a [`Budget`], returned when it is dropped.
pub(super) struct Share<'a> {
    budget: &'a Budget,
    amount: u64,
}

impl Budget {
    pub(super) fn new(amount: u64) -> Self {
        Self {
            left: Mutex::new(amount),
            returned: Condvar::new(),
        }
    }

    /// Waits until `amount`, which is not more than the whole, is there to be had.
    pub(super) fn take(&self, amount: u64) -> Share<'_> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = self
            .returned
            .wait_while(left, |left| *left < amount)
            .unwrap_or_else(PoisonError::into_inner);
        *left -= amount;
        Share {
            budget: self,
            amount,
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut left = self
            .budget
            .left
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *left += self.amount;
        self.budget.returned.notify_one();
    }
}
