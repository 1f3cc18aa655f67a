// SPDX-License-Identifier: MIT OR Apache-2.0
//! `summary`: what ours writes says the same as the real one's, and is printed the same by both.

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use oxtree_testkit::{Tool, WebServer};

use crate::side::{Side, ours};

/// Two refs, an alias, a version, a mirrored collection, a remote's ref, a delta.
fn rich() -> Side {
    let side = Side::new();
    let body = "x".repeat(4000);
    side.commit("main", &["--add-metadata-string=version=1.2", "-m", &body]);
    side.commit(
        "a/b",
        &[
            "--timestamp=1970-01-01",
            "--add-metadata=version=<uint32 3>",
        ],
    );
    let alias = ["refs", "--repo=repo", "-A", "--create=x/alias", "main"];
    side.real(&alias).expect_ok();
    let main = side.repo().join("refs/heads/main");
    for folder in ["mirrors/org.example.B", "remotes/o"] {
        let folder = side.repo().join("refs").join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(&main, folder.join("m")).unwrap();
    }
    let delta = ["static-delta", "generate", "--repo=repo", "--empty", "main"];
    side.real(&delta).expect_ok();
    side
}

/// What a summary says, without the times at which it was written.
fn said(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("Last-Modified"))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

const UPDATE: [&str; 5] = [
    "-u",
    "--add-metadata=k=@ay [1,2]",
    "--add-metadata=ostree.summary.mode='lie'",
    "--add-metadata=ostree.summary.expires=uint64 12345",
    "--add-metadata=n=uint64 5",
];

#[test]
fn ours_says_what_the_real_one_says() {
    let side = rich();
    fs::write(side.repo().join("summary.sig"), "stale").unwrap();
    side.copy();
    for (repo, real) in [("repo", true), ("copy", false)] {
        let option = format!("--repo={repo}");
        let words = [&["summary", option.as_str()], &UPDATE[..]].concat();
        let output = if real {
            side.real(&words)
        } else {
            side.ours(&words)
        };
        output.expect_ok();
        assert!(!side.path(repo).join("summary.sig").exists(), "{repo}");
    }
    let view = |repo| side.real(&["summary", repo, "-v"]).expect_ok().stdout();
    assert_eq!(said(&view("--repo=copy")), said(&view("--repo=repo")));
    side.assert_copies_equal();
    // Both print both.
    same_view(&side);
    side.same(&["summary", "--raw"]);
    fs::rename(side.repo(), side.path("theirs")).unwrap();
    fs::rename(side.path("copy"), side.repo()).unwrap();
    same_view(&side);
    side.same(&["summary", "--raw"]);
    let keys = side.ours(&["summary", "--repo=repo", "--list-metadata-keys"]);
    let keys = keys.expect_ok().stdout();
    assert!(keys.lines().any(|key| key == "k") && keys.contains("ostree.static-deltas"));
    let value = ["summary", "--repo=repo", "--print-metadata-key=n"];
    assert_eq!(
        side.ours(&value).expect_ok().stdout(),
        "uint64 360287970189639680\n"
    );
    let value = ["summary", "--repo=repo", "--print-metadata-key=none"];
    assert_eq!(side.ours(&value).code, Some(1));
    let index = |repo: &str| {
        let folder = side.path(repo).join("delta-indexes");
        let first = folder.read_dir().unwrap().next().unwrap().unwrap().path();
        let file = first.read_dir().unwrap().next().unwrap().unwrap().path();
        fs::read(file).unwrap()
    };
    assert_eq!(index("repo"), index("theirs"));
}

/// What libostree says since some version after 2022.7.
const UNSIGNED: &str = "Summary is unsigned\n";

/// Both print the same summary, which is not signed, in words.
fn same_view(side: &Side) -> String {
    let words = ["summary", "--repo=repo", "-v"];
    let view = side.ours(&words).expect_ok().stdout();
    assert_eq!(view, side.real(&words).expect_ok().stdout() + UNSIGNED);
    view
}

#[test]
fn times_are_local() {
    let side = rich();
    side.real(&["summary", "--repo=repo", "-u"]).expect_ok();
    let view = |tool: Tool| {
        let tool = tool.env("LC_ALL", "C.UTF-8").env("TZ", "America/New_York");
        tool.dir(side.path("."))
            .ok(["summary", "--repo=repo", "-v"])
    };
    let ours = view(ours("ostree"));
    assert_eq!(ours, view(Tool::ostree()) + UNSIGNED);
    assert!(ours.contains("1969-12-31T19:00:00-05"), "{ours}");
}

