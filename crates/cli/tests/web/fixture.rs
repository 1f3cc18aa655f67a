// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories, and a server for one of them.

use std::fs;
use std::path::PathBuf;

use oxtree_testkit::trees::{self, Noise};
use oxtree_testkit::{Output, Repo, Serve, Tool, temp_dir};
use serde_json::Value;

/// The binary under test.
pub(crate) const OXTREE: &str = env!("CARGO_BIN_EXE_oxtree");

/// A place for the repositories of one test.
pub(crate) struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self { dir: temp_dir() }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new repository, made by the real `ostree`.
    pub(crate) fn repo(&self, name: &str) -> Repo {
        let repo = Tool::ostree().repo(self.at(name)).init("archive");
        repo.without_fsync()
    }

    /// Commits a tree of some small files and so many of a megabyte that do not pack; two of them
    /// have the same content in all versions.
    pub(crate) fn commit(&self, repo: &Repo, branch: &str, version: u64, large: u64) -> String {
        let tree = self.at(&format!("tree/{branch}/{version}"));
        fs::create_dir_all(&tree).expect("mkdir");
        trees::small(&tree, version);
        for number in 0..large {
            let path = tree.join(format!("large-{number}"));
            trees::incompressible(&path, 1 << 20, 100 * version * (number / 2) + number);
        }
        // Programs, say: most of each is as it was.
        for number in 0..40 {
            let noise = Noise::new(number).bytes(30_000);
            let content: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
            let content = format!("{version}{content}");
            fs::write(tree.join(format!("program-{number}")), content).expect("write a file");
        }
        let timestamp = format!("--timestamp=2026-01-02T03:04:{version:02}Z");
        repo.commit(branch, &tree, &["--canonical-permissions", &timestamp])
    }

    /// `oxtree serve` of a repository.
    pub(crate) fn serve(&self, repo: &Repo) -> Serve {
        self.serve_at(repo, "127.0.0.1:0")
    }

    /// The same at an address.
    pub(crate) fn serve_at(&self, repo: &Repo, address: &str) -> Serve {
        let path = repo.path().to_str().expect("a path in UTF-8");
        let args = ["serve", "--allow-anonymous-push", "--listen", address, path];
        Serve::start(OXTREE, &args, self.at("serve.log"))
    }
}

/// `oxtree push` of a repository to a URL.
pub(crate) fn push(tool: &Tool, source: &Repo, url: &str, args: &[&str]) -> Output {
    let repo = format!("--repo={}", source.path().display());
    let words = ["push", &repo, url].into_iter().chain(args.iter().copied());
    tool.run(words)
}

/// [`push`] that has to succeed; what `--json` says.
pub(crate) fn push_ok(source: &Repo, url: &str, args: &[&str]) -> Value {
    let args = [args, &["--json"]].concat();
    let output = push(&Tool::new(OXTREE), source, url, &args).expect_ok();
    serde_json::from_str(&output.stdout()).expect("an object in JSON")
}

/// A number in what `--json` says.
pub(crate) fn number(report: &Value, key: &str) -> u64 {
    report[key].as_u64().expect("a number")
}

/// The repositories have the same commit at a ref, and the second one is in order.
pub(crate) fn assert_same(source: &Repo, dest: &Repo, name: &str) {
    assert_eq!(source.rev_parse(name), dest.rev_parse(name), "{name}");
    dest.fsck();
}
