// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes: those of an inode, and those that overlayfs reads.
//!
//! ```text
//! of an inode:  u32 name filter | u8 number of shared ones | 7 zeros |
//!               u32 place of a shared one, in units of 4 bytes from the block that they begin in | … |
//!               entry | …
//! entry:        u8 length of the name | u8 prefix | u16 length of the value | name | value | zeros
//! ```
//!
//! An entry is padded to 4 bytes. The prefix is a number for the beginning of the name, which is left out then.
//! The filter has a bit cleared for each name there is. Attributes are sorted by name.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use twox_hash::XxHash32;

use super::{Image, InodeId, Kind};
use crate::Error;

/// The prefix of attributes that overlayfs reads.
const OVERLAY: &[u8] = b"trusted.overlay.";
/// An attribute of a file that begins with [`OVERLAY`] has this instead, so that overlayfs shows it.
const ESCAPED: &[u8] = b"trusted.overlay.overlay.";

const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

const FILTER_SEED: u32 = 0x25bb_e08f;

/// An inode's header of attributes, in bytes.
const HEADER: usize = 12;

/// As many of an inode's attributes can be shared.
const MAX_SHARED: usize = 128;

/// So many bytes of attributes can an inode have, counted as libcomposefs does.
const MAX_SIZE: usize = 32767;

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Attribute<'a> {
    name: Cow<'a, [u8]>,
    value: Cow<'a, [u8]>,
}

impl Attribute<'_> {
    /// The number of its prefix, and the rest of its name.
    fn split(&self) -> (u8, &[u8]) {
        let mut prefixes = PREFIXES.iter();
        prefixes
            .find_map(|(prefix, index)| Some((*index, self.name.strip_prefix(*prefix)?)))
            .unwrap_or((0, &self.name))
    }

    fn is_acl(&self) -> bool {
        matches!(self.split(), (2 | 3, b""))
    }

    /// The order of those that are shared, which begin with the last one.
    fn rank(&self) -> (&[u8], usize, &[u8]) {
        (&self.name, self.value.len(), &self.value)
    }

    fn into_owned(self) -> Attribute<'static> {
        Attribute {
            name: self.name.into_owned().into(),
            value: self.value.into_owned().into(),
        }
    }

    /// The size of its entry, in bytes.
    fn size(&self) -> usize {
        (4 + self.split().1.len() + self.value.len()).next_multiple_of(4)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (prefix, name) = self.split();
        // `attributes_of` has checked both lengths.
        out.extend([name.len() as u8, prefix]);
        out.extend((self.value.len() as u16).to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(&self.value);
        out.resize(out.len().next_multiple_of(4), 0);
    }

    /// The bit of a name filter that says that there is a name like this.
    fn filter_bit(&self) -> u32 {
        let (prefix, name) = self.split();
        1 << (XxHash32::oneshot(FILTER_SEED + u32::from(prefix), name) % 32)
    }
}

/// The attributes of an inode in the image, sorted.
fn attributes_of(image: &Image, id: InodeId) -> Vec<Attribute<'_>> {
    let node = &image.nodes[id.index()];
    let own = node.inode.xattrs.iter().map(|(name, value)| Attribute {
        name: match name.strip_prefix(OVERLAY) {
            Some(rest) => [ESCAPED, rest].concat().into(),
            None => name.into(),
        },
        value: value.into(),
    });
    let mut list: Vec<Attribute<'_>> = own.collect();
    let mut overlay = |name: &'static [u8], value: Vec<u8>| {
        list.push(Attribute {
            name: name.into(),
            value: value.into(),
        });
    };
    if id == InodeId::ROOT {
        overlay(b"trusted.overlay.opaque", b"y".to_vec());
    }
    if let Kind::File {
        size: 1..,
        object,
        digest,
    } = &node.inode.kind
    {
        // Version, length, flags, SHA-256.
        let digest = digest.map(|digest| [&[0, 36, 0, 1], &digest.0[..]].concat());
        overlay(b"trusted.overlay.metacopy", digest.unwrap_or_default());
        let path = format!("/{}", object.object().loose_path(false));
        overlay(b"trusted.overlay.redirect", path.into_bytes());
    }
    list.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    list
}

