// SPDX-License-Identifier: MIT OR Apache-2.0
//! `config`.

use crate::side::Side;

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
