// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which refs are pushed, and which of them may move.

use oxtree_testkit::{Repo, Snapshot};

use crate::fixture::{Fixture, check_published, json, number, status};

/// Sets a key of the destination's config.
fn configure(repo: &Repo, key: &str, value: &str) {
    repo.ok("config", ["set", key, value]);
}

#[test]
fn all_refs_go_unless_some_are_named() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main", "os/stable/x86_64", "os/testing"]);
    let dest = fixture.repo("dest", "archive");
    let report = fixture.push_ok(&source, &dest, &["os/stable/x86_64"]);
    assert_eq!(report["refs"].as_array().map(Vec::len), Some(1));
    assert_eq!(status(&report, "os/stable/x86_64"), "created");
    check_published(&source, &dest, &["os/stable/x86_64"]);

    let report = fixture.push_ok(&source, &dest, &[]);
    for (name, expected) in [
        ("main", "created"),
        ("os/stable/x86_64", "unchanged"),
        ("os/testing", "created"),
    ] {
        assert_eq!(status(&report, name), expected, "{name}");
    }
    check_published(&source, &dest, &["main", "os/stable/x86_64", "os/testing"]);
}

#[test]
fn an_existing_ref_moves_to_what_is_new_and_the_same_push_does_nothing() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    let first = fixture.push_ok(&source, &dest, &["main"]);
    fixture.commit(&source, "main", 7);
    let second = fixture.push_ok(&source, &dest, &["main"]);
    assert_eq!(status(&second, "main"), "updated");
    assert_eq!(second["refs"][0]["old"], first["refs"][0]["new"]);
    assert_eq!(second["refs"][0]["new"], source.rev_parse("main").as_str());
    assert!(number(&second, "objects_missing") < number(&first, "objects_missing"));
    check_published(&source, &dest, &["main"]);

    let before = Snapshot::of(dest.path());
    let third = fixture.push_ok(&source, &dest, &["main"]);
    assert_eq!(status(&third, "main"), "unchanged");
    assert_eq!(number(&third, "objects_offered"), 0);
    assert_eq!(number(&third, "turns"), 1);
    before.assert_unchanged(&Snapshot::of(dest.path()));
}

#[test]
fn of_several_refs_none_moves_when_one_is_refused() {
    let fixture = Fixture::new();
    let source = fixture.source(&["a", "b", "c"]);
    let dest = fixture.repo("dest", "archive");
    // The destination's b is newer than ours.
    fixture.commit(&dest, "b", 50);
    fixture.commit(&dest, "c", 1);
    let before = Snapshot::of(dest.path());
    let output = fixture.push(&source, &dest, &["--json"]).expect_failure();
    assert_eq!(output.code, Some(1), "{output:?}");
    let report = json(&output);
    assert_eq!(report["ok"], false);
    for (name, expected) in [("a", "not-done"), ("b", "rejected"), ("c", "not-done")] {
        assert_eq!(status(&report, name), expected, "{name}");
    }
    assert!(
        output.stderr().contains("b: the new commit is neither"),
        "{output:?}"
    );
    before.assert_unchanged(&Snapshot::of(dest.path()));
    fixture.push_refused(
        &source,
        &dest,
        &[],
        &["nothing has changed", "b: ", "--force"],
    );
}

#[test]
fn back_and_sideways_takes_force_and_the_receiver_can_forbid_it() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    fixture.commit(&dest, "main", 50);
    fixture.push_refused(&source, &dest, &["main"], &["main: ", "neither", "--force"]);
    configure(&dest, "receive.deny-non-fast-forward", "true");
    fixture.push_refused(
        &source,
        &dest,
        &["main", "--force"],
        &["main: ", "not allowed", "receive.deny-non-fast-forward"],
    );
    configure(&dest, "receive.deny-non-fast-forward", "false");
    let report = fixture.push_ok(&source, &dest, &["main", "--force"]);
    assert_eq!(status(&report, "main"), "updated");
    check_published(&source, &dest, &["main"]);
}

#[test]
fn a_descendant_may_be_older_than_its_parent() {
    let fixture = Fixture::new();
    let source = fixture.source(&[]);
    fixture.commit(&source, "main", 50);
    let dest = fixture.repo("dest", "archive");
    configure(&dest, "receive.deny-non-fast-forward", "true");
    fixture.push_ok(&source, &dest, &["main"]);
    fixture.commit(&source, "main", 3);
    let report = fixture.push_ok(&source, &dest, &["main"]);
    assert_eq!(status(&report, "main"), "updated");
    check_published(&source, &dest, &["main"]);
}

#[test]
fn refs_are_deleted_if_the_receiver_allows_it() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main", "old/one", "old/two"]);
    let dest = fixture.repo("dest", "archive");
    fixture.push_ok(&source, &dest, &[]);
    configure(&dest, "receive.deny-deletes", "true");
    fixture.push_refused(
        &source,
        &dest,
        &["--delete=old/one"],
        &["old/one: ", "not allowed", "receive.deny-deletes"],
    );
    configure(&dest, "receive.deny-deletes", "false");
    let report = fixture.push_ok(&source, &dest, &["--delete=old/one", "--delete=old/two"]);
    assert_eq!(status(&report, "old/one"), "deleted");
    check_published(&source, &dest, &["main"]);
    fixture.push_refused(
        &source,
        &dest,
        &["--delete=old/one"],
        &["cannot delete", "old/one"],
    );
}

#[test]
fn one_push_can_both_move_and_delete() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    fixture.commit(&dest, "old", 1);
    let report = fixture.push_ok(&source, &dest, &["--delete=old", "main"]);
    assert_eq!(
        (status(&report, "old"), status(&report, "main")),
        ("deleted", "created")
    );
    check_published(&source, &dest, &["main"]);
}

#[test]
fn names_that_are_folders_of_others_are_refused() {
    let fixture = Fixture::new();
    let source = fixture.source(&["os/stable"]);
    let dest = fixture.repo("dest", "archive");
    fixture.commit(&dest, "os", 1);
    fixture.push_refused(&source, &dest, &[], &["os/stable: ", "conflict with os"]);
}

#[test]
fn an_empty_repository_has_nothing_to_push() {
    let fixture = Fixture::new();
    let source = fixture.source(&[]);
    let dest = fixture.repo("dest", "archive");
    let before = Snapshot::of(dest.path());
    for args in [&[][..], &["--json"], &["--quiet"], &["-n"]] {
        let output = fixture.push(&source, &dest, args).expect_failure();
        assert!(
            output.stderr().contains("there is nothing to push"),
            "{output:?}"
        );
    }
    before.assert_unchanged(&Snapshot::of(dest.path()));
}
