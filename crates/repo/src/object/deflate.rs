// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packing: content as raw deflate, the way every `.filez` of ours is written.
//!
//! Content that is in memory is packed in one go ([`pack`]), by libdeflate if the feature of that
//! name is on. What is too large for that is packed by [`pack_stream`] in blocks, on all cores;
//! each block ends on a byte boundary and refers to nothing before it, so that one after the other
//! they are one deflate stream, which any inflater reads.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::{Compress, Compression, FlushCompress, Status};

use super::copy::Exactly;
use crate::memory::Buffer;

/// Up to so many bytes, content is too short for libdeflate.
const SHORT: usize = 32;

/// Bytes of content in one block of a stream.
const BLOCK: usize = 512 << 10;

/// Blocks that all streams together may hold, beyond two each.
const SHARED_BLOCKS: usize = 48;

/// Blocks that one stream may hold, and those that it needs for each thread.
const STREAM_BLOCKS: usize = 32;
const THREAD_BLOCKS: usize = 4;

/// A block is stored as it is if its sample does not shrink by more than one part in this many.
const MIN_GAIN: usize = 32;

/// Pieces of a sample, and the bytes in each.
const SAMPLES: usize = 8;
const SAMPLE: usize = 4 << 10;

/// Bytes in a stored block of deflate, at most.
const MAX_STORED: usize = u16::MAX as usize;

/// An empty last block, beginning at a byte boundary.
const END: [u8; 2] = [3, 0];

/// `head`, and after it `content`, packed as zlib's `level` (1 to 9) would or better.
pub(crate) fn pack(head: &[u8], content: &[u8], level: u32) -> Buffer {
    // libdeflate stores what is so short, which takes more bytes than zlib's codes for it.
    let packed = match content.len() <= SHORT {
        true => None,
        false => one_shot::pack(head, content, level),
    };
    packed.unwrap_or_else(|| {
        let mut out = head.to_vec();
        zlib(content, level, FlushCompress::Finish, &mut out);
        out.into()
    })
}

/// Packs all that `content` has, `level` being one of 1 to 9.
///
/// What is read next, and what was packed last, is read and written while other threads pack. At
/// most `2 + SHARED_BLOCKS` blocks are held, each with its packed form.
pub(super) fn pack_stream(
    content: &mut Exactly<'_>,
    level: u32,
    out: &mut dyn Write,
) -> io::Result<()> {
    let share = Share::take(STREAM_BLOCKS.min(THREAD_BLOCKS * rayon::current_num_threads()));
    let window = (share.0 / 2).max(1);
    let (mut packing, mut waiting) = (Window::new(window)?, Window::new(window)?);
    loop {
        rayon::in_place_scope(|scope| {
            for block in packing.filled() {
                scope.spawn(move |_| block.pack(level));
            }
            waiting.write(out)?;
            waiting.read(content)
        })?;
        std::mem::swap(&mut packing, &mut waiting);
        if packing.len == 0 && waiting.len == 0 {
            return out.write_all(&END);
        }
    }
}

/// A share of the blocks that all streams have together.
struct Share(usize);

static FREE: AtomicUsize = AtomicUsize::new(SHARED_BLOCKS);

impl Share {
    fn take(wanted: usize) -> Self {
        let mut share = 0;
        // Cannot fail: there is always something to put in its place.
        let _ = FREE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
            share = free.min(wanted);
            Some(free - share)
        });
        Self(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        FREE.fetch_add(self.0, Ordering::Relaxed);
    }
}

/// Some blocks in a row. Their memory is used again and again.
struct Window {
    blocks: Vec<Block>,
    /// How many of them hold something.
    len: usize,
}

impl Window {
    fn new(blocks: usize) -> io::Result<Self> {
        let blocks = (0..blocks).map(|_| Block::new());
        let blocks = blocks.collect::<io::Result<_>>()?;
        Ok(Self { blocks, len: 0 })
    }

    fn filled(&mut self) -> impl Iterator<Item = &mut Block> {
        self.blocks.iter_mut().take(self.len)
    }

