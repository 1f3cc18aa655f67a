// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps of bsdiff's patches.

use crate::Error;

/// How many bytes the numbers of a step take.
pub const STEP_LEN: usize = 24;

/// One step: the numbers, which are followed by `alike` bytes and then `fresh` bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// So many bytes are to be added (modulo 256) to those of the source.
    pub alike: u64,
    /// So many bytes are new.
    pub fresh: u64,
    /// How far to go on in the source after that.
    pub seek: i64,
}

impl Step {
    /// Reads the numbers. Lengths are not negative.
    pub fn parse(bytes: &[u8; STEP_LEN]) -> Result<Self, Error> {
        let number = |at: usize| {
            let word = bytes[at..at + 8].iter().rev();
            let word = word.fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
            // Below 2^63.
            let size = (word & (u64::MAX >> 1)).cast_signed();
            if word >> 63 == 0 { size } else { -size }
        };
        let length = |at| u64::try_from(number(at)).map_err(|_| Error::Delta("a negative length"));
        Ok(Self {
            alike: length(0)?,
            fresh: length(8)?,
            seek: number(16),
        })
    }

    /// The numbers' bytes.
    pub fn to_bytes(&self) -> [u8; STEP_LEN] {
        let sign = if self.seek < 0 { 1 << 63 } else { 0 };
        let numbers = [self.alike, self.fresh, self.seek.unsigned_abs() | sign];
        let mut bytes = [0; STEP_LEN];
        for (to, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *to = number.to_le_bytes();
        }
        bytes
    }
}
