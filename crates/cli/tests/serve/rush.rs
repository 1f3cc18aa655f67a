// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many at once: those who push, and those who pull meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

use oxtree_testkit::Tool;

use crate::fixture::{Fixture, Push, Served, oxtree, wish};

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
