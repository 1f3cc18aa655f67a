// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys in X.509 form, each with the hash that OpenSSL takes by itself, as libostree does:
//!
//! | algorithm | signature |
//! | --- | --- |
//! | Ed25519, Ed448 | over the bytes themselves: 64 and 114 bytes |
//! | RSA, 2048 to 4096 bits | PKCS #1 v1.5 over SHA-256 |
//! | ECDSA on P-256, P-384, P-521 | DER, over SHA-256 |
//!
//! A public key is the DER of a SubjectPublicKeyInfo, a secret one that of a PKCS #8
//! PrivateKeyInfo that is not encrypted.

use std::fmt;

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use pkcs8::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};
use pkcs8::{DecodePrivateKey, PrivateKeyInfo};
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::pkcs1v15;
use rsa::signature::{RandomizedSigner, SignatureEncoding, Verifier};
use rsa::traits::PublicKeyParts;
use rsa::{RsaPrivateKey, RsaPublicKey};
use sha2::{Digest, Sha256};

use super::ed25519;
use crate::encoding::Bytes;

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ED448: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.113");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// The smallest RSA modulus that is trusted, in bits.
const MIN_RSA: usize = 2048;

/// How many bytes a number of P-384 and of P-521 takes.
const SIZE_384: usize = 48;
const SIZE_521: usize = 66;

/// A public key.
#[derive(Clone)]
pub(crate) enum Public {
    Ed25519(ed25519::Public),
    Ed448(cx448::VerifyingKey),
    Rsa(pkcs1v15::VerifyingKey<rsa::sha2::Sha256>),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(Box<p521::ecdsa::VerifyingKey>),
}

/// (p521 has none for its keys.)
impl fmt::Debug for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519(_) => "Ed25519",
            Self::Ed448(_) => "Ed448",
            Self::Rsa(_) => "Rsa",
            Self::P256(_) => "P256",
            Self::P384(_) => "P384",
            Self::P521(_) => "P521",
        })
    }
}

impl Public {
    pub(crate) fn new(der: &[u8]) -> Result<Self, String> {
        let info = SubjectPublicKeyInfoRef::try_from(der).map_err(text)?;
        let algorithm = info.algorithm;
        let key = info
            .subject_public_key
            .as_bytes()
            .ok_or("its bits are no bytes")?;
        match algorithm.oid {
            ED25519 => ed25519::Public::new(key).map(Self::Ed25519),
            ED448 => {
                let key = key.try_into().map_err(text)?;
                cx448::VerifyingKey::from_bytes(&key)
                    .map(Self::Ed448)
                    .map_err(text)
            }
            RSA => {
                let key = RsaPublicKey::from_pkcs1_der(key).map_err(text)?;
                check_rsa(&key)?;
                Ok(Self::Rsa(pkcs1v15::VerifyingKey::new(key)))
            }
            EC => match algorithm.parameters_oid().map_err(text)? {
                P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(key)
                    .map(Self::P256)
                    .map_err(text),
                P384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(key)
                    .map(Self::P384)
                    .map_err(text),
                P521 => p521::ecdsa::VerifyingKey::from_sec1_bytes(key)
                    .map(|key| Self::P521(Box::new(key)))
                    .map_err(text),
                curve => Err(format!("the curve {curve} is not supported")),
            },
            oid => Err(unsupported(oid)),
        }
    }

    pub(crate) fn verify(&self, data: &[u8], signature: &[u8]) -> bool {
        let good =
            |good: Result<(), _>| -> Option<()> { good.map_err(|_: p256::ecdsa::Error| ()).ok() };
        let verified = match self {
            Self::Ed25519(key) => return key.verify(data, signature),
            Self::Ed448(key) => cx448::Signature::try_from(signature)
                .ok()
                .and_then(|signature| key.verify_raw(&signature, data).ok()),
            Self::Rsa(key) => pkcs1v15::Signature::try_from(signature)
                .ok()
                .and_then(|signature| key.verify(data, &signature).ok()),
            Self::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .ok()
                .and_then(|signature| good(key.verify_prehash(&digest::<32>(data), &signature))),
            Self::P384(key) => {
                p384::ecdsa::Signature::from_der(signature)
                    .ok()
                    .and_then(|signature| {
                        good(key.verify_prehash(&digest::<SIZE_384>(data), &signature))
                    })
            }
            Self::P521(key) => {
                p521::ecdsa::Signature::from_der(signature)
                    .ok()
                    .and_then(|signature| {
                        good(key.verify_prehash(&digest::<SIZE_521>(data), &signature))
                    })
            }
        };
        verified.is_some()
    }
}

