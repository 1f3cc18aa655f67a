// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushers of the protocol before version 0.1.1, through a real sshd.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use oxtree_testkit::{GpgHome, Output, Repo, Tool, temp_dir};
use serde_json::{Value, json};

use crate::fixture::{Fixture, ORIGINAL};

/// Pushes `branches` with the original's code; `lies` are added to what it is told.
pub(crate) fn push_old(
    fixture: &Fixture,
    source: &Repo,
    dest: &str,
    branches: &[&str],
    lies: Value,
) -> Output {
    let sshd = &fixture.sshd;
    let mut command = vec!["ssh".to_owned(), "-F".to_owned(), "none".to_owned()];
    command.extend(["-p".to_owned(), sshd.port().to_string()]);
    command.extend(sshd.ssh_options());
    command.push(format!("{}@127.0.0.1", sshd.user()));
    command.extend(["ostree-receive".to_owned(), format!("--repo={dest}")]);
    let mut asked = lies;
    asked["command"] = json!(command);
    asked["repo"] = json!(source.path());
    asked["branches"] = json!(branches);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/original/old_client.py");
    let mut client = Tool::new(ORIGINAL.join("python3")).command([script]);
    client.stdin(Stdio::piped());
    let client = client.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn().expect("start the client");
    let mut stdin = client.stdin.take().expect("a pipe");
    stdin
        .write_all(asked.to_string().as_bytes())
        .expect("tell it");
    drop(stdin);
    let output = client.wait_with_output().expect("its end");
    Output {
        command: format!("{asked}"),
        code: output.status.code(),
        stdout_bytes: output.stdout,
        stderr_bytes: output.stderr,
    }
}

pub(crate) fn none() -> Value {
    json!({})
}

pub(crate) fn path(repo: &Repo) -> String {
    repo.path().display().to_string()
}

/// `test_receive_legacy.*`, and the same again beside the original's receiver.
#[test]
fn commits_stay_what_they_are() {
    let (ours, theirs) = (Fixture::ours(), Fixture::original());
    let source = ours.repo("source", "archive");
    let dests = [&ours, &theirs].map(|side| (side, side.repo("dest", "archive")));
    let first = ours.commit(&source, "test", 1, 100);
    ours.commit(&source, "os/other", 2, 100);
    for (side, dest) in &dests {
        let push = |branches: &[&str], lies| push_old(side, &source, &path(dest), branches, lies);
        push(&[], none()).expect_ok();
        let output = push(&["test"], json!({"from": "1".repeat(64)})).expect_failure();
        assert!(
            output.stdout().contains("Invalid from commit 1111"),
            "{output:?}"
        );
        assert_eq!(dest.refs(), [""; 0]);
        // Nothing was sent: that is how a pusher changes its mind.
        push(&["test"], json!({"skip": ""})).expect_ok();
        assert_eq!(dest.refs(), [""; 0]);
        push(&["test", "os/other"], none()).expect_ok();
        assert_eq!(
            (dest.rev_parse("test"), dest.refs()),
            (first.clone(), source.refs())
        );
        dest.fsck();
        push(&["test"], none()).expect_ok();
    }
    let second = ours.commit(&source, "test", 3, 200);
    let third = ours.commit(&source, "test", 4, 300);
    for (side, dest) in &dests {
        let push = |lies| push_old(side, &source, &path(dest), &["test"], lies);
        let output = push(json!({"from": "0".repeat(64)})).expect_failure();
        let error = format!("Branch test is at {first}, not {}", "0".repeat(64));
        assert!(output.stdout().contains(&error), "{output:?}");
        push(none()).expect_ok();
        let history = ["test", "test^", "test^^"].map(|rev| dest.rev_parse(rev));
        assert_eq!(history, [&third, &second, &first].map(Clone::clone));
        dest.fsck();
    }
    // Unlike the original's, ours has a summary to show for it.
    assert!(dests[0].1.ok("summary", ["-v"]).contains(&third));
    // And it takes nothing that is not whole: the original does.
    ours.commit(&source, "test", 5, 400);
    let push = |lies| push_old(&ours, &source, &path(&dests[0].1), &["test"], lies);
    for kind in [".filez", ".dirtree", ".commit"] {
        let output = push(json!({"skip": kind})).expect_failure();
        assert!(output.stderr().contains("error: "), "{output:?}");
        assert_eq!(dests[0].1.rev_parse("test"), third);
    }
    push(none()).expect_ok();
    dests[0].1.fsck();
}

