// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a commit says of its tree, and trees that are used up.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oxtree_testkit::{Tool, trees};

use crate::pair::{MODES, Pair, files_below, our_tool};

fn kernel(path: &Path, release: &str) {
    trees::file(
        &path.join("usr/lib/modules").join(release).join("vmlinuz"),
        b"kernel\n",
        0o755,
    );
}

#[test]
fn bootable_trees() {
    let pair = Pair::new("archive");
    pair.tree("none", |path| trees::small(path, 1));
    pair.tree("empty", |path| {
        std::fs::create_dir_all(path.join("usr/lib/modules/6.1")).unwrap();
    });
    pair.tree("one", |path| {
        std::fs::create_dir_all(path.join("usr/lib/modules/6.1")).unwrap();
        std::fs::create_dir_all(path.join("usr/lib/modules/5.0-empty")).unwrap();
        trees::file(&path.join("usr/lib/modules/file"), b"", 0o644);
        kernel(path, "6.1");
    });
    pair.tree("two", |path| {
        for release in ["6.1", "6.2"] {
            std::fs::create_dir_all(path.join("usr/lib/modules").join(release)).unwrap();
            kernel(path, release);
        }
    });
    for tree in ["none", "empty", "two"] {
        pair.same_failure(&["--orphan", "--bootable", tree]);
    }
    // With much metadata, the order is that of a hash table that has grown.
    for count in [0, 1, 2, 5, 6, 9, 13, 14, 30] {
        let metadata: Vec<String> = (0..count)
            .map(|n| format!("--add-metadata-string=some.key-{}={n}", n * n))
            .collect();
        let mut args = vec!["-b", "main", "--bootable", "one", "--bind-ref=other"];
        args.extend(metadata.iter().map(String::as_str));
        pair.same(&args);
    }
    pair.same(&[
        "-b",
        "main",
        "--bootable",
        "--tree=ref=main",
        "--tree=dir=none",
    ]);
    pair.fsck();
}

#[test]
fn sizes_are_those_of_the_repository() {
    let pair = Pair::new("archive");
    pair.tree("tree", |path| {
        trees::small(path, 1);
        trees::many(path, 300, 1);
        trees::incompressible(&path.join("big"), trees::QUICK, 1);
    });
    // Both tools on one repository, whose files the real one has packed.
    let real = Tool::ostree().repo(pair.real.path());
    let ours = our_tool().repo(pair.real.path());
    let tree = pair.path("tree");
    real.commit("tree", &tree, &[]);
    let dir = format!("--tree=dir={}", tree.display());
    for args in [
        &[&*dir][..],
        &["--tree=ref=tree"],
        &[&*dir, "--no-bindings"],
    ] {
        let args = [&["--orphan", "--generate-sizes", "--timestamp=@1"], args].concat();
        assert_eq!(
            ours.ok("commit", &args),
            real.ok("commit", &args),
            "{args:?}"
        );
    }
    // In ours, each size is that of the file.
    let commit = pair
        .ours
        .ok("commit", ["--orphan", "--generate-sizes", "tree"]);
    let shown = Tool::ostree()
        .repo(pair.ours.path())
        .ok("show", ["--print-sizes", commit.trim()]);
    assert!(shown.contains("Number of objects"), "{shown}");
    let objects = files_below(&pair.ours.path().join("objects")).len();
    assert!(
        shown.contains(&format!(
            "Number of objects (needed/total): 0/{}",
            objects - 1
        )),
        "{objects}: {shown}"
    );
    pair.fsck();
}

#[test]
fn without_an_archive_there_are_no_sizes() {
    let pair = Pair::new("bare-user");
    pair.tree("tree", |path| trees::small(path, 1));
    pair.same(&["-b", "main", "--generate-sizes", "tree"]);
}

#[test]
fn consumed_files_are_not_copied() {
    for mode in MODES {
        for fsync in ["true", "false"] {
            let pair = Pair::new(mode);
            let fill = |path: &Path| {
                trees::small(path, 1);
                trees::file(&path.join("owned"), b"owned\n", 0o640);
                std::os::unix::fs::chown(path.join("owned"), Some(3), Some(4)).unwrap();
                trees::file(&path.join("one"), b"linked\n", 0o644);
                std::fs::hard_link(path.join("one"), path.join("two")).unwrap();
                trees::file(&path.join("attribute"), b"a\n", 0o644);
                trees::xattr(&path.join("attribute"), "user.a", b"1");
            };
            let ours = pair.tree("mine", fill);
            pair.tree("theirs", fill);
            let owned = std::fs::metadata(ours.join("owned")).unwrap();
            let commit = |repo: &oxtree_testkit::Repo, tree: &str| {
                let fsync = format!("--fsync={fsync}");
                let args = ["--orphan", "--timestamp=@1", "--consume", &fsync, tree];
                repo.ok("commit", args)
            };
            let made = commit(&pair.ours, "mine");
            assert_eq!(made, commit(&pair.real, "theirs"), "{mode}");
            assert!(!ours.exists());
            let objects = files_below(&pair.ours.path().join("objects"));
            let adopted = objects
                .iter()
                .filter_map(|path| std::fs::symlink_metadata(path).ok())
                .any(|object| (object.dev(), object.ino()) == (owned.dev(), owned.ino()));
            assert_eq!(adopted, mode != "archive", "{mode}");
            pair.fsck();
        }
    }
}
