// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a connection writes in one turn goes out together: with TLS, in as few records and system calls as it fits in.
//!
//! HTTP/2 writes each frame for itself, and wants it to be sent at once. A file is some frames, and many files are
//! answered in one turn.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// With so many bytes it is not waited for the end of the turn: four records of TLS.
const ENOUGH: usize = 64 << 10;

/// A larger buffer is not kept for the next turn.
const KEPT: usize = 4 << 10;

/// A stream that is written to at the end of a turn, when [`Gathered::go_out`] is called.
#[derive(Debug)]
pub(crate) struct Gathered<S>(Arc<Mutex<Inside<S>>>);

#[derive(Debug)]
struct Inside<S> {
    stream: S,
    /// If not, all is passed on as it is written.
    gathers: bool,
    buffer: Vec<u8>,
    /// How much of it has gone out.
    gone: usize,
    /// The stream may still hold some of what went out.
    held: bool,
}

impl<S> Clone for Gathered<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gathered<S> {
    /// One that gathers what is written by HTTP/2. HTTP/1.1 writes an answer in one piece.
    pub(crate) fn new(stream: S, http2: bool) -> Self {
        let (buffer, gone) = (Vec::new(), 0);
        Self(Arc::new(Mutex::new(Inside {
            stream,
            gathers: http2,
            buffer,
            gone,
            held: false,
        })))
    }

    fn inside(&self) -> MutexGuard<'_, Inside<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what was written.
    pub(crate) fn go_out(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inside().go_out(context)
    }
}

impl<S: AsyncWrite + Unpin> Inside<S> {
    fn go_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gone < self.buffer.len() {
            let stream = Pin::new(&mut self.stream);
            match ready!(stream.poll_write(context, &self.buffer[self.gone..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.gone += written,
            }
            self.held = true;
        }
        self.gone = 0;
        self.buffer.clear();
        if self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
        }
        if self.held {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.held = false;
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.gathers {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        }
        if self.buffer.len() >= ENOUGH {
            ready!(self.go_out(context))?;
        }
        let len = bytes.len().min(ENOUGH - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..len]);
        Poll::Ready(Ok(len))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inside().stream).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inside().take(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inside = self.inside();
        if !inside.gathers {
            return Pin::new(&mut inside.stream).poll_write_vectored(context, slices);
        }
        let mut written = 0;
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            match inside.take(context, slice) {
                Poll::Ready(Ok(len)) if len == slice.len() => written += len,
                Poll::Ready(Ok(len)) => return Poll::Ready(Ok(written + len)),
                // It is told with the next one.
                _ if written > 0 => break,
                failed => return failed,
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inside = self.inside();
        match inside.gathers {
            // At the end of the turn.
            true => Poll::Ready(Ok(())),
            false => Pin::new(&mut inside.stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inside = self.inside();
        ready!(inside.go_out(context))?;
        Pin::new(&mut inside.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, duplex};

    use super::*;

    proptest! {
        /// However it is written, and however little the other end takes at a time.
        #[test]
        fn all_goes_out_in_order(
            pieces in proptest::collection::vec(proptest::collection::vec(0..50_000usize, 1..4), 1..12),
            room in 1..100_000usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let (near, mut far) = duplex(room);
            let (see, mut seen) = tokio::sync::watch::channel(0);
            let (sent, came) = runtime.block_on(async {
                let write = async move {
                    // As TLS does, it may keep what it was given until it is told to flush.
                    let stream = Gathered::new(BufWriter::new(near), true);
                    let mut writer = stream.clone();
                    let mut sent = Vec::new();
                    for (turn, lens) in pieces.iter().enumerate() {
                        let byte = |len| u8::try_from((turn + len) % 251).unwrap();
                        let mut bytes: Vec<_> = lens.iter().map(|len| vec![byte(*len); *len]).collect();
                        sent.extend(bytes.concat());
                        while bytes.iter().any(|piece| !piece.is_empty()) {
                            let slices: Vec<_> = bytes.iter().map(|piece| IoSlice::new(piece)).collect();
                            let mut written = writer.write_vectored(&slices).await.unwrap();
                            for piece in &mut bytes {
                                let len = written.min(piece.len());
                                piece.drain(..len);
                                written -= len;
                            }
                        }
                        writer.flush().await.unwrap();
                        if turn % 2 == 0 {
                            poll_fn(|context| stream.go_out(context)).await.unwrap();
                            let all = seen.wait_for(|len| *len == sent.len());
                            tokio::time::timeout(Duration::from_secs(20), all).await.unwrap().unwrap();
                        }
                    }
                    writer.shutdown().await.unwrap();
                    sent
                };
                let read = async move {
                    let mut came = Vec::new();
                    while far.read_buf(&mut came).await.unwrap() > 0 {
                        let _ = see.send(came.len());
                    }
                    came
                };
                tokio::join!(write, read)
            });
            prop_assert!(sent == came);
        }
    }
}
