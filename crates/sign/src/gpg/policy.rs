// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which keys of a certificate may sign at a given time, and which signatures are strong enough.
//!
//! A statement in a certificate is valid only if its primary key has signed it. Of several statements
//! about the same thing, the newest applies. The rules are those of `gpg`:
//! - a key is **bound** if there is such a statement: a user id or the key itself for the primary
//!   key, a binding for a subkey. A binding that lets a subkey sign has to hold the subkey's own
//!   signature over the primary key; or else anyone could claim another user's key;
//! - a revocation by the primary key, of any date and for any reason, is permanent;
//! - expiry and what the key may be used for (its flags) are in the newest statement. For the
//!   primary key that is one about the key itself, or else about the newest user id that speaks of
//!   it. A key without flags may do all that its algorithm can;
//! - an expired or revoked primary key takes its subkeys with it;
//! - statements count from the time at which they were made until they expire, and none is older
//!   than its key.
//!
//! On hashes this is stricter: a signature over data has to use SHA-2 or SHA-3. SHA-1 is enough for
//! what a key says of itself, if it did so before February 2023 (nobody else can choose what is
//! hashed there), and so that no revocation is overlooked, any hash is enough for those.
//!
//! It is stricter on sizes, too: a key of RSA or DSA that signs data has to have 2048 bits, as one of the spki engine.

use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, PublicParams, Tag};
use rsa::traits::PublicKeyParts;

use super::cert::{Certificate, Part, Sig};

/// Until then, statements of a key about itself may use SHA-1: 2023-02-01.
const SHA1_UNTIL: u64 = 1_675_209_600;

/// The state of a key at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The primary key says that it is its own.
    pub(crate) bound: bool,
    /// It must no longer be used.
    pub(crate) revoked: bool,
    /// When it expires, in seconds since 1970; [`None`] for never.
    pub(crate) expires: Option<u64>,
    /// It is meant for signatures over data.
    pub(crate) may_sign: bool,
}

impl State {
    pub(crate) fn is_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }
}

/// Whether a hash is good enough for signatures over data.
pub(crate) fn is_strong(hash: Option<HashAlgorithm>) -> bool {
    use HashAlgorithm as H;
    matches!(
        hash,
        Some(H::Sha224 | H::Sha256 | H::Sha384 | H::Sha512 | H::Sha3_256 | H::Sha3_512)
    )
}

/// The smallest modulus of RSA and DSA that is trusted, in bits.
const MIN_BITS: usize = 2048;

/// Whether a key is large enough for signatures over data.
pub(crate) fn is_large(key: &impl KeyDetails) -> bool {
    match key.public_params() {
        PublicParams::RSA(params) => params.key.n().bits() >= MIN_BITS,
        PublicParams::DSA(params) => params.key.components().p().bits() >= MIN_BITS,
        _ => true,
    }
}

/// When a signature was made, in seconds since 1970.
pub(crate) fn created(signature: &Signature) -> Option<u64> {
    signature.created().map(|time| u64::from(time.as_secs()))
}

/// When a signature expires, in seconds since 1970.
pub(crate) fn expires(signature: &Signature) -> Option<u64> {
    let after = u64::from(signature.signature_expiration_time()?.as_secs());
    (after > 0).then(|| created(signature).unwrap_or(0) + after)
}

/// Whether a signature demands something that is not understood.
pub(crate) fn has_unknown_demands(signature: &Signature) -> bool {
    signature.config().is_none_or(|config| {
        config.hashed_subpackets().any(|packet| {
            packet.is_critical
                && matches!(
                    packet.data,
                    SubpacketData::Other(..)
                        | SubpacketData::Experimental(..)
                        | SubpacketData::Notation(..)
                )
        })
    })
}

/// When a key was made, in seconds since 1970.
pub(crate) fn born(key: &impl KeyDetails) -> u64 {
    u64::from(key.created_at().as_secs())
}

/// Whether a statement of a key about itself counts now, if it is good.
fn counts(signature: &Signature, born: u64, now: u64) -> bool {
    let Some(made) = created(signature) else {
        return false;
    };
    let hash = signature.hash_alg();
    let strong = is_strong(hash) || (hash == Some(HashAlgorithm::Sha1) && made < SHA1_UNTIL);
    strong
        && (born..=now).contains(&made)
        && expires(signature).is_none_or(|end| now < end)
        && !has_unknown_demands(signature)
}

/// The newest of the signatures that are of one of these types, count now, and are good. Of those of
/// one second it is the last.
fn newest<'a>(
    signatures: &'a [Sig],
    types: &[SignatureType],
    (born, now): (u64, u64),
    is_good: impl Fn(&Signature) -> bool,
) -> Option<&'a Signature> {
    let mut candidates: Vec<&Signature> = signatures
        .iter()
        .filter_map(|signature| signature.parsed.as_ref())
        .filter(|signature| signature.typ().is_some_and(|typ| types.contains(&typ)))
        .filter(|signature| counts(signature, born, now))
        .collect();
    candidates.sort_by_key(|signature| created(signature));
    candidates
        .into_iter()
        .rev()
        .find(|signature| is_good(signature))
}

