// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making commits: trees out of directories, tar streams and other commits, and the commit object
//! on top of them.

mod bootable;
mod builder;
mod copy;
mod devino;
mod dict_order;
mod dir;
mod modifier;
mod sizes;
mod stored;
mod tar;
mod walk;

pub use builder::CommitBuilder;
pub use copy::is_flatpak_ref;
pub use devino::DevInoCache;
pub use dir::tree_from_dir;
pub use modifier::{Attributes, CommitModifier, PathSet, StatOverrides, Verdict};
pub use sizes::sizes_of;
pub use stored::tree_from_commit;
pub use tar::{PathFilter, TarOptions, add_tar, read_archive};

/// What is wrong with a regular expression, in one line.
pub(crate) fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default().trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
