// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command lines, exit codes and messages.

use std::fs;
use std::process::Stdio;

use oxtree_testkit::{Output, temp_dir};

use crate::called;

/// `test_push.argparser.*`, `test_receive.ArgParser.*`, `test_receive.compat_main`: usage errors end
/// with code 2, with argparse's last line after the usage.
#[test]
fn usage_errors() {
    for (name, line, error) in [
        (
            "ostree-push",
            "",
            "the following arguments are required: DEST",
        ),
        (
            "ostree-push",
            "h:r -p x",
            "argument -p: invalid int value: 'x'",
        ),
        (
            "ostree-push",
            "h:r --bogus",
            "unrecognized arguments: --bogus",
        ),
        (
            "ostree-push",
            "h:r -i a -i b",
            "argument -i/-o: Option -i can only be specified once",
        ),
        (
            "ostree-push",
            "h:r --force",
            "unrecognized arguments: --force",
        ),
        (
            "ostree-push",
            "h:r --no-update",
            "unrecognized arguments: --no-update",
        ),
        (
            "ostree-receive",
            "",
            "the following arguments are required: REPO, URL",
        ),
        (
            "ostree-receive",
            "r",
            "the following arguments are required: URL",
        ),
        (
            "ostree-receive-1",
            "r",
            "the following arguments are required: URL",
        ),
        (
            "ostree-receive-1",
            "--repo=x r u",
            "unrecognized arguments: --repo=x",
        ),
        (
            "ostree-receive",
            "r u --repo=x",
            "unrecognized arguments: r u",
        ),
        (
            "ostree-receive",
            "--repository=x",
            "unrecognized arguments: --repository=x",
        ),
        (
            "ostree-receive-0",
            "--version",
            "unrecognized arguments: --version",
        ),
    ] {
        let output = called(name).run(line.split_whitespace());
        assert_eq!(output.code, Some(2), "{output:?}");
        assert_eq!(output.stdout(), "");
        let stderr = output.stderr();
        assert!(
            stderr.starts_with(&format!("usage: {name} [-h]")),
            "{stderr}"
        );
        let last = stderr.lines().last().unwrap();
        assert_eq!(last, format!("{name}: error: {error}"));
    }
    let usage = "usage: ostree-receive-1 [-h] [--no-update] [-n] [-f] [-q] [-v] [--version]\n\
                 \x20                       REPO URL [REF ...]\n\
                 ostree-receive-1: error: the following arguments are required: REPO, URL\n";
    assert_eq!(called("ostree-receive-1").run([""; 0]).stderr(), usage);
}

#[test]
fn versions_and_help() {
    for name in ["ostree-push", "ostree-receive", "ostree-receive-1"] {
        assert_eq!(called(name).ok(["--version"]), format!("{name} 1.2.0\n"));
    }
    for (name, option) in [
        ("ostree-push", "--command COMMAND"),
        ("ostree-receive", "--no-update"),
        ("ostree-receive-1", "--force"),
        ("ostree-receive-0", "--repo REPO"),
    ] {
        let help = called(name).ok(["-h"]);
        assert!(
            help.starts_with(&format!("usage: {name} ")) && help.contains(option),
            "{help}"
        );
        assert_eq!(called(name).ok(["--help"]), help);
    }
}

fn fails(output: &Output, error: &str) {
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stderr().contains(error),
        "no {error:?} in {output:?}"
    );
}

/// `test_push.parse_dest.*`: wrong destinations end with code 1, before anything is opened.
#[test]
fn wrong_destinations() {
    for (dest, error) in [
        ("http://h/r", "Destination scheme \"http\" not allowed"),
        ("ssh://host", "Destintion repo missing"),
        ("word", "Destination not in form \"host:repo\""),
        (":repo", "Destination host missing"),
        ("user@host:", "Destination repo missing"),
        ("@host:r", "Invalid destination host @host"),
        (
            "ssh://h:port/r",
            "Port could not be cast to integer value as 'port'",
        ),
    ] {
        let output = called("ostree-push").run([dest]);
        fails(&output, &format!("ostree-push: error: {error}\n"));
    }
    fails(
        &called("ostree-push").run(["h:r", "--command='x"]),
        "No closing quotation",
    );
    fails(
        &called("ostree-push").run(["h:r", "-p", "70000"]),
        "Port out of range 0-65535",
    );
}

/// `test_receive.missing_repo` and the configuration's messages as they come out of the program.
#[test]
fn receivers_and_their_configuration() {
    let dir = temp_dir();
    let conf = dir.path().join("conf");
    let receive = |name: &str, words: &[&str]| {
        called(name)
            .env("OSTREE_RECEIVE_CONF", &conf)
            .dir(dir.path())
            .run(words)
    };
    let url = "http://127.0.0.1:1/";
    fails(
        &receive("ostree-receive", &["nope", url]),
        "repo nope not found",
    );
    fails(
        &receive("ostree-receive-0", &["--repo", "nope"]),
        "repo nope not found",
    );
    fails(
        &receive("ostree-receive", &["--repo=nope"]),
        "repo nope not found",
    );
    fs::create_dir(dir.path().join("repo")).unwrap();
    for url in ["file:///etc", "http://10.0.0.1/", "http://example.com/"] {
        let output = receive("ostree-receive-1", &["repo", url]);
        fails(
            &output,
            &format!("URL {url} is not on this machine's loopback"),
        );
    }
    fails(&receive("ostree-receive-1", &["repo", url, "a b"]), "a b");

    fs::write(&conf, "foo: 1\nlegacy_protocol: no\n").unwrap();
    let warning = format!(
        "WARNING:otpush.receive:Unrecognized option foo in config file {}\n",
        conf.display()
    );
    fails(&receive("ostree-receive", &["nope", url]), &warning);
    fails(&receive("ostree-receive-0", &["--repo=repo"]), "turned off");
    let debug = receive("ostree-receive", &["-v", "nope", url]).stderr();
    assert!(
        debug.contains("DEBUG:otpush.receive:Loading config file"),
        "{debug}"
    );
    fs::write(&conf, "update: maybe\n").unwrap();
    let error = "update must be an instance of <class 'bool'>, but found <class 'str'>";
    fails(&receive("ostree-receive", &["repo", url]), error);
    fs::write(&conf, "[").unwrap();
    fails(&receive("ostree-receive", &["repo", url]), "Config file");
    fs::write(&conf, "allow_force: no\n").unwrap();
    fails(
        &receive("ostree-receive", &["-f", "repo", url]),
        "does not allow --force",
    );
}

/// A pipe with nobody at its other end is no pusher either.
#[test]
fn nobody_pushes() {
    let dir = temp_dir();
    let _ = oxtree_testkit::Tool::ostree()
        .repo(dir.path().join("r"))
        .init("archive");
    for (name, code, error) in [
        (
            "ostree-receive-1",
            2,
            "the following arguments are required: URL",
        ),
        ("oxtree", 1, "left"),
    ] {
        let words = ["receive", "r"];
        let mut command = called(name)
            .dir(dir.path())
            .command(&words[usize::from(name != "oxtree")..]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(error), "{stderr}");
    }
}
