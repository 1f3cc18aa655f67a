// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a client of HTTP/2 that takes nothing makes the server hold, and what connections cost that wait.
//! `OXTREE_STALLED` says how many connections there are of those that take nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use oxtree_testkit::{Repo, Tool};

use crate::fixture::{
    Fixture, OXTREE, Served, curl, large_file, loose, objects, oxtree, path, raise_file_limit,
    until_within,
};
use crate::h2::{H2, get};

/// Requests of each connection.
const STREAMS: usize = 255;

/// What the server may hold for a connection, in KiB: 3 MiB of answers, and what the test's build needs for streams.
const EACH: u64 = 8 << 10;

/// An answer that is made as a whole.
const WHOLE: &str = "a list of refs";

/// What the server may hold of these for one client, in KiB: a quarter of 256 MiB, what is being made, and the streams.
const ALL: u64 = 200 << 10;

/// How many connections take nothing.
fn stalled() -> usize {
    let number = std::env::var("OXTREE_STALLED").ok();
    number.map_or(10, |number| number.parse().expect("a number"))
}

/// A number of `/proc/PID/status`.
fn status(server: &Served, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("a number")
}

/// A repository with one large file that packing does not make smaller, and with `refs` refs.
fn large(fixture: &Fixture, name: &str, mode: &str, refs: usize) -> (Repo, String) {
    let repo = oxtree().repo(fixture.at(name)).init(mode).without_fsync();
    let tree = fixture.at("large");
    if !tree.exists() {
        fs::create_dir(&tree).unwrap();
        large_file(&tree.join("file"), 2 << 20);
    }
    let commit = repo.commit("main", &tree, &["--canonical-permissions"]);
    for at in 0..refs {
        let file = repo
            .path()
            .join(format!("refs/heads/branch-with-a-name-{at}"));
        fs::write(file, format!("{commit}\n")).unwrap();
    }
    let all = objects(&repo);
    let size = |object: &&String| fs::metadata(repo.path().join(loose(object))).unwrap().len();
    let object = all.iter().max_by_key(size).unwrap();
    let object = loose(object.split_once('.').unwrap().0);
    (repo, format!("/{object}.filez"))
}

/// Waits until the most memory that the server has had no longer grows, while each connection asks for something
/// small now and then; in KiB.
fn settled(server: &Served, all: &mut [H2]) -> u64 {
    const ALIKE: usize = 10;
    let (mut before, mut alike) = (0, 0);
    until_within(300, "the memory no longer grows", || {
        for one in &mut *all {
            one.look();
            one.ask(&get("/none"));
        }
        let now = status(server, "VmHWM:");
        alike = if now <= before + 64 { alike + 1 } else { 0 };
        before = now;
        alike == ALIKE
    });
    before
}

/// Has many connections ask for a path, and take this number of bytes in each stream.
#[expect(clippy::print_stderr, reason = "figures for those who ask for them")]
fn attack(what: &str, server: &Served, begin: impl Fn() -> H2, path: &str, window: u32) {
    let before = status(server, "VmRSS:");
    let mut all: Vec<H2> = (0..stalled()).map(|_| begin()).collect();
    for one in &mut all {
        one.get_often(path, STREAMS);
    }
    all.iter_mut().for_each(H2::is_read);
    let held = settled(server, &mut all).saturating_sub(before);
    let each = held / all.len() as u64;
    eprintln!(
        "http2-memory what=\"{what}\" window={window} connections={} streams={STREAMS} kib_each={each} mib_all={}",
        all.len(),
        held >> 10
    );
    let most = match what {
        WHOLE => ALL.max(EACH * all.len() as u64),
        _ => EACH * all.len() as u64,
    };
    assert!(held <= most, "{what}: {held} KiB");
    // Others are answered.
    let url = format!("{}healthz", server.url());
    assert_eq!(curl(&["-k", "-m", "20", &url]).status, 200);
}

