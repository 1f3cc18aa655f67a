// SPDX-License-Identifier: MIT OR Apache-2.0
//! Superblocks as they are read.

use oxtree_gvariant::{Be, Decode, Dict, Error as Wrong, Result as Checked, Seq, Type, from_bytes};

use super::{DeltaName, keys};
use crate::commit::{CommitVariant, Related};
use crate::{Checksum, Commit, CommitId, Error, ObjectId, ObjectKind};

/// How many bytes stand for an object in a part's list.
pub(super) const OBJECT_LEN: usize = 33;

/// The order of the bytes of versions and sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The least significant byte first.
    Little,
    /// The most significant byte first.
    Big,
}

/// A nested commit: its bytes, checked to be those of one.
pub(super) struct CommitBytes<'a>(pub(super) &'a [u8]);

impl Type for CommitBytes<'_> {
    const ALIGN: usize = <CommitVariant<'_, Dict<'_>, Related<'_>>>::ALIGN;
    const FIXED: Option<usize> = None;
    fn sig(s: &mut String) {
        <CommitVariant<'_, Dict<'_>, Related<'_>>>::sig(s);
    }
}

impl<'a> Decode<'a> for CommitBytes<'a> {
    fn get(bytes: &'a [u8], depth: u8) -> Checked<Self> {
        <CommitVariant<'a, Dict<'a>, Related<'a>>>::get(bytes, depth)?;
        Ok(Self(bytes))
    }
}

impl oxtree_gvariant::Encode for CommitBytes<'_> {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.0);
    }
}

pub(super) type PartVariant<'a> = (u32, &'a [u8], u64, u64, &'a [u8]);
pub(super) type FallbackVariant<'a> = (u8, &'a [u8], u64, u64);
type Variant<'a> = (
    Dict<'a>,
    Be<u64>,
    &'a [u8],
    &'a [u8],
    CommitBytes<'a>,
    &'a [u8],
    Seq<'a, PartVariant<'a>>,
    Seq<'a, FallbackVariant<'a>>,
);

/// A parsed superblock that borrows its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Superblock<'a> {
    /// The metadata.
    pub metadata: Dict<'a>,
    /// When the delta was made, in seconds since 1970.
    pub timestamp: u64,
    /// Which commit it makes, and of which.
    pub name: DeltaName,
    /// The bytes of the commit that one gets. That they are those of [`Superblock::name`] is
    /// checked.
    pub commit: &'a [u8],
    /// How many deltas are to be applied before this one. libostree writes none.
    pub recursion: usize,
    stated: Option<ByteOrder>,
    guessed: Option<ByteOrder>,
    parts: Seq<'a, PartVariant<'a>>,
    fallbacks: Seq<'a, FallbackVariant<'a>>,
}

impl<'a> Superblock<'a> {
    /// Parses and checks a superblock, not signed: normal form, whole checksums, kinds of objects that
    /// deltas can make, and the commit being the one it is said to be.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (metadata, Be(timestamp), from, to, commit, recursion, parts, fallbacks) =
            from_bytes::<Variant<'a>>(bytes)?;
        let from = match from {
            [] => None,
            from => Some(CommitId::from_bytes(from)?),
        };
        let to = CommitId::from_bytes(to)?;
        Commit::parse(commit.0)?;
        if Checksum::of(commit.0) != to.0 {
            return Err(Error::Delta("the commit in it is another one"));
        }
        if recursion.len() % 64 != 0 {
            return Err(Error::Delta(
                "deltas before it that are no pairs of checksums",
            ));
        }
        for (_, checksum, _, _, objects) in parts.iter() {
            Checksum::from_bytes(checksum)?;
            Objects::check(objects)?;
        }
        for (kind, checksum, _, _) in fallbacks.iter() {
            Checksum::from_bytes(checksum)?;
            made(kind).ok_or(KIND)?;
        }
        let stated = match metadata.lookup(keys::ENDIANNESS).map(|order| order.as_()) {
            None | Some(Err(Wrong::TypeMismatch)) => None,
            Some(Ok(b'l')) => Some(ByteOrder::Little),
            Some(Ok(b'B')) => Some(ByteOrder::Big),
            Some(_) => return Err(Error::Delta("a byte order that is none")),
        };
        let guessed = match stated {
            None => guess(&parts),
            Some(_) => None,
        };
        Ok(Self {
            metadata,
            timestamp,
            name: DeltaName { from, to },
            commit: commit.0,
            recursion: recursion.len() / 64,
            stated,
            guessed,
            parts,
            fallbacks,
        })
    }

    /// The order of the bytes of versions and sizes, and whether that was guessed: old deltas do not say.
    /// [`None`]: there was nothing to guess it by, and they are read as little-endian.
    pub fn byte_order(&self) -> Option<(ByteOrder, bool)> {
        let stated = self.stated.map(|order| (order, false));
        stated.or(self.guessed.map(|order| (order, true)))
    }

    fn swapped(&self) -> bool {
        self.stated.or(self.guessed) == Some(ByteOrder::Big)
    }

    /// How many parts there are.
    pub fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// A part, counted from 0.
    pub fn part(&self, index: usize) -> Option<Part<'a>> {
        let (version, checksum, size, content_size, objects) = self.parts.get(index)?;
        let swapped = self.swapped();
        let number = |number: u64| if swapped { number.swap_bytes() } else { number };
        Some(Part {
            version: if swapped {
                version.swap_bytes()
            } else {
                version
            },
            checksum: Checksum::from_bytes(checksum).ok()?,
            size: number(size),
            content_size: number(content_size),
            objects: Objects(objects),
        })
    }

    /// The parts in order.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = Part<'a>> + use<'a> {
        let superblock = *self;
        // Each was checked.
        (0..self.part_count()).map(move |index| superblock.part(index).unwrap_or(Part::NONE))
    }

    /// The objects that are to be fetched one by one.
    pub fn fallbacks(&self) -> impl Iterator<Item = Fallback> + use<'a> {
        let swapped = self.swapped();
        let number = move |number: u64| if swapped { number.swap_bytes() } else { number };
        self.fallbacks
            .iter()
            .filter_map(move |(kind, checksum, size, content_size)| {
                Some(Fallback {
                    object: ObjectId::new(made(kind)?, Checksum::from_bytes(checksum).ok()?),
                    size: number(size),
                    content_size: number(content_size),
                })
            })
    }

    /// The file of a part that is in the superblock; [`None`] if it is a file of its own.
    pub fn inline_part(&self, index: usize) -> Option<&'a [u8]> {
        let path = format!("{}/{index}", self.name.folder());
        let value = self.metadata.lookup(&path)?;
        // One byte and an array of bytes: just the bytes of the file, and at least one.
        (value.is::<(u8, &[u8])>() && !value.data.is_empty()).then_some(value.data)
    }

    /// The detached metadata of the commit, a serialized `a{sv}`; [`None`] if it has none.
    pub fn detached_metadata(&self) -> Option<&'a [u8]> {
        let path = format!("{}/commitmeta", self.name.folder());
        let value = self.metadata.lookup(&path)?;
        value.is::<Dict<'_>>().then_some(value.data)
    }
}

