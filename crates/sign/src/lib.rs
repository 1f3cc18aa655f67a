// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures of commits and of the summary, behind [`oxtree_repo::sign`]'s traits.
//!
//! | engine | key of detached metadata | signature | keys |
//! | --- | --- | --- | --- |
//! | GPG ([`gpg`]) | `ostree.gpgsigs` | a binary detached OpenPGP signature | keyrings |
//! | ed25519 | `ostree.sign.ed25519` | 64 bytes | base64: 64 bytes of seed and public key; 32 bytes of public key |
//! | spki | `ostree.sign.spki` | the raw signature of the key's algorithm | PKCS #8 and SubjectPublicKeyInfo, in base64 or PEM |
//! | dummy | `ostree.sign.dummy` | the key itself | any text; for tests only |
//!
//! Keys and signatures may come from anybody: every parser here takes any bytes, and what it cannot
//! use is an error. Signatures are checked by Rust code alone; GPG signatures are made by `gpg`,
//! since keys live in its agent. Nothing here reads the environment or the clock.

pub mod encoding;
pub mod engine;
mod error;
pub mod gpg;
pub mod keys;
pub mod remote;

mod schemes;
pub mod secret;

pub use engine::Engine;
pub use error::{Error, Result};
pub use keys::PublicKeys;
pub use remote::{Trust, Wanted, commit_verifier, delta_verifier, summary_verifier};
pub use secret::SecretKey;
