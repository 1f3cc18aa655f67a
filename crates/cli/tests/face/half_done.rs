// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands that fail half-way leave nothing half done.

use std::fs;

use oxtree_testkit::{GpgHome, Snapshot};

use crate::mistakes::{oxtree, refused};
use crate::side::Side;

#[test]
fn a_remote_without_its_keys_is_not_added() {
    let side = Side::new();
    let gpg = GpgHome::new();
    let key = gpg.generate("A <a@example.org>", "ed25519");
    fs::write(side.path("good"), gpg.export(&[&key])).unwrap();
    fs::write(side.path("bad"), "no key").unwrap();
    fs::write(side.path("empty"), "").unwrap();
    for bad in ["missing", "bad", "empty"] {
        for first in ["good", bad] {
            let imports = [
                format!("--gpg-import={first}"),
                format!("--gpg-import={bad}"),
            ];
            let args = [
                "remote",
                "add",
                "--repo=repo",
                &imports[0],
                &imports[1],
                "origin",
                "http://x/",
            ];
            refused(&side, &args, "");
            let before = Snapshot::of(side.path(""));
            side.ours(&args).expect_failure();
            before.assert_unchanged(&Snapshot::of(side.path("")));
        }
    }
    oxtree(
        &side,
        &[
            "remote",
            "add",
            "--repo=repo",
            "--gpg-import=good",
            "origin",
            "http://x/",
        ],
    )
    .expect_ok();
    // Nor is the one that is there changed.
    let force = [
        "remote",
        "add",
        "--repo=repo",
        "--force",
        "--gpg-import=missing",
        "origin",
        "http://y/",
    ];
    refused(&side, &force, "missing");
    let import = [
        "remote",
        "gpg-import",
        "--repo=repo",
        "-k",
        "good",
        "-k",
        "bad",
        "origin",
    ];
    refused(&side, &import, "bad");
}

#[test]
fn a_checkout_that_fails_leaves_nothing() {
    let side = Side::new();
    let tree = side.path("tree");
    fs::create_dir(tree.join("z")).unwrap();
    fs::write(tree.join("z/last"), "last\n").unwrap();
    side.commit("main", &[]);
    let listed = side
        .real(&["ls", "--repo=repo", "-C", "main", "/z/last"])
        .stdout();
    let id = listed.split_whitespace().nth(4).unwrap().to_owned();
    fs::remove_file(
        side.repo()
            .join(format!("objects/{}/{}.filez", &id[..2], &id[2..])),
    )
    .unwrap();
    fs::write(side.path("list"), "main\0/d\0main\0/\0").unwrap();
    for args in [
        &["checkout", "--repo=repo", "-U", "main", "out"][..],
        &["checkout", "--repo=repo", "-U", "--union", "main", "out"],
        &[
            "checkout",
            "--repo=repo",
            "-U",
            "--subpath=/z",
            "main",
            "out",
        ],
        &[
            "checkout",
            "--repo=repo",
            "-U",
            "--union",
            "--from-file=list",
            "out",
        ],
    ] {
        oxtree(&side, args).expect_failure();
        assert!(!side.path("out").exists(), "{args:?}");
    }
    // What was there before stays.
    fs::create_dir(side.path("out")).unwrap();
    fs::write(side.path("out/mine"), "").unwrap();
    oxtree(
        &side,
        &["checkout", "--repo=repo", "-U", "--union", "main", "out"],
    )
    .expect_failure();
    assert!(side.path("out/mine").exists());
}

#[test]
fn an_export_that_fails_leaves_the_file_as_it_was() {
    let side = Side::new();
    side.commit("good", &[]);
    fs::write(side.path("tree/f"), "other\n").unwrap();
    side.commit("main", &[]);
    let listed = side
        .real(&["ls", "--repo=repo", "-C", "main", "/f"])
        .stdout();
    let id = listed.split_whitespace().nth(4).unwrap().to_owned();
    fs::remove_file(
        side.repo()
            .join(format!("objects/{}/{}.filez", &id[..2], &id[2..])),
    )
    .unwrap();
    fs::write(side.path("old.tar"), "old").unwrap();
    std::os::unix::fs::symlink("old.tar", side.path("link.tar")).unwrap();
    for file in ["old.tar", "new.tar", "link.tar"] {
        let names = || {
            let entries = side.path("").read_dir().unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = names();
        let output = oxtree(&side, &["export", "--repo=repo", "main", "-o", file]);
        let error = output.expect_failure().stderr();
        assert!(error.contains("exporting main"), "{error}");
        assert_eq!(names(), before);
        assert_eq!(fs::read(side.path("old.tar")).unwrap(), b"old");
    }
    oxtree(&side, &["export", "--repo=repo", "good", "-o", "link.tar"]).expect_ok();
    assert!(side.path("link.tar").is_symlink());
    assert!(fs::metadata(side.path("old.tar")).unwrap().len() > 1000);
}
