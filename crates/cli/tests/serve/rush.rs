// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many at once: those who push, and those who pull meanwhile.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use oxtree_testkit::{BinDir, Tool};

use crate::fixture::{Fixture, Push, Served, oxtree, path, wish};

#[test]
fn whoever_pulls_while_many_push_finds_whole_commits() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    let sources: Vec<_> = (0..6)
        .map(|at| fixture.repo(&format!("source-{at}")))
        .collect();
    let seed = fixture.repo("seed");
    fixture.commit(&seed, "os/branch-0", 0);
    let server = Served::open(&store);
    let url = server.url();
    let first = Push::open(url, None, &wish(&seed, "os/branch-0", None)).unwrap();
    assert_eq!(first.go(&seed).status, 200);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (over, fixture) = (&over, &fixture);
        scope.spawn(move || {
            let client = oxtree()
                .repo(fixture.at("client"))
                .init("archive")
                .without_fsync();
            client.ok("remote", ["add", "--no-gpg-verify", "origin", url]);
            let mut pulls = 0;
            while !over.load(Ordering::Relaxed) || pulls < 3 {
                let tool = if pulls % 2 == 0 {
                    oxtree()
                } else {
                    Tool::ostree()
                };
                tool.repo(client.path()).ok("pull", ["--mirror", "origin"]);
                pulls += 1;
            }
            client.fsck();
        });
        let pushers: Vec<_> = sources
            .iter()
            .enumerate()
            .map(|(at, source)| {
                scope.spawn(move || {
                    let branch = format!("os/branch-{}", at + 1);
                    let mut old = None;
                    for version in 0..4 {
                        let seed = 1 + at as u64 * 4 + version;
                        let new = fixture.commit(source, &branch, seed);
                        let asked = wish(source, &branch, old.as_deref());
                        let push = Push::open(url, None, &asked).unwrap();
                        let done = push.go(source);
                        assert_eq!(done.status, 200, "{done:?}");
                        old = Some(new);
                    }
                })
            })
            .collect();
        let ends: Vec<_> = pushers.into_iter().map(ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        assert!(ends.iter().all(Result::is_ok));
    });
    store.fsck();
    assert_eq!(store.refs().len(), 7);
    let summary = store.ok("summary", ["-v"]);
    for at in 0..7 {
        let tip = store.rev_parse(&format!("os/branch-{at}"));
        assert!(summary.contains(&tip), "{at}");
    }
}

/// A server that was started anew gives what is left to the first who asks for it. Whoever has brought it,
/// and only wanted to finish, is told, and brings it again.
#[test]
fn what_went_to_another_push_is_sent_again() {
    let fixture = Fixture::new();
    let [store, source, other] = ["store", "source", "other"].map(|name| fixture.repo(name));
    fixture.commit(&source, "main", 1);
    fixture.commit(&other, "other", 2);
    let (hooks, killed) = (BinDir::empty(), fixture.at("killed"));
    let at = killed.display();
    hooks.script(
        "hook",
        &format!("[ -e {at} ] || {{ touch {at}; kill -9 $PPID; }}"),
    );
    let (hook, conf) = (hooks.path().join("hook"), fixture.at("serve.yaml"));
    let serve = |port: u16| {
        let text = format!(
            "listen: ['127.0.0.1:{port}']\nrepos: {{/: {{path: {}, receive: {{receive_hook: {}}}}}}}\n",
            store.path().display(),
            hook.display()
        );
        fs::write(&conf, text).unwrap();
        Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1)
    };
    let server = serve(0);
    let port = server.port();
    let repo = format!("--repo={}", source.path().display());
    let mut push = oxtree().command(["push", &repo, server.url(), "main"]);
    let mut push = push.spawn().unwrap();
    let begun = Instant::now();
    while !killed.exists() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "nothing is finished"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(server);
    let elsewhere = Served::open(&store);
    let taker = Push::open(elsewhere.url(), None, &wish(&other, "other", None)).unwrap();
    assert!(!taker.missing(&other).is_empty());
    let _again = serve(port);
    assert!(push.wait().unwrap().success());
    assert_eq!(store.rev_parse("main"), source.rev_parse("main"));
    assert_eq!(taker.go(&other).status, 200);
    store.fsck();
}
