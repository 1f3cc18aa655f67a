// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys that a web server has: they change, and it is slow, or away.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;
use tokio::time::timeout;

use super::keys::SOON;
use super::*;

/// The behaviour of a test's key server.
enum Mood {
    /// It has this one.
    Has(String),
    Fails,
    SaysNothing,
}

struct Server {
    url: String,
    mood: Mutex<Mood>,
    /// All who have asked.
    asked: Mutex<Vec<TcpStream>>,
}

impl Server {
    fn start(mood: Mood) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Arc::new(Self {
            url: format!("http://{}/keys", listener.local_addr().unwrap()),
            mood: Mutex::new(mood),
            asked: Mutex::default(),
        });
        let here = Arc::clone(&server);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                here.answer(stream.unwrap());
            }
        });
        server
    }

    fn answer(&self, mut stream: TcpStream) {
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for line in lines {
            if line.unwrap_or_default().is_empty() {
                break;
            }
        }
        let answer = match &*self.mood.lock().unwrap() {
            Mood::Has(set) => format!("200 OK\r\nContent-Length: {}\r\n\r\n{set}", set.len()),
            Mood::Fails => "500 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Mood::SaysNothing => String::new(),
        };
        // Before the answer: a test that has the answer may count at once.
        let kept = stream.try_clone().unwrap();
        self.asked.lock().unwrap().push(kept);
        if !answer.is_empty() {
            let answer = format!(
                "HTTP/1.1 {}",
                answer.replacen("\r\n", "\r\nConnection: close\r\n", 1)
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn issuers(&self, pause: u64) -> Issuers {
        let config = IssuerConfig {
            issuer: "https://ci".to_owned(),
            audience: "us".to_owned(),
            keys: KeySource::Url(self.url.clone()),
            rules: vec![Rule::default()],
        };
        let pause = Duration::from_millis(pause);
        let times = Times {
            lasts: 2 * pause,
            pause,
            first_pause: pause,
        };
        Issuers::with(vec![config], times)
    }
}

struct Key {
    id: &'static str,
    pair: Ed25519KeyPair,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap();
        Self { id, pair }
    }

    fn set(&self) -> Mood {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": x});
        Mood::Has(json!({"keys": [key]}).to_string())
    }

    fn token(&self) -> String {
        let header = json!({"alg": "EdDSA", "kid": self.id});
        let claims = json!({"iss": "https://ci", "aud": "us", "sub": "job#7", "exp": 2000});
        let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = parts.join(".");
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

async fn counts(issuers: &Issuers, key: &Key) -> bool {
    match issuers.client(&key.token(), 1000).await.unwrap() {
        Ok(client) => {
            assert_eq!(client.name.as_deref(), Some("https://ci#job#7"));
            true
        }
        Err(_) => false,
    }
}

fn block_on(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    runtime.block_on(test);
    runtime.shutdown_background();
}

async fn nap(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[test]
fn keys_that_change_are_asked_for_again_but_not_too_often() {
    block_on(async {
        let [first, second] = ["first", "second"].map(Key::new);
        let server = Server::start(first.set());
        let issuers = server.issuers(500);
        assert!(counts(&issuers, &first).await);
        server.is(second.set());
        for _ in 0..10 {
            assert!(!counts(&issuers, &second).await);
            assert!(counts(&issuers, &first).await);
        }
        assert_eq!(server.asked(), 1);
        nap(600).await;
        assert!(counts(&issuers, &second).await);
        assert!(!counts(&issuers, &first).await);
        assert_eq!(server.asked(), 2);
        // Keys that were not used for long are fetched before they are trusted.
        server.is(first.set());
        nap(2100).await;
        assert!(!counts(&issuers, &second).await);
    });
}

#[test]
fn a_server_that_is_away_is_left_alone_and_its_keys_count_meanwhile() {
    block_on(async {
        let [key, other] = ["key", "other"].map(Key::new);
        let server = Server::start(Mood::Fails);
        let issuers = server.issuers(500);
        for _ in 0..10 {
            assert!(!counts(&issuers, &key).await);
        }
        assert_eq!(server.asked(), 1);
        nap(600).await;
        server.is(key.set());
        assert!(counts(&issuers, &key).await);
        server.is(Mood::Fails);
        nap(1100).await;
        let before = server.asked();
        for _ in 0..10 {
            assert!(counts(&issuers, &key).await);
            assert!(!counts(&issuers, &other).await);
            nap(10).await;
        }
        assert!(server.asked() <= before + 1, "{}", server.asked());
        nap(2200).await;
        assert!(counts(&issuers, &key).await);
    });
}

#[test]
fn a_server_that_hangs_keeps_nobody_waiting_whose_key_is_known() {
    block_on(async {
        let [key, other] = ["key", "other"].map(Key::new);
        let server = Server::start(key.set());
        let issuers = Arc::new(server.issuers(1000));
        assert!(counts(&issuers, &key).await);
        server.is(Mood::SaysNothing);
        nap(1100).await;
        let (waits, token) = (Arc::clone(&issuers), other.token());
        let waiting = tokio::spawn(async move { waits.client(&token, 1000).await });
        while server.asked() < 2 {
            nap(10).await;
        }
        let began = Instant::now();
        for _ in 0..20 {
            let soon = timeout(2 * SOON, counts(&issuers, &key));
            assert!(soon.await.expect("nobody is kept waiting"));
            nap(100).await;
        }
        // Also when it is time to ask for what is known.
        assert!(began.elapsed() > Duration::from_secs(1));
        waiting.abort();
    });
}
