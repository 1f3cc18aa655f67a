// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making commits: trees out of directories, tar streams and other commits, and the commit object
//! on top of them.

mod builder;
mod devino;
mod dir;
mod modifier;
mod stored;
mod tar;
mod walk;

pub use builder::CommitBuilder;
pub use devino::DevInoCache;
pub use dir::tree_from_dir;
pub use modifier::{Attributes, CommitModifier, PathSet, StatOverrides, Verdict};
pub use stored::tree_from_commit;
pub use tar::{TarOptions, add_tar};
