// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes.

use std::time::{Duration, Instant};

use oxtree_testkit::{BinDir, GpgHome, Tool, kill};
use serde_json::json;

use crate::fixture::{Fixture, Push, Served, curl, objects, oxtree, path, wish};

#[test]
fn with_curl_alone_a_commit_is_published_that_ostree_pulls() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    let first = fixture.commit(&source, "os/main", 1);
    let server = Served::open(&store);
    let url = server.url();
    let described = curl(&[&format!("{url}api/v1/repo")]).json();
    assert_eq!(
        (&described["mode"], &described["refs"]),
        (&json!("archive-z2"), &json!([]))
    );

    let push = Push::open(url, None, &wish(&source, "os/main", None)).unwrap();
    assert_eq!(push.missing(&source).len(), objects(&source).len());
    // It cannot be finished before it is complete, and nothing is lost by trying.
    let missing = push.missing(&source);
    let (last, others) = missing.split_last().unwrap();
    for object in others {
        assert_eq!(push.put(&source, object).status, 204);
    }
    let early = push.finish();
    assert_eq!(early.status, 409, "{early:?}");
    assert!(
        early.text().contains("missing") || early.text().contains("No such"),
        "{early:?}"
    );
    assert!(store.refs().is_empty());
    assert_eq!(push.missing(&source), std::slice::from_ref(last));
    assert_eq!(push.put(&source, last).status, 204);
    let done = push.finish();
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.json()["refs"][0]["status"], "created");
    let again = push.finish();
    assert_eq!((again.status, again.json()), (200, done.json()));
    assert_eq!(push.ask("GET", "", &[]).json()["state"], "ended");
    assert_eq!(store.rev_parse("os/main"), first);

    // The next one brings what is new, with the first as its history.
    fixture.commit(&source, "os/main", 2);
    let push = Push::open(url, None, &wish(&source, "os/main", Some(&first))).unwrap();
    assert!(push.missing(&source).len() < objects(&source).len());
    let lines = push.ask("POST", "/finish", &["-H", "Accept: application/x-ndjson"]);
    assert!(
        lines
            .text()
            .lines()
            .last()
            .unwrap()
            .contains("\"type\":\"error\""),
        "{lines:?}"
    );
    assert_eq!(push.go(&source).json()["refs"][0]["status"], "updated");
    // Who was told the old commit is late.
    let late = Push::open(url, None, &wish(&source, "os/main", None));
    assert!(late.is_ok(), "it is unchanged");
    fixture.commit(&source, "os/main", 3);
    let late = Push::open(url, None, &wish(&source, "os/main", Some(&first)));
    let late = late.err().unwrap();
    assert_eq!(late.status, 409);
    assert!(late.text().contains("changed meanwhile"), "{late:?}");

    let client = Tool::ostree().repo(fixture.at("client")).init("archive");
    client.ok("remote", ["add", "--no-gpg-verify", "origin", url]);
    client.ok("pull", ["--depth=-1", "origin", "os/main"]);
    client.fsck();
    store.fsck();
    assert_eq!(client.rev_parse("origin:os/main^"), first);
    assert!(server.stop(), "it ends well when it is told to");
}

#[test]
fn objects_are_what_they_are_said_to_be_or_not_there() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "os/main", 1);
    let server = Served::open(&store);
    let push = Push::open(server.url(), None, &wish(&source, "os/main", None)).unwrap();
    let missing = push.missing(&source);
    for (at, object) in missing.iter().enumerate() {
        // What another one holds.
        let (_, kind) = object.split_once('.').unwrap();
        let other = missing
            .iter()
            .cycle()
            .skip(at + 1)
            .find(|other| other.ends_with(kind));
        let other = other.unwrap();
        if other == object {
            continue;
        }
        let file = source.path().join(crate::fixture::loose(other));
        let to = format!("/objects/{object}");
        let answer = push.ask("PUT", &to, &["-T", file.to_str().unwrap()]);
        assert_eq!(answer.status, 422, "{answer:?}");
    }
    assert_eq!(push.missing(&source), missing);
    for (path, args, status) in [
        ("/objects/x", &["-d", "x"][..], 400),
        ("/objects/../../etc.commit", &["-d", "x"], 404),
        ("/objects", &["-d", "x"], 415),
        (
            "/objects",
            &[
                "-H",
                "Content-Type: application/vnd.oxtree.objects",
                "-d",
                "x",
            ],
            400,
        ),
        ("/missing", &["-d", "{"], 400),
        ("/missing", &["--json", "{\"objects\":[\"../x\"]}"], 400),
        (
            "/missing",
            &["-H", "Content-Type: application/octet-stream", "-d", "x"],
            400,
        ),
        ("/nothing", &["-d", "x"], 404),
    ] {
        let method = if path.starts_with("/objects/") {
            "PUT"
        } else {
            "POST"
        };
        let answer = push.ask(method, path, args);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    let chunked = ["-H", "Transfer-Encoding: chunked", "-d", "x"];
    let answer = push.ask("PUT", &format!("/objects/{}", missing[0]), &chunked);
    assert_eq!(answer.status, 411, "{answer:?}");
    assert_eq!(push.ask("DELETE", "", &[]).status, 204);
    assert_eq!(push.finish().status, 404);
    assert!(store.refs().is_empty());
    store.fsck();
}

