// SPDX-License-Identifier: MIT OR Apache-2.0
//! Certificates (what people call public keys) out of packets, and back into the same packets.
//!
//! A certificate is a primary key packet; the signatures on it; user ids, each with the signatures
//! on it; subkeys, each with the signatures on it. Stray packets, GnuPG's own trust
//! packets and secret keys are left out. Nothing is verified here.

use pgp::packet::{PacketHeader, PublicKey, PublicSubkey, Signature, UserId};
use pgp::types::{KeyDetails, Tag};

use super::packets::{RawPacket, dearmor, split};
use crate::{Error, Result};

/// A signature in a certificate. One of a kind that is not understood stays, but counts for
/// nothing.
#[derive(Clone, Debug)]
pub(crate) struct Sig {
    raw: Vec<u8>,
    pub(crate) parsed: Option<Signature>,
}

/// A part of a certificate with the signatures on it.
#[derive(Clone, Debug)]
pub(crate) struct Part<T> {
    raw: Vec<u8>,
    pub(crate) content: T,
    pub(crate) signatures: Vec<Sig>,
}

/// The content of a user id packet; [`None`] for a picture.
pub(crate) type User = Option<UserId>;

/// A certificate: a primary key with all that is bound to it.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(crate) primary: Part<PublicKey>,
    pub(crate) users: Vec<Part<User>>,
    pub(crate) subkeys: Vec<Part<PublicSubkey>>,
}

/// What [`Certificate::merge`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// Everything was there already.
    Unchanged,
    /// Something was added.
    Changed,
}

/// The certificates in a keyring, in armor or not. Keys that are not understood are left out.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Certificate>> {
    let wrong = |reason: &str| Error::OpenPgp {
        what: "keyring".to_owned(),
        reason: reason.to_owned(),
    };
    let bytes = dearmor(bytes)?;
    let packets = split(&bytes).map_err(wrong)?;
    let mut certificates: Vec<Certificate> = Vec::new();
    // Packets after a key that is not understood belong to that.
    let mut open = false;
    // So do signatures after a subkey that is not.
    let mut listening = false;
    for packet in packets {
        match packet.tag {
            6 => {
                let primary = public_key(&packet);
                open = primary.is_some();
                listening = open;
                certificates.extend(primary.map(|key| Certificate {
                    primary: Part::new(&packet, key),
                    users: Vec::new(),
                    subkeys: Vec::new(),
                }));
            }
            // A secret key: nobody gave that away on purpose.
            5 => open = false,
            2 if !listening => {}
            _ if open => {
                if let Some(certificate) = certificates.last_mut() {
                    listening = certificate.add(&packet);
                }
            }
            _ => {}
        }
    }
    Ok(certificates)
}

fn header(packet: &RawPacket<'_>) -> Option<PacketHeader> {
    let len = u32::try_from(packet.body.len()).ok()?;
    Some(PacketHeader::new_fixed(Tag::from(packet.tag), len))
}

fn public_key(packet: &RawPacket<'_>) -> Option<PublicKey> {
    let mut body = packet.body;
    let key = PublicKey::try_from_reader(header(packet)?, &mut body).ok()?;
    body.is_empty().then_some(key)
}

fn subkey(packet: &RawPacket<'_>) -> Option<PublicSubkey> {
    let mut body = packet.body;
    let key = PublicSubkey::try_from_reader(header(packet)?, &mut body).ok()?;
    body.is_empty().then_some(key)
}

fn user_id(packet: &RawPacket<'_>) -> Option<UserId> {
    UserId::try_from_reader(header(packet)?, packet.body).ok()
}

/// A signature packet; [`None`] if it is not understood.
pub(crate) fn signature(packet: &RawPacket<'_>) -> Option<Signature> {
    let mut body = packet.body;
    let signature = Signature::try_from_reader(header(packet)?, &mut body).ok()?;
    body.is_empty().then_some(signature)
}

impl<T> Part<T> {
    fn new(packet: &RawPacket<'_>, content: T) -> Self {
        Self {
            raw: packet.whole.to_vec(),
            content,
            signatures: Vec::new(),
        }
    }

