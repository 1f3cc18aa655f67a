// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections that break, servers that are busy, or that are started anew.

use std::time::{Duration, Instant};

use oxtree_testkit::{Tool, kill};

use crate::between::{Between, Fate};
use crate::fixture::{Fixture, OXTREE, assert_same, number, push, push_ok};

#[test]
fn a_push_goes_on_over_another_connection() {
    let fixture = Fixture::new();
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    let server = fixture.serve(&dest);
    fixture.commit(&source, "main", 1, 24);
    let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    let fates = [
        Fate::Cut(20),
        Fate::Say(busy),
        Fate::Say("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\n<p>"),
        // With the list of objects; then in the middle of them, again and again.
        Fate::Cut(3000),
        Fate::Cut(5 << 20),
        Fate::Cut(100_000),
        Fate::Cut(4 << 20),
        Fate::Say(busy),
        Fate::Cut(7 << 20),
    ];
    let between = Between::new(server.address(), &fates);
    let begun = Instant::now();
    let report = push_ok(&source, &between.url(), &[]);
    assert!(begun.elapsed() >= Duration::from_secs(2), "Retry-After");
    assert_eq!(between.left(), 0, "{report}");
    assert_same(&source, &dest, "main");
    // What has arrived is not sent again, but for what was under way.
    let (sent, all) = (
        number(&report, "bytes_sent"),
        number(&report, "object_bytes"),
    );
    assert!(sent < all + (30 << 20), "{sent} for {all}");
}

#[test]
fn a_server_that_says_nothing_is_asked_again_but_not_for_ever() {
    let fixture = Fixture::new();
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    let server = fixture.serve(&dest);
    fixture.commit(&source, "main", 1, 4);
    let timeout = "--timeout=1s";
    let silent = |times: usize| Between::new(server.address(), &vec![Fate::Silence; times]);
    let tool = Tool::new(OXTREE);
    let output = push(&tool, &source, &silent(3).url(), &[timeout]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr().contains("(--timeout)"), "{output:?}");
    assert_eq!(dest.ok("refs", [""; 0]), "");
    push_ok(&source, &silent(2).url(), &[timeout]);
    assert_same(&source, &dest, "main");
}

#[test]
fn who_has_to_wait_long_is_told_why() {
    let fixture = Fixture::new();
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    let server = fixture.serve(&dest);
    fixture.commit(&source, "main", 1, 4);
    let later = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nContent-Type: application/json\r\n\
                 Content-Length: 27\r\n\r\n{\"error\": \"too many tries\"}";
    let between = Between::new(server.address(), &[Fate::Say(later)]);
    let output = push(&Tool::new(OXTREE), &source, &between.url(), &["--quiet"]).expect_ok();
    let said = output.stderr();
    assert!(said.contains("trying again in"), "{said}");
    assert!(said.contains("too many tries"), "{said}");
}

#[test]
fn a_server_may_be_started_anew() {
    let fixture = Fixture::new();
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    fixture.commit(&source, "main", 1, 24);
    let mut server = fixture.serve(&dest);
    let (address, url) = (server.address().to_string(), server.url().to_owned());
    let push = std::thread::spawn({
        let source = source.clone();
        move || push_ok(&source, &url, &["--limit-rate=12M"])
    });
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(500));
        kill(server.pid());
        drop(server);
        std::thread::sleep(Duration::from_millis(100));
        server = fixture.serve_at(&dest, &address);
    }
    let report = push.join().expect("the push succeeds");
    assert_eq!(report["refs"][0]["status"], "created", "{report}");
    assert_same(&source, &dest, "main");
}

#[test]
fn patience_has_an_end() {
    let fixture = Fixture::new();
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    let server = fixture.serve(&dest);
    fixture.commit(&source, "main", 1, 4);
    // Nothing ever gets through.
    let between = Between::new(server.address(), &vec![Fate::Cut(50_000); 100]);
    let tool = Tool::new(OXTREE);
    let output = push(&tool, &source, &between.url(), &["--network-retries=2"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output
            .stderr()
            .starts_with("error: pushing to http://127.0.0.1:"),
        "{output:?}"
    );
    assert_eq!(dest.ok("refs", [""; 0]), "");
}