/// A secret key.
pub(crate) enum Secret {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    Ed448(Box<cx448::SigningKey>),
    Rsa(Box<pkcs1v15::SigningKey<rsa::sha2::Sha256>>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(Box<p521::ecdsa::SigningKey>),
}

impl Secret {
    pub(crate) fn new(der: &Bytes) -> Result<Self, String> {
        let info = PrivateKeyInfo::try_from(&der[..]).map_err(text)?;
        match info.algorithm.oid {
            ED25519 => ed25519_dalek::SigningKey::from_pkcs8_der(der)
                .map(|key| Self::Ed25519(Box::new(key)))
                .map_err(text),
            // An octet string in the octet string, which cx448 does not expect.
            ED448 => match info.private_key {
                [0x04, 57, seed @ ..] => cx448::SigningKey::try_from(seed)
                    .map(|key| Self::Ed448(Box::new(key)))
                    .map_err(|_| "it has not 57 bytes".to_owned()),
                _ => Err("it is no octet string".to_owned()),
            },
            RSA => {
                let key = RsaPrivateKey::from_pkcs8_der(der).map_err(text)?;
                check_rsa(key.as_ref())?;
                Ok(Self::Rsa(Box::new(pkcs1v15::SigningKey::new(key))))
            }
            EC => match info.algorithm.parameters_oid().map_err(text)? {
                P256 => p256::SecretKey::from_pkcs8_der(der)
                    .map(|key| Self::P256(key.into()))
                    .map_err(text),
                P384 => p384::SecretKey::from_pkcs8_der(der)
                    .map(|key| Self::P384(key.into()))
                    .map_err(text),
                P521 => {
                    let key = p521::SecretKey::from_pkcs8_der(der).map_err(text)?;
                    p521::ecdsa::SigningKey::from_bytes(&key.to_bytes())
                        .map(|key| Self::P521(Box::new(key)))
                        .map_err(text)
                }
                curve => Err(format!("the curve {curve} is not supported")),
            },
            oid => Err(unsupported(oid)),
        }
    }

    pub(crate) fn sign(&self, data: &[u8]) -> Result<Vec<u8>, String> {
        use ed25519_dalek::Signer as _;
        Ok(match self {
            Self::Ed25519(key) => key.sign(data).to_bytes().to_vec(),
            Self::Ed448(key) => key.sign_raw(data).to_bytes().to_vec(),
            Self::Rsa(key) => key
                .try_sign_with_rng(&mut rsa::rand_core::OsRng, data)
                .map_err(text)?
                .to_vec(),
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature =
                    key.sign_prehash(&digest::<32>(data)).map_err(text)?;
                signature.to_der().as_bytes().to_vec()
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature =
                    key.sign_prehash(&digest::<SIZE_384>(data)).map_err(text)?;
                signature.to_der().as_bytes().to_vec()
            }
            Self::P521(key) => {
                let signature: p521::ecdsa::Signature =
                    key.sign_prehash(&digest::<SIZE_521>(data)).map_err(text)?;
                signature.to_der().as_bytes().to_vec()
            }
        })
    }
}

/// The SHA-256 of the bytes, as the number it stands for, in as many bytes as a number of the
/// curve takes: the crates refuse a hash that is much shorter than that.
fn digest<const N: usize>(data: &[u8]) -> [u8; N] {
    let mut number = [0; N];
    number[N - 32..].copy_from_slice(&Sha256::digest(data));
    number
}

fn check_rsa(key: &RsaPublicKey) -> Result<(), String> {
    match key.n().bits() {
        bits if bits < MIN_RSA => Err(format!("{bits} bits of RSA are too few")),
        _ => Ok(()),
    }
}

fn unsupported(oid: ObjectIdentifier) -> String {
    format!("keys of the algorithm {oid} are not supported")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
