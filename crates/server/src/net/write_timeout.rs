// SPDX-License-Identifier: MIT OR Apache-2.0
//! The write timeout: a connection ends if its client stops reading.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A connection that ends when the other side has taken nothing for too long. As long as it takes what is written,
/// that costs nothing.
#[derive(Debug)]
pub(crate) struct WriteTimeout<S> {
    stream: S,
    timeout: Duration,
    /// Since when nothing was taken.
    stuck: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    pub(crate) fn new(stream: S, timeout: Duration) -> Self {
        Self {
            stream,
            timeout,
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

    /// The timer is not reset by each write: it expires once too early, and is set again then.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let since = *self.stuck.get_or_insert_with(Instant::now);
        let end = since + self.timeout;
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

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::sleep;

    const TICK: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_slow_client_is_waited_for() {
        let (ours, mut theirs) = tokio::io::duplex(100);
        let mut ours = WriteTimeout::new(ours, 10 * TICK);
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
}
