// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client that is slow with everything that it may have keeps only itself waiting.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::fixture::{
    Answer, Fixture, Push, Served, curl, large_file, loose, objects, oxtree, path, until, wish,
};
use crate::h2::{H2, OK, request};

/// Files that are packed at once for one client.
const OWN_PLACES: usize = 16;

/// The other client, at another address than the slow one.
const OTHER: [&str; 4] = ["--interface", "127.0.0.3", "-m", "20"];

/// A connection of the slow client on which this was sent.
fn send(server: &Served, words: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("connect");
    let patience = Some(Duration::from_millis(1));
    stream.set_read_timeout(patience).expect("set a timeout");
    stream.write_all(words.as_bytes()).expect("send it");
    stream
}

/// How many of these connections have been answered with anything until now.
fn answered(all: &[TcpStream]) -> usize {
    let has_come = |stream: &&TcpStream| stream.peek(&mut [0]).is_ok_and(|len| len > 0);
    all.iter().filter(has_come).count()
}

/// Waits until this number is answered, and then until no more can be.
fn settled(what: &str, least: usize, mut answered: impl FnMut() -> usize) -> usize {
    let (mut before, mut alike) = (0, 0);
    until(what, || {
        let now = answered();
        alike = if now == before { alike + 1 } else { 0 };
        before = now;
        now >= least && alike >= 10
    });
    before
}

/// A server of a repository that is no archive, and two of its files: a large and a small one.
fn bare(fixture: &Fixture, more: &str) -> (Served, String, String) {
    let repo = oxtree()
        .repo(fixture.at("bare"))
        .init("bare-user-only")
        .without_fsync();
    let tree = fixture.at("tree");
    std::fs::create_dir(&tree).unwrap();
    large_file(&tree.join("large"), 16 << 20);
    std::fs::write(tree.join("small"), "small\n").unwrap();
    repo.commit("main", &tree, &["--canonical-permissions"]);
    let files = objects(&repo)
        .into_iter()
        .filter(|name| name.ends_with(".file"));
    let mut files: Vec<(u64, String)> = files
        .map(|name| {
            let size = repo.path().join(loose(&name)).metadata().unwrap().len();
            (size, format!("/{}z", loose(&name)))
        })
        .collect();
    files.sort();
    let conf = fixture.at("conf");
    let text = format!(
        "listen: 127.0.0.1:0\n{more}repos: {{/: {{path: {}}}}}\n",
        path(repo.path())
    );
    std::fs::write(&conf, text).unwrap();
    let server = Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1);
    (server, files.pop().unwrap().1, files.remove(0).1)
}

/// What the other client gets.
fn other(server: &Served, path: &str, more: &[&str]) -> Answer {
    let url = format!("{}{}", server.url(), &path[1..]);
    curl(&[&OTHER[..], more, &[&url]].concat())
}

#[test]
fn slow_readers_of_packed_files_keep_no_other_client_waiting() {
    let fixture = Fixture::new();
    let (server, large, small) = bare(&fixture, "");
    let words = format!("GET {large} HTTP/1.1\r\nHost: x\r\n\r\n");
    let slow: Vec<TcpStream> = (0..70).map(|_| send(&server, &words)).collect();
    let places = settled("the slow ones have their places", OWN_PLACES, || {
        answered(&slow)
    });
    for http in ["--http1.1", "--http2-prior-knowledge"] {
        assert_eq!(other(&server, &small, &[http]).status, 200);
    }
    assert_eq!(places, OWN_PLACES);
    drop(slow);
    // Their places are free again, for the same client too.
    let url = format!("{}{}", server.url(), &large[1..]);
    assert_eq!(curl(&["-m", "20", "-o", "/dev/null", &url]).status, 200);
}

