// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clients that do not take what they have asked for, or ask for nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// A connection that ends when the other side has taken nothing for too long. As long as it takes what is written,
/// that costs nothing.
#[derive(Debug)]
pub(crate) struct Taken<S> {
    stream: S,
    patience: Duration,
    /// Since when nothing was taken.
    stuck: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Taken<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            stuck: None,
            timer: None,
        }
    }

    fn wrote(
        &mut self,
        wrote: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match wrote {
            Poll::Ready(_) => {
                self.stuck = None;
                wrote
            }
            Poll::Pending => self.wait(context),
        }
    }

    /// The timer stays what it is while things go on: it rings once in vain, and is set anew then.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let since = *self.stuck.get_or_insert_with(Instant::now);
        let end = since + self.patience;
        let new = || Box::pin(sleep_until(end));
        let timer = self.timer.get_or_insert_with(new);
        while timer.as_mut().poll(context).is_ready() {
            if timer.deadline() >= end {
                let reason = "what is sent is not taken";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)));
            }
            timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(wrote, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.wrote(wrote, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Pending => self.wait(context),
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(context) {
            Poll::Pending => self.wait(context),
            shut => shut,
        }
    }
}

/// Nobody has less time than that, whatever is configured.
const LEAST: Duration = Duration::from_millis(10);

/// What goes on in a connection of HTTP/2, where one that answers pings is alive, and may yet want nothing.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// All that has happened.
    beats: AtomicU64,
    /// What the server has to do.
    working: AtomicUsize,
    /// Answers that the client has to take.
    answers: AtomicUsize,
}

/// The server has something to do, until this is dropped.
struct Work(Arc<Pulse>);

impl Work {
    fn begin(pulse: &Arc<Pulse>) -> Self {
        pulse.working.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(pulse))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.beats.fetch_add(1, Ordering::Relaxed);
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pulse {
    /// Makes an answer, and sees to what becomes of it.
    pub(crate) async fn answer(
        pulse: &Arc<Self>,
        answer: impl Future<Output = hyper::Response<Body>>,
    ) -> hyper::Response<Body> {
        let work = Work::begin(pulse);
        let response = answer.await;
        pulse.answers.fetch_add(1, Ordering::Relaxed);
        drop(work);
        let pulse = Arc::clone(pulse);
        response.map(|body| {
            Body::new(Answer {
                body,
                pulse,
                made: None,
            })
        })
    }

    /// Waits until nothing has been asked for so long as `idle`, or nothing that was asked for is taken for so long
    /// as `stalled`.
    pub(crate) async fn falls_silent(&self, idle: Duration, stalled: Duration) {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            sleep(idle.min(stalled).max(LEAST)).await;
            let beats = self.beats.load(Ordering::Relaxed);
            if beats != last || self.working.load(Ordering::Relaxed) > 0 {
                (last, since) = (beats, Instant::now());
                continue;
            }
            let patience = match self.answers.load(Ordering::Relaxed) {
                0 => idle,
                _ => stalled,
            };
            if since.elapsed() >= patience {
                return;
            }
        }
    }
}

/// The body of an answer, which the client takes or not.
struct Answer {
    body: Body,
    pulse: Arc<Pulse>,
    /// The next piece is still being made.
    made: Option<Work>,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match frame.is_pending() {
            true if self.made.is_none() => self.made = Some(Work::begin(&self.pulse)),
            true => {}
            false => {
                self.made = None;
                self.pulse.beats.fetch_add(1, Ordering::Relaxed);
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.pulse.beats.fetch_add(1, Ordering::Relaxed);
        self.pulse.answers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const TICK: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn who_takes_something_now_and_then_is_borne() {
        let (ours, mut theirs) = tokio::io::duplex(100);
        let mut ours = Taken::new(ours, 10 * TICK);
        let reads = async {
            for _ in 0..10 {
                sleep(4 * TICK).await;
                theirs.read_exact(&mut [0; 100]).await.unwrap();
            }
            theirs
        };
        let all = [0; 1100];
        let (wrote, theirs) = tokio::join!(ours.write_all(&all), reads);
        wrote.unwrap();
        let began = Instant::now();
        let error = ours.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= 10 * TICK);
        drop(theirs);
    }

    #[tokio::test]
    async fn a_connection_lives_while_somebody_works() {
        let pulse = Arc::new(Pulse::default());
        let silent = || async {
            let began = Instant::now();
            pulse.falls_silent(2 * TICK, 8 * TICK).await;
            began.elapsed()
        };
        assert!(silent().await >= 2 * TICK);
        let slow = async {
            sleep(20 * TICK).await;
            hyper::Response::new(Body::from("x"))
        };
        let (response, waited) = tokio::join!(Pulse::answer(&pulse, slow), silent());
        assert!(waited >= 28 * TICK, "{waited:?}");
        // It is taken after all.
        response.into_body().collect().await.unwrap();
        assert!(silent().await < 8 * TICK);
    }
}
