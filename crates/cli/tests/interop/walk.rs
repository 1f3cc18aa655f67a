// SPDX-License-Identifier: MIT OR Apache-2.0
//! libostree's library (through python3-gi) and ours read each other's repositories of every mode.

use std::fs;
use std::path::{Path, PathBuf};

use oxtree_testkit::{Repo, Tool, temp_dir, trees};

use crate::{OXTREE, source};

const MODES: [&str; 4] = ["archive", "bare", "bare-user", "bare-user-only"];

struct Walk(tempfile::TempDir);

impl Walk {
    /// Two trees that share most of their files, with attributes where they can be kept.
    fn new() -> Self {
        let walk = Self(temp_dir());
        for (name, seed) in [("one", 1), ("two", 2)] {
            let tree = walk.at(name);
            fs::create_dir(&tree).expect("mkdir");
            trees::small(&tree, seed);
            trees::incompressible(&tree.join("big"), 300_000, 3);
            trees::file(&tree.join("set-uid"), b"program", 0o4755);
            trees::directory(&tree.join("sticky"), 0o1777);
            trees::xattr(&tree.join("set-uid"), "user.test", b"a\0b");
            trees::xattr(&tree.join("sticky"), "user.dir", b"d");
        }
        let mut big = fs::read(walk.at("two/big")).expect("read");
        big.truncate(250_000);
        fs::write(walk.at("two/big"), big).expect("write");
        walk
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A repository with two commits, detached metadata, a delta and a summary, all made by this tool.
    fn repo(&self, tool: &Tool, name: &str, mode: &str) -> Repo {
        let repo = tool.repo(self.at(name)).init(mode).without_fsync();
        let detached = "--add-detached-metadata-string=note=x";
        let metadata = "--add-metadata=n=@t 7";
        repo.commit("main", self.at("one"), &[metadata, detached]);
        // How large packed objects become is up to the packer.
        let sizes = (mode != "archive").then_some("--generate-sizes");
        let more: Vec<&str> = ["--body=b", "--add-metadata-string=version=2"]
            .into_iter()
            .chain(sizes)
            .collect();
        repo.commit("main", self.at("two"), &more);
        repo.ok("refs", ["--create=other/alias", "main"]);
        repo.ok("static-delta", ["generate", "main"]);
        repo.ok("summary", ["-u"]);
        repo
    }
}

fn python(action: &str, repo: &Path, more: &[&Path]) -> String {
    let script = source("walk.py");
    let words = [script.as_path(), Path::new(action), repo];
    let python = Tool::new("/usr/bin/python3").env("LC_ALL", "C.UTF-8");
    python.ok(words.iter().chain(more))
}

/// All facts of a repository, sorted. Where objects are packed, their packed sizes are not compared.
fn facts(repo: &Repo) -> Vec<String> {
    let text = python("read", repo.path(), &[]);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What ours prints of a ref: its commits, all files with attributes, detached metadata, the summary.
fn seen(ours: &Repo, rev: &str) -> String {
    let mut text = ours.ok("log", [rev]);
    text += &ours.ok("ls", ["-R", "-X", "-C", rev]);
    text += &ours.ok("show", ["--raw", rev]);
    text
}

fn compare(mode: &str) {
    let walk = Walk::new();
    let (real, oxtree) = (Tool::ostree(), Tool::new(OXTREE));
    let [theirs, ours] =
        [(&real, "theirs"), (&oxtree, "ours")].map(|(tool, name)| walk.repo(tool, name, mode));
    let read = facts(&ours);
    assert_eq!(read, facts(&theirs), "{mode}");
    for kind in [
        "commit", "detached", "file", "dir", "object", "delta", "ref", "summary",
    ] {
        assert!(
            read.iter().any(|line| line.starts_with(kind)),
            "{mode}: no {kind}"
        );
    }

    // The library writes into both; ours reads what it wrote.
    let tree = walk.at("one");
    let wrote = [&theirs, &ours].map(|repo| python("write", repo.path(), &[&tree]));
    assert_eq!(wrote[0], wrote[1], "{mode}");
    assert_eq!(facts(&ours), facts(&theirs), "{mode}");
    let both = [&theirs, &ours].map(|repo| {
        let repo = oxtree.repo(repo.path());
        repo.ok("fsck", ["--quiet"]);
        assert_eq!(repo.rev_parse("gi"), wrote[0].trim(), "{mode}");
        seen(&repo, "gi") + &repo.ok("show", ["--print-detached-metadata-key=note", "gi"])
    });
    assert_eq!(both[0], both[1], "{mode}");
    assert!(both[0].contains("['x']"), "{}", both[0]);
    real.repo(ours.path()).ok("fsck", ["--quiet"]);
    // And commits on top of it.
    let [their_top, our_top] = [(&real, "theirs"), (&oxtree, "ours")]
        .map(|(tool, name)| tool.repo(walk.at(name)).commit("gi", walk.at("two"), &[]));
    assert_eq!(their_top, our_top, "{mode}");

    // Each applies the other's deltas.
    for (maker, name) in [(&oxtree, "ours"), (&real, "theirs")] {
        let maker = maker.repo(walk.at(name));
        let file = walk.at(&format!("{name}.delta"));
        let filename = format!("--filename={}", file.display());
        maker.ok(
            "static-delta",
            ["generate", "--empty", "--inline", &filename, "main"],
        );
        let to = walk.at(&format!("{name}.applied"));
        let target = oxtree.repo(&to).init(mode).without_fsync();
        match name {
            "ours" => drop(python("apply", &to, &[&file])),
            _ => drop(target.ok("static-delta", [Path::new("apply-offline"), &file])),
        }
        let commit = maker.rev_parse("main");
        target.ok("refs", ["--create=main", &commit]);
        real.repo(&to).ok("fsck", ["--quiet"]);
        target.ok("fsck", ["--quiet"]);
        assert_eq!(target.rev_parse("main"), commit, "{mode}");
    }
}

#[test]
fn archive() {
    compare(MODES[0]);
}

#[test]
fn bare() {
    compare(MODES[1]);
}

#[test]
fn bare_user() {
    compare(MODES[2]);
}

#[test]
fn bare_user_only() {
    compare(MODES[3]);
}

/// No released libostree writes this mode whole, so the script lays it out.
#[test]
fn bare_split_xattrs() {
    let walk = Walk::new();
    let (real, oxtree) = (Tool::ostree(), Tool::new(OXTREE));
    let bare = walk.repo(&oxtree, "bare", "bare");
    let split = walk.at("split");
    real.repo(&split).ok("init", ["--mode=bare-split-xattrs"]);
    python("split", bare.path(), &[&split]);
    let (theirs, ours) = (real.repo(&split), oxtree.repo(&split));
    let of = |repo: &Repo| {
        let lines = facts(repo).into_iter();
        let kept = ["commit", "dir", "file"];
        lines
            .filter(|line| kept.iter().any(|kind| line.starts_with(kind)))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&theirs), of(&bare));
    ours.ok("fsck", ["--quiet"]);
    assert_eq!(seen(&ours, "main"), seen(&bare, "main"));
    let back = oxtree.repo(walk.at("back")).init("bare").without_fsync();
    back.ok(
        "pull-local",
        ["--depth=-1", split.to_str().expect("UTF-8"), "main"],
    );
    assert_eq!(of(&back), of(&bare));
}
