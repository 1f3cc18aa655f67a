// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories to pull between, and what they hold.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oxtree_testkit::{Repo, Tool, temp_dir, trees};

/// The binary under test.
pub(crate) const OXTREE: &str = env!("CARGO_BIN_EXE_oxtree");

pub(crate) const MODES: [&str; 4] = ["archive", "bare", "bare-user", "bare-user-only"];

/// A directory for repositories and trees.
pub(crate) struct Fixture(tempfile::TempDir);

impl Fixture {
    pub(crate) fn new() -> Self {
        Self(temp_dir())
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A new repository, made by the real tool.
    pub(crate) fn repo(&self, name: &str, mode: &str) -> Repo {
        Tool::ostree()
            .repo(self.at(name))
            .init(mode)
            .without_fsync()
    }

    /// A tree of some files, every version another.
    pub(crate) fn tree(&self, version: u64) -> PathBuf {
        let tree = self.at(&format!("tree-{version}"));
        if !tree.exists() {
            std::fs::create_dir(&tree).expect("mkdir");
            trees::small(&tree, version);
        }
        tree
    }

    /// A repository with so many commits on `main`, the first with tree 1. Returns their checksums.
    pub(crate) fn history(&self, name: &str, mode: &str, commits: u64) -> (Repo, Vec<String>) {
        let repo = self.repo(name, mode);
        let made = (1..=commits)
            .map(|version| repo.commit("main", self.tree(version), &["--canonical-permissions"]))
            .collect();
        (repo, made)
    }
}

/// The repository as our binary sees it.
pub(crate) fn ours(repo: &Repo) -> Repo {
    Tool::new(OXTREE).repo(repo.path())
}

/// Our pull. Returns the line that it prints.
pub(crate) fn pull(to: &Repo, from: &Repo, args: &[&str]) -> String {
    ours(to).ok("pull-local", words(from, args))
}

/// Our pull, which has to fail. Returns the error.
pub(crate) fn refused(to: &Repo, from: &Repo, args: &[&str]) -> String {
    let output = ours(to).run("pull-local", words(from, args));
    output.expect_failure().stderr()
}

/// The real one.
pub(crate) fn pull_theirs(to: &Repo, from: &Repo, args: &[&str]) {
    to.ok("pull-local", words(from, args));
}

fn words(from: &Repo, args: &[&str]) -> Vec<String> {
    let mut words = vec![from.path().display().to_string()];
    words.extend(args.iter().map(|arg| (*arg).to_owned()));
    words
}

/// The objects of a repository with the number of links that each has.
pub(crate) fn objects(repo: &Path) -> BTreeSet<(String, u64)> {
    let mut found = BTreeSet::new();
    for folder in std::fs::read_dir(repo.join("objects")).expect("objects/") {
        let folder = folder.expect("an entry").path();
        for object in std::fs::read_dir(&folder).expect("a folder") {
            let object = object.expect("an entry").path();
            let name = object.strip_prefix(repo).expect("a path below it");
            let links = object.symlink_metadata().expect("an object").nlink();
            found.insert((name.display().to_string(), links));
        }
    }
    found
}

/// The names in a folder of the repository, sorted.
pub(crate) fn names(repo: &Repo, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(repo.path().join(folder)).expect("a folder");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("a name in UTF-8")
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}
