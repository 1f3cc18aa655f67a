// SPDX-License-Identifier: MIT OR Apache-2.0
//! What clients can make the server hold or wait for, who mean to.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use oxtree_testkit::Repo;

use crate::fixture::{Fixture, Push, Served, curl, oxtree, path, raise_file_limit, until, wish};
use crate::h2::{ACK, END_HEADERS, END_STREAM, HEADERS, PING, frame, get, preface};

fn connect(server: &Served) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("connect");
    let patience = Some(Duration::from_millis(100));
    stream.set_write_timeout(patience).expect("set a timeout");
    stream.set_read_timeout(patience).expect("set a timeout");
    stream
}

/// The largest memory that the server has had, in MiB.
fn peak(server: &Served) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kib.expect("a size") >> 10
}

/// Requests with bodies of `len` bytes each, made of such pieces, of which the last bytes never come. All
/// are sent as far as the server takes them, in a while.
fn held_open(
    server: &Served,
    count: usize,
    head: &str,
    len: usize,
    piece: &[u8],
) -> Vec<TcpStream> {
    let end = Instant::now() + Duration::from_secs(2);
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let mut stream = connect(server);
            let head = format!("{head}Content-Length: {len}\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("send a head");
            let piece = piece.to_vec();
            std::thread::spawn(move || {
                let mut left = len - 10;
                while left > 0 && Instant::now() < end {
                    left -= stream.write(&piece[..left.min(piece.len())]).unwrap_or(0);
                }
                stream
            })
        })
        .collect();
    let streams = threads.into_iter().map(|thread| thread.join().unwrap());
    streams.collect()
}

/// Nothing that many send at once, and hold open, needs much memory; and then all is as before.
#[test]
fn large_bodies_are_not_all_held_at_once() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "os/main", 1);
    let server = Served::open(&store);
    let push = Push::open(server.url(), None, &wish(&source, "os/main", None)).unwrap();
    let url = push.url.split_once("/api/").unwrap().1;
    let bounded = |what: &str| {
        let peak = peak(&server);
        assert!(peak <= 300, "{what}: {peak} MiB");
    };
    let head = format!(
        "POST /api/{url}/missing HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
    );
    let ids = held_open(&server, 20, &head, 66_000_000, &[1; 33 << 10]);
    bounded("ids");
    drop(ids);
    let head = "POST /api/v1/pushes HTTP/1.1\r\nHost: x\r\n";
    let spaces = held_open(&server, 30, head, 16_000_000, &[b' '; 32 << 10]);
    bounded("spaces");
    drop(spaces);
    // What is short in JSON, and long in memory.
    for (name, beginning, one) in [
        (
            "updates",
            r#"{"updates": ["#,
            r#"{"ref":"a","old":null,"new":null},"#,
        ),
        ("words", r#"{"updates": ["", "#, r#""","#),
    ] {
        let text = beginning.to_owned() + &one.repeat((15 << 20) / one.len());
        let file = fixture.at(name);
        std::fs::write(&file, text.trim_end_matches(',').to_owned() + "]}").unwrap();
        let data = format!("@{}", path(&file));
        let url = format!("{}api/v1/pushes", server.url());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let status = curl(&["--data-binary", &data, &url]).status;
                    assert!([400, 413, 503].contains(&status), "{status}");
                });
            }
        });
        bounded(name);
    }
    let queue = format!(
        r#"{{"refs": {{"os/old": {{"client": "{}"}}}}, "objects": []}}"#,
        source.rev_parse("os/main")
    );
    let queue = curl(&["--json", &queue, &format!("{}api/v1/queue", server.url())]);
    let id = queue.json()["id"].as_str().unwrap().to_owned();
    let head = format!(
        "PUT /api/v1/queue/{id} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    );
    let part = format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}.commit\"\r\n\r\n",
        "0".repeat(64)
    );
    let piece = [part.as_bytes(), &[b'z'; 19_000_000]].concat();
    let commits = held_open(&server, 40, &head, piece.len() + 10, &piece);
    bounded("commits");
    drop(commits);
    // All that was held is free again.
    oxtree().ok([
        "push",
        "--repo",
        path(source.path()),
        server.url(),
        "os/main",
    ]);
    assert_eq!(store.rev_parse("os/main"), source.rev_parse("os/main"));
}

