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
    let mut dict = HashDict::default();
    for (key, value) in pairs {
        dict.insert(key, value);
    }
    dict.into_pairs()
}

/// A dictionary that remembers in which order GLib's would be.
#[derive(Default)]
pub(super) struct HashDict {
    table: Table,
    /// What was put in, in that order; what was taken out is none.
    all: Vec<Option<(String, OwnedVariant)>>,
}

impl HashDict {
    /// Puts a value in; one that is there under this key is replaced.
    pub(super) fn insert(&mut self, key: String, value: OwnedVariant) {
        match self.find(&key) {
            Some(at) => self.all[at] = Some((key, value)),
            None => {
                self.table.insert((hash(&key), self.all.len()));
                self.all.push(Some((key, value)));
            }
        }
    }

    /// Takes a value out, if it is there.
    pub(super) fn remove(&mut self, key: &str) {
        if let Some(at) = self.find(key) {
            self.all[at] = None;
            self.table.remove(at);
        }
    }

    fn find(&self, key: &str) -> Option<usize> {
        let is_it = |pair: &Option<(String, _)>| pair.as_ref().is_some_and(|(k, _)| k == key);
        self.all.iter().position(is_it)
    }

    /// All that is in it, in its order.
    pub(super) fn into_pairs(mut self) -> Vec<(String, OwnedVariant)> {
        let slots = self.table.slots.iter();
        let order: Vec<usize> = slots.filter_map(Slot::number).collect();
        let ordered = order.into_iter().filter_map(|at| self.all[at].take());
        let mut ordered: Vec<_> = ordered.collect();
        // What would not fit into the largest table keeps its place at the end.
        ordered.extend(self.all.into_iter().flatten());
        ordered
    }
}

/// A hash, and the number of the pair.
type Entry = (u32, usize);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Free,
    /// Something was here, and may be again.
    Gone,
    Taken(Entry),
}

impl Slot {
    fn number(&self) -> Option<usize> {
        match self {
            Self::Taken((_, number)) => Some(*number),
            _ => None,
        }
    }
}

struct Table {
    slots: Vec<Slot>,
    prime: u32,
    /// Slots with something in them.
    taken: usize,
    /// The same, and those that are [`Slot::Gone`].
    occupied: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            slots: vec![Slot::Free; 8],
            prime: PRIMES[0],
            taken: 0,
            occupied: 0,
        }
    }
}

impl Table {
    fn insert(&mut self, entry: Entry) {
        if !self.slots.contains(&Slot::Free) {
            return;
        }
        let mut reused = None;
        let free = self.probe(entry.0, |at| {
            if self.slots[at] == Slot::Gone {
                reused.get_or_insert(at);
            }
            self.slots[at] != Slot::Free
        });
        self.slots[reused.unwrap_or(free)] = Slot::Taken(entry);
        self.taken += 1;
        if reused.is_none() {
            self.occupied += 1;
            if self.slots.len() <= self.occupied + self.occupied / 16 {
                self.resize();
            }
        }
    }

    fn remove(&mut self, number: usize) {
        let mut slots = self.slots.iter_mut();
        if let Some(slot) = slots.find(|slot| slot.number() == Some(number)) {
            *slot = Slot::Gone;
            self.taken -= 1;
            if self.slots.len() > (4 * self.taken).max(8) {
                self.resize();
            }
        }
    }

    /// The first place for a hash that is not taken.
    fn probe(&self, hash: u32, taken: impl FnMut(usize) -> bool) -> usize {
        self.probe_in(hash, self.slots.len(), taken)
    }

    /// The same in a table that is `size` long.
    fn probe_in(&self, hash: u32, size: usize, mut taken: impl FnMut(usize) -> bool) -> usize {
        let mut at = (hash.wrapping_mul(11) % self.prime) as usize;
        let mut step = 0;
        while taken(at) {
            step += 1;
            at = (at + step) & (size - 1);
        }
        at
    }

