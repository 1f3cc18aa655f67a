// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts writing to the disk while a transaction still takes in objects.
//!
//! After every 96 MB a thread calls `syncfs`, so the `syncfs` at the transaction's end has little
//! left to do.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes that are written before the disk is asked to follow.
const STEP: u64 = 96 << 20;

/// What an object costs beside its content, in bytes: its inode and its name.
const OBJECT: u64 = 1 << 10;

/// Asks the disk to follow now and then.
#[derive(Debug)]
pub(super) struct Flusher {
    /// A handle on the file system.
    dir: Arc<OwnedFd>,
    written: AtomicU64,
    busy: Arc<AtomicBool>,
}

impl Flusher {
    pub(super) fn new(dir: OwnedFd) -> Self {
        Self {
            dir: Arc::new(dir),
            written: AtomicU64::new(0),
            busy: Arc::default(),
        }
    }

    /// Notes that an object was written.
    pub(super) fn wrote(&self, bytes: u64) {
        let bytes = bytes + OBJECT;
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if (before + bytes) / STEP == before / STEP || self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let (dir, busy) = (Arc::clone(&self.dir), Arc::clone(&self.busy));
        let flush = move || {
            // It is only a beginning: the one at the end says what goes wrong.
            let _ = rustix::fs::syncfs(&*dir);
            busy.store(false, Ordering::Release);
        };
        if std::thread::Builder::new().spawn(flush).is_err() {
            self.busy.store(false, Ordering::Release);
        }
    }
}