#[test]
fn connections_that_take_nothing_hold_little_memory() {
    raise_file_limit();
    let fixture = Fixture::new();
    let (archive, file) = large(&fixture, "archive", "archive", 3000);
    let (bare, packed) = large(&fixture, "bare", "bare-user-only", 0);
    for (what, repo, path) in [
        ("a file", &archive, file.as_str()),
        ("a file that is packed", &bare, &packed),
        (WHOLE, &archive, "/api/v1/repo"),
        ("nothing that is there", &archive, "/none"),
        (
            "no object that is there",
            &archive,
            &file.replace(".filez", ".commit"),
        ),
    ] {
        for window in [0, 1] {
            // A server of its own each: what was the most memory is not forgotten.
            let server = Served::open(repo);
            let port = server.port();
            let begin = || H2::plain(port, window);
            attack(what, &server, begin, path, window);
        }
    }
}

#[test]
fn connections_by_tls_that_take_nothing_hold_little_memory() {
    let fixture = Fixture::new();
    let (archive, file) = large(&fixture, "archive", "archive", 0);
    let (cert, key) = fixture.certificate("cert");
    let conf = fixture.at("conf");
    let text = format!(
        "listen_tls: 127.0.0.1:0\ntls_certificate: {}\ntls_key: {}\nrepos: {{/: {{path: {}}}}}\n",
        path(&cert),
        path(&key),
        path(archive.path())
    );
    fs::write(&conf, text).unwrap();
    for window in [0, 1] {
        let words = ["serve", "--config", path(&conf)];
        let server = Served::run(&mut oxtree().command(words), 1);
        let port = server.port();
        attack(
            "a file by TLS",
            &server,
            || H2::tls(port, window),
            &file,
            window,
        );
    }
}

/// A stream that stands still keeps its file open. Those of one client leave files for others, and connections.
#[test]
fn connections_that_take_nothing_leave_open_files() {
    let fixture = Fixture::new();
    let (archive, file) = large(&fixture, "archive", "archive", 0);
    let words = ["--nofile=400:400", OXTREE, "serve"];
    let mut command = Tool::new("prlimit").command(words);
    command.args(["--listen=127.0.0.1:0".as_ref(), archive.path()]);
    let server = Served::run(&mut command, 1);
    let mut all: Vec<H2> = (0..4).map(|_| H2::plain(server.port(), 1)).collect();
    for one in &mut all {
        one.get_often(&file, STREAMS);
    }
    all.iter_mut().for_each(H2::is_read);
    let url = format!("{}{}", server.url(), file.trim_start_matches('/'));
    let other = ["--interface", "127.0.0.5", "-m", "20", "-o", "/dev/null"];
    assert_eq!(curl(&[&other[..], &[&url]].concat()).status, 200);
}

/// The time of the processor that the server has used.
fn cpu(server: &Served) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let rest = stat.rsplit_once(')').unwrap().1;
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    // Hundredths of a second, on Linux.
    Duration::from_millis(ticks * 10)
}

/// What it costs the server to wait for connections that begin like this, until it ends them.
fn cost_of_waiting(fixture: &Fixture, store: &Repo, beginning: &str) -> Duration {
    const CONNECTIONS: u64 = 1000;
    let conf = fixture.at("conf");
    let text = format!(
        "listen: 127.0.0.1:0\nheader_timeout: 4s\nrepos: {{/: {{path: {}}}}}\n",
        path(store.path())
    );
    fs::write(&conf, text).unwrap();
    let words = ["serve", "--config", path(&conf)];
    let server = Served::run(&mut oxtree().command(words), 1);
    let all: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("connect");
            stream.write_all(beginning.as_bytes()).expect("say it");
            stream
        })
        .collect();
    // They end one after the other, each when its time has come.
    for mut stream in all {
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).expect("set a timeout");
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let is_waited_for = ended.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_waited_for, "{beginning:?} is waited for");
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{beginning:?}");
    }
    cpu(&server)
}

/// A connection that has sent half of HTTP/2's preface is waited for as one that has sent nothing.
#[test]
fn waiting_for_the_rest_of_a_preface_costs_nothing() {
    raise_file_limit();
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    let nothing = cost_of_waiting(&fixture, &store, "");
    for half in ["P", "PRI * H", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let cost = cost_of_waiting(&fixture, &store, half);
        let most = 2 * nothing + Duration::from_millis(100);
        assert!(
            cost <= most,
            "{half:?}: {cost:?}, and {nothing:?} for nothing"
        );
    }
}
