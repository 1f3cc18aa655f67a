// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files as an archive stores them, of a repository in any mode.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::mem::{replace, take};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use hyper::body::{Body, Frame};
use oxtree_format::{FileId, FilezHeader};
use oxtree_repo::{FileObject, Repo};

use crate::error::Result;

/// Who takes it may pack it anew: it need not be small.
const LEVEL: Compression = Compression::fast();

/// Bytes that are sent in one piece.
const PIECE: usize = 16 << 10;

/// Pieces that wait to be sent.
const WAITING: usize = 16;

/// A client for which the thread has waited this long...
const WAITED: Duration = Duration::from_secs(30);

/// ...and which has taken fewer bytes than this for each second of it, reads too slowly.
const MIN_RATE: u64 = 256;

/// A file that is stored, or that is packed when it is asked for.
#[derive(Debug)]
pub enum Archived {
    /// As it is, and its size.
    Stored(File, u64),
    /// Not packed.
    Plain(FileObject),
}

impl Archived {
    /// Opens a file object.
    pub fn open(repo: &Repo, id: FileId) -> Result<Self> {
        let stored = match repo.mode().is_archive() {
            true => repo.open_filez(id)?,
            false => None,
        };
        Ok(match stored {
            Some((file, size)) => Self::Stored(file, size),
            None => Self::Plain(repo.open_file(id)?),
        })
    }

    /// Its size in bytes, if that is known already.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Stored(_, size) => Some(*size),
            Self::Plain(_) => None,
        }
    }

    /// Writes it.
    pub fn write(self, to: &mut impl Write) -> io::Result<()> {
        let object = match self {
            Self::Stored(mut file, _) => return io::copy(&mut file, to).map(drop),
            Self::Plain(object) => object,
        };
        let header = FilezHeader {
            size: object.size,
            file: object.header,
        };
        to.write_all(&header.stored_bytes())?;
        if header.file.is_symlink() {
            return Ok(());
        }
        let mut content = object.content;
        let mut packer = DeflateEncoder::new(to, LEVEL);
        io::copy(&mut content, &mut packer)?;
        packer.finish().map(drop)
    }

    /// Has a thread of the runtime write it, as the body of an answer. The thread gives up on a client that takes no
    /// piece for as long as `timeout`, or takes it too slowly. `held` is dropped once the body is taken or the
    /// thread has given up.
    pub fn into_body(self, timeout: Option<Duration>, held: impl Send + 'static) -> Packed {
        let queue = Arc::new(Queue::new(Box::new(held)));
        let body = Packed(Arc::clone(&queue));
        tokio::task::spawn_blocking(move || {
            let mut out = Pieces {
                queue: &queue,
                timeout,
                waited: Duration::ZERO,
                sent: 0,
                piece: Vec::with_capacity(PIECE),
            };
            let written = self.write(&mut out).and_then(|()| out.flush());
            queue.end(written);
        });
        body
    }
}

/// Pieces between the thread that makes them and the client that takes them.
struct Queue {
    state: Mutex<State>,
    /// A piece was taken, or the body is gone.
    taken: Condvar,
}

struct State {
    pieces: VecDeque<Bytes>,
    /// How writing ended.
    end: Option<io::Result<()>>,
    /// Nobody takes any more.
    is_dropped: bool,
    waker: Option<Waker>,
    held: Option<Box<dyn Send>>,
}

impl Queue {
    fn new(held: Box<dyn Send>) -> Self {
        Self {
            state: Mutex::new(State {
                pieces: VecDeque::new(),
                end: None,
                is_dropped: false,
                waker: None,
                held: Some(held),
            }),
            taken: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room until `deadline`, and adds a piece.
    fn push(&self, piece: Bytes, deadline: Option<Instant>) -> io::Result<()> {
        let mut state = self.state();
        while state.pieces.len() >= WAITING && !state.is_dropped {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let wait = left.unwrap_or(Duration::MAX);
            let waited = self.taken.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.is_dropped {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        state.pieces.push_back(piece);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Nothing more is written. After an error, what the client has not taken is of no use to it.
    fn end(&self, written: io::Result<()>) {
        let mut state = self.state();
        let mut given_up = (VecDeque::new(), None);
        if written.is_err() {
            given_up = (take(&mut state.pieces), state.held.take());
        }
        state.end = Some(written);
        let waker = state.waker.take();
        drop(state);
        drop(given_up);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// A file as the body of an answer. If not all of it was written it breaks off, and does not look complete.
pub struct Packed(Arc<Queue>);

impl fmt::Debug for Packed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Packed").finish_non_exhaustive()
    }
}

impl Body for Packed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut state = self.0.state();
        if let Some(piece) = state.pieces.pop_front() {
            drop(state);
            self.0.taken.notify_one();
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match state.end.take() {
            Some(Ok(())) => {
                state.end = Some(Ok(()));
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                state.end = Some(Err(error.kind().into()));
                Poll::Ready(Some(Err(error)))
            }
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        self.0.state().is_dropped = true;
        self.0.taken.notify_one();
    }
}

/// Puts together pieces, and waits until there is room for another.
struct Pieces<'q> {
    queue: &'q Queue,
    timeout: Option<Duration>,
    /// For the client, over all.
    waited: Duration,
    sent: u64,
    piece: Vec<u8>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..len]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sent += piece.len() as u64;
        let began = Instant::now();
        let deadline = self.timeout.map(|timeout| began + timeout);
        self.queue.push(piece.into(), deadline)?;
        self.waited += began.elapsed();
        let is_slow = self.waited > WAITED && self.sent < self.waited.as_secs() * MIN_RATE;
        match is_slow && self.timeout.is_some() {
            true => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client reads too slowly",
            )),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;
    use crate::http::runtime;

    /// The bytes that come, and whether they end as if they were all.
    async fn read(mut body: Packed) -> (u64, bool) {
        let mut came = 0;
        while let Some(frame) =
            std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
        {
            match frame {
                Ok(frame) => came += frame.into_data().unwrap().len() as u64,
                Err(_) => return (came, false),
            }
        }
        (came, true)
    }

    #[test]
    fn what_is_cut_off_does_not_look_complete() {
        const SIZE: u64 = 1 << 20;
        let file = || {
            let mut file = tempfile::tempfile().unwrap();
            io::copy(&mut io::repeat(7).take(SIZE), &mut file).unwrap();
            file.rewind().unwrap();
            Archived::Stored(file, SIZE)
        };
        runtime().unwrap().block_on(async {
            assert_eq!(read(file().into_body(None, ())).await, (SIZE, true));
            let (held, done) = std::sync::mpsc::channel::<()>();
            let body = file().into_body(Some(Duration::from_millis(5)), held);
            // Nobody takes anything until the thread has given up, and what it held is free.
            assert!(done.recv().is_err());
            let (came, whole) = read(body).await;
            assert_eq!((came, whole), (0, false));
        });
    }

    #[test]
    fn what_it_holds_is_held_until_all_is_taken() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 3 * PIECE]).unwrap();
        file.rewind().unwrap();
        runtime().unwrap().block_on(async {
            let (held, done) = std::sync::mpsc::channel::<()>();
            let body = Archived::Stored(file, 3 * PIECE as u64).into_body(None, held);
            while body.0.state().end.is_none() {
                tokio::task::yield_now().await;
            }
            assert_eq!(done.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
            assert_eq!(read(body).await, (3 * PIECE as u64, true));
            assert!(done.recv().is_err());
        });
    }
}
