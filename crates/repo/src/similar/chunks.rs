// SPDX-License-Identifier: MIT OR Apache-2.0
//! What two contents have in common that are too large to be held in memory: chunks, which end where the
//! content itself says so, and are compared by their checksums.

use std::collections::HashMap;
use std::io::{self, Read};

use oxtree_format::Checksum;

/// A chunk ends after some of the places where this many bits of the rolling hash are 0: every 8 KiB or so.
const BITS: u32 = 13;

/// Chunks are no shorter, but for the last one.
const SHORTEST: usize = 2 << 10;

/// Chunks are no longer.
const LONGEST: usize = 64 << 10;

/// A run of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// So many bytes are new.
    Fresh(u64),
    /// These bytes are those of the base.
    Same {
        /// Where in the base.
        offset: u64,
        /// How many.
        len: u64,
    },
}

/// Goes through both contents once, and covers the second with runs.
pub fn runs(base: &mut dyn Read, content: &mut dyn Read) -> io::Result<Vec<Run>> {
    let mut known: HashMap<[u8; 32], u64> = HashMap::new();
    let mut at = 0;
    chunks(base, &mut |chunk| {
        known.entry(Checksum::of(chunk).0).or_insert(at);
        at += chunk.len() as u64;
    })?;
    let mut runs: Vec<Run> = Vec::new();
    chunks(content, &mut |chunk| {
        let more = chunk.len() as u64;
        let found = known.get(&Checksum::of(chunk).0);
        match (runs.last_mut(), found) {
            (Some(Run::Fresh(len)), None) => *len += more,
            (Some(Run::Same { offset, len }), Some(at)) if *offset + *len == *at => *len += more,
            (_, None) => runs.push(Run::Fresh(more)),
            (_, Some(at)) => runs.push(Run::Same {
                offset: *at,
                len: more,
            }),
        }
    })?;
    Ok(runs)
}

/// Cuts a content into chunks.
fn chunks(content: &mut dyn Read, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 4 * LONGEST];
    let (mut begin, mut end) = (0, 0);
    loop {
        // Refill, so that a whole chunk is there unless the content ends.
        if end - begin < LONGEST {
            buffer.copy_within(begin..end, 0);
            (begin, end) = (0, end - begin);
            while end < buffer.len() {
                match content.read(&mut buffer[end..]) {
                    Ok(0) => break,
                    Ok(len) => end += len,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if begin == end {
            return Ok(());
        }
        let len = length(&buffer[begin..end.min(begin + LONGEST)]);
        each(&buffer[begin..begin + len]);
        begin += len;
    }
}

/// How long the first chunk is.
fn length(bytes: &[u8]) -> usize {
    let mut hash = 0u64;
    for (at, byte) in bytes.iter().enumerate() {
        hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
        if hash >> (64 - BITS) == 0 && at >= SHORTEST {
            return at + 1;
        }
    }
    bytes.len()
}

/// A random number for each byte.
const GEAR: [u64; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        // SplitMix64.
        let mut word = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        table[at] = word ^ (word >> 31);
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_the_content() {
        let base: Vec<u8> = (0..200_000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let mut content = base.clone();
        content.splice(300_000..300_000, [7; 33]);
        content.drain(500_000..510_000);
        let runs = runs(&mut &base[..], &mut &content[..]).unwrap();
        let mut made = Vec::new();
        let mut fresh = 0;
        for run in &runs {
            match *run {
                Run::Fresh(len) => {
                    fresh += len;
                    let at = made.len();
                    made.extend_from_slice(&content[at..at + len as usize]);
                }
                Run::Same { offset, len } => {
                    made.extend_from_slice(&base[offset as usize..(offset + len) as usize]);
                }
            }
        }
        assert_eq!(made, content);
        assert!(fresh < 4 * LONGEST as u64, "{fresh}");
    }
}
