// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names of the binary, options that all commands take, wrong command lines.

use std::process::Stdio;

use oxtree_testkit::{BinDir, Tool};

use crate::side::{Side, ours};

#[test]
fn versions() {
    let plain = format!("oxtree {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(ours("oxtree").ok(["--version"]), plain);
    assert_eq!(ours("oxtree").ok(["refs", "--version"]), plain);
    // Scripts look for features in what `ostree --version` prints.
    let yaml = ours("ostree").ok(["--version"]);
    assert!(
        yaml.starts_with("libostree:\n Version: '2026.4'\n"),
        "{yaml}"
    );
    assert!(yaml.contains(" Features:\n  - "), "{yaml}");
    assert_eq!(ours("ostree").ok(["show", "--version"]), yaml);
}

#[test]
fn help() {
    for name in ["oxtree", "ostree"] {
        for args in [&["--help"][..], &["-h"], &["refs", "--help"]] {
            let help = ours(name).ok(args);
            assert!(
                help.contains(&format!("Usage: {name}")),
                "{name} {args:?}: {help}"
            );
            assert!(help.contains("--repo"), "{name} {args:?}: {help}");
        }
    }
    let show = ours("oxtree").ok(["help", "show"]);
    assert!(show.contains("Usage: oxtree show"), "{show}");
}

#[test]
fn wrong_command_lines() {
    let cases = [
        (&["--bogus"][..], "Unknown option --bogus"),
        (&["refs", "--bogus"], "Unknown option --bogus"),
        (&["refs", "--repo"], "Missing argument for --repo"),
        (&["nosuch"], "Unknown command 'nosuch'"),
        (&["a/b"], "Unknown command 'a/b'"),
        (&["log"], "REV must be specified"),
        (&["reset"], "REF and COMMIT must be specified"),
        (&["rev-parse"], "REV must be specified"),
        (&[], "No command specified"),
    ];
    let side = Side::new();
    for (args, said) in cases {
        for (name, code) in [("oxtree", 2), ("ostree", 1)] {
            let tool = ours(name).env("OSTREE_REPO", side.repo());
            let output = tool.run(args);
            assert_eq!(output.code, Some(code), "{output:?}");
            let last = output.stderr().lines().last().unwrap_or("").to_owned();
            assert!(last.starts_with(&format!("error: {said}")), "{output:?}");
        }
    }
}

#[test]
fn options_stand_anywhere_and_the_last_one_counts() {
    let side = Side::new();
    let commit = side.commit("main", &[]) + "\n";
    for args in [
        &["--repo=repo", "rev-parse", "main"][..],
        &["--repo", "repo", "rev-parse", "main"],
        &["rev-parse", "main", "--repo", "repo"],
        &["rev-parse", "--repo=repo", "--", "main"],
        &["rev-parse", "--repo=tree", "--repo=repo", "main"],
        &["--single", "--repo=repo", "rev-parse"],
        &["-v", "rev-parse", "--repo=repo", "-v", "main"],
    ] {
        assert_eq!(side.ours(args).expect_ok().stdout(), commit, "{args:?}");
    }
}

#[test]
fn arguments_that_are_not_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let side = Side::new();
    let odd = OsStr::from_bytes(b"re\xff");
    let tool = ours("oxtree").dir(side.path(""));
    for args in [
        [OsStr::new("log"), odd, OsStr::new("--repo=repo")],
        [OsStr::new("refs"), OsStr::new("--create"), odd],
        [odd, odd, odd],
    ] {
        let output = tool.run(args).expect_failure();
        assert!(output.stderr().starts_with("error: "), "{output:?}");
        assert_eq!(output.stderr().lines().count(), 1, "{output:?}");
    }
    // Paths need not be.
    std::fs::rename(side.repo(), side.path("").join(odd)).unwrap();
    tool.ok([OsStr::new("refs"), OsStr::new("--repo"), odd]);
}

#[test]
fn programs_on_the_path() {
    let bins = BinDir::empty();
    bins.script("ostree-hello", "echo hello \"$@\"; exit 7");
    let path = format!("{}:/usr/bin:/bin", bins.path().display());
    for name in ["oxtree", "ostree"] {
        let output = ours(name)
            .env("PATH", &path)
            .run(["hello", "a b", "--repo=x"]);
        assert_eq!(
            (output.code, output.stdout()),
            (Some(7), "hello a b --repo=x\n".into())
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let side = Side::new();
    for n in 0..3 {
        side.commit(
            "main",
            &["-s", &"long ".repeat(20_000), &format!("--timestamp=@{n}")],
        );
    }
    let mut log = ours("oxtree")
        .dir(side.path(""))
        .command(["log", "main", "--repo=repo"]);
    let mut child = log
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}

#[test]
fn a_full_disk_under_the_output_is_an_error() {
    let side = Side::new();
    side.commit("main", &[]);
    let words = format!(
        "exec {} log --repo=repo main >/dev/full",
        env!("CARGO_BIN_EXE_oxtree")
    );
    let output = Tool::new("/bin/sh")
        .dir(side.path(""))
        .run(["-c", &words])
        .expect_failure();
    assert_eq!(
        output.stderr(),
        "error: writing to standard output: No space left on device\n"
    );
}

/// libostree's own tests ask for a commit that fails at the last moment.
#[test]
fn a_commit_that_is_told_to_fail() {
    let side = Side::new();
    side.real(&["config", "--repo=repo", "set", "core.fsync", "true"])
        .expect_ok();
    let words = ["commit", "--repo=repo", "--tree=dir=tree", "-b", "main"];
    let told = |tool: oxtree_testkit::Tool| {
        tool.dir(side.path(""))
            .env("OSTREE_REPO_TEST_ERROR", "pre-commit")
            .env("OSTREE_BOOTID", "a-boot-of-its-own")
    };
    let error = told(ours("ostree")).fails(words);
    assert!(
        error.contains("OSTREE_REPO_TEST_ERROR_PRE_COMMIT"),
        "{error}"
    );
    assert_eq!(side.ours(&["refs", "--repo=repo"]).expect_ok().stdout(), "");
    // What was written stays, and is known by the boot.
    let left = side.repo().join("tmp").read_dir().unwrap();
    let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let staging = names.filter(|name| name.starts_with("staging-a-boot-of-its-own-"));
    assert_eq!(staging.filter(|name| !name.ends_with("-lock")).count(), 1);
    told(ours("ostree"))
        .env("OSTREE_REPO_TEST_ERROR", "invalid-cache")
        .ok(words);
}