    fn read(&mut self, content: &mut Exactly<'_>) -> io::Result<()> {
        for block in &mut self.blocks {
            block.len = content.fill(&mut block.content)?;
            if block.len == 0 {
                break;
            }
            self.len += 1;
        }
        Ok(())
    }

    fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        for block in self.filled() {
            out.write_all(&block.packed)?;
        }
        self.len = 0;
        Ok(())
    }
}

struct Block {
    content: Buffer,
    /// Bytes of the content.
    len: usize,
    packed: Vec<u8>,
}

impl Block {
    fn new() -> io::Result<Self> {
        Ok(Self {
            content: Buffer::zeroed(BLOCK)?,
            len: 0,
            packed: Vec::new(),
        })
    }

    fn pack(&mut self, level: u32) {
        self.packed.clear();
        let content = &self.content[..self.len];
        match shrinks(content) {
            true => pack_block(content, level, &mut self.packed),
            false => store_block(content, &mut self.packed),
        }
    }
}

/// Judges by a sample, which costs a hundredth of packing it all.
fn shrinks(content: &[u8]) -> bool {
    let step = content.len() / SAMPLES;
    if step <= SAMPLE {
        return true;
    }
    let sample: Vec<u8> = content
        .chunks(step)
        .take(SAMPLES)
        .flat_map(|piece| &piece[..SAMPLE.min(piece.len())])
        .copied()
        .collect();
    pack(&[], &sample, 1).len() < sample.len() - sample.len() / MIN_GAIN
}

