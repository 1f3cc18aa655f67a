// SPDX-License-Identifier: MIT OR Apache-2.0
//! Request bodies that are written while they are sent, by a thread that waits for the connection.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::error::IdleTimeout;

/// A part of a body; none is its end.
pub(super) type Part = Option<Bytes>;

/// A body that is written while it is sent.
pub(super) struct StreamedBody {
    parts: Receiver<Part>,
    ended: bool,
}

impl StreamedBody {
    /// One with room for a part.
    pub(super) fn new() -> (Sender<Part>, Self) {
        let (sender, parts) = channel(1);
        let ended = false;
        (sender, Self { parts, ended })
    }
}

impl Body for StreamedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.parts.poll_recv(context).map(|part| match part {
            Some(Some(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(None) => {
                self.ended = true;
                None
            }
            // Whoever makes it has given up: this must not look like an end.
            None => Some(Err(io::ErrorKind::BrokenPipe.into())),
        })
    }
}

/// Writes into a body.
pub(super) struct BodyWriter<'a> {
    runtime: &'a Runtime,
    idle: Option<Duration>,
    parts: Option<Sender<Part>>,
}

impl<'a> BodyWriter<'a> {
    /// Gives up when nothing is taken for `idle`.
    pub(super) fn new(runtime: &'a Runtime, idle: Option<Duration>) -> Self {
        let parts = None;
        Self {
            runtime,
            idle,
            parts,
        }
    }

    /// What is written goes there from now on.
    pub(super) fn speak_into(&mut self, parts: Option<Sender<Part>>) {
        self.parts = parts;
    }

    /// Says that the body is complete.
    pub(super) fn end(&self) -> io::Result<()> {
        self.send(None)
    }

    fn send(&self, part: Part) -> io::Result<()> {
        let parts = self.parts.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        let sent = self.runtime.block_on(async {
            match self.idle {
                Some(idle) => tokio::time::timeout(idle, parts.send(part)).await,
                None => Ok(parts.send(part).await),
            }
        });
        match sent {
            Ok(sent) => sent.map_err(|_| io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(IdleTimeout::error("the server takes nothing any more")),
        }
    }
}

impl Write for BodyWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(Some(Bytes::copy_from_slice(bytes)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
