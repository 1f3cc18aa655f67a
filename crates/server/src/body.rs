// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bodies, between the threads that wait for the network and those that wait for the disk.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pieces of a body that wait to be read or sent.
const PIECES: usize = 2;

/// How long a client may be silent in the middle of a body.
const SILENCE: Duration = Duration::from_secs(60);

/// Whoever was waited for so long...
const WAITED: Duration = Duration::from_secs(30);

/// ...and has sent fewer bytes than this for each second of it, is too slow: others wait.
const MIN_RATE: u64 = 256;

/// The next piece of a body. Whoever sends it too slowly is cut off.
#[derive(Debug)]
struct Patient {
    body: Body,
    waited: Duration,
    came: u64,
}

impl Patient {
    fn new(body: Body) -> Self {
        Self {
            body,
            waited: Duration::ZERO,
            came: 0,
        }
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let late = |reason| Some(Err(io::Error::new(io::ErrorKind::TimedOut, reason)));
        let since = Instant::now();
        let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
        self.waited += since.elapsed();
        let piece = match frame {
            Ok(None) => return None,
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(Some(Err(error))) => return Some(Err(io::Error::other(error))),
            Err(_) => return late("nothing came for a minute"),
        };
        self.came += piece.len() as u64;
        match self.waited > WAITED && self.came < self.waited.as_secs() * MIN_RATE {
            true => late("it comes too slowly"),
            false => Some(Ok(piece)),
        }
    }
}

/// The whole of a small body; too large a one is an error of that kind.
pub(crate) async fn read_whole(body: Body, limit: usize) -> io::Result<Bytes> {
    let mut patient = Patient::new(body);
    let mut all = Vec::new();
    while let Some(piece) = patient.next().await {
        let piece = piece?;
        if all.len() + piece.len() > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}

/// The body of a request for a thread that may block.
#[derive(Debug)]
pub(crate) struct BodyReader {
    pieces: Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl BodyReader {
    pub(crate) fn new(body: Body) -> Self {
        let (to, pieces) = channel(PIECES);
        tokio::spawn(async move {
            let mut patient = Patient::new(body);
            while let Some(piece) = patient.next().await {
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

/// The body of an answer that a thread is still making. With an error it breaks off.
#[derive(Debug)]
pub(crate) struct Made(Receiver<io::Result<Bytes>>);

impl Made {
    pub(crate) fn new() -> (Sender<io::Result<Bytes>>, Self) {
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
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
