// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many at once: those who push, and those who pull meanwhile. `OXTREE_PUSHES` says how many pushes there are.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use oxtree_testkit::{BinDir, Repo, Tool};

use crate::fixture::{Fixture, Push, Served, oxtree, path, wish};

/// Those who push, each to a branch of their own.
const PUSHERS: u64 = 6;

/// How many pushes there are, of all together.
fn pushes() -> u64 {
    let number = std::env::var("OXTREE_PUSHES").ok();
    number.map_or(24, |number| number.parse().expect("a number"))
}

/// Pulls all there is, into a new repository, or what is new.
fn pull(fixture: &Fixture, url: &str, tool: &Tool, name: &str) -> Repo {
    let is_new = !fixture.at(name).exists();
    let mut client = tool.repo(fixture.at(name));
    if is_new {
        client = client.init("archive").without_fsync();
        client.ok("remote", ["add", "--no-gpg-verify", "origin", url]);
    }
    client.ok("pull", ["--mirror", "origin"]);
    client
}

#[test]
fn whoever_pulls_while_many_push_finds_whole_commits() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    let sources: Vec<_> = (0..PUSHERS)
        .map(|at| fixture.repo(&format!("source-{at}")))
        .collect();
    let seed = fixture.repo("seed");
    fixture.commit(&seed, "os/branch-0", 0);
    let server = Served::open(&store);
    let url = server.url();
    let first = Push::open(url, None, &wish(&seed, "os/branch-0", None)).unwrap();
    assert_eq!(first.go(&seed).status, 200);
    let (over, fixture) = (AtomicBool::new(false), &fixture);
    let over = &over;
    std::thread::scope(|scope| {
        // One who goes on with what they have, by turns with the one client and the other; and one who
        // begins anew each time, and so takes longer.
        for fresh in [false, true] {
            scope.spawn(move || {
                let mut pulls = 0;
                while !over.load(Ordering::Relaxed) || pulls < 3 {
                    let tool = [oxtree(), Tool::ostree()][pulls % 2].clone();
                    let name = if fresh { "fresh" } else { "client" };
                    let client = pull(fixture, url, &tool, name);
                    if fresh {
                        client.fsck();
                        std::fs::remove_dir_all(client.path()).expect("remove a repository");
                    }
                    pulls += 1;
                }
            });
        }
        let pushers: Vec<_> = sources
            .iter()
            .zip(0..PUSHERS)
            .map(|(source, at)| scope.spawn(move || push(fixture, url, source, at)))
            .collect();
        let ends: Vec<_> = pushers.into_iter().map(ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        assert!(ends.iter().all(Result::is_ok));
    });
    oxtree().repo(fixture.at("client")).fsck();
    store.fsck();
    assert_eq!(store.refs().len() as u64, 1 + PUSHERS);
    let summary = store.ok("summary", ["-v"]);
    for at in 0..=PUSHERS {
        let tip = store.rev_parse(&format!("os/branch-{at}"));
        assert!(summary.contains(&tip), "{at}");
    }
}

/// Pushes one version after the other, with curl and with our client.
fn push(fixture: &Fixture, url: &str, source: &Repo, at: u64) {
    let branch = format!("os/branch-{}", at + 1);
    let mut old = None;
    for version in (at..pushes()).step_by(PUSHERS as usize) {
        let new = fixture.commit(source, &branch, 1 + version);
        if (version / PUSHERS).is_multiple_of(2) {
            let asked = wish(source, &branch, old.as_deref());
            let done = Push::open(url, None, &asked).unwrap().go(source);
            assert_eq!(done.status, 200, "{done:?}");
        } else {
            let repo = format!("--repo={}", source.path().display());
            oxtree().ok(["push", &repo, url, &branch]);
        }
        old = Some(new);
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
            "listen: ['127.0.0.1:{port}']\nallow_anonymous_push: yes\n\
             repos: {{/: {{path: {}, receive: {{receive_hook: {}}}}}}}\n",
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
