// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arguments that contradict each other, and requests for nothing: nothing changes.

use std::fs;

use oxtree_testkit::{Output, Snapshot};

use crate::side::{Side, ours};

pub(crate) fn oxtree(side: &Side, args: &[&str]) -> Output {
    let tool = ours("oxtree").env("LC_ALL", "C.UTF-8");
    tool.dir(side.path("")).run(args)
}

/// What stays when a command is refused.
pub(crate) fn refused(side: &Side, args: &[&str], text: &str) {
    let before = Snapshot::of(side.path(""));
    let output = oxtree(side, args);
    assert_ne!(output.code, Some(0), "{args:?}: {output:?}");
    let error = output.stderr();
    assert!(error.contains(text), "{args:?}: {error}");
    assert!(!error.contains("protocol error"), "{args:?}: {error}");
    before.assert_unchanged(&Snapshot::of(side.path("")));
}

#[test]
fn contradictions_change_nothing() {
    let side = Side::new();
    side.commit("main", &[]);
    side.commit("main", &["--subject=second"]);
    side.commit("other", &[]);
    fs::write(side.path("body"), "text").unwrap();
    fs::write(side.path("list"), "main\0/\0").unwrap();
    side.real(&["init", "--repo=dest", "--mode=archive"])
        .expect_ok();
    oxtree(&side, &["push", "--repo=repo", "dest", "main"]).expect_ok();
    let commit = ["commit", "--repo=repo", "--orphan"];
    let two = "exclude each other";
    for (args, text) in [
        (
            &["push", "--repo=repo", "dest", "--delete=main", "main"][..],
            "both to be pushed and to be deleted",
        ),
        (
            &[
                "push",
                "--repo=repo",
                "dest",
                "other",
                "main",
                "--delete",
                "main",
            ],
            "name it only once",
        ),
        (
            &["refs", "--repo=repo", "--create=new", "--delete", "main"],
            two,
        ),
        (
            &["refs", "--repo=repo", "--list", "--delete", "main"],
            "--list",
        ),
        (
            &[
                "refs",
                "--repo=repo",
                "-c",
                "-A",
                "--delete",
                "org.example.X",
            ],
            two,
        ),
        (
            &[
                "refs",
                "--repo=repo",
                "-c",
                "-A",
                "--create=org.example.X:a",
                "main",
            ],
            two,
        ),
        (
            &["commit", "--repo=repo", "--orphan", "-b", "main", "tree"],
            two,
        ),
        (
            &[
                "commit",
                "--repo=repo",
                "-b",
                "main",
                "--tree=ref=main",
                "tree",
            ],
            "PATH is not committed",
        ),
        (
            &[&commit[..], &["--body=a", "--body-file=body", "tree"]].concat(),
            two,
        ),
        (
            &[&commit[..], &["--no-bindings", "--bind-ref=a", "tree"]].concat(),
            two,
        ),
        (
            &[
                &commit[..],
                &[
                    "--add-metadata-string=a=1",
                    "--add-metadata-string=a=2",
                    "tree",
                ],
            ]
            .concat(),
            "more than once",
        ),
        (
            &[&commit[..], &["--sign-type=spki", "tree"]].concat(),
            "nothing is signed",
        ),
        (
            &[&commit[..], &["--gpg-homedir=tree", "tree"]].concat(),
            "nothing is signed",
        ),
        (
            &[&commit[..], &["--fsync=true", "--disable-fsync", "tree"]].concat(),
            two,
        ),
        (&["summary", "--repo=repo", "-u", "--view"], two),
        (
            &["summary", "--repo=repo", "--view", "--add-metadata=a='b'"],
            "--update",
        ),
        (
            &["sign", "--repo=repo", "--verify", "--delete", "main", "KEY"],
            two,
        ),
        (
            &[
                "static-delta",
                "generate",
                "--repo=repo",
                "--to=other",
                "main",
            ],
            "two commits",
        ),
        (
            &[
                "static-delta",
                "generate",
                "--repo=repo",
                "-n",
                "--filename=d",
                "main",
            ],
            "elsewhere",
        ),
        (
            &[
                "checkout",
                "--repo=repo",
                "--from-stdin",
                "--from-file=list",
                "out",
            ],
            two,
        ),
        (
            &["checkout", "--repo=repo", "--from-file=list", "main", "out"],
            "DESTINATION",
        ),
        (
            &[
                "checkout",
                "--repo=repo",
                "--union",
                "--union-add",
                "main",
                "out",
            ],
            "Cannot specify both",
        ),
        (
            &[
                "pull-local",
                "--repo=dest",
                "--require-static-deltas",
                "--disable-static-deltas",
                "repo",
            ],
            two,
        ),
        (
            &[
                "pull",
                "--repo=dest",
                "file:///x",
                &format!("main@{}", "1".repeat(64)),
                &format!("main@{}", "0".repeat(64)),
            ],
            "one ref",
        ),
        (
            &[
                "prune",
                "--repo=repo",
                "--retain-branch-depth=main=0",
                "--retain-branch-depth=main=5",
            ],
            "two depths",
        ),
        (
            &[
                "prune",
                "--repo=repo",
                "--keep-younger-than=now",
                "--retain-branch-depth=mian=5",
            ],
            "there is no ref mian",
        ),
        (
            &[
                "prune",
                "--repo=repo",
                "--no-prune",
                "--delete-commit=main^",
            ],
            "Cannot specify both",
        ),
        (
            &["remote", "add", "--repo=repo", "--set=url=a", "r", "b"],
            "url is set to two values",
        ),
        (
            &[
                "remote",
                "add",
                "--repo=repo",
                "--no-gpg-verify",
                "--set=gpg-verify=true",
                "r",
                "b",
            ],
            "gpg-verify is set to two values",
        ),
        (
            &[
                "remote",
                "add",
                "--repo=repo",
                "--no-sign-verify",
                "--sign-verify=ed25519=inline:K",
                "r",
                "b",
            ],
            "sign-verify is set to two values",
        ),
        (
            &["init", "--repo=repo", "--mode=bare"],
            "is there already, in mode archive",
        ),
        (
            &["init", "--repo=repo", "--collection-id=org.example.X"],
            "another collection id",
        ),
        (
            &[
                "remote",
                "add",
                "--repo=repo",
                "--force",
                "--if-not-exists",
                "r",
                "b",
            ],
            "only specify one",
        ),
    ] {
        refused(&side, args, text);
    }
}

