// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of an image.
//!
//! An inode, in its short and its long form:
//!
//! ```text
//! u16 form and kind of data | u16 attributes in units of 4 bytes, less 2 of the header's 3 | u16 mode |
//!     u16 links | u32 size | u32 0 | u32 data | u32 number | u16 owner | u16 group | u32 0
//! u16 form and kind of data | u16 attributes | u16 mode | u16 0 | u64 size | u32 data | u32 number |
//!     u32 owner | u32 group | u64 time 0 | u32 0 | u32 links | 16 zeros
//! ```
//!
//! The data is the number of the first block or, for a file, the size of its chunk, whose address
//! (that of no block) is its tail. Directory entries are first all numbers, then all names:
//!
//! ```text
//! u64 slot of the inode | u16 offset of the name | u8 type | u8 0
//! ```

use std::io::{self, Write};

use super::layout::{BLOCK, DIRENT, FIRST_INODE, Layout};
use super::{InodeId, Kind};

/// The first bytes of an image.
const MAGIC: u32 = 0xd078_629a;
const HAS_ACL: u32 = 1;
const SUPERBLOCK: usize = 1024;
const SUPERBLOCK_MAGIC: u32 = 0xe0f5_e1e2;
/// `MTIME` and `XATTR_FILTER`.
const FEATURES: u32 = 6;

/// Kinds of data: in blocks; in blocks and a tail; in chunks.
const PLAIN: u16 = 0;
const INLINE: u16 = 2;
const CHUNKED: u16 = 4;
/// The address of a chunk that is nowhere.
const NOWHERE: u32 = u32::MAX;