#[test]
fn wrong_use() {
    let side = Side::new();
    side.commit("main", &[]);
    side.same(&["summary"]);
    side.same(&["summary", "-v"]);
    side.same(&["summary", "--raw"]);
    side.same(&["summary", "-u", "-m", "x"]);
    fs::write(side.repo().join("summary"), "nonsense").unwrap();
    assert_eq!(side.ours(&["summary", "--repo=repo", "-v"]).code, Some(1));
    let lost = "0".repeat(64) + "\n";
    fs::write(side.repo().join("refs/heads/lost"), lost).unwrap();
    // The real one gives up; ours goes on with the other refs.
    let output = side.ours(&["summary", "--repo=repo", "-u"]);
    assert_eq!(output.code, Some(1));
    assert!(
        output.stderr().contains("written without 1 ref"),
        "{output:?}"
    );
    let listed = side
        .ours(&["summary", "--repo=repo", "-v"])
        .expect_ok()
        .stdout();
    assert!(
        listed.contains("main") && !listed.contains("lost"),
        "{listed}"
    );
}

#[test]
fn a_collection_gets_a_metadata_commit() {
    let side = rich();
    let set = [
        "config",
        "--repo=repo",
        "set",
        "core.collection-id",
        "org.example.A",
    ];
    side.real(&set).expect_ok();
    for _ in 0..2 {
        side.ours(&["summary", "--repo=repo", "-u", "-m", "k='v'"])
            .expect_ok();
    }
    let log = side.same(&["log", "ostree-metadata"]).stdout();
    assert_eq!(log.matches("commit ").count(), 2, "{log}");
    let raw = side
        .real(&["show", "--repo=repo", "--raw", "ostree-metadata"])
        .stdout();
    for part in [
        "'k': <'v'>",
        "'ostree.collection-binding': <'org.example.A'>",
        "'ostree.ref-binding': <['ostree-metadata']>",
    ] {
        assert!(raw.contains(part), "{raw}");
    }
    let view = same_view(&side);
    assert!(
        view.contains("* (org.example.A, ostree-metadata)\n"),
        "{view}"
    );
    assert!(view.contains("* (org.example.B, m)\n"), "{view}");
    side.real(&["fsck", "--repo=repo", "--verify-back-refs"]);
}

#[test]
fn the_real_one_mirrors_by_our_summary() {
    let side = rich();
    fs::remove_dir_all(side.repo().join("refs/mirrors/org.example.B")).unwrap();
    // Its commit is not bound to the alias, so no client takes that.
    fs::remove_file(side.repo().join("refs/heads/x/alias")).unwrap();
    side.ours(&["summary", "--repo=repo", "-u"]).expect_ok();
    let web = WebServer::serve(side.repo());
    let file = format!("file://{}", side.repo().display());
    for (name, url) in [("by-http", web.url()), ("by-file", file)] {
        let client = Tool::ostree().repo(side.path(name)).init("archive");
        client.pull(&url, &[]);
        assert_eq!(client.refs(), ["a/b", "main"]);
        client.fsck();
        let copied = fs::read(client.path().join("summary")).unwrap();
        assert_eq!(copied, fs::read(side.repo().join("summary")).unwrap());
    }
}

#[test]
fn updates_at_once_leave_the_last_refs() {
    let side = Side::new();
    let commit = side.commit("main", &[]);
    let update = || side.ours(&["summary", "--repo=repo", "-u"]).expect_ok();
    thread::scope(|scope| {
        for worker in 0..4 {
            let commit = commit.as_str();
            let side = &side;
            scope.spawn(move || {
                for step in 0..3 {
                    let create = format!("--create=ref{worker}-{step}");
                    side.ours(&["refs", "--repo=repo", &create, commit])
                        .expect_ok();
                    side.ours(&["summary", "--repo=repo", "-u"]).expect_ok();
                }
            });
        }
    });
    let view = side.real(&["summary", "--repo=repo", "-v"]).stdout();
    let listed: BTreeMap<&str, ()> = view
        .lines()
        .filter_map(|line| Some((line.strip_prefix("* ")?, ())))
        .collect();
    assert_eq!(listed.len(), 13, "{view}");
    update();
}
