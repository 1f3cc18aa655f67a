// SPDX-License-Identifier: MIT OR Apache-2.0
//! One OSTree repository on disk.
//!
//! This crate is the only one that knows the paths below a repository. It is synchronous and
//! silent: big operations return what they did, and the caller prints.

pub mod bindings;
pub mod checkout;
pub mod commit;
pub mod config;
mod deltas;
mod error;
pub(crate) mod fs;
pub mod fsck;
mod mode;
pub mod mtree;
pub mod object;
mod partial;
pub mod progress;
pub mod refs;
mod repo;
mod rev;
mod summary;
pub mod transaction;
pub mod traverse;
pub mod tree;

pub use config::Config;
pub use error::{Error, Result};
pub use fs::lock::{FileLock, LockKind};
pub use mode::Mode;
pub use mtree::MutableTree;
pub use object::read::{FileContent, FileObject};
pub use partial::CommitState;
pub use progress::Progress;
pub use refs::{Expected, RefUpdate};
pub use repo::{Environment, Repo};
pub use summary::SummaryUpdate;
pub use transaction::{Stats, Transaction, Unfinished};