/// Whoever opens pushes has a share of what is kept of them, and no more.
#[test]
fn what_is_kept_of_pushes_is_bounded() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    let server = Served::open(&store);
    let url = format!("{}api/v1/pushes", server.url());
    let commit = "2".repeat(64);
    for push in 0..8 {
        let update = |at| {
            format!(
                r#"{{"ref":"r/{}/{push}/{at}","old":null,"new":"{commit}"}}"#,
                "x".repeat(150)
            )
        };
        let updates: Vec<String> = (0..10_000).map(update).collect();
        let file = fixture.at("updates");
        std::fs::write(&file, format!(r#"{{"updates":[{}]}}"#, updates.join(","))).unwrap();
        let answer = curl(&["--data-binary", &format!("@{}", path(&file)), &url]);
        match answer.status {
            201 => {}
            503 => assert!(answer.header("retry-after").is_some(), "{answer:?}"),
            _ => panic!("{answer:?}"),
        }
    }
    let notes = std::fs::read_dir(store.path().join("state/oxtree-pushes")).unwrap();
    let kept: u64 = notes
        .map(|note| note.unwrap().metadata().unwrap().len())
        .sum();
    assert!(kept <= 16 << 20, "{kept} bytes are kept");
}

/// Bodies of which nothing comes keep nobody from reading, however many there are.
#[test]
fn silent_objects_keep_nobody_from_reading() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "os/main", 1);
    raise_file_limit();
    let server = Served::open(&store);
    let push = Push::open(server.url(), None, &wish(&source, "os/main", None)).unwrap();
    let url = push.url.split_once("/api/").unwrap().1;
    let silent: Vec<TcpStream> = (0..600)
        .map(|number| {
            let mut stream = connect(&server);
            let head = format!(
                "PUT /api/{url}/objects/{number:064x}.filez HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).expect("send a head");
            stream
        })
        .collect();
    for path in ["config", "api/v1/repo", "api/v1/pushes", "api/v1/info"] {
        let answer = curl(&["-m", "5", &format!("{}{path}", server.url())]);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    drop(silent);
    // How long is waited for a body, its owner may say.
    store.ok("config", ["set", "receive.idle-timeout", "1"]);
    let mut stream = connect(&server);
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let head = format!(
        "PUT /api/{url}/objects/{:064x}.filez HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
        1
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    store.ok("config", ["set", "receive.timeout", "1"]);
    std::thread::sleep(Duration::from_secs(2));
    let object = &push.missing(&source)[0];
    let answer = push.put(&source, object);
    assert!(
        answer.status == 409 && answer.text().contains("receive.timeout"),
        "{answer:?}"
    );
}

/// Reads what comes, and answers pings as one who is alive does. True once the server has hung up.
fn has_hung_up(stream: &mut TcpStream, came: &mut Vec<u8>) -> bool {
    let mut piece = [0; 4096];
    match stream.read(&mut piece) {
        Ok(0) => return true,
        Ok(len) => came.extend(&piece[..len]),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
        Err(_) => return true,
    }
    while came.len() >= 9 {
        let len = u32::from_be_bytes([0, came[0], came[1], came[2]]) as usize;
        if came.len() < 9 + len {
            break;
        }
        let rest = came.split_off(9 + len);
        if came[3] == PING && came[4] & ACK == 0 {
            let _ = stream.write_all(&frame(PING, ACK, 0, &came[9..]));
        }
        *came = rest;
    }
    false
}

fn connections(server: &Served) -> Option<u64> {
    let metrics = curl(&[&format!("{}metrics", server.url())]).text();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("oxtree_connections "));
    line?.split_whitespace().nth(1)?.parse().ok()
}

/// A server of little patience, and a file of a hundred megabytes that it has: its path.
fn impatient(fixture: &Fixture, store: &Repo) -> (Served, String) {
    let name = format!("/objects/00/{}.filez", "0".repeat(62));
    let file = store.path().join(&name[1..]);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::File::create(&file)
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    let conf = fixture.at("conf");
    let text = format!(
        "listen: 127.0.0.1:0\nheader_timeout: 1s\nsend_timeout: 2s\nrepos: {{/: {{path: {}}}}}\n",
        store.path().display()
    );
    std::fs::write(&conf, text).unwrap();
    let served = Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1);
    (served, name)
}

/// Who wants nothing, or takes nothing of what it wants, is hung up on, though it be alive.
#[test]
fn who_wants_or_takes_nothing_is_hung_up_on() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    let (server, file) = impatient(&fixture, &store);
    let half = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("/config"));
    let never = [
        ("nothing", preface(65_535)),
        (
            "half a frame",
            [preface(65_535), half[..12].to_vec()].concat(),
        ),
        (
            "headers that go on",
            [preface(65_535), frame(HEADERS, END_STREAM, 1, &[0x82])].concat(),
        ),
        (
            "an answer that is not taken",
            [
                preface(0),
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &get(&file)),
            ]
            .concat(),
        ),
        ("one that is", [preface(65_535), half].concat()),
    ];
    std::thread::scope(|scope| {
        for (what, words) in &never {
            let server = &server;
            scope.spawn(move || {
                let mut stream = connect(server);
                stream.write_all(words).unwrap();
                let mut came = Vec::new();
                until(what, || has_hung_up(&mut stream, &mut came));
            });
        }
    });
    // What is read by nobody, over either.
    let request = format!("GET {file} HTTP/1.1\r\nHost: x\r\n\r\n");
    let large = preface(0x7fff_ffff);
    let window = frame(8, 0, 0, &0x7000_0000_u32.to_be_bytes());
    let get = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get(&file));
    let unread = [request.into_bytes(), [large, window, get].concat()].map(|words| {
        let mut stream = connect(&server);
        stream.write_all(&words).unwrap();
        stream
    });
    assert!(connections(&server) >= Some(2));
    until("it is read by nobody", || connections(&server) == Some(1));
    drop(unread);
    // And who takes it, gets it, however long that takes.
    let url = format!("{}{}", server.url(), &file[1..]);
    for http in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = curl(&[
            http,
            "--limit-rate",
            "40M",
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
            &url,
        ]);
        assert_eq!(answer.text(), (100 << 20).to_string());
    }
}