fn any_good(signatures: &[Sig], typ: SignatureType, is_good: impl Fn(&Signature) -> bool) -> bool {
    signatures
        .iter()
        .filter_map(|signature| signature.parsed.as_ref())
        .any(|signature| signature.typ() == Some(typ) && is_good(signature))
}

/// The flags that a statement gives the key, if it speaks of them.
fn flags(statement: &Signature) -> Option<&KeyFlags> {
    statement
        .config()?
        .hashed_subpackets()
        .find_map(|packet| match &packet.data {
            SubpacketData::KeyFlags(flags) => Some(flags),
            _ => None,
        })
}

/// When the key that a statement is about expires, if it speaks of that.
fn key_expires(statement: &Signature, born: u64) -> Option<u64> {
    let after = u64::from(statement.key_expiration_time()?.as_secs());
    (after > 0).then_some(born + after)
}

const CERTIFICATIONS: [SignatureType; 4] = [
    SignatureType::CertGeneric,
    SignatureType::CertPersona,
    SignatureType::CertCasual,
    SignatureType::CertPositive,
];

/// A user id that the certificate's owner has signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundUser<'a> {
    /// The text of the user id.
    pub(crate) id: &'a [u8],
    /// Taken back by the owner.
    pub(crate) revoked: bool,
    statement: &'a Signature,
}

impl Certificate {
    /// The user ids that count at a time, the one first that the owner calls the primary one, or
    /// else the newest.
    pub(crate) fn users_at(&self, now: u64) -> Vec<BoundUser<'_>> {
        let key = &self.primary.content;
        let times = (born(key), now);
        let mut users: Vec<BoundUser<'_>> = self
            .users
            .iter()
            .filter_map(|user| {
                let id = user.content.as_ref()?;
                let is_good = |signature: &Signature| {
                    signature.verify_certification(key, Tag::UserId, id).is_ok()
                };
                let statement = newest(&user.signatures, &CERTIFICATIONS, times, is_good)?;
                let revocation = [SignatureType::CertRevocation];
                let revoked = newest(&user.signatures, &revocation, times, is_good)
                    .is_some_and(|revocation| created(revocation) >= created(statement));
                Some(BoundUser {
                    id: id.id(),
                    revoked,
                    statement,
                })
            })
            .collect();
        let rank = |user: &BoundUser<'_>| (!user.revoked, user.statement.is_primary());
        if let Some(best) = users
            .iter()
            .enumerate()
            .max_by_key(|(at, user)| (rank(user), created(user.statement), std::cmp::Reverse(*at)))
            .map(|(at, _)| at)
        {
            users[..=best].rotate_right(1);
        }
        users
    }

    /// The state of the primary key.
    pub(crate) fn primary_at(&self, now: u64) -> State {
        let key = &self.primary.content;
        let born = born(key);
        let is_good = |signature: &Signature| signature.verify_key(key).is_ok();
        let signatures = &self.primary.signatures;
        let direct = newest(signatures, &[SignatureType::Key], (born, now), is_good);
        let users = self.users_at(now);
        // The statement that speaks of something: the direct one, or that of the newest user id.
        let mut by_age: Vec<&Signature> = users.iter().map(|user| user.statement).collect();
        by_age.sort_by_key(|statement| std::cmp::Reverse(created(statement)));
        let statements: Vec<&Signature> = direct.into_iter().chain(by_age).collect();
        State {
            bound: born <= now && !statements.is_empty(),
            revoked: any_good(signatures, SignatureType::KeyRevocation, is_good),
            expires: statements
                .iter()
                .find_map(|statement| key_expires(statement, born)),
            may_sign: statements
                .iter()
                .find_map(|statement| flags(statement))
                .is_none_or(KeyFlags::sign),
        }
    }

    /// The state of a subkey, apart from its primary key.
    pub(crate) fn subkey_at(&self, subkey: &Part<pgp::packet::PublicSubkey>, now: u64) -> State {
        let primary = &self.primary.content;
        let key = &subkey.content;
        let born = born(key);
        let is_good = |signature: &Signature| signature.verify_subkey_binding(primary, key).is_ok();
        let binding = newest(
            &subkey.signatures,
            &[SignatureType::SubkeyBinding],
            (born, now),
            is_good,
        );
        let revoked = any_good(&subkey.signatures, SignatureType::SubkeyRevocation, is_good);
        let Some(binding) = binding else {
            return State {
                revoked,
                ..State::default()
            };
        };
        let agrees = || {
            binding.embedded_signature().is_some_and(|back| {
                counts(back, born, now) && back.verify_primary_key_binding(key, primary).is_ok()
            })
        };
        State {
            bound: born <= now,
            revoked,
            expires: key_expires(binding, born),
            may_sign: flags(binding).is_none_or(KeyFlags::sign) && agrees(),
        }
    }
}
