// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pulls that are killed go on where they were.

use std::process::Stdio;

use oxtree_testkit::{Dice, Output, Tool, WebServer, kill, trees};

use crate::fixture::{Fixture, ours, theirs};

/// Requests under way when a pull is killed: they are made again.
const UNDER_WAY: usize = 48;

#[test]
fn what_was_fetched_is_not_fetched_again() {
    let fixture = Fixture::new();
    trees::many(&fixture.tree(1), 3000, 1);
    let (source, commits) = fixture.source(&ours(), 1);
    let web = WebServer::serve(fixture.at("web"));
    let client = fixture.client("client", "archive", &format!("{}repo", web.url()));
    let words = || {
        let repo = format!("--repo={}", client.path().display());
        [
            repo,
            "pull".to_owned(),
            "origin".to_owned(),
            "main".to_owned(),
        ]
    };
    let mut dice = Dice::new();
    let mut kills = 0;
    for _ in 0..6 {
        let mut child = ours()
            .command(words())
            .stdout(Stdio::null())
            .spawn()
            .expect("start");
        std::thread::sleep(dice.time(std::time::Duration::from_millis(400)));
        if child.try_wait().expect("ask").is_some() {
            break;
        }
        kill(child.id());
        child.wait().expect("its end");
        kills += 1;
        // Nobody sees anything of it.
        assert!(client.refs().is_empty() || client.refs() == ["origin:main"]);
        theirs(&client).fsck();
    }
    Output::of(&mut ours().command(words())).expect_ok();
    theirs(&client).fsck();
    assert_eq!(client.rev_parse("origin:main"), commits[0]);
    let all = crate::fixture::objects(source.path()).len();
    let fetched = web
        .requests()
        .into_iter()
        .filter(|request| request.status == 200 && request.path.starts_with("/repo/objects/"));
    let fetched = fetched.count();
    assert!(
        fetched <= all + kills * UNDER_WAY,
        "{fetched} of {all}, {kills} kills"
    );
    let left = std::fs::read_dir(client.path().join("tmp")).expect("tmp/");
    let left: Vec<_> = left
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    assert!(left.iter().all(|name| name == "cache"), "{left:?}");
    // Tests of what the real tool leaves are its own; but it can pull after ours.
    Tool::ostree()
        .repo(client.path())
        .ok("pull", ["origin", "main"]);
}
