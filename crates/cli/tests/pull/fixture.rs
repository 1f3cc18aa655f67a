// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repository at a web server, and those that pull from it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use oxtree_testkit::{Repo, Tool, temp_dir, trees};

/// The binary under test.
pub(crate) const OXTREE: &str = env!("CARGO_BIN_EXE_oxtree");

/// A directory: what is below `web/` is served.
pub(crate) struct Fixture(tempfile::TempDir);

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Self(temp_dir());
        std::fs::create_dir(fixture.at("web")).expect("mkdir");
        fixture
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn tree(&self, version: u64) -> PathBuf {
        let tree = self.at(&format!("tree-{version}"));
        if !tree.exists() {
            std::fs::create_dir(&tree).expect("mkdir");
            trees::small(&tree, version);
            std::os::unix::fs::symlink("nowhere", tree.join("link")).expect("symlink");
        }
        tree
    }

    /// A repository at the server, with so many commits on `main`, made by the real tool or by ours.
    pub(crate) fn source(&self, by: &Tool, commits: u64) -> (Repo, Vec<String>) {
        let repo = by.repo(self.at("web/repo")).init("archive").without_fsync();
        let made = (1..=commits)
            .map(|version| {
                repo.commit(
                    "main",
                    self.tree(version),
                    &["--canonical-permissions", "--bind-ref=other/branch"],
                )
            })
            .collect();
        repo.ok("summary", ["-u"]);
        (repo, made)
    }

    /// An empty repository with the remote `origin`.
    pub(crate) fn client(&self, name: &str, mode: &str, url: &str) -> Repo {
        let repo = ours().repo(self.at(name)).init(mode).without_fsync();
        repo.ok("remote", ["add", "--no-gpg-verify", "origin", url]);
        repo
    }
}

pub(crate) fn ours() -> Tool {
    Tool::new(OXTREE)
}

/// The repository as the real tool sees it.
pub(crate) fn theirs(repo: &Repo) -> Repo {
    Tool::ostree().repo(repo.path())
}

/// The names of a repository's objects.
pub(crate) fn objects(repo: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in std::fs::read_dir(repo.join("objects")).expect("objects/") {
        let folder = folder.expect("an entry").path();
        for object in std::fs::read_dir(&folder).expect("a folder") {
            let object = object.expect("an entry").path();
            let name = object.strip_prefix(repo).expect("a path below it");
            found.insert(name.display().to_string());
        }
    }
    found
}
