// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers in headers, and the pieces of old sparse files.

use std::io::{self, Read};

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::super::sparse::MAX_PIECES;
use super::{BLOCK, Stream, invalid};

/// The value of a numeric field; 0 if nothing was written there.
pub(super) fn or_blank<T: Default>(value: io::Result<T>, field: &[u8]) -> io::Result<T> {
    match field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        true => Ok(T::default()),
        false => value,
    }
}

pub(super) fn padded(size: u64) -> io::Result<u64> {
    size.checked_next_multiple_of(BLOCK as u64)
        .ok_or_else(|| invalid("a size that makes no sense"))
}

impl<R: Read> Stream<R> {
    /// The real size of an old GNU sparse file, and offset and length of its pieces.
    pub(super) fn old_sparse(&mut self, header: &Header) -> io::Result<(u64, Vec<(u64, u64)>)> {
        let gnu = header
            .as_gnu()
            .ok_or_else(|| invalid("a sparse file without GNU's header"))?;
        let damaged = |_| invalid("the list of a sparse file's pieces is damaged");
        let mut pieces = Vec::new();
        add_pieces(&gnu.sparse, &mut pieces).map_err(damaged)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            if !self.fill(block.as_mut_bytes())? {
                return Err(self.cut());
            }
            add_pieces(&block.sparse, &mut pieces).map_err(damaged)?;
            if pieces.len() > MAX_PIECES {
                return Err(invalid("a sparse file of too many pieces"));
            }
            more = block.is_extended();
        }
        Ok((gnu.real_size().map_err(damaged)?, pieces))
    }
}

fn add_pieces(list: &[GnuSparseHeader], pieces: &mut Vec<(u64, u64)>) -> io::Result<()> {
    for piece in list.iter().filter(|piece| !piece.is_empty()) {
        pieces.push((piece.offset()?, piece.length()?));
    }
    Ok(())
}
