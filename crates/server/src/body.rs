// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bodies, between the threads that wait for the network and those that wait for the disk.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pieces of a body that wait to be read or sent.
const PIECES: usize = 2;

/// How long a client may be silent in the middle of a body.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// The body of a request for a thread that may block. Whoever sends it too slowly is cut off.
#[derive(Debug)]
pub(crate) struct BodyReader {
    pieces: Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl BodyReader {
    pub(crate) fn new(mut body: Body) -> Self {
        let (to, pieces) = channel(PIECES);
        tokio::spawn(async move {
            loop {
                let frame = match tokio::time::timeout(SILENCE, body.frame()).await {
                    Ok(None) => return,
                    Ok(Some(Ok(frame))) => Ok(frame),
                    Ok(Some(Err(error))) => Err(io::Error::other(error)),
                    Err(_) => Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "nothing came for a minute",
                    )),
                };
                let piece = frame.map(|frame| frame.into_data().unwrap_or_default());
                let is_last = piece.is_err();
                if to.send(piece).await.is_err() || is_last {
                    return;
                }
            }
        });
        Self {
            pieces,
            piece: Bytes::new(),
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let len = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}

/// The body of an answer that a thread is still making.
#[derive(Debug)]
pub(crate) struct Made(Receiver<Bytes>);

impl Made {
    pub(crate) fn new() -> (Sender<Bytes>, Self) {
        let (to, from) = channel(PIECES);
        (to, Self(from))
    }
}

impl hyper::body::Body for Made {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.0.poll_recv(context);
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
