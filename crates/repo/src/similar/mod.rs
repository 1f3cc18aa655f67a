// SPDX-License-Identifier: MIT OR Apache-2.0
//! What new files have in common with old ones: which file to compare with, and which bytes are alike. Pushes
//! and static deltas are made of it.

mod bases;
mod chunks;
mod matching;

pub use bases::find as bases;
pub use chunks::{Run, runs};
pub use matching::{Step, Table, matches};
