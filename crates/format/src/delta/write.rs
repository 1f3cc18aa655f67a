// SPDX-License-Identifier: MIT OR Apache-2.0
//! Superblocks as they are written.

use oxtree_gvariant::{Be, Entry, OwnedVariant, to_bytes};

use super::superblock::CommitBytes;
use super::{ByteOrder, DeltaName, Fallback, keys};
use crate::{Checksum, ObjectId};

/// A part that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPart {
    /// SHA-256 of its file.
    pub checksum: Checksum,
    /// The size of its file in bytes.
    pub size: u64,
    /// The size of the content of all objects that it makes, in bytes.
    pub content_size: u64,
    /// The objects that it makes, in this order.
    pub objects: Vec<ObjectId>,
    /// The file's bytes, if they are to be in the superblock.
    pub inline: Option<Vec<u8>>,
}

/// A superblock to be written.
#[derive(Clone, Debug)]
pub struct NewSuperblock<'a> {
    /// Which commit the delta makes, and of which.
    pub name: DeltaName,
    /// The commit that one gets.
    pub commit: &'a [u8],
    /// Its detached metadata, a serialized `a{sv}`.
    pub detached: Option<&'a [u8]>,
    /// When the delta was made, in seconds since 1970.
    pub timestamp: u64,
    /// The order of the bytes of versions and sizes.
    pub order: ByteOrder,
    /// The parts.
    pub parts: Vec<NewPart>,
    /// The objects that are to be fetched one by one.
    pub fallbacks: Vec<Fallback>,
}

impl NewSuperblock<'_> {
    /// The superblock's bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        let folder = self.name.folder();
        let (order, big) = match self.order {
            ByteOrder::Little => (b'l', false),
            ByteOrder::Big => (b'B', true),
        };
        let number = |number: u64| if big { number.swap_bytes() } else { number };
        let mut metadata = vec![Entry(keys::ENDIANNESS.to_owned(), OwnedVariant::of(&order))];
        let mut parts = Vec::new();
        for (index, part) in self.parts.into_iter().enumerate() {
            let mut objects =
                Vec::with_capacity(part.objects.len() * super::superblock::OBJECT_LEN);
            for object in &part.objects {
                objects.push(object.kind as u8);
                objects.extend_from_slice(object.checksum.as_bytes());
            }
            let (size, content_size) = (number(part.size), number(part.content_size));
            parts.push((0_u32, part.checksum.0.to_vec(), size, content_size, objects));
            let inline = |data| {
                let sig = "(yay)".to_owned();
                Entry(format!("{folder}/{index}"), OwnedVariant { sig, data })
            };
            metadata.extend(part.inline.map(inline));
        }
        if let Some(detached) = self.detached {
            let (sig, data) = ("a{sv}".to_owned(), detached.to_vec());
            metadata.push(Entry(
                format!("{folder}/commitmeta"),
                OwnedVariant { sig, data },
            ));
        }
        let fallbacks = self.fallbacks.iter().map(|fallback| {
            let (size, content) = (number(fallback.size), number(fallback.content_size));
            let checksum = &fallback.object.checksum.as_bytes()[..];
            (fallback.object.kind as u8, checksum, size, content)
        });
        let fallbacks: Vec<_> = fallbacks.collect();
        let from = self.name.from.map(|from| from.as_bytes().to_vec());
        to_bytes(&(
            metadata,
            Be(self.timestamp),
            from.unwrap_or_default(),
            &self.name.to.as_bytes()[..],
            CommitBytes(self.commit),
            Vec::<u8>::new(),
            parts,
            fallbacks,
        ))
    }
}
