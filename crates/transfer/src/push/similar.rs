// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds similar files within one push, such as programs linked with the same library: the second
//! can be sent as a patch of the first. Other bases are preferred: the file at the same path in a
//! commit that the receiver has, then a deleted file of the same name and about the same size.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use oxtree_format::FileId;

/// Smaller files are not worth it.
pub(super) const MIN_SIZE: u64 = 16 << 10;

/// Marks that are kept of a file.
const MARKS: usize = 20;

/// Marks that two files must have in common.
const ENOUGH: usize = 3;

/// One of so many places is a mark.
const RARE: u64 = 256;

/// What files look like: a few of the places in their content, picked by the bytes there alone, so
/// that contents which share long runs share most of their marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sketch([u64; MARKS]);

impl Sketch {
    /// The sketch of a content.
    pub(super) fn of(content: &[u8]) -> Self {
        let mut marks = [u64::MAX; MARKS];
        let mut hash = 0u64;
        for byte in content {
            // A byte has no effect any more after 31 others: addresses differ in most longer runs.
            hash = (hash << 2).wrapping_add(GEAR[usize::from(*byte)]);
            // The upper bits depend on most bytes.
            if hash >> 32 & (RARE - 1) == 0 && hash < marks[MARKS - 1] && !marks.contains(&hash) {
                let at = marks.partition_point(|mark| *mark < hash);
                marks[at..].rotate_right(1);
                marks[at] = hash;
            }
        }
        Self(marks)
    }

    fn marks(&self) -> impl Iterator<Item = u64> {
        self.0.into_iter().filter(|mark| *mark != u64::MAX)
    }
}

/// The files of a push that were gone through already.
#[derive(Debug, Default)]
pub(super) struct Similar {
    /// The last file with each mark, and its place in the stream.
    by_mark: Mutex<HashMap<u64, (usize, FileId)>>,
}

impl Similar {
    /// A file that is like this one, at a place of the stream of which `has` says that the receiver
    /// will have it. The file itself, at `place`, is noted for those that come after it.
    pub(super) fn find(
        &self,
        place: usize,
        file: FileId,
        sketch: &Sketch,
        has: &dyn Fn(usize) -> bool,
    ) -> Option<FileId> {
        let mut by_mark = self.by_mark.lock().unwrap_or_else(PoisonError::into_inner);
        let mut votes: HashMap<FileId, usize> = HashMap::new();
        for mark in sketch.marks() {
            match by_mark.get(&mark) {
                Some((earlier, other)) if has(*earlier) => {
                    *votes.entry(*other).or_default() += 1;
                }
                _ => {}
            }
            by_mark.insert(mark, (place, file));
        }
        votes
            .into_iter()
            .filter(|(other, votes)| *votes >= ENOUGH && *other != file)
            .max_by_key(|(_, votes)| *votes)
            .map(|(other, _)| other)
    }
}

/// A number for each byte, without any pattern (splitmix64).
const GEAR: [u64; 256] = {
    let mut gear = [0; 256];
    let mut at = 0;
    let mut state = 0u64;
    while at < 256 {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        gear[at] = mixed ^ (mixed >> 31);
        at += 1;
    }
    gear
};

#[cfg(test)]
mod tests {
    use super::*;
    use oxtree_format::Checksum;

    fn noise(seed: u32, len: u32) -> Vec<u8> {
        let mut state = seed;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect()
    }

    #[test]
    fn what_shares_long_runs_is_found() {
        let file = |n: u8| FileId(Checksum::of(&[n]));
        let library = noise(1, 100_000);
        let first = [noise(2, 20_000), library.clone()].concat();
        let second = [noise(3, 25_001), library].concat();
        let similar = Similar::default();
        let find = |at: u8, content: &[u8]| {
            let place = usize::from(at);
            similar.find(place, file(at), &Sketch::of(content), &|job| job <= place)
        };
        assert_eq!(find(0, &first), None);
        assert_eq!(find(1, &noise(4, 90_000)), None);
        assert_eq!(find(2, &second), Some(file(0)));
    }

    #[test]
    fn what_the_receiver_will_not_have_is_no_base() {
        let file = |n: u8| FileId(Checksum::of(&[n]));
        let sketch = Sketch::of(&noise(1, 100_000));
        let similar = Similar::default();
        assert_eq!(similar.find(5, file(0), &sketch, &|job| job <= 5), None);
        assert_eq!(similar.find(4, file(1), &sketch, &|job| job <= 4), None);
        assert_eq!(Sketch::of(&[]), Sketch([u64::MAX; MARKS]));
    }
}
