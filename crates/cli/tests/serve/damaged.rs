// SPDX-License-Identifier: MIT OR Apache-2.0
//! Damaged files of a server.

use crate::access::create;
use crate::fixture::{Fixture, Served, curl, oxtree, path};

/// A server that cannot read its tokens says so at its start, and a damaged ref is no file for clients.
#[test]
fn damaged_files_are_named_and_not_served() {
    let fixture = Fixture::new();
    let store = fixture.repo("archive");
    fixture.commit(&store, "os/main", 1);
    let tokens = fixture.at("tokens.json");
    create(&fixture, "ci", "--allow read");
    for damaged in ["", "{\"tok", "\0\u{1}"] {
        std::fs::write(&tokens, damaged).unwrap();
        let args = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--tokens",
            path(&tokens),
            path(store.path()),
        ];
        let message = oxtree().run(args).expect_failure().stderr();
        assert!(
            message.contains("tokens.json: it is empty, cut off"),
            "{message}"
        );
        let listed = oxtree().run(["token", "list", "--tokens", path(&tokens)]);
        assert!(
            listed
                .expect_failure()
                .stderr()
                .contains("tokens.json: it is empty")
        );
    }
    std::fs::write(store.path().join("refs/heads/os/bad"), "zz").unwrap();
    let server = Served::start(&[path(store.path())]);
    let url = format!("{}refs/heads/os/", server.url());
    assert_eq!(curl(&[&format!("{url}bad")]).status, 404);
    assert_eq!(curl(&[&format!("{url}main")]).status, 200);
    // A mirror or a copy of it is not complete.
    let from = format!("file://{}", path(store.path()));
    for (name, words) in [
        ("mirror", ["pull", "--mirror", &from]),
        (
            "copy",
            ["pull-local", "--disable-fsync", path(store.path())],
        ),
    ] {
        let repo = format!("--repo={}", path(&fixture.at(name)));
        oxtree().ok(["init", &repo, "--mode=archive"]);
        let pulled = oxtree().run([&words[..], &[&repo]].concat());
        let message = pulled.expect_failure().stderr();
        assert!(message.contains("refs/heads/os/bad"), "{message}");
        assert_eq!(oxtree().ok(["refs", &repo]).trim(), "os/main");
    }
}