impl Layout {
    /// Writes the image, in small pieces.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut out = Output { out, at: 0 };
        out.write(&self.beginning())?;
        let mut block = self.data_start() / BLOCK;
        for id in &self.order {
            let place = &self.places[id.index()];
            out.fill_to(place.offset())?;
            out.write(&self.inode(*id, block as u32))?;
            block += u64::from(place.blocks);
        }
        out.fill_to(self.inodes_end)?;
        out.write(&self.shared.bytes)?;
        out.fill_to(self.data_start())?;
        for id in &self.order {
            self.write_blocks(*id, &mut out)?;
        }
        Ok(())
    }

    /// The headers.
    fn beginning(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIRST_INODE as usize);
        let flags = if self.shared.has_acl { HAS_ACL } else { 0 };
        for number in [MAGIC, 1, flags] {
            out.extend(number.to_le_bytes());
        }
        out.resize(SUPERBLOCK, 0);
        out.extend(SUPERBLOCK_MAGIC.to_le_bytes());
        out.extend([0; 4]);
        out.extend(FEATURES.to_le_bytes());
        out.extend([BLOCK.ilog2() as u8, 0]);
        // The first inode is in the first block, at most a few more in.
        out.extend((self.places[0].slot as u16).to_le_bytes());
        out.extend((self.order.len() as u64).to_le_bytes());
        out.extend([0; 12]);
        let blocks = self.data_start() / BLOCK + self.blocks;
        for number in [blocks, 0, self.inodes_end / BLOCK] {
            out.extend((number as u32).to_le_bytes());
        }
        out.resize(FIRST_INODE as usize, 0);
        out
    }

    /// An inode with its attributes and tail, whose blocks begin with `block`.
    fn inode(&self, id: InodeId, block: u32) -> Vec<u8> {
        let place = &self.places[id.index()];
        let inode = self.image.inode(id);
        let mut layout = if place.tail > 0 { INLINE } else { PLAIN };
        let mut data = if place.blocks > 0 { block } else { 0 };
        let mut size = 0;
        let mut tail = Vec::new();
        match &inode.kind {
            Kind::Directory => {
                size = place.dir_size();
                if place.tail > 0
                    && let Some((range, _)) = self.image.chunks(id).pop()
                {
                    tail = self.dirents(id, range);
                }
            }
            Kind::File { size: 0, .. } | Kind::Whiteout => {}
            Kind::File { size: file, .. } => {
                layout = CHUNKED;
                size = *file;
                // The smallest power of two that is enough, in blocks.
                data = size.div_ceil(BLOCK).next_power_of_two().ilog2();
                tail.extend(NOWHERE.to_le_bytes());
            }
            Kind::Symlink { target } => {
                size = target.len() as u64;
                if place.tail > 0 {
                    tail.extend_from_slice(target.as_bytes());
                }
            }
        }
        let attributes = self.attributes(id);
        let mut out = Vec::with_capacity(64 + attributes.len() + tail.len());
        let form = layout << 1 | u16::from(!place.is_compact);
        let count = attributes.len().saturating_sub(8) / 4;
        for number in [form, count as u16, inode.full_mode() as u16] {
            out.extend(number.to_le_bytes());
        }
        let links = self.image.links(id);
        if place.is_compact {
            out.extend((links as u16).to_le_bytes());
            for number in [size as u32, 0, data, place.number] {
                out.extend(number.to_le_bytes());
            }
            for number in [inode.uid, inode.gid] {
                out.extend((number as u16).to_le_bytes());
            }
            out.extend([0; 4]);
        } else {
            out.extend([0; 2]);
            out.extend(size.to_le_bytes());
            for number in [data, place.number, inode.uid, inode.gid, 0, 0, 0, links] {
                out.extend(number.to_le_bytes());
            }
            out.extend([0; 16]);
        }
        out.extend(attributes);
        out.extend(tail);
        out
    }

    fn attributes(&self, id: InodeId) -> Vec<u8> {
        let mut out = Vec::new();
        let start = self.inodes_end % BLOCK;
        self.shared.write_in(&self.image, id, start, &mut out);
        out
    }

    /// Writes the part of an inode's data that is in blocks.
    fn write_blocks(&self, id: InodeId, out: &mut Output<'_, impl Write>) -> io::Result<()> {
        let blocks = self.places[id.index()].blocks as usize;
        if blocks == 0 {
            return Ok(());
        }
        if let Kind::Symlink { target } = &self.image.inode(id).kind {
            out.write(target.as_bytes())?;
            return out.fill_block();
        }
        for (range, _) in self.image.chunks(id).into_iter().take(blocks) {
            out.write(&self.dirents(id, range))?;
            out.fill_block()?;
        }
        Ok(())
    }

    /// Entries of a directory that are in one block, or in its tail.
    fn dirents(&self, id: InodeId, range: std::ops::Range<usize>) -> Vec<u8> {
        let entries = self.image.entries(id);
        let entries = &entries[range];
        let mut out = Vec::with_capacity(BLOCK as usize);
        let mut name_at = entries.len() * DIRENT;
        for (name, id) in entries {
            let slot = u64::from(self.places[id.index()].slot);
            out.extend(slot.to_le_bytes());
            out.extend((name_at as u16).to_le_bytes());
            let kind = match self.image.inode(*id).kind {
                Kind::File { .. } => 1,
                Kind::Directory => 2,
                Kind::Whiteout => 3,
                Kind::Symlink { .. } => 7,
            };
            out.extend([kind, 0]);
            name_at += name.len();
        }
        for (name, _) in entries {
            out.extend_from_slice(name.as_bytes());
        }
        out
    }
}

/// Where an image goes to, with the number of bytes that are there.
struct Output<'o, W> {
    out: &'o mut W,
    at: u64,
}

impl<W: Write> Output<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Zeros, fewer than a block, up to an offset.
    fn fill_to(&mut self, offset: u64) -> io::Result<()> {
        let zeros = [0; BLOCK as usize];
        self.write(&zeros[..(offset - self.at) as usize])
    }

    fn fill_block(&mut self) -> io::Result<()> {
        self.fill_to(self.at.next_multiple_of(BLOCK))
    }
}
