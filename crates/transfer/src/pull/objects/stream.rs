// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file too large to be held: written while it comes in.

use std::io::{self, Read};

use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::pull::fetch::{Chunk, Download};

/// Pieces of a large file that wait to be written.
pub(in crate::pull) const PIECES: usize = 4;

/// What goes from the request to the one who writes: pieces, or why there are no more.
pub(in crate::pull) type Pieces = mpsc::Receiver<Result<Chunk>>;

/// Sends what is still to come, or why it does not.
pub(in crate::pull) async fn send_pieces(
    mut download: Download,
    sender: mpsc::Sender<Result<Chunk>>,
) {
    loop {
        let piece: Result<Chunk> = match download.chunk().await {
            Ok(None) => return,
            Ok(Some(piece)) => Ok(piece),
            Err(error) => Err(error),
        };
        let failed = piece.is_err();
        // Whoever writes may have seen enough.
        if sender.send(piece).await.is_err() || failed {
            return;
        }
    }
}

/// Reads pieces as they come; waits for them.
#[derive(Debug)]
pub(in crate::pull) struct PieceReader {
    pieces: Pieces,
    current: Chunk,
    fault: Option<Error>,
}

impl PieceReader {
    /// Reads `first`, and then the pieces.
    pub(in crate::pull) fn new(first: Vec<u8>, pieces: Pieces) -> Self {
        Self {
            pieces,
            current: first.into(),
            fault: None,
        }
    }

    /// The outcome of what was done with the content; a fault of the request counts more.
    pub(in crate::pull) fn blame(&mut self, outcome: Result<()>) -> Result<()> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => outcome,
        }
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(Ok(piece)) => self.current = piece,
                Some(Err(error)) => {
                    self.fault = Some(error);
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            }
        }
        let len = buffer.len().min(self.current.len());
        buffer[..len].copy_from_slice(&self.current.split_to(len));
        Ok(len)
    }
}
