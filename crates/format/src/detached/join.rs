// SPDX-License-Identifier: MIT OR Apache-2.0
//! The detached metadata of one commit from two places, joined so that no signature is lost.
//!
//! Signatures are joined by kind: the existing ones stay, new ones follow. Any other existing value stays, too, and
//! keys are added that are not there yet. All clients that may push a commit may add to its metadata, so the
//! result is limited.

use std::collections::{HashMap, HashSet};

use oxtree_gvariant::{Entry, OwnedVariant, Seq, Variant};

use super::{Detached, NewDetached, keys};
use crate::Checksum;

/// How much there may be beside one commit once something was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Signatures of one kind.
    pub signatures: usize,
    /// Bytes of them.
    pub bytes: usize,
    /// Bytes of everything else.
    pub others: usize,
}

impl Room {
    /// For a pusher that may write every ref.
    pub const ALL: Self = Self {
        signatures: 64,
        bytes: 256 << 10,
        others: 128 << 10,
    };

    /// For all others, so that they cannot use up the room for the owner's signatures.
    pub const SHARED: Self = Self {
        signatures: Self::ALL.signatures / 2,
        bytes: Self::ALL.bytes / 2,
        others: Self::ALL.others / 2,
    };

    /// For what was bounded before.
    pub const UNBOUNDED: Self = Self {
        signatures: usize::MAX,
        bytes: usize::MAX,
        others: usize::MAX,
    };
}

/// The result of joining.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// All of it.
    pub detached: NewDetached,
    /// Why a value was left out, a reason each, of the first ones.
    pub left_out: Vec<String>,
    /// The kind of signatures for which there is no room.
    pub full: Option<String>,
}

/// A short name of a signature or another value: those with the same name are the same.
pub type ItemId = [u8; 16];

/// Whether the value of a key is a list of signatures: `aay`.
pub fn is_of_signatures(key: &str) -> bool {
    key == keys::GPG || key.starts_with("ostree.sign.")
}

fn signatures<'a>(key: &str, value: &Variant<'a>) -> Option<Seq<'a, &'a [u8]>> {
    let list = || value.as_::<Seq<'a, &[u8]>>().ok();
    is_of_signatures(key).then(list).flatten()
}

fn entries(bytes: &[u8]) -> impl Iterator<Item = Entry<&str, Variant<'_>>> {
    let parsed = Detached::parse(bytes).ok();
    parsed.into_iter().flat_map(|detached| detached.0.iter())
}

/// The names of all signatures and other values in detached metadata. Unreadable metadata has none.
pub fn items(detached: &[u8]) -> HashSet<ItemId> {
    let mut items = HashSet::new();
    for Entry(key, value) in entries(detached) {
        match signatures(key, &value) {
            Some(list) => items.extend(list.iter().map(|one| item(key, "", one))),
            None => drop(items.insert(item(key, value.sig, value.data))),
        }
    }
    items
}

fn item(key: &str, sig: &str, data: &[u8]) -> ItemId {
    let bytes = [key.as_bytes(), b"\0", sig.as_bytes(), b"\0", data].concat();
    let mut id = ItemId::default();
    id.copy_from_slice(&Checksum::of(&bytes).as_bytes()[..16]);
    id
}

#[derive(PartialEq)]
enum Value<'a> {
    Signatures(Vec<&'a [u8]>),
    Other(Variant<'a>),
}

/// The values so far, by key, in the order of the file.
#[derive(Default)]
struct All<'a> {
    entries: Vec<(&'a str, Value<'a>)>,
    places: HashMap<&'a str, usize>,
    /// Bytes of what is no signature of a kind that is known.
    others: usize,
    left_out: Vec<String>,
    full: Option<&'a str>,
}

/// Reasons that are given.
const MAX_REASONS: usize = 10;

impl<'a> All<'a> {
    fn push(&mut self, key: &'a str, value: Value<'a>) {
        self.places.insert(key, self.entries.len());
        self.others += size(key, &value);
        self.entries.push((key, value));
    }

    fn leave_out(&mut self, key: &str, why: &str) {
        if self.left_out.len() < MAX_REASONS {
            let key: String = key.chars().take(100).collect();
            self.left_out.push(format!("{key} {why}"));
        }
    }

