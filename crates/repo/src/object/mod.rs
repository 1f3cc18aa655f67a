// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects as files: how each mode stores them, reading and writing.

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
