// SPDX-License-Identifier: MIT OR Apache-2.0
//! fs-verity digests: what the Linux kernel measures of a file that is protected by fs-verity.
//!
//! The content, padded with zeros to blocks of 4 KiB, is hashed block by block with SHA-256; the
//! hashes one after the other, padded likewise, are hashed again, until one hash is left, the root.
//! The digest is the SHA-256 of this descriptor (numbers are little-endian):
//!
//! ```text
//! u8 1 | u8 1 (SHA-256) | u8 12 (log2 of 4096) | u8 0 (no salt) | u32 0 | u64 size of the content |
//! root hash, padded to 64 bytes | 32 bytes of salt, zero | 144 zeros
//! ```
//!
//! The root hash of no content at all is zero. Without salt and with these sizes the digest is the one
//! that libostree and composefs use.

use std::io;

use sha2::{Digest as _, Sha256};

use crate::Checksum;

const BLOCK: usize = 4096;

/// Computes a digest from content that comes in pieces of any size, in memory of one block for each
/// level of the tree.
#[derive(Debug, Default)]
pub struct FsVerity {
    size: u64,
    /// The part of a block of content that is here.
    partial: Vec<u8>,
    /// The hashes of the blocks of content that are not hashed yet, then those of these, and so on.
    levels: Vec<Vec<u8>>,
}

impl FsVerity {
    /// Nothing so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Checksum {
        let mut verity = Self::new();
        verity.update(content);
        verity.finish()
    }

    /// The next piece of the content.
    pub fn update(&mut self, mut piece: &[u8]) {
        self.size += piece.len() as u64;
        if !self.partial.is_empty() {
            let (missing, rest) = piece.split_at(piece.len().min(BLOCK - self.partial.len()));
            self.partial.extend_from_slice(missing);
            piece = rest;
            if self.partial.len() == BLOCK {
                let hash = hash_block(&self.partial);
                self.partial.clear();
                self.push(0, hash);
            }
        }
        let (blocks, rest) = piece.as_chunks::<BLOCK>();
        for block in blocks {
            self.push(0, hash_block(block));
        }
        self.partial.extend_from_slice(rest);
    }

    /// Adds the hash of a block; a block of hashes is hashed when there is one more.
    fn push(&mut self, mut level: usize, mut hash: [u8; 32]) {
        while let Some(hashes) = self.levels.get_mut(level) {
            if hashes.len() < BLOCK {
                hashes.extend_from_slice(&hash);
                return;
            }
            let above = hash_block(hashes);
            hashes.clear();
            hashes.extend_from_slice(&hash);
            (level, hash) = (level + 1, above);
        }
        self.levels.push(hash.to_vec());
    }

    /// The digest of all that came.
    pub fn finish(mut self) -> Checksum {
        if !self.partial.is_empty() {
            let hash = hash_block(&self.partial);
            self.push(0, hash);
        }
        let mut level = 0;
        while level + 1 < self.levels.len()
            || self.levels.get(level).is_some_and(|top| top.len() > 32)
        {
            let hash = hash_block(&self.levels[level]);
            level += 1;
            self.push(level, hash);
        }
        let mut descriptor = [0; 256];
        descriptor[..4].copy_from_slice(&[1, 1, 12, 0]);
        descriptor[8..16].copy_from_slice(&self.size.to_le_bytes());
        if let Some(root) = self.levels.last() {
            descriptor[16..48].copy_from_slice(root);
        }
        Checksum(Sha256::digest(descriptor).into())
    }
}

impl io::Write for FsVerity {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.update(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The hash of a block, padded if it is shorter.
fn hash_block(block: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new_with_prefix(block);
    hasher.update(&[0; BLOCK][block.len()..]);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, level by level.
    fn plainly(content: &[u8]) -> Checksum {
        let mut level = content.to_vec();
        while level.len() > 32 || level.len() == content.len() && !content.is_empty() {
            level = level.chunks(BLOCK).flat_map(hash_block).collect();
        }
        level.resize(32, 0);
        let start = [
            &[1, 1, 12, 0, 0, 0, 0, 0],
            &(content.len() as u64).to_le_bytes()[..],
        ];
        Checksum::of(&[&start.concat(), &level[..], &[0; 208]].concat())
    }

    #[test]
    fn digests_are_those_of_the_kernel() {
        // As the kernel measures them, and, except for empty content, `composefs-info` 1.0.8.
        for (content, digest) in [
            (
                vec![b'1'],
                "562a2033a6f212d5b21c2257fea4a3d19f8df6a3a4d670a8f8dd5bf89cf98b40",
            ),
            (
                b"hi\n".to_vec(),
                "4cc9059d03fc2eef6b7c40268ccc0fbd1da69621708a1561318dddf1539a128f",
            ),
            (
                Vec::new(),
                "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95",
            ),
            (
                vec![b'x'; 128 * BLOCK + 1],
                "7321b423e2b765c00796ae1e5b0be1dbba66e2e76f0e06e0d6ea4f14142d8783",
            ),
            (
                vec![b'x'; 128 * 128 * BLOCK + 1],
                "e38b789f63f2c9405d4fd12465ec8898702d9083c47c8fcff1349de88277945c",
            ),
        ] {
            assert_eq!(
                FsVerity::of(&content).to_hex(),
                digest,
                "{} bytes",
                content.len()
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn pieces_do_not_matter(
            blocks in prop::sample::select(vec![0, 1, 2, 127, 128, 129, 255, 256, 257]),
            more in 0..3usize,
            piece in 1..10_000usize,
        ) {
            let content = vec![7; (blocks * BLOCK + more).saturating_sub(1)];
            let mut verity = FsVerity::new();
            for piece in content.chunks(piece) {
                verity.update(piece);
            }
            prop_assert_eq!(verity.finish(), plainly(&content));
        }
    }
}
