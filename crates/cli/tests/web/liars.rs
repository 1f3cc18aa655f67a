// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers that lie: a clear error, no token where it does not belong, and an end.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use oxtree_testkit::{Output, Repo, Tool};

use crate::fixture::{Fixture, OXTREE, push};

/// What nobody but the server is to see.
const TOKEN: &str = "s3cr3t-t0ken";

/// How a server answers.
#[derive(Clone)]
enum Answer {
    /// With a status and a body.
    Plain(u16, Vec<u8>),
    /// With a header besides.
    With(u16, String),
    /// With this for ever.
    Endless(&'static str, Vec<u8>),
}

/// Answers requests by the end of their paths, and notes what it was asked.
struct Liar {
    address: SocketAddr,
    heard: Arc<Mutex<String>>,
}

impl Liar {
    fn new(answers: &[(&'static str, Answer)]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let address = listener.local_addr().expect("an address");
        let answers: HashMap<&str, Answer> = answers.iter().cloned().collect();
        let answers = Arc::new(answers);
        let heard = Arc::new(Mutex::new(String::new()));
        let ears = Arc::clone(&heard);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (answers, ears) = (Arc::clone(&answers), Arc::clone(&ears));
                thread::spawn(move || talk(&client, &answers, &ears));
            }
        });
        Self { address, heard }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn heard(&self) -> String {
        self.heard.lock().expect("no panic").clone()
    }
}

fn talk(client: &TcpStream, answers: &HashMap<&str, Answer>, ears: &Mutex<String>) -> Option<()> {
    let mut from = BufReader::new(client);
    let mut to = client;
    loop {
        let (mut request, mut length) = (String::new(), 0);
        while !request.ends_with("\r\n\r\n") {
            let before = request.len();
            from.read_line(&mut request).ok().filter(|len| *len > 0)?;
            let line = request[before..].to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        ears.lock().expect("no panic").push_str(&request);
        std::io::copy(&mut (&mut from).take(length), &mut std::io::sink()).ok()?;
        let path = request.split(' ').nth(1)?;
        let found = answers.iter().filter(|(end, _)| path.ends_with(**end));
        let answer = found
            .max_by_key(|(end, _)| end.len())
            .map(|(_, answer)| answer);
        match answer {
            None => to
                .write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
                .ok()?,
            Some(Answer::Plain(status, body)) => {
                let len = body.len();
                write!(to, "HTTP/1.1 {status} X\r\nContent-Length: {len}\r\n\r\n").ok()?;
                to.write_all(body).ok()?;
            }
            Some(Answer::With(status, header)) => {
                write!(
                    to,
                    "HTTP/1.1 {status} X\r\n{header}\r\nContent-Length: 0\r\n\r\n"
                )
                .ok()?;
            }
            Some(Answer::Endless(kind, piece)) => {
                write!(to, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n").ok()?;
                loop {
                    to.write_all(piece).ok()?;
                }
            }
        }
    }
}

fn json(text: &str) -> Answer {
    Answer::Plain(200, text.as_bytes().to_vec())
}

/// A repository with nothing in it.
fn about() -> (&'static str, Answer) {
    let text = r#"{"versions":[1],"agent":"x","mode":"archive","limits":{},"refs":[]}"#;
    ("/api/v1/repo", json(text))
}

fn opened() -> (&'static str, Answer) {
    let text = r#"{"id":"p1","state":"open","refs":[],"objects":0,"bytes":0,"expires":9}"#;
    (
        "/api/v1/pushes",
        Answer::Plain(201, text.as_bytes().to_vec()),
    )
}

fn source(fixture: &Fixture) -> Repo {
    let source = fixture.repo("source");
    fixture.commit(&source, "main", 1, 0);
    source
}

fn push_to(liar: &Liar, source: &Repo, args: &[&str]) -> Output {
    let tool = Tool::new(OXTREE).env("OXTREE_TOKEN", TOKEN);
    let args = [&["--network-retries=1", "-v"], args].concat();
    let output = push(&tool, source, &liar.url(), &args);
    let said = output.stderr();
    assert!(
        !said.contains(TOKEN) && !said.contains("panicked"),
        "{said}"
    );
    assert_eq!(output.code, Some(1), "{output:?}");
    output
}

#[test]
fn what_makes_no_sense() {
    let fixture = Fixture::new();
    let source = source(&fixture);
    let missing = ("/missing", Answer::Plain(200, vec![0]));
    let long = ("/missing", Answer::Plain(200, vec![255; 1000]));
    let endless = |kind, piece: &[u8]| Answer::Endless(kind, piece.repeat(1000));
    let refs = r#"{"versions":[1],"agent":"","refs":[["../../x",null]]}"#;
    let newer = r#"{"versions":[9],"agent":"","refs":[]}"#;
    let outside = Answer::Plain(
        201,
        br#"{"id":"../../x","state":"open","refs":[],"objects":0,"bytes":0,"expires":9}"#.to_vec(),
    );
    let cases: Vec<(Vec<(&'static str, Answer)>, &str)> = vec![
        (vec![], "there is no repository of `oxtree serve` here"),
        (
            vec![("/repo", json("<html>"))],
            "the server's answer is not understood",
        ),
        (
            vec![("/repo", json(refs))],
            "the server's answer is not understood",
        ),
        (vec![("/repo", json(newer))], "protocol version 9"),
        (
            vec![("/repo", endless("application/json", b"[["))],
            "over the limit",
        ),
        (
            vec![about(), ("/pushes", outside)],
            "the server's name for the push is none",
        ),
        (
            vec![about(), opened(), missing],
            "unexpected length of a bitmap",
        ),
        (vec![about(), opened(), long], "over the limit"),
        (
            vec![about(), opened(), ("/missing", endless("x/y", b"x"))],
            "over the limit",
        ),
    ];
    for (answers, words) in cases {
        let output = push_to(&Liar::new(&answers), &source, &[]);
        assert!(output.stderr().contains(words), "{words}: {output:?}");
    }
}

#[test]
fn what_does_not_end() {
    let fixture = Fixture::new();
    let source = source(&fixture);
    let commit = "1".repeat(64);
    let refs = format!(r#"{{"versions":[1],"agent":"x","refs":[["gone","{commit}"]]}}"#);
    let line = |text: &str| format!("{text}\n").repeat(500).into_bytes();
    for (piece, words) in [
        (line(r#"{"type":"progress","objects":1}"#), "over the limit"),
        (
            line(r#"{"type":"notice","text":"buy this"}"#),
            "a number of bytes in notices",
        ),
        (line(""), "the server's answer has no end"),
        (vec![b'x'; 5000], "the server's answer has no end"),
    ] {
        let finish = ("/finish", Answer::Endless("application/x-ndjson", piece));
        let liar = Liar::new(&[("/repo", json(&refs)), opened(), finish]);
        // There are no objects to be sent.
        let output = push_to(&liar, &source, &["--delete=gone", "-q"]);
        assert!(
            output.stderr().contains(words),
            "{words}: {}",
            output.stderr().len()
        );
    }
}

#[test]
fn the_token_goes_nowhere_else() {
    let fixture = Fixture::new();
    let source = source(&fixture);
    let thief = Liar::new(&[about()]);
    let place = format!("Location: {}/api/v1/repo?{TOKEN}", thief.url());
    for status in [301, 307] {
        let liar = Liar::new(&[("/repo", Answer::With(status, place.clone()))]);
        let output = push_to(&liar, &source, &[]);
        assert!(
            output.stderr().contains("it sends us on to http://"),
            "{output:?}"
        );
        assert!(
            liar.heard()
                .contains(&format!("authorization: Bearer {TOKEN}"))
        );
    }
    assert_eq!(thief.heard(), "");
    let echo = format!(r#"{{"error":"what is Bearer {TOKEN}?\u001b[2J"}}"#);
    let liar = Liar::new(&[("/repo", Answer::Plain(403, echo.into_bytes()))]);
    let output = push_to(&liar, &source, &[]);
    assert!(
        output
            .stderr()
            .contains("403 Forbidden: what is Bearer …?[2J"),
        "{output:?}"
    );
    // A proxy on this machine sees what goes over plain http, as was agreed to; nobody else does.
    let proxy = Liar::new(&[]);
    let tool = Tool::new(OXTREE).env("http_proxy", proxy.url());
    let output = push(
        &tool,
        &source,
        "http://example.invalid/r",
        &["--network-retries=0"],
    );
    assert!(
        output.stderr().contains("no repository of `oxtree serve`"),
        "{output:?}"
    );
    assert!(
        proxy
            .heard()
            .contains("GET http://example.invalid/r/api/v1/repo HTTP/1.1")
    );
}
