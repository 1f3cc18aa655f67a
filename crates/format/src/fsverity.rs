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
