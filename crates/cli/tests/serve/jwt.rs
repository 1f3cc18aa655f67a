// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON Web Tokens, signed by the real openssl.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::fixture::{Fixture, Served, curl, openssl, oxtree, path};

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(char::from(DIGITS[value as usize]));
        }
    }
    text
}

/// A key of the issuer.
struct Key {
    algorithm: &'static str,
    file: std::path::PathBuf,
}

impl Key {
    fn new(fixture: &Fixture, name: &str, algorithm: &'static str) -> Self {
        let file = fixture.at(name);
        let how = match algorithm {
            "EdDSA" => "-algorithm ed25519",
            "ES256" => "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
            _ => "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
        };
        openssl(&format!("genpkey {how} -out"), &[path(&file)]);
        Self { algorithm, file }
    }

    fn public(&self, id: &str) -> Value {
        let der = openssl("pkey -pubout -outform DER -in", &[path(&self.file)]);
        match self.algorithm {
            "EdDSA" => {
                let x = base64url(&der[der.len() - 32..]);
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x})
            }
            "ES256" => {
                let [x, y] = [64, 32].map(|at| base64url(&der[der.len() - at..][..32]));
                json!({"kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "x": x, "y": y})
            }
            _ => {
                // The modulus comes before the exponent 65537 at the end: 02 03 01 00 01.
                let n = base64url(&der[der.len() - 5 - 256..][..256]);
                json!({"kty": "RSA", "kid": id, "alg": "RS256", "n": n, "e": "AQAB"})
            }
        }
    }

    fn sign(&self, fixture: &Fixture, header: &Value, claims: &Value) -> String {
        let parts = [header, claims].map(|part| base64url(part.to_string().as_bytes()));
        let signed = parts.join(".");
        let message = fixture.at("message");
        fs::write(&message, &signed).unwrap();
        let key = ["-inkey", path(&self.file), "-in", path(&message)];
        let signature = match self.algorithm {
            "EdDSA" => openssl("pkeyutl -sign -rawin", &key),
            _ => openssl("dgst -sha256 -sign", &[path(&self.file), path(&message)]),
        };
        let signature = match self.algorithm {
            "ES256" => plain(&signature),
            _ => signature,
        };
        format!("{signed}.{}", base64url(&signature))
    }
}

/// The two numbers of an ECDSA signature in DER, 32 bytes each.
fn plain(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut plain = Vec::new();
    for _ in 0..2 {
        let len = usize::from(rest[1]);
        let number = &rest[2..2 + len];
        let digits = &number[number.len().saturating_sub(32)..];
        plain.extend(std::iter::repeat_n(0, 32 - digits.len()));
        plain.extend_from_slice(digits);
        rest = &rest[2 + len..];
    }
    plain
}

#[test]
fn tokens_of_an_outside_issuer_count_as_its_rules_say() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    let keys = ["EdDSA", "ES256", "RS256"].map(|name| Key::new(&fixture, name, name));
    let set: Vec<Value> = keys.iter().map(|key| key.public(key.algorithm)).collect();
    fs::write(fixture.at("keys"), json!({"keys": set}).to_string()).unwrap();
    let conf = format!(
        "listen: 127.0.0.1:0\nanonymous: none\nrepos: {{/: {{path: {}}}}}\nissuers:\n\
         - issuer: https://ci.example\n  audience: oxtree\n  keys: {}\n  rules:\n\
        \x20 - when: {{repository: team/*, ref: refs/heads/main}}\n\
        \x20   permissions: [read, push]\n    refs: [app/*]\n",
        store.path().display(),
        fixture.at("keys").display()
    );
    fs::write(fixture.at("conf"), conf).unwrap();
    let conf = fixture.at("conf");
    let words = ["serve", "--config", path(&conf)];
    let server = Served::run(&mut oxtree().command(words), 1);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let good = json!({
        "iss": "https://ci.example", "aud": ["other", "oxtree"], "sub": "job 7", "exp": now + 300,
        "iat": now, "repository": "team/app", "ref": "refs/heads/main",
    });
    let header = |key: &Key| json!({"alg": key.algorithm, "kid": key.algorithm, "typ": "JWT"});
    let get = |token: &str| {
        let bearer = format!("Authorization: Bearer {token}");
        curl(&["-H", &bearer, &format!("{}config", server.url())]).status
    };
    for key in &keys {
        let token = key.sign(&fixture, &header(key), &good);
        assert_eq!(get(&token), 200, "{}", key.algorithm);
        // Forged: another signature, or other words under the same.
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (head, _) = signed.split_once('.').unwrap();
        let mut more = good.clone();
        more["repository"] = "team/other".into();
        let more = base64url(more.to_string().as_bytes());
        assert!(
            get(&format!("{head}.{more}.{signature}")) >= 401,
            "{}",
            key.algorithm
        );
    }
    let refused = |header: &Value, change: &dyn Fn(&mut Value)| {
        let mut claims = good.clone();
        change(&mut claims);
        let status = get(&keys[0].sign(&fixture, header, &claims));
        assert!(matches!(status, 401 | 429), "{claims}: {status}");
    };
    let own = header(&keys[0]);
    refused(&own, &|claims| claims["exp"] = (now - 100).into());
    refused(&own, &|claims| {
        drop(claims.as_object_mut().unwrap().remove("exp"));
    });
    refused(&own, &|claims| claims["nbf"] = (now + 1000).into());
    refused(&own, &|claims| claims["aud"] = "other".into());
    refused(&own, &|claims| {
        claims["iss"] = "https://evil.example".into();
    });
    refused(&own, &|claims| claims["ref"] = "refs/heads/other".into());
    refused(&own, &|claims| claims["repository"] = "steam/app".into());
    for odd in [
        json!({"alg": "none"}),
        json!({"alg": "HS256", "kid": "EdDSA"}),
        json!({"alg": "RS256", "kid": "EdDSA"}),
        json!({"alg": "EdDSA", "kid": "unknown"}),
        json!({"alg": "EdDSA", "kid": "EdDSA", "crit": ["x"]}),
    ] {
        refused(&odd, &|_| ());
    }
    // Who signs with a key of their own.
    let stranger = Key::new(&fixture, "stranger", "EdDSA");
    let forged = stranger.sign(&fixture, &own, &good);
    assert!(matches!(get(&forged), 401 | 429));
    // And the right one still counts, whatever was refused before.
    assert_eq!(get(&keys[0].sign(&fixture, &own, &good)), 200);
}
