// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON Web Tokens, signed by the real openssl.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::fixture::{Fixture, Push, Served, curl, openssl, oxtree, path, until, wish};

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

/// Answers every request with these keys; returns the URL.
fn key_server(set: &Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let set = set.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            lines
                .take_while(|line| !line.as_ref().unwrap().is_empty())
                .for_each(drop);
            let head = format!("Content-Length: {}\r\nConnection: close", set.len());
            write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n\r\n{set}").unwrap();
        }
    });
    url
}

/// Its keys are on a web server, and its job is called as a token of ours is.
#[test]
fn an_issuers_job_is_nobody_else() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "app/x", 1);
    let key = Key::new(&fixture, "key", "EdDSA");
    let tokens = fixture.at("tokens.json");
    let words = ["token", "create", "ci", "--allow", "push", "--tokens"];
    let token = oxtree().ok(words.into_iter().chain([path(&tokens)]).collect::<Vec<_>>());
    let conf = format!(
        "listen: 127.0.0.1:0\ntokens: {}\naccess_log: {}\nrepos: {{/: {{path: {}}}}}\nissuers:\n\
         - {{issuer: https://ci.example, audience: oxtree, keys: '{}', rules: [{{permissions: [push]}}]}}\n",
        tokens.display(),
        fixture.at("log").display(),
        store.path().display(),
        key_server(&json!({"keys": [key.public("key")]})),
    );
    fs::write(fixture.at("conf"), conf).unwrap();
    let conf = fixture.at("conf");
    let server = Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1);
    let end = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 300;
    let claims = json!({"iss": "https://ci.example", "aud": "oxtree", "sub": "ci", "exp": end});
    let job = key.sign(&fixture, &json!({"alg": "EdDSA", "kid": "key"}), &claims);
    let wish = wish(&source, "app/x", None);
    let ours = Push::open(server.url(), Some(token.trim()), &wish).unwrap();
    let theirs = Push::open(server.url(), Some(&job), &wish).unwrap();
    assert_ne!(ours.url, theirs.url);
    let bearer = format!("Authorization: Bearer {job}");
    let seen = |url: &str| curl(&["-H", &bearer, url]);
    assert_eq!(seen(&ours.url).status, 404);
    assert_eq!(
        curl(&["-X", "DELETE", "-H", &bearer, &ours.url]).status,
        404
    );
    let all = seen(&format!("{}api/v1/pushes", server.url())).json();
    assert_eq!(all["pushes"].as_array().map(Vec::len), Some(1), "{all}");
    assert_eq!(all["pushes"][0]["owner"], "https://ci.example#ci");
    until("it is in the log", || {
        fixture
            .text("log")
            .contains("\"user\":\"https://ci.example#ci\"")
    });
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
