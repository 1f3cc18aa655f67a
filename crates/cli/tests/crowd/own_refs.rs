// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each pushes a ref of its own.

use oxtree_testkit::Repo;

use crate::fixture::{CROWD, Fixture, Running, check};

#[test]
fn all_land() {
    let fixture = Fixture::new();
    let source = fixture.repo("source");
    let dest = fixture.repo("dest");
    let refs: Vec<String> = (0..CROWD).map(|n| format!("os/{n}/main")).collect();
    for round in 0..2 {
        for (name, seed) in refs.iter().zip(0..) {
            // Half of them are the same trees.
            fixture.commit(&source, name, 100 * round + seed / 2, 1000 * round + seed);
        }
        let start = |(number, name): (usize, &String)| -> Running {
            fixture.start(number, &source, &dest, name)
        };
        let running: Vec<Running> = refs.iter().enumerate().map(start).collect();
        for push in running {
            push.end().expect_ok();
        }
        let same = |name: &String| dest.rev_parse(name) == source.rev_parse(name);
        assert!(refs.iter().all(same), "round {round}");
        check(&dest, &refs);
        assert!(is_tidy(&dest), "something is left in tmp/");
    }
}

fn is_tidy(repo: &Repo) -> bool {
    let tmp = std::fs::read_dir(repo.path().join("tmp")).expect("read tmp/");
    let mut names = tmp.map(|entry| entry.expect("an entry").file_name());
    names.all(|name| name == "cache")
}
