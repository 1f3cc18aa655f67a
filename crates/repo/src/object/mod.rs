// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects as files: how each mode stores them, reading and writing.
//!
//! Archive and bare repositories share one write path ([`mod@write`]); the mode decides only at
//! the end. A file from disk is hashed first, and packed only if the repository does not have it.
//! Content of up to 8 MiB (less with more than four threads) is read once, kept in memory, and
//! packed in one go. Larger content is read twice: once to hash it, and once to hash it again
//! while it is packed in blocks of 512 KiB on all cores. Blocks whose sample does not compress are
//! stored as they are.

pub(crate) mod adopt;
mod copy;
pub(crate) mod deflate;
mod filez;
pub mod import;
pub mod metadata;
mod place;
pub mod read;
pub(crate) mod stored;
pub mod verify;
pub mod write;

pub use place::check_storable;
