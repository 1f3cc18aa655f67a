// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every pair of repository modes.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use oxtree_testkit::{Repo, Tool, compare_trees, is_root, trees};

use crate::fixture::{Fixture, check_published, number, oxtree};

const MODES: [&str; 4] = ["archive", "bare", "bare-user", "bare-user-only"];

/// A tree with what `bare-user-only` cannot store: owners, attributes, set-uid.
fn rich(dir: &Path) {
    std::fs::create_dir(dir).expect("mkdir");
    trees::small(dir, 3);
    trees::file(&dir.join("setuid"), b"#!/bin/true\n", 0o755);
    std::fs::set_permissions(dir.join("setuid"), Permissions::from_mode(0o4755)).expect("chmod");
    trees::file(&dir.join("attributes"), b"with attributes\n", 0o644);
    trees::xattr(&dir.join("attributes"), "user.one", b"1");
    trees::xattr(&dir.join("sub"), "user.on-a-folder", b"2");
    if is_root() {
        chown(dir.join("same"), Some(1000), Some(1001)).expect("chown");
    }
}

fn commit(repo: &Repo, tree: &Path) -> String {
    let mode = repo.ok("config", ["get", "core.mode"]);
    let args: &[&str] = match mode.trim() {
        "bare-user-only" => &["--canonical-permissions"],
        _ => &[],
    };
    repo.commit("main", tree, args)
}

#[test]
fn commits_of_our_own_tool() {
    let fixture = Fixture::new();
    let tree = fixture.at("rich");
    rich(&tree);
    for mode in ["archive", "bare-user"] {
        let ours = oxtree()
            .repo(fixture.at(&format!("ours-{mode}")))
            .init(mode);
        let theirs = fixture.repo(&format!("theirs-{mode}"), mode);
        assert_eq!(commit(&ours, &tree), commit(&theirs, &tree));
        let dest = fixture.repo(&format!("dest-{mode}"), "archive");
        fixture.push_ok(&ours, &dest, &[]);
        check_published(&theirs, &dest, &["main"]);
    }
}

/// Pushes from `mode` to a repository of every mode.
fn push_from(mode: &str) {
    let fixture = Fixture::new();
    let tree = fixture.at("rich");
    rich(&tree);
    let source = fixture.repo("source", mode);
    commit(&source, &tree);
    let original = fixture.at("original");
    source.checkout("main", &original, &[]);
    let plain = fixture.repo("plain", mode);
    fixture.commit(&plain, "main", 1);
    for to in MODES {
        let dest = fixture.repo(&format!("dest-{to}"), to);
        if to == "bare-user-only" && mode != to {
            fixture.push_refused(&source, &dest, &[], &["cannot hold", "bare-user-only"]);
            fixture.push_ok(&plain, &dest, &[]);
            check_published(&plain, &dest, &["main"]);
            continue;
        }
        let report = fixture.push_ok(&source, &dest, &[]);
        assert!(number(&report, "objects_missing") > 5, "{report}");
        check_published(&source, &dest, &["main"]);
        let copy = fixture.at(&format!("copy-{to}"));
        Tool::ostree()
            .repo(dest.path())
            .checkout("main", &copy, &[]);
        let differences = compare_trees(&original, &copy);
        assert!(differences.is_empty(), "{mode} to {to}: {differences:#?}");
    }
}

#[test]
fn from_archive() {
    push_from("archive");
}

#[test]
fn from_bare() {
    push_from("bare");
}

#[test]
fn from_bare_user() {
    push_from("bare-user");
}

#[test]
fn from_bare_user_only() {
    push_from("bare-user-only");
}