#[test]
fn what_libostree_takes_is_a_warning_for_its_callers() {
    let side = Side::new();
    side.commit("main", &[]);
    for args in [
        &["commit", "--repo=repo", "--orphan", "-b", "x", "tree"][..],
        &[
            "commit",
            "--repo=repo",
            "-b",
            "y",
            "--tree=ref=main",
            "tree",
        ],
        &[
            "commit",
            "--repo=repo",
            "-b",
            "z",
            "--no-bindings",
            "--bind-ref=a",
            "tree",
        ],
        &["prune", "--repo=repo", "--retain-branch-depth=mian=5"],
    ] {
        let output = side.ours(args).expect_ok();
        assert!(
            output.stderr().starts_with("warning: "),
            "{args:?}: {output:?}"
        );
        side.real(args).expect_ok();
    }
}

#[test]
fn requests_for_nothing_are_errors() {
    let side = Side::new();
    side.commit("main", &[]);
    side.real(&["init", "--repo=empty", "--mode=archive"])
        .expect_ok();
    fs::write(side.path("file"), "").unwrap();
    side.real(&[
        "refs",
        "--repo=repo",
        "-c",
        "--create=org.example.X:main",
        "main",
    ])
    .expect_ok();
    for (args, text) in [
        (
            &["push", "--repo=empty", "repo"][..],
            "there is nothing to push",
        ),
        (
            &["push", "--repo=empty", "repo", "--quiet"],
            "there is nothing to push",
        ),
        (
            &["push", "--repo=repo", "empty", "--delete=none"],
            "cannot delete ref none",
        ),
        (
            &[
                "create-usb",
                "--repo=repo",
                "missing",
                "org.example.X",
                "main",
            ],
            "opening missing: No such file",
        ),
        (
            &["create-usb", "--repo=repo", "file", "org.example.X", "main"],
            "is not a directory",
        ),
        (
            &["create-usb", "--repo=repo", "tree", "org.example.X", "none"],
            "Failed to find the ref",
        ),
        (
            &[
                "find-remotes",
                "--repo=repo",
                "--pull",
                "org.example.X",
                "main",
            ],
            "nothing was pulled",
        ),
        (&["remote", "delete", "--repo=repo", "none"], "not found"),
        (&["static-delta", "delete", "--repo=repo", "none"], "none"),
        (&["prune", "--repo=repo", "--delete-commit=none"], "none"),
        (&["summary", "--repo=repo"], "use -u"),
    ] {
        refused(&side, args, text);
    }
}
