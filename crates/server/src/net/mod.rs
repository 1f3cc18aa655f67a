// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network: sockets, TLS, connections, their timeouts and their threads. Everything about a
//! request itself is below, in [`crate::routes`].

mod connection;
mod connection_limit;
mod delivery;
mod executor;
mod listen;
mod preface;
mod tls;
mod workers;
mod write_timeout;

pub use self::listen::run;
