// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bodies, between the threads that wait for the network and those that wait for the disk. They
//! pass through a queue of two pieces, so a client that sends faster than the disk writes is
//! slowed down by TCP.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, SizeHint};
use oxtree_repo::memory::Buffer;
use oxtree_transfer::protocol::message::Limits;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pieces of a body that wait to be read or sent.
const PIECES: usize = 2;

/// How long a client may be silent in the middle of a body, at most.
const SILENCE: Duration = Duration::from_secs(60);

/// A body that the server has waited for this long...
const WAITED: Duration = Duration::from_secs(30);

/// ...and has sent fewer bytes than this for each second of it, is too slow: others wait.
const MIN_RATE: u64 = 256;

/// The same where memory is held for all of the body.
const MIN_RATE_HELD: u64 = 16 << 10;

/// How long a body may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    silence: Duration,
    /// Altogether, if there is a bound.
    all: Option<Duration>,
    rate: u64,
}

impl Pace {
    /// For a body for which memory is held.
    pub(crate) const HELD: Self = Self {
        silence: SILENCE,
        all: None,
        rate: MIN_RATE_HELD,
    };

    /// As the owner of a repository wants it (`receive.idle-timeout`, `receive.timeout`).
    pub(crate) fn of(limits: Limits) -> Self {
        let time = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        Self {
            silence: time(limits.idle).map_or(SILENCE, |idle| idle.min(SILENCE)),
            all: time(limits.time),
            rate: MIN_RATE,
        }
    }
}

/// The next piece of a body. A client that sends it too slowly is cut off.
#[derive(Debug)]
pub(crate) struct Patient {
    body: Body,
    pace: Pace,
    began: Instant,
    waited: Duration,
    came: u64,
}

impl Patient {
    pub(crate) fn new(body: Body, pace: Pace) -> Self {
        Self {
            body,
            pace,
            began: Instant::now(),
            waited: Duration::ZERO,
            came: 0,
        }
    }

    pub(crate) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let late = |reason: String| Some(Err(io::Error::new(io::ErrorKind::TimedOut, reason)));
        let since = Instant::now();
        let Pace { silence, all, rate } = self.pace;
        let left = all.map(|all| all.saturating_sub(self.began.elapsed()));
        let patience = left.map_or(silence, |left| left.min(silence));
        let frame = tokio::time::timeout(patience, self.body.frame()).await;
        self.waited += since.elapsed();
        let piece = match frame {
            Ok(None) => return None,
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(Some(Err(error))) => return Some(Err(io::Error::other(error))),
            Err(_) if patience < silence => return late("it takes too long".to_owned()),
            Err(_) => return late(format!("nothing came for {} s", silence.as_secs())),
        };
        self.came += piece.len() as u64;
        match self.waited > WAITED && self.came < self.waited.as_secs() * rate {
            true => late("it comes too slowly".to_owned()),
            false => Some(Ok(piece)),
        }
    }
}

/// The largest length that a body may have, as far as is said of it.
pub(crate) fn at_most(body: &Body, limit: usize) -> usize {
    let said = body.size_hint().upper().unwrap_or(u64::MAX);
    usize::try_from(said).map_or(limit, |said| said.min(limit))
}

/// The whole of a small body; too large a one is an error of that kind.
pub(crate) async fn read_whole(body: Body, limit: usize, pace: Pace) -> io::Result<Buffer> {
    if body.size_hint().lower() > limit as u64 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut all = Buffer::zeroed(at_most(&body, limit))?;
    let mut len = 0;
    let mut patient = Patient::new(body, pace);
    while let Some(piece) = patient.next().await {
        let piece = piece?;
        let place = all.get_mut(len..len + piece.len());
        place
            .ok_or(io::ErrorKind::FileTooLarge)?
            .copy_from_slice(&piece);
        len += piece.len();
    }
    all.truncate(len);
    Ok(all)
}

/// The body of a request for a thread that may block.
#[derive(Debug)]
pub(crate) struct BodyReader {
    pieces: Receiver<io::Result<Bytes>>,
    piece: Bytes,
    /// Nothing more came in time.
    is_late: bool,
}

impl BodyReader {
    pub(crate) fn new(body: Body, pace: Pace) -> Self {
        let (to, pieces) = channel(PIECES);
        tokio::spawn(async move {
            let mut patient = Patient::new(body, pace);
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
            is_late: false,
        }
    }

    /// Whether nothing more came in time: what was made of it until then is no fault of its own.
    pub(crate) fn is_late(&self) -> bool {
        self.is_late
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => {
                    self.is_late = error.kind() == io::ErrorKind::TimedOut;
                    return Err(error);
                }
            }
        }
        let len = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}

/// Reads into a buffer for which memory is held, until it is full or nothing is left.
pub(crate) fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let (began, mut len) = (Instant::now(), 0);
    while len < buffer.len() {
        match from.read(&mut buffer[len..])? {
            0 => break,
            more => len += more,
        }
        let time = began.elapsed();
        if time > WAITED && (len as u64) < time.as_secs() * MIN_RATE_HELD {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "it comes too slowly",
            ));
        }
    }
    Ok(len)
}

/// The body of an answer, as a function that makes its next piece. Every body that the server makes
/// or changes is one of these. `left`: the bytes that are left, if their number is known.
pub(crate) struct Pieces<F> {
    left: Option<u64>,
    next: F,
}

/// The next piece of a body, once it is there; [`None`] at the end.
pub(crate) type NextPiece<D = Bytes> = Poll<Option<Result<D, axum::Error>>>;

impl<D: Buf, F: FnMut(&mut Context<'_>) -> NextPiece<D> + Unpin> Pieces<F> {
    pub(crate) fn new(left: Option<u64>, next: F) -> Self {
        Self { left, next }
    }
}

impl<D: Buf, F: FnMut(&mut Context<'_>) -> NextPiece<D> + Unpin> hyper::body::Body for Pieces<F> {
    type Data = D;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<D>, axum::Error>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let piece = ready!((self.next)(context));
        if let (Some(left), Some(Ok(piece))) = (&mut self.left, &piece) {
            *left = left.saturating_sub(piece.remaining() as u64);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The next piece of a body. Trailers are left out.
pub(crate) fn poll_piece(body: &mut Body, context: &mut Context<'_>) -> NextPiece {
    loop {
        match ready!(Pin::new(&mut *body).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    return Poll::Ready(Some(Ok(piece)));
                }
            }
        }
    }
}

/// A body whose pieces pass through a function.
pub(crate) fn map<D: Buf>(
    mut body: Body,
    mut each: impl FnMut(Bytes) -> D + Unpin,
) -> impl hyper::body::Body<Data = D, Error = axum::Error> + Unpin {
    let len = body.size_hint().exact();
    Pieces::new(len, move |context: &mut Context<'_>| {
        poll_piece(&mut body, context).map_ok(&mut each)
    })
}

/// The body of an answer that a thread is still making. With an error it breaks off.
pub(crate) fn channel_body() -> (Sender<io::Result<Bytes>>, Body) {
    let (to, mut pieces) = channel(PIECES);
    let next = move |context: &mut Context<'_>| pieces.poll_recv(context).map_err(axum::Error::new);
    (to, Body::new(Pieces::new(None, next)))
}
