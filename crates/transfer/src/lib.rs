// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits between two repositories.
//!
//! [`pull`] fetches commits from a remote; [`pull::on_disk`] copies them from another repository on
//! this machine.
//!
//! A push is a conversation of two programs over any two streams of bytes: [`push::push`] on one
//! side, [`receive::receive`] on the other. Both speak the [`protocol`]. A [`transport`] connects
//! them: ssh, or a socket pair in one process; [`push::http`] speaks to `oxtree serve`. The receiver
//! puts objects into a [`store`].

mod error;
pub mod http;
pub mod limits;
pub mod protocol;
pub mod pull;
pub mod push;
pub mod receive;
pub mod semaphore;
pub mod store;
mod timeouts;
pub mod transport;
pub mod url;
pub mod visibility;

pub use error::{Error, FetchFault, Result, chain};
pub use push::plan::{History, PushRequest};
pub use push::send::Packing;
pub use push::{Compression, PushObserver, PushOptions, PushReport, push};
pub use url::Url;
