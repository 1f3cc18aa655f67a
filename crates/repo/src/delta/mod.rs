// SPDX-License-Identifier: MIT OR Apache-2.0
//! Static deltas: made from two commits, and applied to get objects again.
//!
//! `oxtree_format::delta` defines the bytes. [`mod@generate`] makes deltas, see there. Which
//! deltas a pull fetches is decided in `oxtree-transfer`.
//!
//! # Applying
//!
//! A delta in a folder is applied by [`DeltaFiles::apply`]. A delta from elsewhere is applied to a
//! [`Transaction`](crate::Transaction) part by part, in any order and by any number of threads,
//! whose `packed` bytes may be a stream:
//!
//! ```no_run
//! use oxtree_format::delta::Superblock;
//! use oxtree_repo::delta::each_part;
//! use oxtree_repo::{Repo, Result, Transaction};
//!
//! # fn fetch(path: &str) -> Vec<u8> { Vec::new() }
//! fn pull(repo: &Repo, superblock: &Superblock<'_>) -> Result<()> {
//!     let transaction = Transaction::quarantine(repo)?;
//!     transaction.check_delta_source(superblock)?;
//!     each_part(superblock, &transaction, |index, _| match superblock.inline_part(index) {
//!         Some(mut packed) => transaction.apply_delta_part(superblock, index, &mut packed),
//!         None => {
//!             let packed = fetch(&format!("{}/{index}", superblock.name.folder()));
//!             transaction.apply_delta_part(superblock, index, &mut &packed[..])
//!         }
//!     })?;
//!     // Now fetch superblock.fallbacks(), and what else is missing.
//!     transaction.write_delta_commit(superblock)?;
//!     transaction.commit_complete(&[], &[superblock.name.to])?;
//!     Ok(())
//! }
//! ```
//!
//! A delta is not trusted. Before the first operation of a part is carried out, the part must have
//! the size and checksum that the superblock states. It must not unpack to more than its objects
//! can need. Each object is hashed as it is written. A part is unpacked to a file without a name,
//! so it needs memory only for xz's dictionary (32 MiB in libostree's deltas, 2 MiB in ours, at
//! most 64 MiB) and a few buffers. Two parts are unpacked at a time.

mod apply;
mod content;
mod files;
pub mod generate;
mod payload;
mod stored;

pub use apply::{each_part, has_part};
pub use files::{DeltaFiles, PartContent};
