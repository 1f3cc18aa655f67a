// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers that lack what a pull can do without, and say so with 404 or with a web page.

use std::fs;

use oxtree_testkit::{Repo, Tool};

use crate::fixture::{Fixture, ours, theirs};
use crate::server::{Server, Trick};

/// Objects and refs are enough: there need be neither a config, nor a summary, nor any other file.
#[test]
fn nothing_but_objects_and_refs() {
    for (name, trick) in [("404", Trick::Half), ("pages", Trick::Pages)] {
        let fixture = Fixture::new();
        let (repo, commits) = fixture.source(&Tool::ostree(), 2);
        let server = Server::start(&fixture.at("web"), "no such word", trick);
        let pull = |mode: &str, words: &[&str]| {
            let number = fs::read_dir(fixture.at(".")).expect("a folder").count();
            let client = fixture.client(&format!("client-{number}"), mode, &server.url());
            let words = [&["--network-retries=0", "origin"], words].concat();
            let output = client.run("pull", words);
            (client, output)
        };
        for gone in ["deltas", "config", "summary"] {
            let path = repo.path().join(gone);
            drop(fs::remove_file(&path));
            for mode in ["archive", "bare-user"] {
                let (client, output) = pull(mode, &["main"]);
                output.expect_ok();
                assert_eq!(client.rev_parse("origin:main"), commits[1], "{name} {gone}");
                theirs(&client).fsck();
            }
        }
        pull("archive", &["--depth=-1", "main"]).1.expect_ok();
        pull("archive", &[&commits[0]]).1.expect_ok();
        pull("archive", &["--commit-metadata-only", "main"])
            .1
            .expect_ok();
        let list = format!("{0}/nothing\n{0}\n", server.url());
        fs::write(fixture.at("web/repo/list"), list).expect("write");
        let url = format!("--url=mirrorlist={}/list", server.url());
        pull("archive", &[&url, "main"]).1.expect_ok();
        // What is needed is named.
        let lacks = |words: &[&str]| {
            let (client, output) = pull("bare-user", words);
            let said = output.expect_failure().stderr();
            assert!(client.refs().is_empty());
            let reason = if name == "pages" {
                "a web page"
            } else {
                "HTTP 404"
            };
            assert!(said.contains(reason), "{said}");
            said
        };
        assert!(lacks(&["nosuch"]).contains("refs/heads/nosuch"));
        let nowhere = "0".repeat(64);
        assert!(lacks(&[&nowhere]).contains(".commit"));
        fs::remove_file(repo.object(&commits[0], "commit")).expect("remove");
        let (client, output) = pull("archive", &["--depth=-1", "main"]);
        output.expect_ok();
        assert!(!client.object(&commits[0], "commit").exists());
        remove_one(&repo, "filez");
        assert!(lacks(&["main"]).contains(".filez"));
    }
}

fn remove_one(repo: &Repo, suffix: &str) {
    let all = crate::fixture::objects(repo.path()).into_iter();
    for name in all.filter(|name| name.ends_with(suffix)) {
        fs::remove_file(repo.path().join(name)).expect("remove");
    }
}

/// Commits and folders are the same in each mode; files are not.
#[test]
fn a_repository_that_is_no_archive() {
    let fixture = Fixture::new();
    let repo = ours().repo(fixture.at("web/repo")).init("bare-user");
    let commit = repo.commit("main", fixture.tree(1), &[]);
    let empty = fixture.at("empty");
    fs::create_dir(&empty).expect("mkdir");
    let without_files = repo.commit("empty", &empty, &[]);
    let server = Server::start(&fixture.at("web"), "no such word", Trick::Half);
    let client = fixture.client("client", "archive", &server.url());
    client.ok("pull", ["origin", &without_files]);
    client.ok("pull", ["--commit-metadata-only", "origin", &commit]);
    let said = client.run("pull", ["origin", "main"]).expect_failure();
    assert!(said.stderr().contains("mode \"bare-user\""), "{said:?}");
    // The summary says it at once.
    repo.ok("summary", ["-u"]);
    let said = client.run("pull", ["origin", "empty"]).expect_failure();
    assert!(said.stderr().contains("mode \"bare-user\""), "{said:?}");
    fs::remove_file(fixture.at("web/repo/config")).expect("remove");
    let said = client.run("pull", ["origin", "empty"]).expect_failure();
    assert!(said.stderr().contains("mode \"bare-user\""), "{said:?}");
}
