// SPDX-License-Identifier: MIT OR Apache-2.0
//! What no client of ours would send.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::fixture::{Fixture, Push, Served, curl, oxtree, path, wish};

/// Says something to the server, and hears all that it answers.
fn say(server: &Served, words: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("connect");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("set a timeout");
    // It may have hung up already.
    let _ = stream.write_all(words);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn odd_requests_are_refused_and_hide_no_others() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    fixture.commit(&store, "os/main", 1);
    let server = Served::open(&store);
    let hidden = "GET /refs/heads/os/main HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = "POST /api/v1/pushes HTTP/1.1\r\nHost: x\r\n";
    for (odd, most) in [
        // Two opinions on where the body ends.
        (
            format!("{post}Content-Length: 0\r\nContent-Length: 9\r\n\r\n{hidden}"),
            0,
        ),
        (format!("{post}Content-Length: +5\r\n\r\n{hidden}"), 0),
        (format!("{post}Content-Length: 5 5\r\n\r\n{hidden}"), 0),
        (
            format!(
                "{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}"
            ),
            0,
        ),
        (
            format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
            0,
        ),
        (
            format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
            0,
        ),
        (
            format!("{post}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n{hidden}"),
            0,
        ),
        (
            format!("{post}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n{hidden}"),
            0,
        ),
        // Lines that are none.
        ("GET  /config HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 0),
        (
            "GET /config HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n".to_owned(),
            0,
        ),
        ("GET /config HTTP/1.1\r\nHo st: x\r\n\r\n".to_owned(), 0),
        ("GET /config HTTP/3.0\r\n\r\n".to_owned(), 0),
        ("\0\0\0\0".to_owned(), 0),
        // More than a head may have.
        (
            format!("GET /config HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000)),
            0,
        ),
        (
            format!("GET /config HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1000)),
            0,
        ),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200_000)), 0),
    ] {
        let answer = say(&server, odd.as_bytes());
        let good = answer.matches("HTTP/1.1 2").count();
        assert!(
            good <= most,
            "{}: {answer}",
            odd.chars().take(120).collect::<String>()
        );
    }
    // With both, the length does not count, and no second request is found in the body.
    let both = format!(
        "{post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
        hidden.len()
    );
    let answer = say(&server, both.as_bytes());
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
    assert_eq!(curl(&[&format!("{}healthz", server.url())]).status, 200);
}

#[test]
fn bodies_are_bounded_and_what_is_cut_off_counts_for_nothing() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "os/main", 1);
    let server = Served::open(&store);
    std::fs::write(fixture.at("large"), vec![b' '; 20 << 20]).unwrap();
    let large = format!("@{}", fixture.at("large").display());
    let opened = curl(&[
        "--data-binary",
        &large,
        &format!("{}api/v1/pushes", server.url()),
    ]);
    assert_eq!(opened.status, 413, "{opened:?}");
    let push = Push::open(server.url(), None, &wish(&source, "os/main", None)).unwrap();
    let missing = push.missing(&source);
    let path = push.url.split_once("/api/").unwrap().1;
    // An object whose sender goes in the middle of it.
    let object = &missing[0];
    let bytes = std::fs::read(source.path().join(crate::fixture::loose(object))).unwrap();
    let head = format!(
        "PUT /api/{path}/objects/{object} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    );
    say(
        &server,
        &[head.as_bytes(), &bytes[..bytes.len() / 2]].concat(),
    );
    assert_eq!(push.missing(&source), missing);
    // One that says it is larger than it is: the rest is not waited for.
    let answer = push.ask(
        "PUT",
        &format!("/objects/{object}"),
        &["-H", "Content-Length: 3", "-d", "abc"],
    );
    assert_eq!(answer.status, 422, "{answer:?}");
    // A list of ids longer than is taken.
    let ids = "x".repeat(33 * 3);
    store.ok("config", ["set", "receive.max-ids", "2"]);
    let kind = ["-H", "Content-Type: application/octet-stream", "-d", &ids];
    assert_eq!(push.ask("POST", "/missing", &kind).status, 413);
    assert!(store.refs().is_empty());
}

/// Who never comes to the point is not waited for.
#[test]
fn slow_clients_are_hung_up_on() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    let conf = format!(
        "listen: 127.0.0.1:0\nheader_timeout: 1s\nrepos: {{/: {{path: {}}}}}\n",
        store.path().display()
    );
    let file = fixture.at("conf");
    std::fs::write(&file, conf).unwrap();
    let words = ["serve", "--config", path(&file)];
    let server = Served::run(&mut oxtree().command(words), 1);
    for beginning in [
        "",
        "P",
        "PRI * H",
        "GET / HTTP/1.1\r\nX",
        "GET /config HTTP/1.1\r\n",
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("connect");
        let patience = Some(Duration::from_secs(15));
        stream.set_read_timeout(patience).expect("set a timeout");
        stream
            .write_all(beginning.as_bytes())
            .expect("say something");
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        let waited_in_vain = end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(!waited_in_vain, "{beginning:?} is waited for");
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains("HTTP/1.1 2"), "{beginning:?}: {answer}");
    }
}

/// Connections that say nothing cost little, and do not keep others out.
#[test]
fn idle_connections_are_borne() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    let server = Served::open(&store);
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let before = memory();
    let idle: Vec<TcpStream> = (0..400)
        .map(|_| TcpStream::connect(("127.0.0.1", server.port())).expect("connect"))
        .collect();
    assert_eq!(curl(&[&format!("{}healthz", server.url())]).status, 200);
    let each = memory().saturating_sub(before) / idle.len() as u64;
    assert!(each < 32, "{each} KiB for an idle connection");
}
