// SPDX-License-Identifier: MIT OR Apache-2.0
//! composefs images. Debian's `ostree` makes none, so what they have to be was recorded from
//! libostree 2026.4 (with libcomposefs 1.0.8), which made them of the same tree.

use std::os::unix::fs::{PermissionsExt, symlink};

use oxtree_format::Checksum;
use oxtree_testkit::trees;

use crate::side::Side;

/// `ostree.composefs.digest.v0` of the tree.
const DIGEST: &str = "b359fa227a069b690b7c3fb7b053c1657f06c7af3ffd62790d194709f7be1493";
/// The checksums of the images with digests and without.
const IMAGE: &str = "fb4b7bdc7579f15874d272610f472147e35b72261aca9b7b243709eba11697b3";
const PLAIN_IMAGE: &str = "6da6917417f8728782c1b46779651c5300e520e107662da6acbdb7eabf472547";

/// A tree with a directory of several blocks, long links, and a place where a whiteout would be.
fn plant(side: &Side) {
    let tree = side.path("tree");
    for dir in ["", "usr", "usr/many", "00"] {
        trees::directory(&tree.join(dir), 0o755);
    }
    for number in 0..200 {
        let name = format!("usr/many/{number:0>90}");
        trees::file(&tree.join(name), format!("{number}").as_bytes(), 0o644);
    }
    trees::file(&tree.join("usr/empty"), b"", 0o755);
    trees::file(&tree.join("usr/-large"), &[7; 600_000], 0o755);
    symlink("x".repeat(3000), tree.join("usr/long")).unwrap();
    symlink("usr/long", tree.join("etc")).unwrap();
}

#[test]
fn images_are_those_of_libostree() {
    for mode in ["archive", "bare-user"] {
        let side = Side::empty();
        plant(&side);
        let init = ["init", "--repo=repo", &format!("--mode={mode}")];
        side.real(&init).expect_ok();
        let commit = "commit --repo=repo --canonical-permissions --no-xattrs --fsync=false -b";
        let commit = |branch, more: &[&str]| {
            let words = commit.split(' ').chain([branch, "--tree=dir=tree"]);
            let words: Vec<&str> = words.chain(more.iter().copied()).collect();
            side.ours(&words).expect_ok();
        };
        commit("main", &["--generate-composefs-metadata"]);
        let key = "--print-metadata-key=ostree.composefs.digest.v0";
        let show = ["show", "--repo=repo", "--print-hex", key, "main"];
        assert_eq!(side.ours(&show).stdout().trim(), DIGEST, "{mode}");

        std::fs::write(side.path("image"), "in the way").unwrap();
        for (option, expected) in [
            ("--composefs", IMAGE),
            ("--composefs-noverity", PLAIN_IMAGE),
        ] {
            let checkout = ["checkout", "--repo=repo", option, "main", "image"];
            side.ours(&checkout).expect_ok();
            let image = std::fs::read(side.path("image")).unwrap();
            assert_eq!(Checksum::of(&image).to_hex(), expected, "{mode} {option}");
            let meta = std::fs::metadata(side.path("image")).unwrap();
            assert_eq!(meta.permissions().mode() & 0o7777, 0o644);
        }

        // A commit that says something else of its image.
        let wrong = format!(
            "--add-metadata=ostree.composefs.digest.v0=[byte 1{}]",
            ", 2".repeat(31)
        );
        commit("wrong", &[&wrong]);
        let checkout = |option, destination| {
            side.ours(&["checkout", "--repo=repo", option, "wrong", destination])
        };
        let error = checkout("--composefs", "wrong").expect_failure().stderr();
        let expected = format!(
            "({DIGEST}) doesn't match expected digest (01{})",
            "02".repeat(31)
        );
        assert!(error.contains(&expected), "{error}");
        assert!(!side.path("wrong").exists());
        checkout("--composefs-noverity", "wrong").expect_ok();
    }
}

#[test]
fn an_image_is_of_all_of_a_commit() {
    let side = Side::new();
    side.commit("main", &[]);
    for option in [
        "--subpath=/d",
        "-H",
        "--union-add",
        "--whiteouts",
        "--skip-list=f",
    ] {
        let words = [
            "checkout",
            "--repo=repo",
            "--composefs",
            option,
            "main",
            "image",
        ];
        let error = side.ours(&words).expect_failure().stderr();
        assert!(error.contains("incompatible with --composefs"), "{error}");
    }
    let version = side.ours(&["--version"]).expect_ok().stdout();
    assert!(version.contains(" - composefs\n"), "{version}");
}
