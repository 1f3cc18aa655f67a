// SPDX-License-Identifier: MIT OR Apache-2.0
//! The far side cannot be reached, or is not what it should be.

use std::fs;

use oxtree_testkit::{KnownHost, Output, Repo, Snapshot, Sshd, Tool};

use crate::fixture::{Fixture, OXTREE, assert_error, oxtree};

/// Pushes to `dest` by way of `sshd`.
fn push_by(sshd: &Sshd, source: &Repo, dest: &Repo, args: &[&str]) -> Output {
    let mut words = sshd.ssh_options();
    words.extend(args.iter().map(|arg| (*arg).to_owned()));
    words.push(sshd.url(dest.path()));
    oxtree().repo(source.path()).run("push", words)
}

/// The push by way of `sshd` fails with one line that has all of `said`, and changes nothing.
fn refused_by(sshd: &Sshd, args: &[&str], said: &[&str]) {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    let before = (Snapshot::of(source.path()), Snapshot::of(dest.path()));
    let output = push_by(sshd, &source, &dest, args);
    assert_error(&output, 1, said);
    before.0.assert_unchanged(&Snapshot::of(source.path()));
    before.1.assert_unchanged(&Snapshot::of(dest.path()));
}

#[test]
fn a_host_key_that_is_not_the_known_one() {
    let sshd = Sshd::builder().known_host(KnownHost::Wrong).start();
    refused_by(&sshd, &[], &["host key of 127.0.0.1", "ssh-keygen -R"]);
}

#[test]
fn a_host_that_is_not_known() {
    let sshd = Sshd::builder().known_host(KnownHost::Unknown).start();
    refused_by(
        &sshd,
        &[],
        &["host key of 127.0.0.1 is not known", "log in once"],
    );
}

#[test]
fn a_key_that_is_not_authorised() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    let key = fixture.at("key");
    let key = key.to_str().expect("UTF-8");
    Tool::new("ssh-keygen").ok(["-q", "-t", "ed25519", "-N", "", "-f", key]);
    let mut words = vec!["-i".to_owned(), key.to_owned()];
    words.extend(fixture.sshd.ssh_options().split_off(2));
    words.push(fixture.sshd.url(dest.path()));
    let output = oxtree().repo(source.path()).run("push", words);
    let said = ["refuses the login", "-i", "authorized_keys"];
    assert_error(&output, 1, &said);
}

#[test]
fn nobody_there() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    // Nothing listens on the port of a server that is gone.
    let port = Sshd::builder().start().port();
    let refused = format!("ssh://127.0.0.1:{port}/repo");
    for (dest, said) in [
        (refused.as_str(), ["127.0.0.1", "Connection refused"]),
        (
            "no-such-host.invalid:/repo",
            ["no-such-host.invalid", "resolve"],
        ),
    ] {
        let before = Snapshot::of(source.path());
        let output = oxtree().repo(source.path()).run("push", [dest]);
        assert_error(&output, 1, &said);
        before.assert_unchanged(&Snapshot::of(source.path()));
    }
}

#[test]
fn no_ssh() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let words = ["--ssh-command=/no/such/ssh -x", "host:/repo"];
    let output = oxtree().repo(source.path()).run("push", words);
    assert_error(&output, 1, &["cannot run /no/such/ssh", "No such file"]);
}

#[test]
fn no_oxtree_on_the_far_side() {
    let sshd = Sshd::builder().start();
    refused_by(
        &sshd,
        &[],
        &["`oxtree receive`", "install oxtree", "--command"],
    );
    let args = ["--command=/opt/nothing/here receive"];
    refused_by(&sshd, &args, &["/opt/nothing/here", "install oxtree"]);
}

#[test]
fn a_shell_that_prints_a_banner() {
    let sshd = Sshd::builder()
        .path(std::path::Path::new(OXTREE).parent().expect("a folder"))
        .banner("Welcome to the machine!")
        .start();
    let said = [
        "does not speak",
        "Welcome to the machine!",
        "login shell",
        "print nothing",
    ];
    refused_by(&sshd, &[], &said);
}

#[test]
fn a_banner_on_standard_error_does_no_harm() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    let oxtree = fs::canonicalize(OXTREE).expect("the binary");
    let command = format!("--command=echo Welcome >&2; {} receive", oxtree.display());
    let output = fixture.push(&source, &dest, &[&command]).expect_ok();
    assert!(output.stdout().contains("[new]"), "{output:?}");
}
