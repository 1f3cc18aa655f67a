// SPDX-License-Identifier: MIT OR Apache-2.0
//! The order in which libostree writes metadata that has gone through a `GVariantDict`: that of
//! GLib's hash table. Any order is valid; with the same one, the same commit has the same checksum.

use oxtree_format::gvariant::OwnedVariant;

/// The greatest prime below each power of two, from eight on.
const PRIMES: [u32; 14] = [
    7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521,
];

/// `pairs` in the order of a hash table into which they were put one after the other. Of two with
/// the same key the last one counts.
pub(super) fn in_hash_order(
    pairs: impl IntoIterator<Item = (String, OwnedVariant)>,
) -> Vec<(String, OwnedVariant)> {
    let mut table = Table {
        slots: vec![None; 8],
        prime: PRIMES[0],
    };
    let mut all: Vec<(String, OwnedVariant)> = Vec::new();
    for (key, value) in pairs {
        match all.iter_mut().find(|(known, _)| *known == key) {
            Some(known) => known.1 = value,
            None => {
                table.insert((hash(&key), all.len()), all.len());
                all.push((key, value));
            }
        }
    }
    let order: Vec<usize> = table
        .slots
        .iter()
        .flatten()
        .map(|(_, index)| *index)
        .collect();
    let mut all: Vec<_> = all.into_iter().map(Some).collect();
    let ordered = order.into_iter().filter_map(|index| all[index].take());
    // What would not fit into the largest table keeps its place at the end.
    let mut ordered: Vec<_> = ordered.collect();
    ordered.extend(all.into_iter().flatten());
    ordered
}

/// A hash, and the number of the pair.
type Slot = (u32, usize);

struct Table {
    slots: Vec<Option<Slot>>,
    prime: u32,
}

impl Table {
    fn insert(&mut self, slot: Slot, count: usize) {
        if self.slots.iter().all(Option::is_some) {
            return;
        }
        let at = self.probe(slot.0, |at| self.slots[at].is_some());
        self.slots[at] = Some(slot);
        let count = count + 1;
        if self.slots.len() <= count + count / 16 {
            self.grow(count);
        }
    }

    /// The first place for a hash that is not taken.
    fn probe(&self, hash: u32, taken: impl Fn(usize) -> bool) -> usize {
        let mut at = (hash.wrapping_mul(11) % self.prime) as usize;
        let mut step = 0;
        while taken(at) {
            step += 1;
            at = (at + step) & (self.slots.len() - 1);
        }
        at
    }

    /// Makes it larger; each that is moved puts out who is in its place, who is moved next.
    fn grow(&mut self, count: usize) {
        let wanted = count * 1333 / 1000;
        let shift = (usize::BITS - wanted.leading_zeros()).max(3) as usize;
        let Some(prime) = PRIMES.get(shift - 3) else {
            return;
        };
        let old = self.slots.len();
        self.prime = *prime;
        self.slots.resize(1 << shift, None);
        let mut settled = vec![false; 1 << shift];
        for first in 0..old {
            if settled[first] {
                continue;
            }
            let mut moving = self.slots[first].take();
            while let Some(slot) = moving {
                let at = self.probe(slot.0, |at| settled[at]);
                settled[at] = true;
                moving = self.slots[at].replace(slot);
            }
        }
    }
}

/// `g_str_hash`.
fn hash(key: &str) -> u32 {
    let hash = key.bytes().fold(5381_u32, |hash, byte| {
        hash.wrapping_mul(33)
            .wrapping_add_signed(i32::from(byte.cast_signed()))
    });
    // 0 and 1 stand for free places.
    hash.max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost() {
        for count in [0, 1, 7, 8, 9, 15, 16, 40, 1000] {
            let pairs = (0..count).map(|n: u32| (format!("key{n}"), OwnedVariant::of(&n)));
            let mut ordered = in_hash_order(pairs.clone());
            assert_eq!(ordered.len(), count as usize);
            ordered.sort_by_key(|(key, _)| key[3..].parse::<u32>().unwrap());
            assert!(ordered.into_iter().eq(pairs));
        }
    }

    #[test]
    fn the_last_value_counts() {
        let pairs = [("a", 1_u32), ("b", 2), ("a", 3)];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), OwnedVariant::of(&value)));
        let ordered = in_hash_order(pairs.clone());
        assert_eq!(ordered.len(), 2);
        assert!(ordered.contains(&pairs[2]) && ordered.contains(&pairs[1]));
    }
}
