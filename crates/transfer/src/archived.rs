// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files as an archive stores them, of a repository in any mode.

use std::fs::File;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use hyper::body::{Body, Frame};
use oxtree_format::{FileId, FilezHeader};
use oxtree_repo::{FileObject, Repo};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::Result;

/// Who takes it may pack it anew: it need not be small.
const LEVEL: Compression = Compression::fast();

/// Bytes that are sent in one piece.
const PIECE: usize = 64 << 10;

/// Pieces that wait to be sent.
const WAITING: usize = 4;

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

    /// Has a thread of the runtime write it, as the body of an answer. A client that takes no piece for as
    /// long as `patience` is not waited for. `held` is dropped when nothing more is written.
    pub fn into_body(self, patience: Option<Duration>, held: impl Send + 'static) -> Packed {
        let (to, from) = channel(WAITING);
        let end = Arc::new(OnceLock::new());
        let body = Packed {
            from,
            end: Arc::clone(&end),
        };
        tokio::task::spawn_blocking(move || {
            let piece = Vec::with_capacity(PIECE);
            let mut out = Pieces {
                to,
                patience,
                piece,
            };
            let written = self.write(&mut out).and_then(|()| out.flush());
            // Before the last sender goes: it is asked for then. Nobody else sets it.
            let _ = end.set(written.map_err(|error| error.to_string()));
            drop(out);
            drop(held);
        });
        body
    }
}

/// A file as the body of an answer. If not all of it was written it breaks off, and does not look complete.
#[derive(Debug)]
pub struct Packed {
    from: Receiver<Bytes>,
    end: Arc<OnceLock<std::result::Result<(), String>>>,
}

impl Body for Packed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.from.poll_recv(context).map(|piece| {
            let failed = match (piece, self.end.get()) {
                (Some(piece), _) => return Some(Ok(Frame::data(piece))),
                (None, Some(Ok(()))) => return None,
                (None, Some(Err(reason))) => reason.as_str(),
                (None, None) => "not all of it was written",
            };
            Some(Err(io::Error::other(failed)))
        })
    }
}

/// Puts together pieces, and waits until there is room for another.
struct Pieces {
    to: Sender<Bytes>,
    patience: Option<Duration>,
    piece: Vec<u8>,
}

impl Write for Pieces {
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
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE)).into();
        let Some(patience) = self.patience else {
            let sent = self.to.blocking_send(piece);
            return sent.map_err(|_| io::ErrorKind::BrokenPipe.into());
        };
        let sent = self.to.send(piece);
        match Handle::current().block_on(async { tokio::time::timeout(patience, sent).await }) {
            Ok(sent) => sent.map_err(|_| io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;
    use crate::pull::web::runtime;

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
            // Nobody takes anything until it has given up.
            assert!(done.recv().is_err());
            let (came, whole) = read(body).await;
            assert_eq!((came, whole), ((WAITING * PIECE) as u64, false));
        });
    }
}
