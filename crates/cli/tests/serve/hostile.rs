// SPDX-License-Identifier: MIT OR Apache-2.0
//! What no client of ours would send.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::fixture::{Fixture, Push, Served, curl, oxtree, path, wish};

/// The end of a request without a body, which is the last.
const CLOSE: &str = "Connection: close\r\nContent-Length: 0\r\n\r\n";

/// Says something to the server, and hears all that it answers. There is nothing to follow, unless the words are that the
/// server is to hang up.
fn say(server: &Served, words: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("connect");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("set a timeout");
    // It may have hung up already.
    let _ = stream.write_all(words);
    if !words.ends_with(CLOSE.as_bytes()) {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
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

/// Whatever stands where in a URL, nothing but what is meant to be changed is changed or told.
#[test]
fn no_part_of_a_url_leads_elsewhere() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "os/main", 1);
    fixture.commit(&store, "os/secret", 2);
    let (conf, tokens) = (fixture.at("conf"), fixture.at("tokens.json"));
    let words = ["token", "create", "boss", "--allow", "admin", "--tokens"];
    let token = oxtree().ok([&words[..], &[path(&tokens)]].concat());
    let bearer = format!("Authorization: Bearer {}", token.trim_end());
    let text = format!(
        "listen: 127.0.0.1:0\ntokens: {}\nrepos: {{a/b: {{path: {}}}}}\n",
        tokens.display(),
        store.path().display()
    );
    std::fs::write(&conf, text).unwrap();
    std::fs::write(fixture.at("victim"), "victim").unwrap();
    let server = Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1);
    let root = server.url().trim_end_matches('/').to_owned();
    let url = format!("{root}/a/b/");
    let push = Push::open(
        &url,
        Some(token.trim_end()),
        &wish(&source, "os/main", None),
    )
    .unwrap();
    let id = push.url.rsplit('/').next().unwrap();
    let names = [
        "..",
        ".",
        "%2e%2e",
        "..%2f..%2fvictim",
        "..%5cvictim",
        "%00",
        "victim%00",
        "%2fetc%2fpasswd",
        "%ff",
        "%",
        "a%0d%0aX-Evil:%20yes",
        "..;",
        "\u{e4}",
        "-rf",
        "announced-x",
        &"x".repeat(5000),
    ];
    let tree = || {
        let mut all = std::collections::BTreeMap::new();
        let mut left = vec![fixture.at("")];
        while let Some(folder) = left.pop() {
            for entry in std::fs::read_dir(&folder).unwrap().flatten() {
                // A lock may come, and a note of the push is used.
                let is_note = entry.path().starts_with(store.path().join("state"));
                match entry.file_type().unwrap().is_dir() {
                    true => left.push(entry.path()),
                    false if is_note => {}
                    false => drop(all.insert(entry.path(), std::fs::read(entry.path()).unwrap())),
                }
            }
        }
        all
    };
    let before = tree();
    for name in names {
        let paths = [
            format!("/{name}/config"),
            format!("/a/{name}/config"),
            format!("/a/b/{name}"),
            format!("/a/b/objects/{name}/x"),
            format!("/a/b/objects/aa/{name}"),
            format!("/a/b/refs/heads/{name}"),
            format!("/a/b/refs/remotes/{name}/os/secret"),
            format!("/a/b/refs/mirrors/{name}/os/secret"),
            format!("/a/b/deltas/{name}/superblock"),
            format!("/a/b/api/v1/{name}"),
            format!("/a/b/api/v1/pushes/{name}"),
            format!("/a/b/api/v1/pushes/{name}/finish"),
            format!("/a/b/api/v1/pushes/{name}/missing"),
            format!("/a/b/api/v1/pushes/{id}/objects/{name}"),
            format!("/a/b/api/v1/pushes/{name}/objects/x.commit"),
            format!("/a/b/api/v1/queue/{name}"),
            format!("/a/b/{name}/api/v1/pushes"),
            format!("/api/v1/tokens/{name}"),
        ];
        for (at, path) in paths.iter().enumerate() {
            for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
                // All in one connection would be as good; each is as somebody would send it.
                if at % 3 != 0 && matches!(method, "HEAD" | "PATCH" | "OPTIONS") {
                    continue;
                }
                let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{bearer}\r\n");
                let words = head + CLOSE;
                let answer = say(&server, words.as_bytes());
                let status = answer.split_whitespace().nth(1).unwrap_or("none");
                assert!(status.starts_with('4'), "{method} {path}: {answer}");
                assert!(
                    !answer.to_lowercase().contains("\nx-evil"),
                    "{method} {path}: {answer}"
                );
                assert!(
                    !answer.contains("victim\n") && !answer.contains("root:"),
                    "{answer}"
                );
            }
        }
    }
    assert!(before == tree(), "something has changed");
    assert_eq!(push.go(&source).status, 200);
    store.fsck();
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

/// Those who send objects a byte at a time lose their turn, so that others get theirs.
#[test]
fn slow_bodies_keep_nobody_out() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "os/main", 1);
    let server = Served::open(&store);
    let push = Push::open(server.url(), None, &wish(&source, "os/main", None)).unwrap();
    let path = push.url.split_once("/api/").unwrap().1;
    let head = format!(
        "POST /api/{path}/objects HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\
         Content-Type: application/vnd.oxtree.objects\r\n\r\nD\0\0\u{7f}\u{7f}"
    );
    // More than there are turns.
    let slow: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("connect");
            stream.write_all(head.as_bytes()).expect("say something");
            stream
        })
        .collect();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = slow.iter().map(|mut stream| stream.write(b"\0")).count();
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        let repo = format!("--repo={}", source.path().display());
        let pushed = oxtree().run(["push", &repo, server.url(), "os/main"]);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        pushed.expect_ok();
    });
    assert_eq!(store.rev_parse("os/main"), source.rev_parse("os/main"));
}

/// How many connections say nothing.
fn idle() -> usize {
    let number = std::env::var("OXTREE_IDLE").ok();
    number.map_or(400, |number| number.parse().expect("a number"))
}

/// Connections that say nothing cost little, and do not keep others out. `OXTREE_IDLE` says how many there are.
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
    let idle: Vec<TcpStream> = (0..idle())
        .map(|_| TcpStream::connect(("127.0.0.1", server.port())).expect("connect"))
        .collect();
    assert_eq!(curl(&[&format!("{}healthz", server.url())]).status, 200);
    let each = memory().saturating_sub(before) / idle.len() as u64;
    assert!(each < 32, "{each} KiB for an idle connection");
}