/// A repository with a collection id gets no other refs than those that were pushed.
#[test]
fn no_commit_of_metadata_is_made() {
    for side in [Fixture::ours(), Fixture::original()] {
        let source = side.repo("source", "archive");
        let dest = side.repo("dest", "archive");
        dest.ok("config", ["set", "core.collection-id", "org.example.Os"]);
        side.commit(&source, "test", 1, 100);
        push_old(&side, &source, &path(&dest), &["test"], none()).expect_ok();
        assert_eq!(dest.refs(), ["test"]);
    }
}

/// The owner's rules hold at this door, too.
#[test]
fn no_way_around_the_rules() {
    let fixture = Fixture::ours();
    let home = GpgHome::new();
    let key = home.generate("test@example.com", "ed25519");
    let keys = fixture.dir.path().join("keys.asc");
    let exported = home.run(&["--armor", "--export", &key]).expect_ok();
    fs::write(&keys, exported.stdout()).expect("write");
    let source = fixture.repo("source", "archive");
    fixture.commit(&source, "main", 1, 100);
    fs::create_dir(fixture.dir.path().join("root")).expect("mkdir");
    let (inside, outside) = (
        fixture.repo("root/in", "archive"),
        fixture.repo("out", "archive"),
    );
    let conf = fixture
        .sshd
        .remote_home()
        .join(".config/ostree/ostree-receive.conf");
    fs::create_dir_all(conf.parent().expect("a parent")).expect("mkdir");
    let audit = temp_dir();
    let audit = audit.path().join("log");
    let root = fixture.dir.path().join("root");
    let common = format!("root: {}\naudit_log: {}\n", root.display(), audit.display());
    let push = |more: &str, dest: &str| {
        fs::write(&conf, format!("{common}{more}")).expect("write");
        push_old(&fixture, &source, dest, &["main"], none())
    };
    for dest in ["../out".to_owned(), path(&outside)] {
        let output = push("", &dest).expect_failure();
        assert!(
            output.stderr().contains(&format!("repo {dest} not found")),
            "{output:?}"
        );
    }
    let verify = format!("gpg_verify: yes\ngpg_trustedkeys: {}\n", keys.display());
    for (more, error) in [
        ("legacy_protocol: no\n", "is turned off here"),
        ("dry_run: yes\n", "may only do dry runs"),
        (
            "max_future: 0\nreceive_hook: /bin/false\n",
            "hook refuses the push",
        ),
        (&verify, "no signatures found"),
    ] {
        let output = push(more, "in").expect_failure();
        let said = output.stdout() + &output.stderr();
        assert!(said.contains(error), "{more}: {output:?}");
        assert_eq!(inside.refs(), [""; 0]);
    }
    // Signatures come along, and what is there gets the server's.
    let by = format!("--gpg-homedir={}", home.path().display());
    source.ok("gpg-sign", [&by, "main", &key]);
    let other = home.generate("server@example.com", "ed25519");
    let sign = format!(
        "gpg_sign: [{other}]\ngpg_homedir: {}\n",
        home.path().display()
    );
    push(&(verify + &sign), "in").expect_ok();
    assert_eq!(inside.rev_parse("main"), source.rev_parse("main"));
    assert!(
        inside
            .ok("show", [&by, "main"])
            .contains("Found 2 signatures")
    );
    inside.fsck();
    assert_eq!(outside.refs(), [""; 0]);
    let log = fs::read_to_string(&audit).expect("the log");
    let results: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("json")["result"].to_string())
        .collect();
    let [refused, rejected, created] =
        ["refused", "rejected", "created"].map(|r| json!(r).to_string());
    let expected = [
        &refused, &refused, &refused, &rejected, &rejected, &rejected, &created,
    ];
    assert_eq!(results.iter().collect::<Vec<_>>(), expected, "{log}");
}