#[test]
fn a_dry_run_says_what_would_be() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "os/main", 1);
    let server = Served::open(&store);
    let mut asked = wish(&source, "os/main", None);
    asked["dry_run"] = true.into();
    let push = Push::open(server.url(), None, &asked).unwrap();
    let missing = push.missing(&source);
    assert_eq!(push.put(&source, &missing[0]).status, 409);
    let outcome = push.finish().json();
    assert_eq!(outcome["refs"][0]["status"], "created");
    assert_eq!(outcome["objects"], missing.len());
    assert!(store.refs().is_empty());
}

/// The server is killed in the middle of a push, and another one started in its place.
#[test]
fn a_push_outlives_its_server() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    let commit = fixture.commit(&source, "os/main", 1);
    let server = Served::open(&store);
    let mut push = Push::open(server.url(), None, &wish(&source, "os/main", None)).unwrap();
    let missing = push.missing(&source);
    let (some, rest) = missing.split_at(missing.len() / 2);
    for object in some {
        assert_eq!(push.put(&source, object).status, 204);
    }
    let old = server.url().to_owned();
    kill(server.pid());
    drop(server);
    let server = Served::open(&store);
    push.url = push.url.replace(&old, server.url());
    let mut left = push.missing(&source);
    left.sort_unstable();
    let mut rest = rest.to_vec();
    rest.sort_unstable();
    assert_eq!(left, rest);
    assert_eq!(push.go(&source).status, 200);
    assert_eq!(store.rev_parse("os/main"), commit);
    store.fsck();
    let left = oxtree().ok([
        "receive",
        "--cleanup",
        "--json",
        store.path().to_str().unwrap(),
    ]);
    assert!(left.contains("\"left\":[]"), "{left}");
}

/// What the ssh door leaves behind the other finds, and the other way round: there is one store.
#[test]
fn both_doors_lead_to_one_store() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    let commit = fixture.commit(&source, "os/main", 1);
    let server = Served::open(&store);
    let push = Push::open(server.url(), None, &wish(&source, "os/main", None)).unwrap();
    push.missing(&source);
    // Meanwhile somebody else publishes the very same.
    source.ok("push", [store.path().to_str().unwrap(), "os/main"]);
    let since = Instant::now();
    let outcome = push.finish();
    assert_eq!(
        outcome.json()["refs"][0]["status"],
        "unchanged",
        "{outcome:?}"
    );
    assert!(since.elapsed() < Duration::from_secs(5));
    assert_eq!(store.rev_parse("os/main"), commit);
}

/// A request that signs nothing starts no gpg: anybody can send hundreds of them.
#[test]
fn gpg_runs_for_signatures_alone() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "main", 1);
    let gpg = GpgHome::new();
    let key = gpg.generate("server@example.com", "ed25519");
    let (bins, runs) = (BinDir::empty(), fixture.at("runs"));
    let at = runs.display();
    bins.script("gpg", &format!("echo run >>{at}; exec /usr/bin/gpg \"$@\""));
    let path_of = format!("{}:/usr/bin:/bin", bins.path().display());
    let conf = fixture.at("conf");
    let serve = |key: &str| {
        let text = format!(
            "listen: 127.0.0.1:0\nallow_anonymous_push: yes\nrepos:\n  /:\n    path: {}\n    \
             receive: {{gpg_sign: [{key}], gpg_homedir: {}}}\n",
            store.path().display(),
            gpg.path().display()
        );
        std::fs::write(&conf, text).unwrap();
        oxtree()
            .env("PATH", &path_of)
            .command(["serve", "--config", path(&conf)])
    };
    // A key that is not there is told of at once.
    let output = oxtree_testkit::Output::of(&mut serve("nobody@example.com"));
    let text = output.expect_failure().stderr();
    assert!(text.contains("nobody@example.com"), "{text}");

    let server = Served::run(&mut serve(&key), 1);
    std::fs::write(&runs, "").unwrap();
    let push = Push::open(server.url(), None, &wish(&source, "main", None)).unwrap();
    for path in [
        "api/v1/repo",
        "readyz",
        "config",
        "api/v1/jobs",
        "api/v1/info",
    ] {
        assert_eq!(
            curl(&[&format!("{}{path}", server.url())]).status,
            200,
            "{path}"
        );
    }
    assert_eq!(std::fs::read_to_string(&runs).unwrap(), "");
    assert_eq!(push.go(&source).status, 200);
    assert_ne!(std::fs::read_to_string(&runs).unwrap(), "");
    let signed = store.ok("show", ["main"]);
    assert!(signed.contains("Found 1 signature"), "{signed}");
}
