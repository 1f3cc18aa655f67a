// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ed25519 over the bytes themselves, with keys as libsodium has them: a public key is 32 bytes, a
//! secret one 64, the seed followed by the public key.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::encoding::Bytes;

/// A public key. Any 32 bytes are one; half of them are no point of the curve, and so nobody's.
#[derive(Clone, Debug)]
pub(crate) struct Public([u8; 32]);

impl Public {
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, String> {
        sized(bytes).map(Self)
    }

    /// Strictly: a key or signature of small order is never good.
    pub(crate) fn verify(&self, data: &[u8], signature: &[u8]) -> bool {
        let key = VerifyingKey::from_bytes(&self.0);
        let signature = Signature::from_slice(signature);
        matches!((key, signature), (Ok(key), Ok(signature))
            if key.verify_strict(data, &signature).is_ok())
    }
}

/// A secret key.
pub(crate) struct Secret(SigningKey);

impl Secret {
    pub(crate) fn new(bytes: &Bytes) -> Result<Self, String> {
        let bytes = zeroize::Zeroizing::new(sized(bytes)?);
        SigningKey::from_keypair_bytes(&bytes)
            .map(Self)
            .map_err(|_| "its second half is not the public key of its first".to_owned())
    }

    pub(crate) fn sign(&self, data: &[u8]) -> Vec<u8> {
        self.0.sign(data).to_bytes().to_vec()
    }
}

fn sized<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
    bytes.try_into().map_err(|_| {
        format!(
            "Ill-formed input: expected {N} bytes, got {} bytes",
            bytes.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_hex(text: &str) -> Vec<u8> {
        let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }

    /// RFC 8032, section 7.1, test 3.
    #[test]
    fn the_rfc_s_vector() {
        let seed = from_hex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7");
        let public = from_hex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
        let signature = from_hex(
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        );
        let secret = Secret::new(&[seed.clone(), public.clone()].concat().into()).unwrap();
        let data = [0xaf, 0x82];
        assert_eq!(secret.sign(&data), signature);
        let key = Public::new(&public).unwrap();
        assert!(key.verify(&data, &signature));
        assert!(!key.verify(b"x", &signature));
        assert!(!key.verify(&data, &signature[1..]));
        assert!(!key.verify(&data, &[0; 64]));
        assert!(Public::new(&public[1..]).unwrap_err().contains("31 bytes"));
        assert!(Secret::new(&seed.clone().into()).is_err());
        assert!(Secret::new(&[seed.clone(), seed].concat().into()).is_err());
    }

    /// Under the key of order one, this signature would be good for anything.
    #[test]
    fn small_order_is_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let key = Public::new(&one).unwrap();
        assert!(!key.verify(b"anything", &signature));
    }
}