    /// Takes over the signatures of the same part in another copy.
    fn merge(&mut self, other: Self) -> bool {
        let before = self.signatures.len();
        for signature in other.signatures {
            if !self.signatures.iter().any(|old| old.raw == signature.raw) {
                self.signatures.push(signature);
            }
        }
        self.signatures.len() != before
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.raw);
        for signature in &self.signatures {
            out.extend_from_slice(&signature.raw);
        }
    }
}

impl Certificate {
    /// Adds a packet. False if the packet and the signatures that follow it are skipped.
    fn add(&mut self, packet: &RawPacket<'_>) -> bool {
        match packet.tag {
            2 => {
                let signatures = match (self.subkeys.last_mut(), self.users.last_mut()) {
                    (Some(subkey), _) => &mut subkey.signatures,
                    (None, Some(user)) => &mut user.signatures,
                    (None, None) => &mut self.primary.signatures,
                };
                signatures.push(Sig {
                    raw: packet.whole.to_vec(),
                    parsed: signature(packet),
                });
            }
            // User ids come before subkeys; the signatures would go astray otherwise.
            13 | 17 if !self.subkeys.is_empty() => return false,
            13 => self.users.push(Part::new(packet, user_id(packet))),
            17 => self.users.push(Part::new(packet, None)),
            14 => match subkey(packet) {
                Some(key) => self.subkeys.push(Part::new(packet, key)),
                None => return false,
            },
            _ => {}
        }
        true
    }

    /// The primary key's fingerprint, in capital letters.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.primary.content)
    }

    /// The fingerprints of all keys, the primary one first.
    pub fn fingerprints(&self) -> Vec<String> {
        let subkeys = self.subkeys.iter();
        std::iter::once(self.fingerprint())
            .chain(subkeys.map(|subkey| fingerprint(&subkey.content)))
            .collect()
    }

    /// Whether `id` names this certificate. `id` is the end of a fingerprint, 8 digits or
    /// more, or words in a user id.
    pub fn is_meant(&self, id: &str) -> bool {
        if let Some(digits) = key_id(id) {
            return self
                .fingerprints()
                .iter()
                .any(|fingerprint| fingerprint.ends_with(&digits));
        }
        let id = id.to_lowercase();
        let users = self.users.iter().filter_map(|user| user.content.as_ref());
        !id.is_empty()
            && users
                .map(|user| String::from_utf8_lossy(user.id()).to_lowercase())
                .any(|user| user.contains(&id))
    }

    /// Takes over what another copy of the certificate has.
    pub fn merge(&mut self, other: Self) -> Merged {
        let mut changed = self.primary.merge(other.primary);
        for user in other.users {
            match self.users.iter_mut().find(|old| old.raw == user.raw) {
                Some(old) => changed |= old.merge(user),
                None => {
                    self.users.push(user);
                    changed = true;
                }
            }
        }
        for subkey in other.subkeys {
            let same = |old: &&mut Part<PublicSubkey>| {
                old.content.fingerprint() == subkey.content.fingerprint()
            };
            match self.subkeys.iter_mut().find(same) {
                Some(old) => changed |= old.merge(subkey),
                None => {
                    self.subkeys.push(subkey);
                    changed = true;
                }
            }
        }
        match changed {
            true => Merged::Changed,
            false => Merged::Unchanged,
        }
    }

    /// The packets again, for a keyring.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.primary.write(out);
        for user in &self.users {
            user.write(out);
        }
        for subkey in &self.subkeys {
            subkey.write(out);
        }
    }
}

/// A key's fingerprint, in capital letters.
pub(crate) fn fingerprint(key: &impl KeyDetails) -> String {
    format!("{:X}", key.fingerprint())
}

/// The digits of a key id or fingerprint, in capital letters, if that is what `text` is.
pub fn key_id(text: &str) -> Option<String> {
    let text = text.strip_suffix('!').unwrap_or(text);
    let digits = text
        .strip_prefix("0x")
        .or(text.strip_prefix("0X"))
        .unwrap_or(text)
        .replace(' ', "");
    let is_id = matches!(digits.len(), 8 | 16 | 32 | 40 | 64)
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| digits.to_ascii_uppercase())
}
