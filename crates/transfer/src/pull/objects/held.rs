// SPDX-License-Identifier: MIT OR Apache-2.0
//! Metadata, which is held in memory as a whole: large ones one at a time.

use std::sync::Arc;

use oxtree_format::{Checksum, ObjectId};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::path_of;
use crate::error::Result;
use crate::pull::fetch::{Download, Fetcher, Mirrors, is_page};

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

    /// An object. A web page that is not this object itself means that it is not there.
    pub(super) async fn object(&self, from: &Mirrors, object: &ObjectId) -> Result<Vec<u8>> {
        let is_it = |bytes: &[u8]| Checksum::of(bytes) == object.checksum;
        self.get(from, path_of(object), is_it).await
    }

    /// [`None`] if there is none.
    pub(super) async fn find(&self, from: &Mirrors, path: String) -> Result<Option<Vec<u8>>> {
        match self.get(from, path, |_| false).await {
            Err(error) if error.is_missing_file() => Ok(None),
            got => got.map(Some),
        }
    }

    /// A file that may look like a web page if `is_it`.
    async fn get(
        &self,
        from: &Mirrors,
        path: String,
        is_it: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        let mut download = Download::new(self.fetcher.clone(), from.clone(), path, self.limit);
        loop {
            let bytes = self.whole(&mut download).await?;
            if !is_page(&bytes) || is_it(&bytes) {
                return Ok(bytes);
            }
            download.was_page().await?;
        }
    }

    async fn whole(&self, download: &mut Download) -> Result<Vec<u8>> {
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
}

/// Something that was fetched, and its place.
#[derive(Debug)]
pub(super) struct Held<T> {
    pub(super) what: T,
    pub(super) _place: Asker,
}
