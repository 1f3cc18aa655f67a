// SPDX-License-Identifier: MIT OR Apache-2.0
//! One OSTree repository on disk.
//!
//! This crate is the only one that knows the paths below a repository. It is synchronous and
//! silent: big operations return what they did, and the caller prints.
//!
//! # A commit, from a directory and back
//!
//! ```
//! use oxtree_repo::commit::{CommitBuilder, CommitModifier, tree_from_dir};
//! use oxtree_repo::{Mode, RefUpdate, Repo, Transaction};
//!
//! let dir = tempfile::tempdir()?;
//! let (files, out) = (dir.path().join("files"), dir.path().join("out"));
//! std::fs::create_dir_all(files.join("etc"))?;
//! std::fs::write(files.join("etc/motd"), "hello\n")?;
//!
//! // Everything that adds objects is a transaction. Nobody sees any of it before its commit.
//! let repo = Repo::create(&dir.path().join("repo"), Mode::Archive, None)?;
//! let transaction = Transaction::begin(&repo)?;
//! let modifier = CommitModifier { canonical_permissions: true, ..Default::default() };
//! let root = tree_from_dir(&files, &modifier, &transaction)?.write(&transaction)?;
//! let builder = CommitBuilder { subject: "first".to_owned(), ..Default::default() };
//! let commit = builder.write(root, &transaction)?;
//! transaction.commit(&[RefUpdate::set("demo/main".parse()?, commit)])?;
//!
//! // Revs are what users write: refs, checksums and their beginnings, `^` for the parent.
//! assert_eq!(repo.resolve_rev("demo/main")?, commit);
//! assert_eq!(repo.resolve_rev(&commit.to_string()[..12])?, commit);
//!
//! // A commit is a tree of files to be read...
//! let tree = repo.tree(commit)?;
//! let mut file = tree.open("/etc/motd")?;
//! let mut text = String::new();
//! std::io::Read::read_to_string(&mut file.content, &mut text)?;
//! assert_eq!((text.as_str(), file.size, file.header.mode), ("hello\n", 6, 0o100_644));
//!
//! // ...or to be checked out.
//! let options = oxtree_repo::checkout::Options { user: true, ..Default::default() };
//! oxtree_repo::checkout::checkout(&repo, &tree.root(), &out, &options)?;
//! assert_eq!(std::fs::read(out.join("etc/motd"))?, b"hello\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/build_system.rs` puts an operating system's image together from packages.

pub mod bindings;
pub mod checkout;
pub mod commit;
pub mod composefs;
pub mod config;
mod create;
pub mod delta;
pub mod diff;
mod disk;
mod error;
pub mod export;
pub(crate) mod fs;
pub mod fsck;
pub mod memory;
mod mode;
pub mod mtree;
mod notes;
pub mod object;
mod partial;
pub mod progress;
pub mod prune;
pub mod public;
pub mod refs;
pub mod remotes;
mod repo;
mod rev;
pub mod selinux;
pub mod sign;
pub mod similar;
mod summary;
pub mod summary_cache;
mod summary_signatures;
pub mod transaction;
pub mod traverse;
pub mod tree;
pub mod words;

pub use config::Config;
pub use disk::{DiskView, checksum_path};
pub use error::{Error, Result};
pub use fs::lock::{FileLock, LockKind};
pub use mode::Mode;
pub use mtree::MutableTree;
pub use object::read::{FileContent, FileObject};
pub use partial::CommitState;
pub use progress::Progress;
pub use prune::PrunePlan;
pub use refs::{DamagedRef, Expected, RefList, RefUpdate};
pub use repo::{Environment, Repo};
pub use summary::SummaryUpdate;
pub use summary_signatures::LostSignatures;
pub use transaction::{Stats, Transaction, Unfinished};