fn store_block(content: &[u8], out: &mut Vec<u8>) {
    for piece in content.chunks(MAX_STORED) {
        let len = u16::try_from(piece.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend(piece);
    }
}

/// libdeflate always ends the stream, so that what follows would never be read.
fn pack_block(content: &[u8], level: u32, out: &mut Vec<u8>) {
    zlib(content, level, FlushCompress::Sync, out);
}

/// Appends what zlib makes of `content` to `out`.
fn zlib(content: &[u8], level: u32, flush: FlushCompress, out: &mut Vec<u8>) {
    thread_local! {
        static PACKER: RefCell<Option<(u32, Compress)>> = const { RefCell::new(None) };
    }
    PACKER.with_borrow_mut(|packer| {
        let packer = match packer {
            Some((of, packer)) if *of == level => packer,
            packer => {
                let new = Compress::new(Compression::new(level), false);
                &mut packer.insert((level, new)).1
            }
        };
        packer.reset();
        loop {
            let read = usize::try_from(packer.total_in()).unwrap_or(usize::MAX);
            let left = content.get(read..).unwrap_or_default();
            // Enough for all but what cannot be packed, and for the end of a flush.
            out.reserve(left.len() / 2 + 1024);
            let status = packer.compress_vec(left, out, flush);
            let done = match flush {
                FlushCompress::Finish => matches!(status, Ok(Status::StreamEnd)),
                // A flush is complete once there is room left behind it.
                _ => packer.total_in() == content.len() as u64 && out.len() < out.capacity(),
            };
            // It knows no errors but of arguments that are never given here.
            if done || status.is_err() {
                break;
            }
        }
    });
}

#[cfg(feature = "libdeflate")]
mod one_shot {
    use std::cell::RefCell;

    use libdeflater::{CompressionLvl, Compressor};

    use crate::memory::Buffer;

    /// libdeflate's level for each of zlib's: the fastest whose output is not larger, on the files
    /// of a Debian system. (zlib's 6: 27.26 MB of 74.06; libdeflate's 5: 27.10 MB, in a third of
    /// the time.)
    const LEVELS: [i32; 10] = [1, 1, 1, 2, 4, 5, 5, 6, 7, 9];

    /// None if there is no memory for it.
    pub(super) fn pack(head: &[u8], content: &[u8], level: u32) -> Option<Buffer> {
        thread_local! {
            static PACKER: RefCell<Option<(u32, Compressor)>> = const { RefCell::new(None) };
        }
        PACKER.with_borrow_mut(|packer| {
            let packer = match packer {
                Some((of, packer)) if *of == level => packer,
                packer => {
                    let index = usize::try_from(level).unwrap_or(usize::MAX);
                    let ours = LEVELS.get(index).copied().unwrap_or(6);
                    let ours = CompressionLvl::new(ours).unwrap_or_default();
                    &mut packer.insert((level, Compressor::new(ours))).1
                }
            };
            let room = packer.deflate_compress_bound(content.len());
            let mut out = Buffer::zeroed(head.len() + room).ok()?;
            let (before, after) = out.split_at_mut(head.len());
            before.copy_from_slice(head);
            let len = packer.deflate_compress(content, after).ok()?;
            out.truncate(head.len() + len);
            Some(out)
        })
    }
}

#[cfg(not(feature = "libdeflate"))]
mod one_shot {
    use crate::memory::Buffer;

    pub(super) fn pack(_head: &[u8], _content: &[u8], _level: u32) -> Option<Buffer> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use oxtree_format::FileHeader;
    use proptest::prelude::*;

    use super::*;

    fn inflate(packed: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        let mut decoder = flate2::bufread::DeflateDecoder::new(packed);
        decoder.read_to_end(&mut content).unwrap();
        assert!(decoder.into_inner().is_empty(), "bytes after the end");
        content
    }

    fn stream(content: &[u8], level: u32) -> Vec<u8> {
        let header = FileHeader {
            uid: 0,
            gid: 0,
            mode: 0o100_644,
            symlink: None,
            xattrs: oxtree_format::Xattrs::NONE,
        };
        let mut reader = content;
        let mut exactly = Exactly::new(&mut reader, content.len() as u64, header.hasher());
        let mut packed = Vec::new();
        pack_stream(&mut exactly, level, &mut packed).unwrap();
        assert_eq!(exactly.checksum(), header.id_with(content).0);
        packed
    }

    /// Bytes that cannot be packed.
    fn noise(len: usize, mut seed: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mixed = (seed ^ (seed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            bytes.extend((mixed ^ (mixed >> 29)).to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let len = 0..(3 * BLOCK / 2);
        prop_oneof![
            len.clone().prop_map(|len| vec![0; len]),
            (len.clone(), any::<u64>()).prop_map(|(len, seed)| noise(len, seed)),
            (len, any::<u64>()).prop_map(|(len, seed)| {
                let words = noise(97, seed);
                words.into_iter().cycle().take(len).collect()
            }),
            prop::collection::vec(any::<u8>(), 0..100),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_is_packed_inflates_to_itself(
            pieces in prop::collection::vec(piece(), 0..5),
            level in 1u32..=9,
        ) {
            let content = pieces.concat();
            prop_assert!(inflate(&stream(&content, level)) == content);
            let packed = pack(b"before", &content, level);
            prop_assert_eq!(&packed[..6], b"before");
            prop_assert!(inflate(&packed[6..]) == content);
        }
    }

    #[test]
    fn block_boundaries() {
        for len in [
            0,
            1,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            40 * BLOCK,
            40 * BLOCK + 7,
        ] {
            let text: Vec<u8> = b"some words ".iter().copied().cycle().take(len).collect();
            assert!(inflate(&stream(&text, 6)) == text, "{len} bytes");
        }
    }

    #[test]
    fn noise_is_stored_and_zeros_vanish() {
        let len = 5 * BLOCK;
        let packed = stream(&noise(len, 7), 6);
        assert!(packed.len() > len && packed.len() < len + len / 1000);
        assert!(stream(&vec![0; len], 6).len() < len / 500);
        let mixed = [vec![b'a'; len], noise(len, 8)].concat();
        assert!(stream(&mixed, 6).len() < len + len / 50);
    }

    #[test]
    fn many_streams_at_once_share_their_blocks() {
        let content = noise(3 * BLOCK + 5, 1);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(inflate(&stream(&content, 6)) == content));
            }
        });
        let share = Share::take(usize::MAX);
        assert!(inflate(&stream(&content, 6)) == content);
        drop(share);
    }
}
