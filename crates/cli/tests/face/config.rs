// SPDX-License-Identifier: MIT OR Apache-2.0
//! `config`.

use crate::side::Side;

/// libostree 2026.4 finds the same faults, and says the same.
#[test]
fn fsverity_that_is_required_is_not_left_out() {
    let side = Side::new();
    let set = |value| {
        side.ours(&[
            "config",
            "--repo=repo",
            "set",
            "ex-integrity.fsverity",
            value,
        ])
    };
    let commit = || side.ours(&["commit", "--repo=repo", "-b", "main", "--tree=dir=tree"]);
    let error = set("odd").expect_failure().stderr();
    assert!(error.contains("Invalid tri-state value: odd"), "{error}");
    set("maybe").expect_ok();
    commit().expect_ok();
    set("yes").expect_ok();
    let error = commit().expect_failure().stderr();
    assert!(error.contains("fsverity required but"), "{error}");
}

/// What libostree writes there with this variable, its own fsck refuses.
#[test]
fn bare_split_xattrs_are_written_only_when_dared() {
    let side = Side::new();
    side.ours(&["init", "--repo=split", "--mode=bare-split-xattrs"])
        .expect_ok();
    let commit = ["commit", "--repo=split", "--orphan", "tree"];
    side.ours(&commit).expect_failure();
    side.ours(&["fsck", "--repo=split"]).expect_ok();
    crate::side::ours("ostree")
        .env("OSTREE_EXP_WRITE_BARE_SPLIT_XATTRS", "1")
        .dir(side.path(""))
        .run(commit)
        .expect_ok();
    side.ours(&["fsck", "--repo=split"]).expect_failure();
}

#[test]
fn beside_the_real_one() {
    let side = Side::new();
    side.copy();
    for args in [
        &[][..],
        &["get"],
        &["get", "core.mode"],
        &["get", "core"],
        &["get", "core.nope"],
        &["get", "no.nope"],
        &["get", "core.mode", "extra"],
        &["set", "core.foo"],
        &["set", "core.foo", "bar"],
        &["set", "core.foo", "bar", "extra"],
        &["set", "a.b.c", "d"],
        &["get", "a.b.c"],
        &["set", "remote \"x\".url", "http://a"],
        &["get", "remote \"x\".url"],
        &["--group=remote \"x\"", "get", "url"],
        &["--group=remote \"x.y\"", "set", "url", " http: x;y\\\tz"],
        &["get", "--group", "remote \"x.y\"", "url"],
        &["get", "--group=core", "mode"],
        &["get", "--group=core"],
        &["set", "--group=core"],
        &["set", "--group=core", "k"],
        &["set", "core.empty", ""],
        &["get", "core.empty"],
        &["set", "core.text", "zwei\nZeilen ä"],
        &["get", "core.text"],
        &["unset"],
        &["unset", "core.foo"],
        &["unset", "core.foo"],
        &["unset", "nogroup.foo"],
        &["unset", "--group=core", "empty"],
        &["unset", "core"],
        &["bogus"],
    ] {
        side.same_change(&[&["config"], args].concat());
        side.assert_copies_equal();
    }
}

#[test]
fn what_would_break_the_repository_is_refused() {
    let side = Side::new();
    let before = std::fs::read(side.repo().join("config")).unwrap();
    for args in [
        ["set", "core.mode", "nonsense"],
        ["set", "core.repo_version", "2"],
        ["set", "core.fsync", "maybe"],
        ["set", "core.bad=key", "x"],
        ["set", "core.min-free-space-size", "many"],
        ["unset", "core.repo_version", ""],
    ] {
        let args: Vec<&str> = args.into_iter().filter(|word| !word.is_empty()).collect();
        let output = side.ours(&[&["config", "--repo=repo"], &args[..]].concat());
        let output = output.expect_failure();
        assert!(output.stderr().starts_with("error: "), "{output:?}");
        assert_eq!(std::fs::read(side.repo().join("config")).unwrap(), before);
    }
}

#[test]
fn values_that_begin_with_a_dash() {
    let side = Side::new();
    side.copy();
    side.same_change(&["config", "set", "core.x", "-5"]);
    side.same_change(&["config", "set", "--", "core.x", "-5"]);
    side.assert_copies_equal();
    side.same_change(&["config", "get", "core.x"]);
}
