// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes while the real `ostree` prunes, commits and serves the same repository.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use oxtree_testkit::{Repo, Tool, WebServer};

use crate::fixture::{Fixture, check};

/// Who pushes, and how often.
const PUSHERS: usize = 3;
const PUSHES: u64 = 6;

/// Does `work` until everything else is done; how often.
fn until(done: &AtomicBool, mut work: impl FnMut(u64)) -> u64 {
    let mut rounds = 0;
    while !done.load(Ordering::Relaxed) || rounds == 0 {
        work(rounds);
        rounds += 1;
    }
    rounds
}

/// Commits trees that are about to be pushed, and forgets them: what is there when a push begins
/// may be gone before it ends, if nobody takes care.
fn litter(fixture: &Fixture, dest: &Repo, round: u64) {
    for pusher in 0..PUSHERS as u64 {
        let branch = format!("litter-{pusher}");
        let seed = 100 * pusher + round % PUSHES;
        fixture.commit(dest, &branch, seed, 500_000 + round);
        dest.ok("refs", ["--delete", &branch]);
    }
}

fn push_all(fixture: &Fixture, dest: &Repo, pusher: usize) {
    let source = fixture.repo(&format!("source-{pusher}"));
    let name = format!("pushed/{pusher}");
    for push in 0..PUSHES {
        let seed = 100 * pusher as u64 + push;
        let commit = fixture.commit(&source, &name, seed, 1000 * (push + 1));
        fixture
            .start(pusher, &source, dest, &name)
            .end()
            .expect_ok();
        assert_eq!(dest.rev_parse(&name), commit);
    }
}

#[test]
fn nothing_is_lost() {
    let fixture = Fixture::new();
    let dest = fixture.repo("dest");
    for seed in 0..PUSHERS as u64 * 100 {
        // Trees are made before several threads want them.
        if seed % 100 < PUSHES {
            fixture.tree(seed);
        }
    }
    let names = || (0..PUSHERS).map(|pusher| format!("pushed/{pusher}"));
    for name in names().chain(["committed".to_owned()]) {
        fixture.commit(&dest, &name, 7, 0);
    }
    let web = WebServer::serve(dest.path());
    let client = fixture.repo("client");
    let url = web.url();
    let (done, pushing) = (AtomicBool::new(false), AtomicUsize::new(PUSHERS));
    std::thread::scope(|scope| {
        for pusher in 0..PUSHERS {
            let (fixture, dest, done, pushing) = (&fixture, &dest, &done, &pushing);
            scope.spawn(move || {
                // Ends the others, too, when it fails.
                let _end = End { done, pushing };
                push_all(fixture, dest, pusher);
            });
        }
        scope.spawn(|| until(&done, |_| drop(dest.ok("prune", ["--refs-only"]))));
        scope.spawn(|| {
            // Two of the real tool at once fall over each other's staging directories.
            until(&done, |round| {
                litter(&fixture, &dest, round);
                fixture.commit(&dest, "committed", 7 + round % 2, 10 + round);
            })
        });
        scope.spawn(|| {
            until(&done, |_| {
                client.pull(&url, &["pushed/0", "pushed/1", "pushed/2", "committed"]);
            })
        });
    });
    dest.ok("prune", ["--refs-only"]);
    dest.ok("summary", ["--update"]);
    let refs: Vec<String> = names().chain(["committed".to_owned()]).collect();
    check(&dest, &refs);
    client.fsck();
    for name in names() {
        let out = fixture.at("out");
        dest.checkout(&name, &out, &["-U"]);
        std::fs::remove_dir_all(out).expect("delete it again");
    }
    let left = Tool::ostree().repo(dest.path()).refs();
    assert_eq!(left.len(), refs.len(), "{left:?}");
}

/// Tells the others when the last pusher has ended, however it has.
struct End<'d> {
    done: &'d AtomicBool,
    pushing: &'d AtomicUsize,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let last = self.pushing.fetch_sub(1, Ordering::Relaxed) == 1;
        if last || std::thread::panicking() {
            self.done.store(true, Ordering::Relaxed);
        }
    }
}
