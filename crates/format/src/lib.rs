// SPDX-License-Identifier: MIT OR Apache-2.0
//! What OSTree's bytes mean.
//!
//! Each module is one format: its specification in the module's documentation, a parser that
//! refuses what is not in order, and a writer that gives the same bytes again. Nothing here touches
//! a file, a clock or the network. All bytes are taken to be hostile.

pub mod checksum;
pub mod commit;
pub mod composefs;
pub mod delta;
pub mod detached;
pub mod dirmeta;
pub mod dirtree;
mod error;
pub mod file;
pub mod fsverity;
pub mod keyfile;
pub mod object;
pub mod refs;
pub mod sizes;
pub mod summary;
pub mod tombstone;
pub mod xattrs;

pub use checksum::{Checksum, CommitId, DirMetaId, DirTreeId, FileId, Hasher};
pub use commit::Commit;
pub use composefs::Image;
pub use delta::DeltaName;
pub use detached::{Detached, NewDetached};
pub use dirmeta::DirMeta;
pub use dirtree::{DirId, DirTree};
pub use error::Error;
pub use file::{FileHeader, FilezHeader};
pub use fsverity::FsVerity;
pub use keyfile::KeyFile;
pub use object::{ObjectId, ObjectKind};
pub use oxtree_gvariant as gvariant;
pub use refs::{CollectionId, RefName, Refspec, RemoteName};
pub use sizes::SizesEntry;
pub use summary::{NewSummary, Summary};
pub use xattrs::Xattrs;

/// The largest metadata object that is read or written: 128 MiB, libostree's own limit.
pub const MAX_METADATA_SIZE: u64 = 128 << 20;