#[test]
fn slow_streams_of_packed_files_keep_no_other_client_waiting() {
    let fixture = Fixture::new();
    let (server, large, small) = bare(&fixture, "");
    let mut slow: Vec<H2> = (0..3).map(|_| H2::plain(server.port(), 0)).collect();
    for one in &mut slow {
        one.get_often(&large, 70);
    }
    let answered = || slow.iter_mut().map(H2::answered).sum();
    let places = settled("the slow ones have their places", OWN_PLACES, answered);
    for http in ["--http1.1", "--http2-prior-knowledge"] {
        assert_eq!(other(&server, &small, &[http]).status, 200);
    }
    assert_eq!(places, OWN_PLACES);
}

/// Behind a proxy that is trusted, clients are those that it names.
#[test]
fn clients_of_a_proxy_are_told_apart() {
    let fixture = Fixture::new();
    let (server, large, small) = bare(&fixture, "trusted_proxies: 127.0.0.0/8\n");
    let from = |address: &str| {
        format!("GET {large} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n\r\n")
    };
    // The same network of 64 bits is one client.
    let words = (0..70).map(|at| from(&format!("2001:db8::{at}")));
    let slow: Vec<TcpStream> = words.map(|words| send(&server, &words)).collect();
    let places = settled("the slow ones have their places", OWN_PLACES, || {
        answered(&slow)
    });
    assert_eq!(places, OWN_PLACES);
    let mut one = H2::plain(server.port(), 1 << 20);
    let headers = [("x-forwarded-for", "2001:db8:0:1::1")];
    let stream = one.ask(&request("GET", &small, &headers));
    until("another client is answered", || one.answer(stream).whole);
    assert_eq!(one.begun_with(OK), 1);
}

/// The head of a request whose body is waited for: the server says so when it has memory for it.
fn waited_for(line: &str, len: usize, more: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len}\r\n{more}\r\n"
    )
}

/// Changes to this number of refs, as JSON.
fn changes(refs: usize) -> String {
    let change = |at| json!({"ref": format!("os/{at}"), "old": null, "new": "2".repeat(64)});
    json!({"updates": (0..refs).map(change).collect::<Vec<_>>()}).to_string()
}

