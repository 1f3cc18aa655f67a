// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where each inode of an image has its place.

use std::ops::Range;

use super::attributes::Shared;
use super::{Image, InodeId, Kind, MAX_FILE_SIZE, MAX_TARGET};
use crate::Error;

/// The size of a block, in bytes.
pub(super) const BLOCK: u64 = 4096;
/// Inodes begin at multiples of this.
pub(super) const SLOT: u64 = 32;
/// Where the first inode may be: after the superblock.
pub(super) const FIRST_INODE: u64 = 1152;

/// A directory entry without its name, in bytes.
pub(super) const DIRENT: usize = 12;

/// An image that is ready to be written.
#[derive(Debug)]
pub struct Layout {
    pub(super) image: Image,
    /// The inodes in the order in which they are written.
    pub(super) order: Vec<InodeId>,
    pub(super) shared: Shared,
    /// Where each is, by its id.
    pub(super) places: Vec<Place>,
    /// Where the last inode ends, a multiple of [`SLOT`].
    pub(super) inodes_end: u64,
    /// How many blocks of data there are.
    pub(super) blocks: u64,
}

/// Where an inode is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// The number of its first slot, from the beginning of the image.
    pub(super) slot: u32,
    /// How many blocks of data it has.
    pub(super) blocks: u32,
    /// How many bytes of data, those after the blocks, come right after it.
    pub(super) tail: u32,
    /// Its number, by the order.
    pub(super) number: u32,
    /// Whether it is in EROFS' short form, of 32 bytes instead of 64.
    pub(super) is_compact: bool,
}

impl Place {
    pub(super) fn offset(&self) -> u64 {
        u64::from(self.slot) * SLOT
    }

    /// The size of the inode without attributes and tail.
    pub(super) fn size(&self) -> u64 {
        if self.is_compact { 32 } else { 64 }
    }

    /// The size of a directory, in bytes.
    pub(super) fn dir_size(&self) -> u64 {
        u64::from(self.blocks) * BLOCK + u64::from(self.tail)
    }

    /// Keeps the data that was to be the tail in a block.
    fn move_tail(&mut self) {
        self.blocks += 1;
        self.tail = 0;
    }
}

impl Layout {
    pub(super) fn new(image: Image, order: Vec<InodeId>) -> Result<Self, Error> {
        let shared = Shared::find(&image)?;
        let mut layout = Self {
            places: vec![Place::default(); order.len()],
            image,
            order,
            shared,
            inodes_end: 0,
            blocks: 0,
        };
        let mut at = FIRST_INODE;
        for number in 0..layout.order.len() {
            let id = layout.order[number];
            let mut place = layout.data_of(id)?;
            let head = place.size() + layout.shared.size_in(&layout.image, id) as u64;
            let is_symlink = matches!(layout.image.inode(id).kind, Kind::Symlink { .. });
            at = place.find(at.next_multiple_of(SLOT), head, is_symlink);
            place.number = number as u32;
            place.slot = u32::try_from(at / SLOT).map_err(|_| layout.image.too_large(id))?;
            at += head + u64::from(place.tail);
            layout.blocks += u64::from(place.blocks);
            layout.places[id.index()] = place;
        }
        layout.inodes_end = at.next_multiple_of(SLOT);
        match layout.data_start() / BLOCK + layout.blocks > u64::from(u32::MAX) {
            true => Err(layout.image.too_large(InodeId::ROOT)),
            false => Ok(layout),
        }
    }

    /// Where the blocks of data begin.
    pub(super) fn data_start(&self) -> u64 {
        (self.inodes_end + self.shared.bytes.len() as u64).next_multiple_of(BLOCK)
    }

    /// How much data an inode has, and its form.
    fn data_of(&self, id: InodeId) -> Result<Place, Error> {
        let inode = self.image.inode(id);
        let mut place = Place::default();
        let mut size = 0;
        match &inode.kind {
            Kind::Directory => {
                let chunks = self.image.chunks(id);
                place.blocks = chunks.len() as u32;
                // No more than half a block goes right after an inode.
                if let Some((_, last)) = chunks.last()
                    && *last as u64 <= BLOCK / 2
                {
                    place.blocks -= 1;
                    place.tail = *last as u32;
                }
                size = place.dir_size();
            }
            Kind::Symlink { target } if target.len() >= MAX_TARGET => {
                return Err(self.image.too_large(id));
            }
            Kind::Symlink { target } => place.tail = target.len() as u32,
            Kind::File { size: 0, .. } | Kind::Whiteout => {}
            Kind::File { size: file, .. } if *file > MAX_FILE_SIZE => {
                return Err(self.image.too_large(id));
            }
            Kind::File { size: file, .. } => {
                // The address of the only chunk.
                place.tail = 4;
                size = *file;
            }
        }
        let is_short = |number: u32| u16::try_from(number).is_ok();
        place.is_compact = is_short(inode.uid)
            && is_short(inode.gid)
            && is_short(self.image.links(id))
            && u32::try_from(size).is_ok();
        Ok(place)
    }
}

impl Place {
    /// Where an inode can be that may not begin before `at`, which is a multiple of [`SLOT`]: the
    /// tail may not go over the end of a block.
    fn find(&mut self, at: u64, head: u64, is_symlink: bool) -> u64 {
        let tail = u64::from(self.tail);
        if is_symlink {
            // Of a symbolic link, not even the inode may.
            let crosses = at / BLOCK != (at + head + tail - 1) / BLOCK;
            if head + tail >= BLOCK {
                self.move_tail();
            }
            return if crosses {
                at.next_multiple_of(BLOCK)
            } else {
                at
            };
        }
        let room = |at: u64| BLOCK - (at + head) % BLOCK;
        if tail <= room(at) {
            return at;
        }
        let later = at + room(at).next_multiple_of(SLOT);
        if tail <= room(later) {
            return later;
        }
        self.move_tail();
        at.next_multiple_of(BLOCK)
    }
}

impl Image {
    /// The entries of a directory, sorted, `.` and `..` among them.
    pub(super) fn entries(&self, id: InodeId) -> Vec<(&str, InodeId)> {
        let node = &self.nodes[id.index()];
        let mut entries = vec![(".", id), ("..", node.parent)];
        let children = node.children.iter();
        entries.extend(children.map(|child| (self.nodes[child.index()].name.as_str(), *child)));
        entries.sort_unstable_by_key(|(name, _)| name.as_bytes());
        entries
    }

    /// Which of a directory's entries go together into a block, and how many bytes they are.
    pub(super) fn chunks(&self, id: InodeId) -> Vec<(Range<usize>, usize)> {
        let mut chunks: Vec<(Range<usize>, usize)> = Vec::new();
        for (at, (name, _)) in self.entries(id).iter().enumerate() {
            let size = DIRENT + name.len();
            match chunks.last_mut() {
                Some((range, used)) if *used + size <= BLOCK as usize => {
                    range.end = at + 1;
                    *used += size;
                }
                _ => chunks.push((at..at + 1, size)),
            }
        }
        chunks
    }

    /// How many names an inode has.
    pub(super) fn links(&self, id: InodeId) -> u32 {
        let node = &self.nodes[id.index()];
        match node.inode.is_dir() {
            true => {
                let children = node.children.iter();
                2 + children
                    .filter(|child| self.inode(**child).is_dir())
                    .count() as u32
            }
            false => 1,
        }
    }
}
