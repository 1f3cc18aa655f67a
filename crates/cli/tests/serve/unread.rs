// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers that are not taken end, whatever else goes on in their connection.

use oxtree_testkit::Repo;

use crate::fixture::{Fixture, Served, large_file, loose, objects, oxtree, path, until};
use crate::h2::{H2, get, request};

/// A server that waits three seconds, and a large file that it has: its path.
fn impatient(fixture: &Fixture, repo: &Repo, more: &str) -> (Served, String) {
    let tree = fixture.at("large");
    std::fs::create_dir(&tree).unwrap();
    large_file(&tree.join("file"), 16 << 20);
    repo.commit("main", &tree, &["--canonical-permissions"]);
    let all = objects(repo);
    let size = |object: &&String| repo.path().join(loose(object)).metadata().unwrap().len();
    let file = loose(all.iter().max_by_key(size).unwrap());
    let file = file.split_once('.').unwrap().0;
    let conf = fixture.at("conf");
    let text = format!(
        "listen: 127.0.0.1:0\nheader_timeout: 3s\nsend_timeout: 3s\n{more}repos: {{/: {{path: {}}}}}\n",
        path(repo.path())
    );
    std::fs::write(&conf, text).unwrap();
    let served = Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1);
    (served, format!("/{file}.filez"))
}

/// Waits until a stream is given up, while small requests are answered in its connection, and a stream is read
/// slowly.
fn waits_for_the_end(one: &mut H2, file: &str, stalled: u32, slow: u32) {
    let known = request("GET", file, &[("if-none-match", "*")]);
    let head = request("HEAD", "/config", &[]);
    let none = request("HEAD", "/none", &[]);
    let mut small = Vec::new();
    until("the stream is given up that is not read", || {
        one.take(slow, 100);
        one.take(0, 100);
        small.extend([&known, &head, &none].map(|block| one.ask(block)));
        let last = small[small.len() - 1];
        until("a small request is answered", || one.answer(last).whole);
        one.answer(stalled).reset
    });
    assert!(!one.closed, "the connection has ended");
    let all_answered = |stream: &u32| one.answer(*stream).whole;
    assert!(small.iter().all(all_answered));
}

fn only_what_is_not_read_ends(mode: &str) {
    let fixture = Fixture::new();
    let repo = oxtree().repo(fixture.at("repo")).init(mode).without_fsync();
    let (server, file) = impatient(&fixture, &repo, "");
    for window in [0, 1] {
        let mut one = H2::plain(server.port(), window);
        let slow = one.ask(&get(&file));
        one.take(slow, 1000);
        until("the slow one has begun", || one.answer(slow).bytes > 0);
        // The second one is there to show that more time has gone by than a stream may stall.
        for _ in 0..2 {
            let stalled = one.ask(&get(&file));
            until("it has begun", || one.answer(stalled).head.is_some());
            waits_for_the_end(&mut one, &file, stalled, slow);
        }
        let before = one.answer(slow).bytes;
        one.take(slow, 1000);
        until("the slow one goes on", || one.answer(slow).bytes > before);
        assert!(!one.answer(slow).reset);
    }
}

#[test]
fn only_a_stream_ends_that_is_not_read() {
    only_what_is_not_read_ends("archive");
}

#[test]
fn only_a_stream_of_a_packed_file_ends_that_is_not_read() {
    only_what_is_not_read_ends("bare-user-only");
}

/// An answer that is made as a whole ends with its connection, if need be.
#[test]
fn a_list_ends_that_is_not_read() {
    let fixture = Fixture::new();
    let (server, _) = impatient(&fixture, &fixture.repo("repo"), "");
    let mut one = H2::plain(server.port(), 1);
    let stalled = one.ask(&get("/api/v1/repo"));
    until("the list is given up that is not read", || {
        one.ask(&request("HEAD", "/config", &[]));
        one.answer(stalled).reset || one.closed
    });
}
