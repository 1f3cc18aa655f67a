// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is pulled, and as what.

use std::fs;

use oxtree_testkit::{Tool, WebServer};

use crate::fixture::{Fixture, ours, theirs};

#[test]
fn refs_parts_and_mirrors() {
    let fixture = Fixture::new();
    let (source, commits) = fixture.source(&Tool::ostree(), 2);
    source.ok("refs", ["--create=other/branch", &commits[0]]);
    source.ok("summary", ["-u"]);
    let web = WebServer::serve(fixture.at("web"));
    let url = format!("{}repo", web.url());

    let client = fixture.client("client", "archive", &url);
    assert!(
        client
            .run("pull", ["origin"])
            .expect_failure()
            .stderr()
            .contains("No configured branches")
    );
    client.ok(
        "config",
        ["set", "remote \"origin\".branches", "main;other/branch;"],
    );
    client.ok("pull", ["origin"]);
    assert_eq!(client.refs(), ["origin:main", "origin:other/branch"]);
    let newest = format!("main@{}", commits.last().unwrap());
    client.ok("pull", ["origin", "main", &newest, "main", &newest]);
    client.ok("pull", [&format!("origin:main@{}", commits[0])]);
    assert_eq!(client.rev_parse("origin:main"), commits[0]);
    let older = client.run(
        "pull",
        [
            "-T",
            &format!("--timestamp-check-from-rev={}", commits[0]),
            "origin",
            "main",
        ],
    );
    older.expect_ok();
    let missing = client.run("pull", ["origin", "nothing"]).expect_failure();
    assert!(
        missing.stderr().contains("No such branch 'nothing'"),
        "{}",
        missing.stderr()
    );
    assert_eq!(
        client
            .ok("remote", ["refs", "-r", "origin"])
            .lines()
            .count(),
        2
    );
    assert!(
        client
            .ok("remote", ["summary", "origin"])
            .contains("* other/branch")
    );

    let client = fixture.client("commits", "bare-user", &url);
    client.ok("pull", ["--commit-metadata-only", "origin", "main"]);
    let marker = client
        .path()
        .join(format!("state/{}.commitpartial", commits[1]));
    assert!(marker.exists());
    let name = fs::read_dir(fixture.tree(2))
        .expect("tree")
        .next()
        .expect("one")
        .expect("it");
    let path = format!("--subpath=/{}", name.file_name().display());
    client.ok("pull", [&path, "origin", "main"]);
    assert!(marker.exists());
    theirs(&client).ok(
        "ls",
        [
            "-R",
            "origin:main",
            &format!("/{}", name.file_name().display()),
        ],
    );
    client.ok("pull", ["origin", "main"]);
    assert!(!marker.exists());
    theirs(&client).fsck();

    let mirror = fixture.client("mirror", "archive", &url);
    mirror.ok("pull", ["--mirror", "origin", "main"]);
    assert!(!mirror.path().join("summary").exists());
    mirror.ok("pull", ["--mirror", "origin"]);
    assert_eq!(mirror.refs(), ["main", "other/branch"]);
    let read =
        |repo: &oxtree_testkit::Repo| fs::read(repo.path().join("summary")).expect("summary");
    assert_eq!(read(&mirror), read(&source));
    theirs(&mirror).fsck();

    // The same from this machine, where all of it becomes hard links.
    let local = fixture.client(
        "local",
        "archive",
        &format!("file://{}", source.path().display()),
    );
    let line = local.ok("pull", ["--mirror", "origin"]);
    assert!(
        line.contains("objects imported; 0 bytes content written"),
        "{line}"
    );
    assert_eq!((local.refs(), read(&local)), (mirror.refs(), read(&source)));

    // A URL needs no remote, and what is in a cache is not fetched.
    let bare = ours()
        .repo(fixture.at("bare"))
        .init("bare-user")
        .without_fsync();
    let cache = format!("-L{}", mirror.path().display());
    let line = bare.ok("pull", [&cache, &url, "main"]);
    assert!(
        line.starts_with("0 metadata, 0 content objects fetched ("),
        "{line}"
    );
    assert_eq!(bare.rev_parse("main"), commits[1]);
}
