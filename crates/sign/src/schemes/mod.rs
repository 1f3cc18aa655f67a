// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cryptography of each engine: keys as bytes, signatures as bytes.

pub(crate) mod ed25519;
pub(crate) mod spki;
