// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON Web Tokens in their compact form (RFC 7515, 7519). The key decides the
//! algorithm: a token that names another algorithm, or `none`, is rejected.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::Key;

/// Longer ones are not looked at, in bytes.
const MAX_TOKEN: usize = 16 << 10;

/// How far clocks may be apart, in seconds.
const LEEWAY: u64 = 60;

#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    /// Extensions that have to be understood: none is.
    crit: Option<Value>,
}

/// A token that was taken apart, and not believed yet.
#[derive(Debug)]
pub(super) struct Unverified<'t> {
    pub(super) header: Header,
    pub(super) claims: Claims,
    signed: &'t str,
    signature: Vec<u8>,
}

/// The content of a token.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) all: Map<String, Value>,
}

impl<'t> Unverified<'t> {
    /// Takes it apart; [`None`] if it is no such token.
    pub(super) fn parse(token: &'t str) -> Option<Self> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        Some(Self {
            header: serde_json::from_slice(&decode(header)?).ok()?,
            claims: Claims {
                all: serde_json::from_slice(&decode(claims)?).ok()?,
            },
            signed,
            signature: decode(signature)?,
        })
    }

    /// Checks that one of the keys has signed it.
    pub(super) fn verify(&self, keys: &[Key]) -> Result<(), String> {
        if self.header.crit.is_some() {
            return Err("a token with extensions that are not known here".to_owned());
        }
        let kid = self.header.kid.as_deref();
        let fits = |key: &&Key| {
            key.algorithm() == self.header.alg && (kid.is_none() || kid == key.id.as_deref())
        };
        let signed = self.signed.as_bytes();
        let good = |key: &Key| key.verify(signed, &self.signature);
        match keys.iter().filter(fits).any(good) {
            true => Ok(()),
            false => Err("a token that is not signed by a key of its issuer".to_owned()),
        }
    }
}

impl Claims {
    /// A claim that is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.all.get(name)?.as_str()
    }

    /// A claim that is a time.
    fn time(&self, name: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.all.get(name) else {
            return Ok(None);
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time with a fraction is rounded, one that is none of ours becomes 0 or the last"
        )]
        let rounded = value.as_f64().map(|time| time as u64);
        let time = value.as_u64().or(rounded);
        time.map(Some)
            .ok_or_else(|| format!("a token whose {name} is no time"))
    }

    /// Checks when it counts, and for whom it is.
    pub(super) fn check(&self, audience: &str, now: u64) -> Result<(), String> {
        let expires = self.time("exp")?.ok_or("a token that never ends")?;
        if now >= expires.saturating_add(LEEWAY) {
            return Err("a token that has expired".to_owned());
        }
        for name in ["nbf", "iat"] {
            let from = self.time(name)?.unwrap_or(0);
            if from > now.saturating_add(LEEWAY) {
                return Err("a token that does not count yet".to_owned());
            }
        }
        let is_ours = match self.all.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        };
        match is_ours {
            true => Ok(()),
            false => Err("a token that was made for somebody else".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str, claims: &str) -> String {
        let parts = [header, claims, "x"].map(|part| URL_SAFE_NO_PAD.encode(part));
        parts.join(".")
    }

    #[test]
    fn what_is_no_token_is_none() {
        let good = token(r#"{"alg":"EdDSA"}"#, r#"{"a":1}"#);
        assert!(Unverified::parse(&good).is_some());
        for bad in [
            "",
            "..",
            "a.b.c",
            &good[1..],
            &good.replacen('.', "", 1),
            &format!("{good}="),
            &token("[]", "{}"),
            &token(r#"{"alg":1}"#, "{}"),
            &token(r#"{"alg":"EdDSA"}"#, "1"),
            &"a".repeat(MAX_TOKEN + 1),
        ] {
            assert!(Unverified::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn times_and_audiences() {
        let check = |claims: &str| {
            let all = serde_json::from_str(claims).unwrap();
            Claims { all }.check("us", 1000).is_ok()
        };
        assert!(check(r#"{"exp":1001,"aud":"us"}"#));
        assert!(check(r#"{"exp":950.5,"nbf":1050,"aud":["a","us"]}"#));
        for bad in [
            r#"{"exp":940,"aud":"us"}"#,
            r#"{"exp":-1,"aud":"us"}"#,
            r#"{"exp":"later","aud":"us"}"#,
            r#"{"aud":"us"}"#,
            r#"{"exp":2000,"nbf":1061,"aud":"us"}"#,
            r#"{"exp":2000,"iat":9999,"aud":"us"}"#,
            r#"{"exp":2000}"#,
            r#"{"exp":2000,"aud":["a"]}"#,
            r#"{"exp":2000,"aud":{"us":1}}"#,
        ] {
            assert!(!check(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_too_odd(text in "[A-Za-z0-9_.=-]{0,80}", header in ".{0,30}", claims in ".{0,30}") {
            let _ = Unverified::parse(&text);
            let _ = Unverified::parse(&token(&header, &claims));
        }
    }
}