/// Checks that they are not more than libcomposefs takes.
fn check(attributes: &[Attribute<'_>]) -> Result<(), Error> {
    let mut size = HEADER;
    for Attribute { name, value } in attributes {
        let escaped = name.starts_with(ESCAPED);
        let name_len = name.len() - usize::from(escaped) * (ESCAPED.len() - OVERLAY.len());
        size += 7 + name_len + value.len();
        if name_len > 255 || size > MAX_SIZE {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(Error::ImageAttribute(name));
        }
    }
    Ok(())
}

/// The attributes that more than one inode has.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Where each is, in bytes from the first.
    places: HashMap<Attribute<'static>, usize>,
    /// Their entries.
    pub(super) bytes: Vec<u8>,
    /// Whether any inode has a POSIX ACL.
    pub(super) has_acl: bool,
}

impl Shared {
    /// Finds them, and checks all attributes.
    pub(super) fn find(image: &Image) -> Result<Self, Error> {
        // Few attributes are shared, so those that have a hash of their own are left out first.
        let hasher = BuildHasherDefault::<DefaultHasher>::new();
        let mut table = Self::default();
        let mut hashes = Vec::new();
        for attributes in image.ids().map(|id| attributes_of(image, id)) {
            check(&attributes)?;
            table.has_acl |= attributes.iter().any(Attribute::is_acl);
            hashes.extend(
                attributes
                    .iter()
                    .map(|attribute| hasher.hash_one(attribute)),
            );
        }
        hashes.sort_unstable();
        let pairs = hashes.windows(2).filter(|pair| pair[0] == pair[1]);
        let repeated: HashSet<u64> = pairs.map(|pair| pair[0]).collect();
        drop(hashes);

        let mut counts: HashMap<Attribute<'static>, u32> = HashMap::new();
        for attributes in image.ids().map(|id| attributes_of(image, id)) {
            for attribute in attributes {
                if repeated.contains(&hasher.hash_one(&attribute)) {
                    *counts.entry(attribute.into_owned()).or_default() += 1;
                }
            }
        }
        counts.retain(|_, count| *count > 1);
        let mut shared: Vec<_> = counts.into_keys().collect();
        shared.sort_unstable_by(|one, other| other.rank().cmp(&one.rank()));
        for attribute in shared {
            let place = table.bytes.len();
            attribute.write(&mut table.bytes);
            table.places.insert(attribute, place);
        }
        Ok(table)
    }

    /// How many bytes the attributes of an inode take in it.
    pub(super) fn size_in(&self, image: &Image, id: InodeId) -> usize {
        let attributes = attributes_of(image, id);
        let (shared, own) = self.split(&attributes);
        match attributes.is_empty() {
            true => 0,
            false => HEADER + 4 * shared.len() + own.iter().map(|own| own.size()).sum::<usize>(),
        }
    }

    /// The attributes as they are in an inode; `start` is where the shared ones begin in their block.
    pub(super) fn write_in(&self, image: &Image, id: InodeId, start: u64, out: &mut Vec<u8>) {
        let attributes = attributes_of(image, id);
        if attributes.is_empty() {
            return;
        }
        let (shared, own) = self.split(&attributes);
        let filter = attributes.iter().fold(u32::MAX, |filter, attribute| {
            filter & !attribute.filter_bit()
        });
        out.extend(filter.to_le_bytes());
        out.extend([shared.len() as u8, 0, 0, 0, 0, 0, 0, 0]);
        for place in shared {
            out.extend((((start + place as u64) / 4) as u32).to_le_bytes());
        }
        for attribute in own {
            attribute.write(out);
        }
    }

    /// The places of the shared ones, and the others.
    fn split<'a>(&self, attributes: &'a [Attribute<'a>]) -> (Vec<usize>, Vec<&'a Attribute<'a>>) {
        let (mut shared, mut own) = (Vec::new(), Vec::new());
        for attribute in attributes {
            match self.places.get(attribute) {
                Some(place) if shared.len() < MAX_SHARED => shared.push(*place),
                _ => own.push(attribute),
            }
        }
        (shared, own)
    }
}
