// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a client takes an answer.
//!
//! An HTTP/2 stream has a window of its own, so a stream can stand still while its connection is busy with others.
//! [`outgoing`] wraps the body of an answer. Each of its pieces notes when bytes of it leave for the client, and
//! when it is gone. [`super::executor`] looks at these notes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use crate::body::map;

/// How far the client has taken one answer.
#[derive(Debug)]
pub(crate) struct Delivery {
    began: Instant,
    /// Pieces that were made and have not left yet.
    waiting: AtomicUsize,
    /// Milliseconds after `began` at which bytes last left, or began to wait.
    moved: AtomicU64,
    ended: AtomicBool,
    waker: AtomicWaker,
}

impl Delivery {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            waiting: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        })
    }

    fn note_move(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    /// Whether bytes wait for the client.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whether bytes wait for the client, which has taken none for this long.
    pub(crate) fn stands_still(&self, now: Instant, timeout: Duration) -> bool {
        let moved = self.began + Duration::from_millis(self.moved.load(Ordering::Relaxed));
        self.is_waiting() && now.saturating_duration_since(moved) >= timeout
    }

    /// Ends the answer: its task is woken, and told so by [`Delivery::poll_ended`].
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Ready once the answer was ended.
    pub(crate) fn poll_ended(&self, context: &Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        match self.ended.load(Ordering::Relaxed) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// The body of an answer whose pieces note their way to the client. HTTP/1 has one answer at a time, and
/// needs no delivery.
pub(crate) fn outgoing(
    body: Body,
    delivery: Option<Arc<Delivery>>,
) -> impl hyper::body::Body<Data = Piece, Error = axum::Error> + Unpin {
    map(body, move |bytes| Piece::new(bytes, delivery.clone()))
}

/// Bytes on their way to the client.
#[derive(Debug)]
pub(crate) struct Piece {
    bytes: Bytes,
    delivery: Option<Arc<Delivery>>,
}

impl Piece {
    fn new(bytes: Bytes, delivery: Option<Arc<Delivery>>) -> Self {
        if let Some(delivery) = &delivery {
            // The timeout begins when the first piece waits.
            if delivery.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
                delivery.note_move();
            }
        }
        Self { bytes, delivery }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(delivery) = &self.delivery {
            delivery.note_move();
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(delivery) = &self.delivery {
            delivery.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(100);

    #[tokio::test]
    async fn an_answer_stands_still_while_its_bytes_wait() {
        let delivery = Delivery::new();
        let stands_still = |after| delivery.stands_still(delivery.began + after, TIMEOUT);
        let mut body = outgoing(Body::from("bytes"), Some(Arc::clone(&delivery)));
        // Nothing was made yet: the client waits for the server.
        assert!(!stands_still(2 * TIMEOUT));
        let frame = body.frame().await.unwrap().unwrap();
        let mut piece = frame.into_data().unwrap();
        assert!(!stands_still(TIMEOUT / 2));
        assert!(stands_still(2 * TIMEOUT));
        delivery.moved.store(0, Ordering::Relaxed);
        assert!(stands_still(TIMEOUT));
        tokio::time::sleep(Duration::from_millis(2)).await;
        piece.advance(1);
        assert!(!stands_still(TIMEOUT));
        drop(piece);
        assert!(!stands_still(2 * TIMEOUT));
    }
}