    /// A value that is there. Readers see the first of two with the same key; no signature is lost for that.
    fn keep(&mut self, key: &'a str, value: Variant<'a>) {
        let list = signatures(key, &value);
        let there = self.places.get(key).map(|at| &mut self.entries[*at].1);
        match (there, list) {
            (None, Some(list)) => self.push(key, Value::Signatures(list.iter().collect())),
            (None, None) => self.push(key, Value::Other(value)),
            (Some(Value::Signatures(there)), Some(list)) => there.extend(list.iter()),
            (Some(there @ Value::Other(_)), Some(list)) => {
                *there = Value::Signatures(list.iter().collect());
            }
            (Some(_), None) => {}
        }
    }

    /// A value that a pusher brings.
    fn add(&mut self, key: &'a str, value: Variant<'a>, room: Room) {
        if key.is_empty() {
            return self.leave_out("a value without a key", "is not taken");
        }
        let at = self.places.get(key).copied();
        let Some(list) = signatures(key, &value) else {
            let value = Value::Other(value);
            match at.map(|at| &self.entries[at].1) {
                _ if is_of_signatures(key) => self.leave_out(key, "is no list of signatures"),
                None if self.others.saturating_add(size(key, &value)) > room.others => {
                    self.leave_out(key, "has no room here");
                }
                None => self.push(key, value),
                Some(Value::Other(there)) if Value::Other(*there) == value => {}
                Some(_) => self.leave_out(key, "has another value here, which stays"),
            }
            return;
        };
        let Some(at) = at else {
            let value = Value::Signatures(Vec::new());
            if self.others.saturating_add(size(key, &value)) > room.others {
                return self.leave_out(key, "has no room here");
            }
            self.push(key, value);
            return self.add_signatures(self.entries.len() - 1, list, room);
        };
        self.add_signatures(at, list, room);
    }

    fn add_signatures(&mut self, at: usize, list: Seq<'a, &'a [u8]>, room: Room) {
        let (key, value) = &mut self.entries[at];
        if let Value::Other(_) = value {
            // That was none.
            *value = Value::Signatures(Vec::new());
        }
        let Value::Signatures(there) = value else {
            return;
        };
        let mut known: HashSet<&[u8]> = there.iter().copied().collect();
        let mut bytes: usize = there.iter().map(|one| one.len()).sum();
        for one in list.iter() {
            if !known.insert(one) {
                continue;
            }
            bytes += one.len();
            if there.len() >= room.signatures || bytes > room.bytes {
                self.full = Some(key);
                return;
            }
            there.push(one);
        }
    }
}

/// The size that counts for a value that is no signature of a known scheme.
fn size(key: &str, value: &Value<'_>) -> usize {
    match value {
        _ if keys::SIGNATURES.contains(&key) => 0,
        Value::Signatures(_) => key.len(),
        Value::Other(value) => key.len() + value.data.len(),
    }
}

