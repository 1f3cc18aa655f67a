// SPDX-License-Identifier: MIT OR Apache-2.0
//! The push protocol, without any I/O: see `docs/design/protocol.md`, which is its specification.
//!
//! A line of greeting from each side, and then [frames](frame): control [messages](message) in
//! JSON, and in binary the ids of objects, a bitmap of those that are wanted, and the
//! [stream of objects](stream), some of which are [patches](patch) of what is there.

pub mod frame;
pub mod http;
pub mod legacy;
pub mod message;
pub mod patch;
pub mod stream;

/// The only version so far.
pub const VERSION: u32 = 1;

/// The capability of a receiver that answers the message `status`.
pub const STATUS: &str = "status";

/// The capability of a receiver that takes patches, and payloads in zstd.
pub const COMPRESSION: &str = "squeeze";

/// The capability of a receiver that takes detached metadata of commits that it has already.
pub const DETACHED: &str = "detached";

/// The first line of the receiver.
pub const RECEIVER_GREETING: &[u8] = b"OXTREE-RECEIVE\n";

/// The first line of the pusher.
pub const PUSHER_GREETING: &[u8] = b"OXTREE-PUSH\n";

/// Bytes of an object id on the wire: the kind's number and the checksum.
pub const ID_LEN: usize = 33;
