// SPDX-License-Identifier: MIT OR Apache-2.0
//! `refs` and `reset`.

use std::collections::BTreeSet;

use crate::side::Side;

fn with_refs() -> Side {
    let side = Side::new();
    side.commit("main", &["--timestamp=@0"]);
    side.commit("main", &["--timestamp=@1"]);
    side.commit("debian/12/amd64", &["--timestamp=@2"]);
    side.commit("debian/12/arm64", &["--timestamp=@3"]);
    side.commit("debian/11", &["--timestamp=@4"]);
    for args in [
        ["--create=origin:a/b", "main"],
        ["--create=origin:c", "main"],
        ["--create=other:a", "debian/11"],
    ] {
        side.real(&[&["refs", "--repo=repo"], &args[..]].concat())
            .expect_ok();
    }
    for args in [
        ["--create=stable", "debian/12/amd64"],
        ["--create=x/y/stable", "main"],
    ] {
        side.real(&[&["refs", "--repo=repo", "-A"], &args[..]].concat())
            .expect_ok();
    }
    side
}

#[test]
fn listing() {
    let side = with_refs();
    for args in [
        &[][..],
        &["--list"],
        &["debian"],
        &["--list", "debian"],
        &["debian/12", "main"],
        &["debian/12/amd64"],
        &["deb"],
        &["origin:"],
        &["origin:a"],
        &["--list", "origin:a"],
        &["origin:c"],
        &["nope:"],
        &["-A"],
        &["--alias", "x"],
        &["-A", "nope"],
        &["-c"],
        &["a b"],
        &["debian/"],
        &[""],
    ] {
        side.same_sorted(&[&["refs"], args].concat());
    }
    // Newer than the real tool on this machine.
    let commit = side.real(&["rev-parse", "--repo=repo", "main"]).stdout();
    let output = side
        .ours(&["refs", "--repo=repo", "-r", "main"])
        .expect_ok();
    assert_eq!(output.stdout(), format!("main\t{commit}"));
}

#[test]
fn changes() {
    let side = with_refs();
    side.copy();
    for args in [
        &["--create=new", "main^"][..],
        &["--create=new", "main"],
        &["--force", "--create=new", "debian/11"],
        &["--create=n2", "nope"],
        &["--create=n 3", "main"],
        &["--create=third:n4", "main"],
        &["--create=../x", "main"],
        &["--create=u"],
        &["--create=u", "a", "b"],
        &["--create=origin", "main"],
        &["--create=x", "main"],
        &["--create=x/y", "main"],
        &["-A", "--create=new", "main"],
        &["-A", "--create=alias", "main"],
        &["-A", "--create=alias", "debian/11"],
        &["-A", "--create=deep/er/alias", "alias"],
        &["-A", "--create=zz", "nope"],
        &["--delete"],
        &["--delete", "nope"],
        &["--delete", "main"],
        &["--delete", "deep"],
        &["--delete", "alias", "x"],
        &["--delete", "main"],
        &["--delete", "origin:a"],
        &["-c", "--create=org.example.X:m1", "debian/11"],
        &["-c", "--create=org.example.X:m1", "main"],
        &["-c", "--create=foo:m1", "debian/11"],
        &["-c", "org.example.X"],
        &["-c", "--delete", "org.example.X"],
        &["-c"],
        &["--delete", "debian/11"],
    ] {
        side.same_change(&[&["refs"], args].concat());
        side.assert_copies_equal();
    }
}

#[test]
fn a_ref_below_a_ref_is_refused() {
    let side = with_refs();
    for alias in [&[][..], &["-A"]] {
        let args = [
            &["refs", "--repo=repo", "--create=main/x", "debian/11"],
            alias,
        ]
        .concat();
        let output = side.ours(&args).expect_failure();
        let expected = "error: Conflict: a part of main/x is a ref itself\n";
        assert_eq!(output.stderr(), expected);
    }
}

#[test]
fn a_folder_without_refs_gives_way() {
    let side = with_refs();
    side.real(&["refs", "--repo=repo", "--delete", "debian/11"])
        .expect_ok();
    std::fs::create_dir_all(side.repo().join("refs/heads/debian/11/a/b")).unwrap();
    side.ours(&["refs", "--repo=repo", "--create=debian/11", "main"])
        .expect_ok();
    side.same(&["rev-parse", "debian/11"]);
}