/// Joins the existing metadata, `ours`, with the metadata of a pusher, `theirs`. Both are the bytes of
/// detached metadata; unreadable bytes count as empty.
pub fn join(ours: &[u8], theirs: &[u8], room: Room) -> Joined {
    let mut all = All::default();
    for Entry(key, value) in entries(ours) {
        all.keep(key, value);
    }
    for Entry(key, value) in entries(theirs) {
        all.add(key, value, room);
    }
    let entries = all.entries.into_iter().map(|(key, value)| {
        let value = match value {
            Value::Signatures(list) => OwnedVariant::of(&list),
            Value::Other(value) => value.to_owned(),
        };
        (key.to_owned(), value)
    });
    Joined {
        detached: NewDetached {
            entries: entries.collect(),
        },
        left_out: all.left_out,
        full: all.full.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detached(entries: &[(&str, OwnedVariant)]) -> Vec<u8> {
        let entries = entries.iter().map(|(k, v)| ((*k).to_owned(), v.clone()));
        let entries = entries.collect();
        NewDetached { entries }.to_bytes()
    }

    fn list(signatures: &[&[u8]]) -> OwnedVariant {
        OwnedVariant::of(&signatures.to_vec())
    }

    fn joined(ours: &[u8], theirs: &[u8], room: Room) -> Joined {
        for bytes in [ours, theirs] {
            assert!(Detached::parse(bytes).is_ok());
        }
        join(ours, theirs, room)
    }

    #[test]
    fn no_signature_is_lost_and_other_values_stay() {
        let ours = detached(&[
            ("a", OwnedVariant::of("ours")),
            (keys::ED25519, list(&[b"1", b"2"])),
            (keys::SPKI, OwnedVariant::of("no list")),
        ]);
        let theirs = detached(&[
            (keys::GPG, list(&[b"g"])),
            (keys::ED25519, list(&[b"3", b"2", b"3"])),
            (keys::SPKI, list(&[b"s"])),
            ("a", OwnedVariant::of("theirs")),
            ("b", OwnedVariant::of("new")),
            ("ostree.sign.other", OwnedVariant::of("no list")),
            ("ostree.sign.more", list(&[b"m"])),
        ]);
        let all = joined(&ours, &theirs, Room::ALL);
        let expected = detached(&[
            ("a", OwnedVariant::of("ours")),
            (keys::ED25519, list(&[b"1", b"2", b"3"])),
            (keys::SPKI, list(&[b"s"])),
            (keys::GPG, list(&[b"g"])),
            ("b", OwnedVariant::of("new")),
            ("ostree.sign.more", list(&[b"m"])),
        ]);
        assert_eq!(all.detached.to_bytes(), expected);
        assert_eq!(
            all.left_out,
            [
                "a has another value here, which stays",
                "ostree.sign.other is no list of signatures",
            ]
        );
        assert_eq!(all.full, None);
        // Again, nothing is new.
        let again = joined(&expected, &theirs, Room::ALL);
        assert_eq!(again.detached.to_bytes(), expected);
        // A key that is there twice loses no signature.
        let twice = detached(&[(keys::GPG, list(&[b"1"])), (keys::GPG, list(&[b"2"]))]);
        let once = detached(&[(keys::GPG, list(&[b"1", b"2"]))]);
        assert_eq!(joined(&twice, b"", Room::ALL).detached.to_bytes(), once);
    }

    #[test]
    fn room_is_bounded() {
        let many: Vec<[u8; 1]> = (0..=255).map(|n| [n]).collect();
        let many: Vec<&[u8]> = many.iter().map(|one| &one[..]).collect();
        let foreign = detached(&[(keys::GPG, list(&many[..32]))]);
        let shared = joined(b"", &foreign, Room::SHARED);
        assert_eq!(shared.full, None);
        let more = detached(&[(keys::GPG, list(&many[40..41]))]);
        let full = joined(&foreign, &more, Room::SHARED);
        assert_eq!(full.full.as_deref(), Some(keys::GPG));
        // The owner still has room.
        assert_eq!(joined(&foreign, &more, Room::ALL).full, None);
        let long = vec![0; Room::ALL.bytes + 1];
        let long = detached(&[(keys::ED25519, list(&[&long]))]);
        assert!(joined(b"", &long, Room::ALL).full.is_some());
        // Existing signatures are not checked, and known ones need no room.
        let all = detached(&[(keys::GPG, list(&many))]);
        assert_eq!(joined(&all, &foreign, Room::ALL).full, None);
        let others: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
        let others: Vec<_> = others
            .iter()
            .map(|key| (&**key, OwnedVariant::of("value")))
            .collect();
        let kept = joined(b"", &detached(&others), Room::SHARED);
        assert!(kept.detached.to_bytes().len() < 4 * Room::SHARED.others);
        assert_eq!(kept.left_out.len(), MAX_REASONS);
    }

    #[test]
    fn items_name_signatures_and_values() {
        let of = |bytes: &[u8]| items(bytes);
        let one = of(&detached(&[(keys::GPG, list(&[b"1"]))]));
        let two = of(&detached(&[(keys::GPG, list(&[b"2", b"1"]))]));
        assert_eq!((one.len(), two.len()), (1, 2));
        assert!(one.is_subset(&two));
        let other = of(&detached(&[(keys::ED25519, list(&[b"1"]))]));
        assert!(other.is_disjoint(&two));
        assert!(of(b"").is_empty() && of(b"noise").is_empty());
        let foreign = detached(&[(keys::GPG, list(&[b"1"]))]);
        let joined = join(b"noise", &foreign, Room::ALL);
        assert_eq!(joined.detached.to_bytes(), foreign);
    }
}
