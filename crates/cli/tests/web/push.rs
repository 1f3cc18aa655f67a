// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes with nobody in the way.

use oxtree_testkit::Tool;

use crate::fixture::{Fixture, OXTREE, assert_same, number, push, push_ok};

#[test]
fn as_over_ssh() {
    let fixture = Fixture::new();
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    let server = fixture.serve(&dest);
    fixture.commit(&source, "main", 1, 6);
    fixture.commit(&source, "other/x86_64", 1, 0);

    let plan = push_ok(&source, server.url(), &["--dry-run"]);
    assert!(number(&plan, "objects_missing") > 50, "{plan}");
    assert_eq!(dest.ok("refs", [""; 0]), "");
    let report = push_ok(&source, server.url(), &[]);
    assert_eq!(report["objects_missing"], plan["objects_missing"]);
    assert_eq!(report["refs"][0]["status"], "created", "{report}");
    for name in ["main", "other/x86_64"] {
        assert_same(&source, &dest, name);
    }
    let again = push_ok(&source, server.url(), &[]);
    assert_eq!(number(&again, "turns"), 1, "{again}");
    assert_eq!(again["refs"][0]["status"], "unchanged", "{again}");

    // What has changed of a file, and no more.
    fixture.commit(&source, "main", 2, 6);
    let report = push_ok(&source, server.url(), &["--compression=6", "main"]);
    assert!(number(&report, "bytes_sent") < 5 << 20, "{report}");
    assert_same(&source, &dest, "main");

    // A ref moves only forward.
    let back = source.rev_parse("main^");
    source.ok("reset", ["main", &back]);
    let tool = Tool::new(OXTREE);
    let refused = push(&tool, &source, server.url(), &["main"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused
            .stderr()
            .contains("push refused, nothing has changed: main: "),
        "{refused:?}"
    );
    push_ok(&source, server.url(), &["--force", "main"]);
    assert_same(&source, &dest, "main");
    push_ok(&source, server.url(), &["--delete=other/x86_64"]);
    assert_eq!(dest.ok("refs", [""; 0]), "main\n");
    assert_eq!(
        push(&tool, &source, server.url(), &["--status"]).code,
        Some(0)
    );
}

#[test]
fn history_goes_as_patches_of_what_went_before_it() {
    let fixture = Fixture::new();
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    let server = fixture.serve(&dest);
    for version in 1..=6 {
        fixture.commit(&source, "main", version, 8);
    }
    let report = push_ok(&source, server.url(), &["--all-history", "--compression=3"]);
    // 40 programs in six versions, 33 kB each when they are packed.
    let sent = number(&report, "bytes_sent");
    let all = number(&report, "object_bytes");
    assert!(sent + 4 * 40 * 33_000 < all, "{sent} of {all}: {report}");
    assert_same(&source, &dest, "main");
}

#[test]
fn where_nobody_is_at_home() {
    let fixture = Fixture::new();
    let (source, dest) = (fixture.repo("source"), fixture.repo("dest"));
    fixture.commit(&source, "main", 1, 0);
    let tool = Tool::new(OXTREE);
    let gone = fixture.serve(&dest).url().to_owned();
    let output = push(&tool, &source, &gone, &["--network-retries=1"]);
    assert_eq!(output.code, Some(1));
    let said = output.stderr();
    assert!(
        said.contains(&format!("pushing to {gone}: ")) && said.contains("Connection refused"),
        "{said}"
    );

    let secret = tool.clone().env("OXTREE_TOKEN", "s3cret");
    let output = push(&secret, &source, "http://192.0.2.1/repo", &[]);
    assert!(output.stderr().contains("--plain-http"), "{output:?}");
    for (args, words) in [
        (
            ["--token-file=/nonexistent"],
            "reading the token in /nonexistent",
        ),
        (
            ["--token-command=echo two words"],
            "--token-command: this is no token",
        ),
        (["--token-command=false"], "--token-command has failed"),
        (["--cacert=/nonexistent"], "/nonexistent"),
    ] {
        let output = push(&tool, &source, &gone, &args);
        assert!(
            output.code == Some(1) && output.stderr().contains(words),
            "{output:?}"
        );
    }
    let output = push(&tool, &source, "https://me:s3cret@localhost/repo", &[]);
    let said = output.stderr();
    assert!(output.code == Some(2) && !said.contains("s3cret"), "{said}");
}
