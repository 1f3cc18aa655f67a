// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits between two repositories.
//!
//! [`pull`] brings what a remote has, [`pull_local`] copies from one repository on this machine to
//! another.
//!
//! A push is a conversation of two programs over any two streams of bytes: [`push::push`] on one
//! side, [`receive::receive`] on the other, in the words of [`protocol`]. [`ssh`] puts it on the
//! system's ssh, [`local`] on a socket pair.

pub mod archived;
pub mod deltas;
pub mod destination;
mod error;
pub mod http;
pub mod limits;
pub mod local;
mod memory;
mod patience;
pub mod protocol;
pub mod pull;
pub mod pull_local;
pub mod push;
pub mod receive;
pub mod room;
pub mod ssh;
pub mod tunnel;
pub mod url;
pub mod visibility;

pub use error::{Error, FetchFault, Result, chain};
pub use push::plan::{History, Request};
pub use push::send::Packing;
pub use push::{Audience, Compression, Options, Report, push};
pub use url::Url;
