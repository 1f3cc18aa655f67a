// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs what docs/http.md shows of a push with curl, as it is written there.

use std::fs;
use std::process::Command;

use oxtree_testkit::Output;

use crate::fixture::{Fixture, Served};

/// The commands of the section `With curl alone`.
fn commands() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http.md");
    let page = fs::read_to_string(page).expect("docs/http.md");
    let section = page.split("\n## With curl alone\n").nth(1);
    let block = section.and_then(|section| section.split("```sh\n").nth(1));
    let block = block.and_then(|block| block.split("```").next());
    block.expect("the commands").to_owned()
}

#[test]
fn the_walkthrough_of_a_push_with_curl_works() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("repo"), fixture.repo("store"));
    let other = fixture.commit(&source, "os/other", 9);
    let server = Served::open(&store);
    let commands = commands();
    let example = "http://127.0.0.1:8080";
    assert!(commands.contains(example), "{commands}");
    let commands = commands.replace(example, server.url().trim_end_matches('/'));
    // The first commit of the ref, and the next one.
    for (seed, status) in [(1, "created"), (2, "updated")] {
        let commit = fixture.commit(&source, "app/main", seed);
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &commands]);
        shell.current_dir(fixture.at(""));
        shell.env("HOME", fixture.at("")).env("no_proxy", "*");
        let said = Output::of(&mut shell).expect_ok().stdout();
        assert!(said.contains(&format!("\"status\":\"{status}\"")), "{said}");
        assert_eq!(store.rev_parse("app/main"), commit);
        store.fsck();
    }
    // What other refs need was neither asked for nor sent.
    assert!(!store.object(&other, "commit").exists());
    let asked = fixture.text("all.json");
    assert!(!asked.contains(&other), "{asked}");
}
