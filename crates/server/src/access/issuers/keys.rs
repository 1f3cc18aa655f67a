// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of keys (RFC 7517), from a file or a web server.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::KeySource;
use crate::http_client::HttpClient;

/// The largest set that is read, in bytes.
const MAX_SET: usize = 1 << 20;

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

/// The keys of a set that fit a supported algorithm.
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

/// So long those wait whose key is known, but nobody has asked for it for long.
pub(super) const SOON: Duration = Duration::from_secs(2);

/// When keys are read again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// How long they are trusted.
    pub(super) lasts: Duration,
    /// A key that is not known is not asked for more often, and nothing is when that has failed.
    pub(super) pause: Duration,
    /// The same where no keys are known yet.
    pub(super) first_pause: Duration,
}

/// A set that is read again when it may have changed. Tokens signed with a cached key do not wait for it.
#[derive(Debug)]
pub(super) struct KeySet {
    source: KeySource,
    times: Times,
    known: Mutex<Known>,
    /// Held by the task that fetches.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    keys: Option<Arc<Vec<Key>>>,
    /// When they were read.
    at: Option<Instant>,
    /// The file's time then.
    modified: Option<SystemTime>,
    /// When the last try has ended, and whether it has failed.
    tried: Option<(Instant, bool)>,
}

/// The next step for the keys of a server.
enum Next {
    /// These are good.
    Take(Arc<Vec<Key>>),
    /// So are these, but it is time to ask for new ones.
    TakeAndAsk(Arc<Vec<Key>>),
    /// They have to be asked for. If there is no answer soon, these are good enough.
    Ask(Option<Arc<Vec<Key>>>),
    /// They were asked for just now, in vain.
    Fail,
}

impl Known {
    fn next(&self, id: Option<&str>, times: Times) -> Next {
        let since = |time: Instant| time.elapsed();
        let has_failed = self.tried.is_some_and(|(_, failed)| failed);
        let rests = |pause: Duration| self.tried.is_some_and(|(at, _)| since(at) < pause);
        let Some(keys) = self.keys.clone() else {
            return match rests(times.first_pause) {
                true => Next::Fail,
                false => Next::Ask(None),
            };
        };
        let has = id.is_none() || keys.iter().any(|key| key.id.as_deref() == id);
        let age = self.at.map_or(Duration::MAX, since);
        match has {
            _ if rests(times.pause) && (has_failed || !has) => Next::Take(keys),
            false => Next::Ask(None),
            true if age < times.lasts => Next::Take(keys),
            // The keys were not used for long, so they may no longer be valid.
            true if age >= 2 * times.lasts && !has_failed => Next::Ask(Some(keys)),
            true => Next::TakeAndAsk(keys),
        }
    }
}

impl KeySet {
    pub(super) fn new(source: KeySource, times: Times) -> Arc<Self> {
        Arc::new(Self {
            source,
            times,
            known: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys, one of this id among them if there is one.
    pub(super) async fn get(self: &Arc<Self>, id: Option<&str>) -> Result<Arc<Vec<Key>>, String> {
        let url = match &self.source {
            KeySource::File(path) => return self.read(path),
            KeySource::Url(url) => url,
        };
        let next = self.known().next(id, self.times);
        match next {
            Next::Take(keys) => return Ok(keys),
            Next::TakeAndAsk(keys) => {
                if self.turn.try_lock().is_ok() {
                    drop(self.ask(url));
                }
                return Ok(keys);
            }
            Next::Fail => return Err(away()),
            // It continues if the waiting request is gone: other requests need it, too.
            Next::Ask(None) => drop(self.ask(url).await),
            Next::Ask(Some(keys)) => {
                if timeout(SOON, self.ask(url)).await.is_err() {
                    return Ok(keys);
                }
            }
        }
        self.known().keys.clone().ok_or_else(away)
    }

    /// Fetches the keys, unless another request has done so in the meantime.
    fn ask(self: &Arc<Self>, url: &str) -> JoinHandle<()> {
        let (set, url, asked) = (Arc::clone(self), url.to_owned(), Instant::now());
        tokio::spawn(async move {
            let _turn = set.turn.lock().await;
            if set.known().tried.is_some_and(|(at, _)| at >= asked) {
                return;
            }
            let fetched = fetch(&url).await.and_then(|bytes| parse(&bytes));
            let now = Instant::now();
            let mut known = set.known();
            known.tried = Some((now, fetched.is_err()));
            match fetched {
                Ok(keys) => {
                    known.keys = Some(Arc::new(keys));
                    known.at = Some(now);
                }
                // Cached keys stay valid while a web server is unreachable.
                Err(error) => tracing::warn!("the keys of {url}: {error}"),
            }
        })
    }

    fn read(&self, path: &Path) -> Result<Arc<Vec<Key>>, String> {
        let modified = modified(path);
        let mut known = self.known();
        if let Some(keys) = &known.keys
            && modified.is_some()
            && known.modified == modified
        {
            return Ok(Arc::clone(keys));
        }
        let read = std::fs::read(path).map_err(|error| error.to_string());
        let keys = read.and_then(|bytes| parse(&bytes)).map_err(|error| {
            tracing::warn!("the keys of {}: {error}", path.display());
            away()
        })?;
        let keys = Arc::new(keys);
        (known.keys, known.modified) = (Some(Arc::clone(&keys)), modified);
        Ok(keys)
    }
}

fn away() -> String {
    "the keys of its issuer cannot be had".to_owned()
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

async fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let client = HttpClient::new(TIMEOUT)?;
    let mut response = client.send(client.get(url)).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| error.to_string())? {
        if bytes.len() + piece.len() > MAX_SET {
            return Err("larger than 1 MiB".to_owned());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
