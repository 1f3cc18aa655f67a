// SPDX-License-Identifier: MIT OR Apache-2.0
//! The old `.lzma` format: 13 bytes of header and one stream, without a checksum.
//!
//! Damage shows only where the stream does not end as it should: with its end marker or at the size in the header,
//! the range coder in its final state, and nothing but zeros after it.

use std::io::{self, Cursor, Read};

use lzma_rust2::LzmaReader;

use super::{DICTIONARY, Found};

/// Bytes that tell the format: the header, and the first byte of the stream.
pub(super) const START: usize = 14;

/// Whether a file that begins so is of this format. There is no magic number, so each field is looked at.
pub(super) fn is_lzma(start: &[u8]) -> bool {
    let Some(([properties, fields @ ..], 0)) = start
        .first_chunk::<START>()
        .map(|[start @ .., first]| (start, *first))
    else {
        return false;
    };
    let [d0, d1, d2, d3, size @ ..] = *fields;
    let dictionary = u32::from_le_bytes([d0, d1, d2, d3]);
    let size = u64::from_le_bytes(size);
    // 2^n or 2^n + 2^(n-1), as all encoders write it.
    let usual = dictionary >= 4096 && matches!(dictionary >> dictionary.trailing_zeros(), 1 | 3);
    *properties < 9 * 5 * 5 && usual && (size == u64::MAX || size < 1 << 48)
}

/// The stream of a file; [`None`] after its end.
pub(super) struct Lzma<R>(Option<LzmaReader<R>>);

impl<R: Read> Lzma<R> {
    pub(super) fn new(from: R) -> io::Result<Self> {
        let mut decoder = LzmaReader::new_mem_limit(from, DICTIONARY, None)?;
        decoder.set_relaxed_end_condition(false);
        Ok(Self(Some(decoder)))
    }
}

impl<R: Read> Read for Lzma<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.0 else {
            return Ok(0);
        };
        let len = decoder.read(buffer)?;
        if len == 0
            && !buffer.is_empty()
            && let Some(decoder) = self.0.take()
        {
            let (from, unused) = decoder.into_parts();
            let mut rest = Cursor::new(unused).chain(from);
            let mut some = [0; 4096];
            loop {
                match rest.read(&mut some)? {
                    0 => break,
                    len if some[..len].iter().all(|byte| *byte == 0) => {}
                    _ => return Err(Found::trailing()),
                }
            }
        }
        Ok(len)
    }
}