    /// Gives it the size that it should have; each that is moved puts out who is in its place, who
    /// is moved next.
    fn resize(&mut self) {
        let wanted = self.taken * 1333 / 1000;
        let shift = (usize::BITS - wanted.leading_zeros()).max(3) as usize;
        let Some(prime) = PRIMES.get(shift - 3) else {
            return;
        };
        let (old, new) = (self.slots.len(), 1 << shift);
        self.prime = *prime;
        self.slots.resize(old.max(new), Slot::Free);
        self.occupied = self.taken;
        for slot in &mut self.slots {
            if *slot == Slot::Gone {
                *slot = Slot::Free;
            }
        }
        let mut settled = vec![false; old.max(new)];
        for first in 0..old {
            if settled[first] {
                continue;
            }
            let mut moving = std::mem::replace(&mut self.slots[first], Slot::Free);
            while let Slot::Taken(entry) = moving {
                let at = self.probe_in(entry.0, new, |at| settled[at]);
                settled[at] = true;
                moving = std::mem::replace(&mut self.slots[at], Slot::Taken(entry));
            }
        }
        self.slots.truncate(new);
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

    /// As GLib 2.74 has them, by `GLib.VariantDict` in Python.
    #[test]
    fn as_glib_orders_them() {
        let value = OwnedVariant::of("x");
        let order = |dict: HashDict| -> String {
            let pairs = dict.into_pairs().into_iter();
            pairs.map(|(key, _)| key).collect::<Vec<_>>().join(" ")
        };
        for (keys, removed, added, expected) in GLIB {
            let mut dict = HashDict::default();
            for key in keys.split(' ') {
                dict.insert(key.to_owned(), value.clone());
            }
            dict.insert("ostree.ref-binding".to_owned(), value.clone());
            dict.remove(removed);
            for key in added.split(' ').filter(|key| !key.is_empty()) {
                dict.insert(key.to_owned(), value.clone());
            }
            assert_eq!(order(dict), *expected, "{keys}");
        }
    }

    /// What is put in first, taken out, put in then, and the order.
    const GLIB: &[(&str, &str, &str, &str)] = &[
        (
            "zz aa mm version ostree.collection-binding ostree.ref-binding",
            "ostree.collection-binding",
            "",
            "aa mm version zz ostree.ref-binding",
        ),
        (
            "version ostree.collection-binding ostree.ref-binding",
            "ostree.collection-binding",
            "xa.ref xa.from_commit",
            "version xa.ref xa.from_commit ostree.ref-binding",
        ),
        (
            "ostree.collection-binding xa.metadata xa.token-type xa.download-size xa.installed-size ostree.ref-binding",
            "ostree.collection-binding",
            "xa.ref xa.from_commit",
            "xa.token-type xa.installed-size xa.ref xa.download-size ostree.ref-binding xa.metadata xa.from_commit",
        ),
        (
            "a b c d e f g h i j k l m n o p ostree.collection-binding q r s t u v w",
            "ostree.collection-binding",
            "xa.ref xa.from_commit",
            "w i l o a r d u g xa.ref j m p b s e v h k n ostree.ref-binding q c t f xa.from_commit",
        ),
        (
            "a b c d e f ostree.collection-binding",
            "ostree.collection-binding",
            "xa.ref xa.from_commit k1 k2 k3 k4 k5 k6 k7",
            "k7 k1 a k2 xa.ref k5 d b k3 e k6 ostree.ref-binding xa.from_commit c k4 f",
        ),
        (
            "version none",
            "no-such-key",
            "xa.ref xa.from_commit",
            "version none xa.ref ostree.ref-binding xa.from_commit",
        ),
        (
            "key.0 key.1 key.2 key.3 key.4 key.5 key.6 key.7 key.8 key.9 key.10 key.11 key.12 key.13 key.14 key.15 key.16 key.17 key.18 key.19 key.20 key.21 key.22 key.23 key.24 ostree.collection-binding",
            "ostree.collection-binding",
            "xa.ref xa.from_commit",
            "key.19 key.21 key.24 key.2 key.11 key.5 key.14 key.8 key.17 xa.ref key.22 key.0 key.3 key.12 key.6 key.15 key.9 key.18 key.20 xa.from_commit key.23 key.1 key.10 key.4 key.13 key.7 key.16 ostree.ref-binding",
        ),
    ];
}