/// Read as little-endian, either packing made parts much larger, or objects have more than 4 GiB on average:
/// then they must be big-endian. (libostree's own rule.)
fn guess(parts: &Seq<'_, PartVariant<'_>>) -> Option<ByteOrder> {
    let (mut total, mut count) = (0_u128, 0_u128);
    for (_, _, size, content_size, objects) in parts.iter() {
        if u128::from(size) * 5 > u128::from(content_size) * 6 {
            return Some(ByteOrder::Big);
        }
        total += u128::from(size);
        count += (objects.len() / OBJECT_LEN) as u128;
    }
    let average = total.checked_div(count)?;
    (average > u128::from(u32::MAX)).then_some(ByteOrder::Big)
}

/// The kinds of objects that deltas make.
fn made(number: u8) -> Option<ObjectKind> {
    let kind = ObjectKind::from_number(number)?;
    matches!(
        kind,
        ObjectKind::File | ObjectKind::DirTree | ObjectKind::DirMeta | ObjectKind::Commit
    )
    .then_some(kind)
}

const KIND: Error = Error::Delta("an object of a kind that deltas do not make");

/// A part, as the superblock describes it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The version of the format; only 0 is known.
    pub version: u32,
    /// SHA-256 of its file.
    pub checksum: Checksum,
    /// The size of its file in bytes.
    pub size: u64,
    /// The size of the content of all objects that it makes, in bytes.
    pub content_size: u64,
    /// The objects that it makes, in this order.
    pub objects: Objects<'a>,
}

impl Part<'_> {
    const NONE: Self = Part {
        version: u32::MAX,
        checksum: Checksum([0; 32]),
        size: 0,
        content_size: 0,
        objects: Objects(&[]),
    };
}

/// A checked list of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objects<'a>(&'a [u8]);

impl<'a> Objects<'a> {
    fn check(bytes: &[u8]) -> Result<(), Error> {
        let (objects, []) = bytes.as_chunks::<OBJECT_LEN>() else {
            return Err(Error::Delta("a list of objects that is cut off"));
        };
        match objects.iter().all(|object| made(object[0]).is_some()) {
            true => Ok(()),
            false => Err(KIND),
        }
    }

    /// A list from its bytes, 33 an object.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        Self::check(bytes).map(|()| Self(bytes))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len() / OBJECT_LEN
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The objects in order.
    pub fn iter(&self) -> impl Iterator<Item = ObjectId> + use<'a> {
        let objects = self.0.as_chunks::<OBJECT_LEN>().0.iter();
        objects.filter_map(|[kind, checksum @ ..]| {
            Some(ObjectId::new(made(*kind)?, Checksum(*checksum)))
        })
    }
}

/// An object that is not in the delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The object.
    pub object: ObjectId,
    /// Its size as stored in the repository that made the delta, in bytes.
    pub size: u64,
    /// The size of its content in bytes.
    pub content_size: u64,
}
