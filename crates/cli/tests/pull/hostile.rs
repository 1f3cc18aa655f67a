// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers that send what they should not: the error says what, nothing becomes public, and the same
//! repository pulls from an honest one afterwards.

use std::fs;
use std::time::{Duration, Instant};

use oxtree_testkit::Tool;

use crate::fixture::{Fixture, ours, theirs};
use crate::server::{Server, Trick};

/// Large enough not to be held in memory.
const LARGE: u64 = 3 << 20;

fn fixture() -> (Fixture, String) {
    let fixture = Fixture::new();
    oxtree_testkit::trees::incompressible(&fixture.tree(1).join("large"), LARGE, 3);
    let (_, commits) = fixture.source(&Tool::ostree(), 1);
    (fixture, commits[0].clone())
}

#[test]
fn nothing_wrong_gets_in() {
    let (fixture, commit) = fixture();
    let other = vec![1; 100];
    let tricks = [
        (".filez", Trick::Instead(other.clone()), "Corrupted"),
        (".filez", Trick::Half, "Corrupted"),
        (".filez", Trick::Torn, "Download incomplete"),
        (".filez", Trick::Endless, "Corrupted"),
        (".filez", Trick::Loop, "too many redirects"),
        (".filez", Trick::Status(503), "HTTP 503"),
        (".filez", Trick::Silence, "timed out"),
        (
            ".dirtree",
            Trick::Instead(other.clone()),
            "Corrupted dirtree object",
        ),
        (".dirmeta", Trick::Endless, "exceeded maximum size"),
        (".dirtree", Trick::Status(404), "HTTP 404"),
        (".commit", Trick::Half, "Corrupted commit object"),
        ("/summary", Trick::Instead(other), "Parsing the summary"),
        ("/config", Trick::Endless, "exceeded maximum size"),
        (
            "/config",
            Trick::Instead(b"[core]\nrepo_version=1\nmode=bare\n".to_vec()),
            "mode \"bare\"",
        ),
    ];
    for (number, (word, trick, why)) in tricks.into_iter().enumerate() {
        let client = fixture.client(
            &format!("client-{number}"),
            "bare-user",
            "http://localhost/",
        );
        let server = Server::start(&fixture.at("web"), word, trick.clone());
        let url = format!("--url={}", server.url());
        let words = [
            "--network-retries=1",
            "--low-speed-time-seconds=1",
            &url,
            "origin",
            "main",
        ];
        let begun = Instant::now();
        let error = client.run("pull", words).expect_failure().stderr();
        assert!(error.contains(why), "{word} {trick:?}: {error}");
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{word} {trick:?}"
        );
        assert!(client.refs().is_empty());
        assert!(!client.object(&commit, "commit").exists());
    }
    // The same repository pulls from an honest server where it was misled by another. A connection that breaks in the middle of a large file: the rest is asked for.
    let client = ours().repo(fixture.at("client-0"));
    let once = Trick::TornOnce(std::sync::Arc::default());
    let server = Server::start(&fixture.at("web"), ".filez", once);
    client.ok(
        "pull",
        [&format!("--url={}", server.url()), "origin", "main"],
    );
    theirs(&client).fsck();
}

/// Lists of mirrors lead to web servers only, and not out of the repository.
#[test]
fn mirrors_and_metalinks() {
    let (fixture, commit) = fixture();
    let secret = fixture.at("secret");
    fs::create_dir(&secret).expect("mkdir");
    let list = format!(
        "file://{}\n/etc\nhttp://\nnonsense\n",
        fixture.at("web/repo").display()
    );
    fs::write(fixture.at("web/repo/list"), list).expect("write");
    let server = Server::start(&fixture.at("web"), "no such word", Trick::Half);
    let client = fixture.client(
        "client",
        "archive",
        &format!("mirrorlist={}/list", server.url()),
    );
    let error = client
        .run("pull", ["origin", "main"])
        .expect_failure()
        .stderr();
    assert!(error.contains("No valid mirrors were found"), "{error}");
    let list = format!("{0}/nothing\n# comment\n{0}\n", server.url());
    fs::write(fixture.at("web/repo/list"), list).expect("write");
    client.ok("pull", ["origin", "main"]);
    assert_eq!(client.rev_parse("origin:main"), commit);

    let link = |url: &str| {
        let sum = "0".repeat(64);
        let text = format!(
            "<metalink><files><file name='summary'><verification><hash type='sha256'>{sum}</hash>\
             </verification><resources><url protocol='http'>{url}</url></resources></file></files>\
             </metalink>"
        );
        fs::write(fixture.at("web/repo/link"), text).expect("write");
    };
    for (url, why) in [
        ("file:///etc/passwd", "Invalid URI scheme"),
        ("../summary", "Failed to parse url"),
        (
            &format!("{}/summary", server.url()),
            "Expected checksum is 0000",
        ),
    ] {
        link(url);
        let url = format!("--url=metalink={}/link", server.url());
        let error = client
            .run("pull", [&url, "origin", "main"])
            .expect_failure()
            .stderr();
        assert!(error.contains(why), "{error}");
    }
}

/// A summary that has to be signed, and is signed by somebody else.
#[test]
fn signatures_of_summaries() {
    let (fixture, _) = fixture();
    let server = Server::start(&fixture.at("web"), "no such word", Trick::Half);
    let client = fixture.client("client", "archive", &server.url());
    let other = "ad1aCSfyYdcqpa9U4t0yZ6QSHuJmF0iM5sKlvt5WqPY=";
    client.ok(
        "config",
        ["set", "remote \"origin\".sign-verify-summary", "ed25519"],
    );
    client.ok(
        "config",
        ["set", "remote \"origin\".verification-ed25519-key", other],
    );
    let error = client
        .run("pull", ["origin", "main"])
        .expect_failure()
        .stderr();
    assert!(error.contains("No signatures found"), "{error}");
    assert!(client.refs().is_empty());
}