#[test]
fn collections_of_the_repository_itself() {
    let side = Side::empty();
    let init = [
        "init",
        "--repo=repo",
        "--mode=archive",
        "--collection-id=org.example.Own",
    ];
    side.real(&init).expect_ok();
    std::fs::create_dir(side.path("tree")).unwrap();
    side.commit("main", &["--timestamp=@0"]);
    side.copy();
    side.same_change(&["refs", "-c"]);
    side.same_change(&["refs", "-c", "--create=org.example.Own:second", "main"]);
    side.same_change(&["refs", "-c", "--create=org.example.Other:third", "main"]);
    side.assert_copies_equal();
    side.same_sorted(&["refs", "-c"]);
    side.same_sorted(&["refs", "-c", "org.example.Other"]);
    side.same_sorted(&["refs"]);
    // With commits, as libostree 2026.4 prints them.
    let commit = side.ours(&["rev-parse", "--repo=repo", "main"]).stdout();
    let list = |more: &[&str]| {
        let words = [&["refs", "--repo=copy", "-c", "-r"], more].concat();
        side.ours(&words).expect_ok().stdout()
    };
    let other = format!("(org.example.Other, third)\t{commit}");
    assert_eq!(list(&["org.example.Other"]), other);
    let own = ["main", "second"].map(|name| format!("(org.example.Own, {name})\t{commit}"));
    assert_eq!(list(&[]), [other, own.concat()].concat());
}

/// A URL with line breaks looks like one remote, too. The rest of it is escaped on a terminal alone.
#[test]
fn a_line_for_each_remote() {
    let side = Side::new();
    let url = "http://h/a\nevil  http://e/\u{1b}[2J";
    side.ours(&["remote", "--repo=repo", "add", "one", "http://h/"])
        .expect_ok();
    side.ours(&["config", "--repo=repo", "set", "remote \"one\".url", url])
        .expect_ok();
    let listed = side.ours(&["remote", "--repo=repo", "list", "-u"]);
    let listed = listed.expect_ok().stdout();
    assert_eq!(listed, "one  http://h/a\\nevil  http://e/\u{1b}[2J\n");
}

#[test]
fn reset() {
    let side = with_refs();
    side.copy();
    for args in [
        ["main", "main^"],
        ["main", "debian/11"],
        ["main", "nope"],
        ["nope", "main"],
        ["a b", "main"],
    ] {
        side.same_change(&["reset", args[0], args[1]]);
        side.assert_copies_equal();
    }
}

#[test]
fn collections_of_remotes() {
    let side = with_refs();
    for (key, id) in [
        ("origin", "org.example.Origin"),
        ("empty", "org.example.Empty"),
    ] {
        let group = format!("--group=remote \"{key}\"");
        side.real(&["config", "--repo=repo", "set", &group, "collection-id", id])
            .expect_ok();
    }
    side.same_sorted(&["refs", "-c"]);
    side.same_sorted(&["refs", "-c", "org.example.Origin"]);
    side.copy();
    // The summary lists them, too.
    side.same_change(&["summary", "-u"]);
    let view = |repo: &str| {
        let text = side
            .real(&["summary", "-v", &format!("--repo={repo}")])
            .stdout();
        let lines = text.lines().filter(|line| !line.contains("last-modified"));
        // The real one writes metadata in the order of a hash table.
        lines.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(view("copy"), view("repo"));
    assert!(
        view("copy")
            .iter()
            .any(|line| line.contains("org.example.Origin"))
    );
}

#[test]
fn summaries_that_update_themselves() {
    let side = with_refs();
    let set = [
        "config",
        "--repo=repo",
        "set",
        "core.auto-update-summary",
        "true",
    ];
    side.real(&set).expect_ok();
    let listed = |name: &str| {
        let text = side.real(&["summary", "-v", "--repo=repo"]).stdout();
        text.contains(&format!("* {name}\n"))
    };
    side.ours(&["refs", "--repo=repo", "--create=new", "main"])
        .expect_ok();
    assert!(listed("new"));
    side.ours(&["commit", "--repo=repo", "-b", "newer", "tree"])
        .expect_ok();
    assert!(listed("newer"));
    side.ours(&["refs", "--repo=repo", "--delete", "new"])
        .expect_ok();
    assert!(!listed("new") && listed("newer"));
}

#[test]
fn an_incomplete_list_is_an_error() {
    let side = with_refs();
    for folder in ["heads", "remotes"] {
        let path = side.repo().join("refs").join(folder);
        std::fs::rename(&path, side.path("away")).unwrap();
        let output = side.ours(&["refs", "--repo=repo"]).expect_failure();
        let error = output.stderr();
        let missing =
            format!("error: Listing refs: opendir(refs/{folder}): No such file or directory");
        assert!(error.contains(&missing), "{error}");
        side.real(&["refs", "--repo=repo"]).expect_failure();
        std::fs::rename(side.path("away"), path).unwrap();
    }
}
