// SPDX-License-Identifier: MIT OR Apache-2.0
//! `export`, beside the real one, and what each makes of the other's tar files.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use oxtree_testkit::{Compare, Tool, is_root, trees};

use crate::side::Side;

/// A repository of `mode` with a bit of everything as `main`, without attributes as `plain`.
fn side(mode: &str) -> Side {
    let side = Side::empty();
    side.real(&["init", "--repo=repo", &format!("--mode={mode}")])
        .expect_ok();
    side.real(&["config", "--repo=repo", "set", "core.fsync", "false"])
        .expect_ok();
    let tree = side.path("tree");
    fs::create_dir(&tree).unwrap();
    trees::every_kind(&tree, 400_000);
    // libarchive composes this to the name of another file, so that one of them is lost.
    fs::remove_file(tree.join("names/e\u{301}")).unwrap();
    // What has no value is in no commit.
    rustix::fs::lremovexattr(tree.join("xattrs/several"), "user.empty").unwrap();
    let long = tree.join("a".repeat(200));
    fs::create_dir(&long).unwrap();
    for len in [94, 95, 96, 99, 100, 101, 200] {
        fs::write(tree.join(format!("{}-{len}", "n".repeat(len - 4))), "x").unwrap();
        let target = "t".repeat(len);
        std::os::unix::fs::symlink(&target, long.join(format!("to{len}"))).unwrap();
    }
    side.commit("main", &["--timestamp=@1700000000"]);
    side.commit("plain", &["--timestamp=@1700000000", "--no-xattrs"]);
    side
}

/// The checksum of the tree of `rev`.
fn tree_of(side: &Side, rev: &str) -> String {
    let shown = side.real(&["show", "--repo=repo", rev]).expect_ok();
    let line = "ContentChecksum:  ";
    let text = shown.stdout();
    let of_tree = text.lines().find_map(|text| text.strip_prefix(line));
    of_tree.expect("a checksum").to_owned()
}

/// Makes all files different: libostree has hard links in its exports only since 2026.
fn tell_apart(dir: &Path, known: &mut HashSet<Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            tell_apart(&path, known);
        } else if meta.is_file() && !known.insert(fs::read(&path).unwrap()) {
            fs::remove_file(&path).unwrap();
            fs::write(&path, path.as_os_str().as_encoded_bytes()).unwrap();
        }
    }
}

#[test]
fn byte_for_byte() {
    for mode in ["archive", "bare", "bare-user", "bare-user-only"] {
        let side = side(mode);
        tell_apart(&side.path("tree"), &mut HashSet::new());
        side.commit("main", &["--timestamp=@1700000000"]);
        side.commit("plain", &["--timestamp=@1700000000", "--no-xattrs"]);
        for (rev, more) in [
            ("plain", &[][..]),
            ("main", &["--no-xattrs"]),
            ("plain", &["--prefix=before/"]),
            ("plain", &["--prefix=before"]),
            ("plain", &["--subpath=files"]),
            ("plain", &["--subpath=/files", "--prefix=p/"]),
        ] {
            let words = |file| [&["export", "--repo=repo", rev, "-o", file], more].concat();
            side.real(&words("real.tar")).expect_ok();
            side.ours(&words("ours.tar")).expect_ok();
            let read = |name| fs::read(side.path(name)).unwrap();
            let same = read("real.tar") == read("ours.tar");
            assert!(same, "{mode} {rev} {more:?}: the tar files differ");
            // To standard output in whole records.
            let words = [&["export", "--repo=repo", rev], more].concat();
            let (real, ours) = (side.real(&words), side.ours(&words));
            assert!(real.stdout_bytes == ours.stdout_bytes, "{mode} {more:?}");
            assert_eq!(ours.stdout_bytes.len() % 10240, 0);
        }
    }
}

