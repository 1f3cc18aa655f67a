// SPDX-License-Identifier: MIT OR Apache-2.0
//! GPG signatures: keyrings, verification with our own policy ([`verify`]), and `gpg` to sign.

mod agent;
mod cert;
mod describe;
mod keyring;
mod list;
mod packets;
mod policy;
mod user;
mod verify;

pub use agent::{Gpg, GpgSigner, delete_signatures};
pub use cert::{Certificate, Merged, key_id};
pub use describe::{ShowTime, describe};
pub use keyring::{Keyring, TRUSTED_DIR};
pub use list::list;
pub use packets::{RawPacket, dearmor, split};
pub use user::UserName;
pub use verify::{KeyReport, Report, Verdict, issuers, verify};

/// The certificates in a keyring, in armor or not. Keys that are not understood are left out.
pub fn parse_keyring(bytes: &[u8]) -> crate::Result<Vec<Certificate>> {
    cert::parse(bytes)
}

fn upper_hex(bytes: &[u8]) -> String {
    oxtree_format::checksum::hex(bytes).to_uppercase()
}
