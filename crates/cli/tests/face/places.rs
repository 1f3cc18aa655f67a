// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories in places where nothing can be written: one line that says why, nothing changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oxtree_testkit::{Tmpfs, Tool, compare_trees};

use crate::side::{Side, ours};

/// Commands that write, in a directory with `repo` and `tree`.
const WRITERS: [&[&str]; 5] = [
    &["refs", "--repo=repo", "--create=x", "main"],
    &["refs", "--repo=repo", "-A", "--create=x/y", "main"],
    &["refs", "--repo=repo", "--delete", "main"],
    &["config", "--repo=repo", "set", "core.fsync", "true"],
    &["reset", "--repo=repo", "main", "main^"],
];

/// A file system of this size with a repository that has two commits.
fn with_repo(bytes: u64) -> Tmpfs {
    let side = Side::new();
    side.commit("main", &["--timestamp=@0"]);
    side.commit("main", &["--timestamp=@1"]);
    let tmpfs = Tmpfs::mount(bytes);
    Tool::new("/bin/cp").ok([Path::new("-a"), &side.repo(), tmpfs.path()]);
    tmpfs
}

#[test]
fn a_file_system_that_is_read_only() {
    if !oxtree_testkit::is_root() {
        return;
    }
    let tmpfs = with_repo(1 << 20);
    tmpfs.make_read_only();
    let tool = ours("oxtree").dir(tmpfs.path());
    tool.ok(["log", "main", "--repo=repo"]);
    tool.ok(["refs", "--repo=repo"]);
    for args in WRITERS {
        let error = tool.fails(args);
        assert!(error.contains("Read-only file system"), "{args:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
    }
    let error = tool.fails(["init", "--repo=new"]);
    assert!(error.contains("Read-only file system"), "{error}");
}

#[test]
fn a_disk_that_is_full() {
    if !oxtree_testkit::is_root() {
        return;
    }
    let tmpfs = with_repo(1 << 20);
    let filler = std::fs::File::create(tmpfs.path().join("filler")).unwrap();
    let mut filler = std::io::BufWriter::with_capacity(4096, filler);
    let full = std::io::copy(&mut std::io::repeat(0), &mut filler).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    drop(filler.into_parts());

    let before = Side::empty();
    Tool::new("/bin/cp").ok([Path::new("-a"), &tmpfs.path().join("repo"), &before.repo()]);
    let tool = ours("oxtree").dir(tmpfs.path());
    for args in [WRITERS[0], WRITERS[3], WRITERS[4]] {
        let error = tool.fails(args);
        assert!(
            error.contains("No space left on device"),
            "{args:?}: {error}"
        );
        assert!(error.contains("full"), "no hint: {args:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
    }
    let refs = |repo: PathBuf| -> BTreeMap<String, String> {
        let lines = ours("oxtree").repo(repo).ok("refs", ["-r"]);
        let pairs = lines.lines().filter_map(|line| line.split_once('\t'));
        pairs.map(|(name, id)| (name.into(), id.into())).collect()
    };
    assert_eq!(refs(tmpfs.path().join("repo")), refs(before.repo()));
    let config = |repo: &Path| std::fs::read(repo.join("config")).unwrap();
    assert_eq!(config(&tmpfs.path().join("repo")), config(&before.repo()));
    let differences = compare_trees(
        tmpfs.path().join("repo/objects"),
        before.repo().join("objects"),
    );
    assert_eq!(differences, Vec::<String>::new());
}