/// What libostree 2026.4 makes of the same tree.
#[test]
fn the_same_file_again_is_a_hard_link() {
    let side = Side::new();
    for name in ["d/one", "d/two", "again"] {
        fs::write(side.path("tree").join(name), "same\n").unwrap();
    }
    let more = ["--timestamp=@1", "--owner-uid=0", "--owner-gid=0"];
    side.commit("main", &[&more[..], &["--no-xattrs"]].concat());
    side.ours(&["export", "--repo=repo", "main", "--prefix=p/", "-o", "tar"])
        .expect_ok();
    let list = Tool::new("tar")
        .env("LC_ALL", "C")
        .dir(side.path(""))
        .run(["-tvf", "tar"]);
    let list = list.expect_ok().stdout();
    for line in [
        "p/d/one link to p/again",
        "p/d/two link to p/again",
        "p/l -> f",
    ] {
        assert!(list.contains(line), "{list}");
    }
}

#[test]
fn there_and_back() {
    for mode in ["archive", "bare-user", "bare"] {
        let side = side(mode);
        side.ours(&["export", "--repo=repo", "main", "-o", "ours.tar"])
            .expect_ok();
        side.real(&["export", "--repo=repo", "plain", "-o", "real.tar"])
            .expect_ok();
        for (file, expected) in [("ours.tar", "main"), ("real.tar", "plain")] {
            let tar = format!("--tree=tar={file}");
            let words = ["commit", "--repo=repo", "-b", "again", &tar];
            for output in [side.real(&words), side.ours(&words)] {
                let commit = output.expect_ok().stdout();
                let (found, wanted) = (tree_of(&side, commit.trim()), tree_of(&side, expected));
                assert_eq!(found, wanted, "{mode} {file}");
            }
        }
    }
}

/// GNU tar unpacks it to the tree that was committed.
#[test]
fn other_tools_read_it() {
    if !is_root() {
        return;
    }
    let side = side("archive");
    side.ours(&["export", "--repo=repo", "main", "-o", "ours.tar"])
        .expect_ok();
    fs::create_dir(side.path("out")).unwrap();
    Tool::new("/bin/tar").dir(side.path("out")).ok([
        "--extract",
        "--file=../ours.tar",
        "--xattrs",
        "--xattrs-include=*",
        "--same-owner",
        "--same-permissions",
        "--numeric-owner",
    ]);
    let differences = Compare::default().run(&side.path("tree"), &side.path("out"));
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn what_makes_no_sense() {
    let side = side("archive");
    for args in [
        &["export", "--repo=repo"][..],
        &["export", "--repo=repo", "nope"],
        &["export", "--repo=repo", "plain", "--subpath=/nope"],
    ] {
        // The real one prints an empty tar file nevertheless, and its usage before some errors.
        let real = side.real(args).expect_failure().stderr();
        let ours = side.ours(args).expect_failure();
        assert_eq!(ours.stdout(), "", "{args:?}");
        assert_eq!(ours.stderr().lines().last(), real.lines().last());
    }
    // The real one aborts.
    let file = side.ours(&["export", "--repo=repo", "plain", "--subpath=files/text"]);
    let error = file.expect_failure().stderr();
    assert_eq!(error, "error: Not a directory\n");
    let full = side.ours(&["export", "--repo=repo", "plain", "-o", "/dev/full"]);
    let error = full.expect_failure().stderr();
    assert!(error.contains("No space left"), "{error}");
}

/// An object that is shorter than it says must not become a tar file whose rest is shifted.
#[test]
fn damage_is_found() {
    let side = Side::new();
    side.commit("main", &[]);
    let list = side.real(&["ls", "-C", "--repo=repo", "main", "/f"]);
    let text = list.expect_ok().stdout();
    let checksum = text.split_whitespace().nth(4).unwrap().to_owned();
    let (first, rest) = checksum.split_at(2);
    let object = side.path(&format!("repo/objects/{first}/{rest}.filez"));
    let bytes = fs::read(&object).unwrap();
    fs::write(&object, &bytes[..bytes.len() - 4]).unwrap();
    let out = side.ours(&["export", "--repo=repo", "main"]);
    assert!(out.expect_failure().stderr().contains(&checksum));
}
