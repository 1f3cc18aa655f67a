// SPDX-License-Identifier: MIT OR Apache-2.0
//! Room for a bounded amount of something, bytes that wait in a queue, say: what is packed well is
//! small, and may be far ahead of what the link has carried.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Room for what waits.
#[derive(Debug)]
pub struct Room {
    /// Bytes that are taken; none once nobody takes anything away any more.
    taken: Mutex<Option<usize>>,
    freed: Condvar,
    most: usize,
}

impl Room {
    /// Room for so much.
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

    /// Takes room as [`Room::take`], until the guard is dropped.
    pub fn hold(&self, bytes: usize) -> Held<'_> {
        self.take(bytes);
        Held { room: self, bytes }
    }

    /// The same, but waits no longer than `patience`; none if there was no room until then.
    pub fn hold_within(&self, bytes: usize, patience: Duration) -> Option<Held<'_>> {
        let full = |taken: &mut Option<usize>| self.is_full(*taken, bytes);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_timeout_while(taken, patience, full);
        let (mut taken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        *taken = taken.map(|taken| taken + bytes);
        Some(Held { room: self, bytes })
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

/// Room that somebody has.
#[derive(Debug)]
#[must_use]
pub struct Held<'r> {
    room: &'r Room,
    bytes: usize,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.room.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn who_finds_no_room_waits_until_there_is_some() {
        let room = &Room::new(10);
        drop(room.hold_within(11, Duration::ZERO).unwrap());
        drop(room.hold(1));
        // Larger than everything, and yet alone.
        room.take(11);
        std::thread::scope(|scope| {
            let (done, waiting) = channel();
            scope.spawn(move || {
                room.take(5);
                room.take(5);
                done.send(1).unwrap();
                room.take(1);
                done.send(2).unwrap();
            });
            assert!(waiting.recv_timeout(Duration::from_millis(20)).is_err());
            room.give(11);
            assert_eq!(waiting.recv(), Ok(1));
            assert!(room.hold_within(1, Duration::from_millis(1)).is_none());
            assert!(waiting.recv_timeout(Duration::from_millis(20)).is_err());
            room.close();
            assert_eq!(waiting.recv(), Ok(2));
        });
    }
}
