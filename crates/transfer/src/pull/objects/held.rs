// SPDX-License-Identifier: MIT OR Apache-2.0
//! Metadata, which is held in memory as a whole: large ones one at a time.

use std::sync::Arc;

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::Result;
use crate::pull::fetch::{Download, Fetcher, Mirrors};

/// Larger metadata is fetched one at a time, in bytes.
const LARGE: usize = 1 << 20;

/// Asks for metadata. While it lives, it is the only one that has asked for something large.
#[derive(Debug)]
pub(in crate::pull) struct Asker {
    fetcher: Fetcher,
    /// The most bytes that one may have.
    limit: u64,
    room: Arc<Semaphore>,
    alone: OnceCell<Option<OwnedSemaphorePermit>>,
}

impl Asker {
    /// In `room` there is a place for each that may have something large at once.
    pub(in crate::pull) fn new(fetcher: Fetcher, limit: u64, room: Arc<Semaphore>) -> Self {
        let alone = OnceCell::new();
        Self {
            fetcher,
            limit,
            room,
            alone,
        }
    }

    pub(super) async fn get(&self, from: &Mirrors, path: String) -> Result<Vec<u8>> {
        let mut download = Download::new(self.fetcher.clone(), from.clone(), path, self.limit);
        let mut bytes = Vec::new();
        while let Some(chunk) = download.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LARGE {
                // The room is never closed.
                let enter = || async { Arc::clone(&self.room).acquire_owned().await.ok() };
                self.alone.get_or_init(enter).await;
                return download.rest(bytes).await;
            }
        }
        Ok(bytes)
    }

    /// [`None`] if there is none.
    pub(super) async fn find(&self, from: &Mirrors, path: String) -> Result<Option<Vec<u8>>> {
        match self.get(from, path).await {
            Err(error) if error.is_missing_file() => Ok(None),
            got => got.map(Some),
        }
    }
}

/// Something that was fetched, and its place.
#[derive(Debug)]
pub(super) struct Held<T> {
    pub(super) what: T,
    pub(super) _place: Asker,
}
