// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of keys (RFC 7517), from a file or a web server.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::KeySource;

/// The largest set that is read, in bytes.
const MAX_SET: usize = 1 << 20;

/// Keys that are not known are not asked for more often.
const PAUSE: Duration = Duration::from_secs(30);

const TIMEOUT: Duration = Duration::from_secs(10);

/// A public key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Ed25519(Vec<u8>),
    /// The point, not compressed.
    P256(Vec<u8>),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

impl Key {
    /// The one algorithm that it is for.
    pub(super) fn algorithm(&self) -> &'static str {
        match self.material {
            Material::Ed25519(_) => "EdDSA",
            Material::P256(_) => "ES256",
            Material::Rsa { .. } => "RS256",
        }
    }

    /// Whether it has made this signature.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key)
                .verify(message, signature)
                .is_ok(),
            Material::P256(key) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
                .verify(message, signature)
                .is_ok(),
            Material::Rsa { modulus, exponent } => RsaPublicKeyComponents {
                n: modulus,
                e: exponent,
            }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .is_ok(),
        }
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

/// The keys of a set that signatures of ours can be made with.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let set: Set = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(set.keys.iter().filter_map(key).collect())
}

fn key(jwk: &Jwk) -> Option<Key> {
    if jwk
        .purpose
        .as_deref()
        .is_some_and(|purpose| purpose != "sig")
    {
        return None;
    }
    let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
    let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(&jwk.x)?),
        ("EC", Some("P-256")) => Material::P256([vec![4], bytes(&jwk.x)?, bytes(&jwk.y)?].concat()),
        ("RSA", _) => Material::Rsa {
            modulus: bytes(&jwk.n)?,
            exponent: bytes(&jwk.e)?,
        },
        _ => return None,
    };
    let key = Key {
        id: jwk.kid.clone(),
        material,
    };
    let other = jwk.alg.as_deref().is_some_and(|alg| alg != key.algorithm());
    (!other).then_some(key)
}

/// A set that is read again when it may have changed.
#[derive(Debug)]
pub(super) struct KeySet {
    source: KeySource,
    lasts: Duration,
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    keys: Arc<Vec<Key>>,
    at: Instant,
    modified: Option<SystemTime>,
}

impl KeySet {
    pub(super) fn new(source: KeySource, lasts: Duration) -> Self {
        Self {
            source,
            lasts,
            known: Mutex::new(None),
        }
    }

    /// The keys, one of this id among them if there is one.
    pub(super) async fn get(&self, id: Option<&str>) -> Result<Arc<Vec<Key>>, String> {
        let mut known = self.known.lock().await;
        let modified = match &self.source {
            KeySource::File(path) => modified(path),
            KeySource::Url(_) => None,
        };
        if let Some(known) = &*known {
            let has = id.is_none() || known.keys.iter().any(|key| key.id.as_deref() == id);
            let age = known.at.elapsed();
            let is_good = match &self.source {
                KeySource::File(_) => modified.is_some() && known.modified == modified,
                KeySource::Url(_) => age < if has { self.lasts } else { PAUSE },
            };
            if is_good {
                return Ok(Arc::clone(&known.keys));
            }
        }
        let read = match &self.source {
            KeySource::File(path) => std::fs::read(path).map_err(|error| error.to_string()),
            KeySource::Url(url) => fetch(url).await,
        };
        match read.and_then(|bytes| parse(&bytes)) {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *known = Some(Known {
                    keys: Arc::clone(&keys),
                    at: Instant::now(),
                    modified,
                });
                Ok(keys)
            }
            Err(error) => {
                tracing::warn!("the keys of {:?}: {error}", self.source);
                // Those of before go on to count while a web server is away, but it is left alone.
                match (known.as_mut(), &self.source) {
                    (Some(known), KeySource::Url(_)) => {
                        known.at = Instant::now();
                        Ok(Arc::clone(&known.keys))
                    }
                    _ => Err("the keys of its issuer cannot be had".to_owned()),
                }
            }
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

async fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let client = crate::client::client(TIMEOUT)?;
    let mut response = client
        .get(url)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| error.to_string())? {
        if bytes.len() + piece.len() > MAX_SET {
            return Err("larger than 1 MiB".to_owned());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
