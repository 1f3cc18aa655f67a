// SPDX-License-Identifier: MIT OR Apache-2.0
//! `diff` and `checksum`, beside the real ones.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use oxtree_testkit::trees;

use crate::side::Side;

/// Changes of every kind below `tree`.
fn change(tree: &Path) {
    fs::write(tree.join("files/text"), "other").unwrap();
    fs::remove_file(tree.join("files/0")).unwrap();
    fs::remove_dir_all(tree.join("deep")).unwrap();
    fs::write(tree.join("deep"), "now a file").unwrap();
    fs::remove_file(tree.join("files/1")).unwrap();
    fs::create_dir_all(tree.join("files/1/now/a/directory")).unwrap();
    fs::create_dir_all(tree.join("new/b/c")).unwrap();
    fs::write(tree.join("new/b/file"), "x").unwrap();
    fs::write(tree.join("new/z"), "x").unwrap();
    fs::write(tree.join("links/more"), "x").unwrap();
    fs::remove_file(tree.join("links/relative")).unwrap();
    symlink("elsewhere", tree.join("links/relative")).unwrap();
    fs::set_permissions(tree.join("xattrs"), PermissionsExt::from_mode(0o700)).unwrap();
}

/// A repository with `old` and `new`, and their trees on the disk.
fn side(mode: &str) -> Side {
    let side = Side::empty();
    side.real(&["init", "--repo=repo", &format!("--mode={mode}")])
        .expect_ok();
    side.real(&["config", "--repo=repo", "set", "core.fsync", "false"])
        .expect_ok();
    for name in ["old", "tree"] {
        fs::create_dir(side.path(name)).unwrap();
        trees::every_kind(&side.path(name), 1000);
    }
    side.commit("old", &["--timestamp=@1"]);
    side.commit("new", &["--timestamp=@2"]);
    change(&side.path("tree"));
    side.commit("new", &["--timestamp=@3"]);
    side
}

#[test]
fn commits_in_every_mode() {
    for mode in ["archive", "bare", "bare-user", "bare-user-only"] {
        let side = side(mode);
        let lines = side.same(&["diff", "old", "new"]).stdout();
        for line in ["M    /deep\n", "D    /files/0\n", "A    /new/b/c\n"] {
            assert!(lines.contains(line), "{mode}: {line} is not in {lines}");
        }
        side.same(&["diff", "new", "old"]);
        side.same(&["diff", "new", "new"]);
        side.same(&["diff", "--stats", "old", "new"]);
    }
}

#[test]
fn commits_and_directories() {
    let side = side("archive");
    for args in [
        &["diff", "old", "./old"][..],
        &["diff", "old", "./tree"],
        &["diff", "./tree", "old"],
        &["diff", "./old", "./tree"],
        &["diff", "--no-xattrs", "./tree", "./old"],
        &["diff", "--no-xattrs", "new", "./tree"],
        &["diff", "--owner-uid=7", "--owner-gid=8", "old", "./old"],
        &["diff", "--owner-uid=7", "./old", "old"],
        &["diff", "--owner-uid=-1", "old", "./old"],
    ] {
        side.same_sorted(args);
    }
    // What is a file to one and a hard link to the other is the same.
    let same = side.ours(&["diff", "--repo=repo", "new", "./tree"]);
    assert_eq!(same.expect_ok().stdout(), "");
}

#[test]
fn attributes_that_a_repository_does_not_keep_do_not_count() {
    let side = side("bare-user-only");
    side.same_sorted(&["diff", "new", "./tree"]);
    let side = self::side("archive");
    side.real(&[
        "config",
        "--repo=repo",
        "set",
        "core.disable-xattrs",
        "true",
    ])
    .expect_ok();
    side.same_sorted(&["diff", "new", "./tree"]);
}

#[test]
fn what_makes_no_sense() {
    let side = side("archive");
    for args in [
        &["diff"][..],
        &["diff", "old"],
        &["diff", "nope", "old"],
        &["diff", "old", "tree/"],
        &["diff", "--stats", "old", "./tree"],
        &["diff", "old", "new", "and", "more"],
    ] {
        side.same(args);
    }
    let missing = side.ours(&["diff", "--repo=repo", "old", "./nope"]);
    let error = missing.expect_failure().stderr();
    assert!(error.contains("./nope: No such file"), "{error}");
}

#[test]
fn a_parent_is_meant_by_one_rev() {
    let side = side("archive");
    side.commit("old", &["--timestamp=@4"]);
    side.same(&["diff", "old"]);
    side.same(&["diff", "--stats", "--fs-diff", "old"]);
}

#[test]
fn checksums_of_everything() {
    let side = side("archive");
    let mut pending = vec!["tree".to_owned()];
    let mut seen = 0;
    while let Some(path) = pending.pop() {
        let real = side.real(&["checksum", &path]);
        let ours = side.ours(&["checksum", &path]).expect_ok();
        assert_eq!(ours.stdout(), real.stdout(), "{path}");
        seen += 1;
        let real = side.real(&["checksum", "--ignore-xattrs", &path]);
        let ours = side.ours(&["checksum", "--ignore-xattrs", &path]);
        assert_eq!(ours.stdout(), real.stdout(), "{path}");
        let on_disk = side.path(&path);
        if on_disk.is_symlink() || !on_disk.is_dir() || path.contains("/names") {
            continue;
        }
        for entry in on_disk.read_dir().unwrap() {
            let name = entry.unwrap().file_name();
            pending.push(format!("{path}/{}", name.to_str().unwrap()));
        }
    }
    assert!(seen > 40, "{seen}");
    for args in [&["checksum"][..], &["checksum", "nope"]] {
        let error = side.ours(args).expect_failure().stderr();
        assert!(error.starts_with("error: "), "{error}");
    }
}
