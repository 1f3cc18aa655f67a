// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much of the past goes along, and what is not sent because it is there.

use oxtree_testkit::{Repo, Tool, trees};

use crate::fixture::{Fixture, check_published, number, status};

/// Commits in `ostree log` of `main`.
fn logged(repo: &Repo) -> Vec<String> {
    let log = Tool::ostree().repo(repo.path()).ok("log", ["main"]);
    let commits = log.lines().filter_map(|line| line.strip_prefix("commit "));
    commits.map(|id| id.trim().to_owned()).collect()
}

/// A source with commits 1 to `count` on `main`; newest first.
fn ten(fixture: &Fixture, count: u64) -> (Repo, Vec<String>) {
    let source = fixture.source(&[]);
    let mut commits: Vec<String> = (1..=count)
        .map(|seed| fixture.commit(&source, "main", seed))
        .collect();
    commits.reverse();
    (source, commits)
}

#[test]
fn a_new_ref_brings_as_much_history_as_was_asked_for() {
    let fixture = Fixture::new();
    let (source, commits) = ten(&fixture, 10);
    for (args, count) in [
        (&[][..], 1),
        (&["--depth=0"], 1),
        (&["--depth=3"], 4),
        (&["--depth=100"], 10),
        (&["--all-history"], 10),
    ] {
        let dest = fixture.repo(&format!("dest{}", args.concat()), "archive");
        fixture.push_ok(&source, &dest, args);
        check_published(&source, &dest, &["main"]);
        assert_eq!(logged(&dest), commits[..count], "{args:?}");
    }
}

#[test]
fn what_the_receiver_lacks_since_its_commit_goes_along() {
    let fixture = Fixture::new();
    let (source, mut commits) = ten(&fixture, 5);
    let dest = fixture.repo("dest", "archive");
    fixture.push_ok(&source, &dest, &[]);
    for seed in 6..=10 {
        commits.insert(0, fixture.commit(&source, "main", seed));
    }
    let report = fixture.push_ok(&source, &dest, &[]);
    assert_eq!(status(&report, "main"), "updated");
    check_published(&source, &dest, &["main"]);
    // The fifth came alone, the five after it are here now.
    assert_eq!(logged(&dest), commits[..6]);
}

#[test]
fn depth_and_all_history_reach_beyond_what_the_receiver_has() {
    let fixture = Fixture::new();
    let (source, mut commits) = ten(&fixture, 9);
    let dest = fixture.repo("dest", "archive");
    fixture.push_ok(&source, &dest, &[]);
    commits.insert(0, fixture.commit(&source, "main", 10));
    let other = fixture.repo("other", "archive");
    fixture.push_ok(&source, &other, &["--depth=2"]);
    assert_eq!(logged(&other), commits[..3]);
    fixture.push_ok(&source, &dest, &["--all-history"]);
    assert_eq!(logged(&dest), commits);
    check_published(&source, &dest, &["main"]);
}

#[test]
fn what_another_branch_has_is_not_sent() {
    let fixture = Fixture::new();
    let tree = fixture.tree(1);
    trees::incompressible(&tree.join("large"), 2 << 20, 9);
    let source = fixture.source(&[]);
    let commit = source.commit("main", &tree, &["--canonical-permissions"]);
    let fresh = fixture.repo("fresh", "archive");
    let whole = fixture.push_ok(&source, &fresh, &[]);
    assert!(number(&whole, "bytes_sent") > 2 << 20, "{whole}");

    let dest = fixture.repo("dest", "archive");
    dest.commit(
        "other",
        &tree,
        &["--canonical-permissions", "--subject=another"],
    );
    assert_ne!(dest.rev_parse("other"), commit);
    let report = fixture.push_ok(&source, &dest, &[]);
    assert_eq!(
        number(&report, "objects_offered"),
        number(&whole, "objects_offered")
    );
    assert_eq!(number(&report, "objects_missing"), 1, "{report}");
    assert!(number(&report, "bytes_sent") < 8 << 10, "{report}");
    let real = Tool::ostree().repo(dest.path());
    real.ok("refs", ["--delete", "other"]);
    real.ok("summary", ["--update"]);
    check_published(&source, &dest, &["main"]);
}

#[test]
fn a_second_name_for_a_commit_costs_nothing() {
    let fixture = Fixture::new();
    let source = fixture.source(&[]);
    let args = ["--canonical-permissions", "--no-bindings"];
    source.commit("main", fixture.tree(1), &args);
    let dest = fixture.repo("dest", "archive");
    fixture.push_ok(&source, &dest, &[]);
    source.ok("refs", ["--create=stable", "main"]);
    let report = fixture.push_ok(&source, &dest, &[]);
    assert_eq!(status(&report, "stable"), "created");
    assert_eq!(number(&report, "objects_missing"), 0);
    check_published(&source, &dest, &["main", "stable"]);
}

#[test]
fn detached_metadata_goes_along() {
    let fixture = Fixture::new();
    let source = fixture.source(&[]);
    let tree = fixture.tree(1);
    source.commit(
        "main",
        &tree,
        &["--add-detached-metadata-string=about=all of it"],
    );
    for mode in ["archive", "bare-user"] {
        let dest = fixture.repo(mode, mode);
        fixture.push_ok(&source, &dest, &[]);
        let value = dest.ok("show", ["--print-detached-metadata-key=about", "main"]);
        assert_eq!(value.trim(), "'all of it'");
        check_published(&source, &dest, &["main"]);
    }
}
