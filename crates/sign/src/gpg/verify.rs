// SPDX-License-Identifier: MIT OR Apache-2.0
//! Detached GPG signatures against a keyring: a report of each.

use pgp::packet::{Signature, SignatureType};

use super::cert::{Certificate, fingerprint, signature};
use super::packets::split;
use super::policy::{self, State};
use super::user::UserName;
use crate::{Error, Result};

/// The most signatures that are looked at: anybody can add more.
const MAX_SIGNATURES: usize = 200;

/// How good a signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By a key of the keyring that may sign, and of this data.
    Good,
    /// Nobody in the keyring has the key.
    KeyMissing,
    /// The key, or its primary key, is revoked.
    KeyRevoked,
    /// The signature has expired.
    SignatureExpired,
    /// The key, or its primary key, has expired.
    KeyExpired,
    /// Anything else; the text says what.
    Bad(&'static str),
}

/// The key that made a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReport {
    /// The key's fingerprint, in capital letters.
    pub fingerprint: String,
    /// That of its primary key, which may be the same.
    pub primary: String,
    /// Whose key it is.
    pub user: UserName,
    /// When the key expires, in seconds since 1970.
    pub expires: Option<u64>,
    /// When the primary key expires.
    pub primary_expires: Option<u64>,
}

/// The result for one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How good it is.
    pub verdict: Verdict,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When it expires.
    pub expires: Option<u64>,
    /// The algorithm, as GPGME names it.
    pub algorithm: &'static str,
    /// The claimed signer: a fingerprint or a key id, in capital letters.
    pub issuer: String,
    /// The key, if it is in the keyring.
    pub key: Option<KeyReport>,
}

/// The claimed signers of the signatures, in capital letters: fingerprints and key ids. Nothing is
/// verified.
pub fn issuers(blob: &[u8]) -> Vec<String> {
    let packets = split(blob).unwrap_or_default();
    let signatures = packets.iter().filter(|packet| packet.tag == 2);
    signatures
        .filter_map(signature)
        .flat_map(|signature| named_issuers(&signature))
        .collect()
}

fn named_issuers(signature: &Signature) -> Vec<String> {
    let fingerprints = signature.issuer_fingerprint();
    let ids = signature.issuer_key_id();
    fingerprints
        .iter()
        .map(|fingerprint| format!("{fingerprint:X}"))
        .chain(ids.iter().map(|id| super::upper_hex(id.as_ref())))
        .collect()
}

/// Checks signatures of `data` against a keyring, at the time `now`.
pub fn verify(
    keyring: &[Certificate],
    data: &[u8],
    blobs: &[&[u8]],
    now: u64,
) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for blob in blobs {
        let packets = split(blob).map_err(|reason| Error::OpenPgp {
            what: "GPG signature".to_owned(),
            reason: reason.to_owned(),
        })?;
        for packet in packets.iter().filter(|packet| packet.tag == 2) {
            if reports.len() == MAX_SIGNATURES {
                return Err(Error::TooMany {
                    what: "GPG signatures",
                    max: MAX_SIGNATURES,
                });
            }
            let Some(signature) = signature(packet) else {
                return Err(Error::OpenPgp {
                    what: "GPG signature".to_owned(),
                    reason: "a signature packet that is none".to_owned(),
                });
            };
            reports.push(report(keyring, data, &signature, now));
        }
    }
    Ok(reports)
}

fn report(keyring: &[Certificate], data: &[u8], signature: &Signature, now: u64) -> Report {
    let issuers = named_issuers(signature);
    let mut report = Report {
        verdict: Verdict::KeyMissing,
        created: policy::created(signature).unwrap_or(0),
        expires: policy::expires(signature),
        algorithm: algorithm(signature),
        issuer: issuers.first().cloned().unwrap_or_default(),
        key: None,
    };
    // A key id does not name one key for certain, so all that bear it are tried.
    for certificate in keyring {
        for (at, fingerprint) in certificate.fingerprints().iter().enumerate() {
            if report.verdict == Verdict::Good {
                return report;
            }
            if issuers
                .iter()
                .any(|issuer| fingerprint.ends_with(issuer.as_str()))
            {
                let (verdict, key) = judge(certificate, at, data, signature, now);
                report.verdict = verdict;
                report.key = Some(key);
            }
        }
    }
    report
}