/// Opens pushes with large bodies that never come, and small ones; then another client opens one.
fn slow_lists(server: &Served, more: &str, other: &[&str], fixture: &Fixture) {
    let lens = [16 << 20, 60 << 10];
    let slow: Vec<Vec<TcpStream>> = lens
        .into_iter()
        .map(|len| {
            let words = waited_for("POST /api/v1/pushes", len, more);
            let slow: Vec<TcpStream> = (0..250).map(|_| send(server, &words)).collect();
            let places = settled("the slow ones have their memory", 1, || answered(&slow));
            assert!(places < slow.len(), "each has memory at once");
            slow
        })
        .collect();
    let file = fixture.at("list");
    let url = format!("{}api/v1/pushes", server.url());
    let data = format!("@{}", path(&file));
    for text in [
        changes(10),
        changes(3000),
        " ".repeat(15 << 20) + &changes(3000),
    ] {
        std::fs::write(&file, text).unwrap();
        let words = [&["-m", "60"], other, &["--data-binary", &data, &url]].concat();
        let answer = curl(&words);
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    drop(slow);
}

#[test]
fn slow_lists_keep_no_other_client_waiting() {
    let fixture = Fixture::new();
    let server = Served::open(&fixture.repo("store"));
    slow_lists(&server, "", &["--interface", "127.0.0.3"], &fixture);
}

/// Makes a token that may push; returns the header that shows it.
fn bearer(fixture: &Fixture, name: &str) -> String {
    let tokens = fixture.at("tokens.json");
    let words = [
        "token",
        "create",
        name,
        "--allow",
        "push",
        "--tokens",
        path(&tokens),
    ];
    format!("Authorization: Bearer {}", oxtree().ok(words).trim_end())
}

#[test]
fn tokens_have_shares_of_their_own() {
    let fixture = Fixture::new();
    let (slow, other) = (bearer(&fixture, "slow"), bearer(&fixture, "other"));
    let (store, tokens) = (fixture.repo("store"), fixture.at("tokens.json"));
    let server = Served::start(&["--tokens", path(&tokens), path(store.path())]);
    slow_lists(&server, &format!("{slow}\r\n"), &["-H", &other], &fixture);
    // The lists of objects of the older interface.
    let objects: Vec<String> = (0..140_000).map(|at| format!("{at:064x}.filez")).collect();
    let file = fixture.at("queue");
    let url = format!("{}api/v1/queue", server.url());
    let data = format!("@{}", path(&file));
    let kind = "Content-Type: application/json";
    let queue = |token: &str, name: &str| {
        let refs = json!({name: {"client": "2".repeat(64)}});
        std::fs::write(&file, json!({"refs": refs, "objects": objects}).to_string()).unwrap();
        curl(&["-H", token, "-H", kind, "--data-binary", &data, &url]).status
    };
    let taken: Vec<u16> = (0..9)
        .map(|at| queue(&slow, &format!("slow/{at}")))
        .collect();
    assert_eq!(taken[..3], [200; 3]);
    assert!(taken[3..].contains(&503), "{taken:?}");
    assert_eq!(queue(&other, "other"), 200);
    // A push is not left behind that has no list.
    let pushes = curl(&["-H", &slow, &format!("{}api/v1/pushes", server.url())]).json();
    let listed = taken.iter().filter(|status| **status == 200).count();
    let names = pushes["pushes"].to_string().matches("slow/").count();
    assert_eq!(names, listed, "{pushes}");
}

/// Objects that one client sends slowly keep no other from bringing theirs.
#[test]
fn slow_objects_keep_no_other_client_waiting() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "os/main", 1);
    let server = Served::open(&store);
    fixture.commit(&source, "os/slow", 2);
    let open = |branch| Push::open(server.url(), None, &wish(&source, branch, None)).unwrap();
    let (slow, push) = (open("os/slow"), open("os/main"));
    let url = slow.url.split_once("/api/").unwrap().1;
    let slow: Vec<TcpStream> = (0..150)
        .map(|at| {
            let line = format!("PUT /api/{url}/objects/{at:064x}.filez");
            send(&server, &waited_for(&line, 9, ""))
        })
        .collect();
    settled("the slow ones have their places", 1, || answered(&slow));
    let missing = push.missing(&source);
    for object in &missing {
        let file = source.path().join(loose(object));
        let words = [&OTHER[..], &["-T", path(&file)]].concat();
        let answer = push.ask("PUT", &format!("/objects/{object}"), &words);
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    assert_eq!(push.finish().status, 200);
    drop(slow);
}

/// A client that sends large metadata slowly, for which memory is held, leaves some for another.
#[test]
fn slow_metadata_keeps_no_other_client_waiting() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "os/main", 1);
    fixture.commit(&source, "os/slow", 2);
    let server = Served::open(&store);
    let open = |branch| Push::open(server.url(), None, &wish(&source, branch, None)).unwrap();
    let (slow, push) = (open("os/slow"), open("os/main"));
    let url = slow.url.split_once("/api/").unwrap().1;
    let limit = curl(&[&format!("{}api/v1/repo", server.url())]).json();
    let most = limit["limits"]["memory"].as_u64().unwrap() / 4;
    let most = usize::try_from(most.min(16 << 20)).unwrap();
    let slow: Vec<TcpStream> = (0..12)
        .map(|at| {
            let line = format!("PUT /api/{url}/objects/{at:064x}.dirtree");
            send(&server, &waited_for(&line, most, ""))
        })
        .collect();
    settled("the slow ones are waited for", slow.len(), || {
        answered(&slow)
    });
    let file = fixture.at("large");
    large_file(&file, 2 << 20);
    let words = [&OTHER[..], &["-T", path(&file)]].concat();
    // It has what it needs to find that it is none.
    let object = format!("/objects/{}.dirtree", "0".repeat(64));
    assert_eq!(push.ask("PUT", &object, &words).status, 422);
    drop(slow);
}
