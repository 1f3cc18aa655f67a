// SPDX-License-Identifier: MIT OR Apache-2.0
//! Static deltas: made of two commits, and turned into objects again.
//!
//! # Applying
//!
//! A delta that lies in a folder is applied by [`DeltaFiles::apply`]. One that comes from elsewhere is
//! applied to a [`Transaction`](crate::Transaction), part by part, in any order and by any number of
//! threads, whose `packed` bytes may be a stream:
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
//! Nothing of a delta is believed: a part has to have the size and checksum that the superblock says
//! before its first operation is carried out, and each object is hashed as it is written. A part is
//! unpacked to a file without a name, so what it needs in memory is xz's dictionary (32 MiB in what
//! libostree makes, 64 MiB at the most) and a few buffers.

mod apply;
mod content;
mod files;
pub mod generate;
mod payload;
mod stored;

pub use apply::{each_part, has_part};
pub use files::{DeltaFiles, PartContent};