/// Checks a signature against the key number `at` of a certificate (0 is the primary one).
fn judge(
    certificate: &Certificate,
    at: usize,
    data: &[u8],
    signature: &Signature,
    now: u64,
) -> (Verdict, KeyReport) {
    let primary = certificate.primary_at(now);
    let subkey = at.checked_sub(1).and_then(|at| certificate.subkeys.get(at));
    let (state, key_fingerprint, born, good) = match subkey {
        Some(subkey) => (
            certificate.subkey_at(subkey, now),
            fingerprint(&subkey.content),
            policy::born(&subkey.content),
            verifies(&subkey.content, data, signature),
        ),
        None => (
            primary,
            certificate.fingerprint(),
            policy::born(&certificate.primary.content),
            verifies(&certificate.primary.content, data, signature),
        ),
    };
    let users = certificate.users_at(now);
    let report = KeyReport {
        fingerprint: key_fingerprint,
        primary: certificate.fingerprint(),
        user: users
            .first()
            .map(|user| UserName::parse(user.id))
            .unwrap_or_default(),
        expires: state.expires,
        primary_expires: primary.expires,
    };
    let verdict = match good {
        Err(reason) => Verdict::Bad(reason),
        Ok(()) => verdict(signature, [&primary, &state], born, now),
    };
    (verdict, report)
}

/// How good a signature is that the key has made: of a primary key and the key itself.
fn verdict(signature: &Signature, keys: [&State; 2], born: u64, now: u64) -> Verdict {
    let [_, key] = keys;
    if keys.iter().any(|key| key.revoked) {
        return Verdict::KeyRevoked;
    }
    if !keys.iter().all(|key| key.bound) {
        return Verdict::Bad("the key is not bound to its owner");
    }
    if !key.may_sign {
        return Verdict::Bad("the key is not meant for signatures");
    }
    match policy::created(signature) {
        None => return Verdict::Bad("it does not say when it was made"),
        Some(made) if made < born => return Verdict::Bad("it is older than its key"),
        Some(_) => {}
    }
    if policy::expires(signature).is_some_and(|end| end <= now) {
        return Verdict::SignatureExpired;
    }
    match keys.iter().any(|key| key.is_expired(now)) {
        true => Verdict::KeyExpired,
        false => Verdict::Good,
    }
}

/// Whether a key has made a signature of this data, of a kind that is good enough.
fn verifies(
    key: &impl pgp::types::VerifyingKey,
    data: &[u8],
    signature: &Signature,
) -> Result<(), &'static str> {
    if signature.typ() != Some(SignatureType::Binary) {
        return Err("it is not a signature over bytes");
    }
    if !policy::is_strong(signature.hash_alg()) {
        return Err("its hash is too weak");
    }
    if !policy::is_large(key) {
        return Err("its key is too small");
    }
    if policy::has_unknown_demands(signature) {
        return Err("it demands something that is not understood");
    }
    signature
        .verify(key, data)
        .map_err(|_| "it is not of this data")
}

fn algorithm(signature: &Signature) -> &'static str {
    use pgp::crypto::public_key::PublicKeyAlgorithm as A;
    match signature.config().map(|config| config.pub_alg) {
        Some(A::RSA | A::RSAEncrypt | A::RSASign) => "RSA",
        Some(A::DSA) => "DSA",
        Some(A::ECDSA) => "ECDSA",
        Some(A::EdDSALegacy | A::Ed25519 | A::Ed448) => "EdDSA",
        _ => "unknown",
    }
}
