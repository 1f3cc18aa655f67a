// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories, a server whose programs are ours or the original's, and the original's pusher.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use oxtree_testkit::{BinDir, Output, Repo, Sshd, Tool, original_ostree_push, temp_dir, trees};

use crate::{NAMES, OXTREE};

pub(crate) static ORIGINAL: LazyLock<PathBuf> =
    LazyLock::new(|| original_ostree_push(Path::new(env!("CARGO_TARGET_TMPDIR"))));

/// Repositories, and a server that has programs of the one kind or the other.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) sshd: Sshd,
}

impl Fixture {
    pub(crate) fn ours() -> Self {
        Self::with(Sshd::builder().bins(BinDir::linked(OXTREE, &NAMES)))
    }

    pub(crate) fn original() -> Self {
        Self::with(Sshd::builder().path(&*ORIGINAL))
    }

    pub(crate) fn with(sshd: oxtree_testkit::SshdBuilder) -> Self {
        Self {
            dir: temp_dir(),
            sshd: sshd.start(),
        }
    }

    pub(crate) fn repo(&self, name: &str, mode: &str) -> Repo {
        Tool::ostree()
            .repo(self.dir.path().join(name))
            .init(mode)
            .without_fsync()
    }

    /// A commit, some seconds after the beginning.
    pub(crate) fn commit(&self, repo: &Repo, branch: &str, seed: u64, time: u32) -> String {
        let tree = self.dir.path().join(format!("tree{seed}"));
        if !tree.exists() {
            fs::create_dir(&tree).expect("mkdir");
            trees::small(&tree, seed);
        }
        let time = format!("--timestamp=@{time}");
        let version = "--add-metadata-string=version=1";
        let extra = "--add-metadata-string=zz.last=x";
        let args = ["--canonical-permissions", &time, version, extra];
        repo.commit(branch, &tree, &args)
    }

    pub(crate) fn push(&self, pusher: Tool, source: &Repo, dest: &Repo, words: &[&str]) -> Output {
        let mut all = vec!["--repo".to_owned(), source.path().display().to_string()];
        all.extend(self.sshd.ssh_options());
        let (options, refs): (Vec<&str>, Vec<&str>) =
            words.iter().partition(|word| word.starts_with('-'));
        all.extend(options.into_iter().map(str::to_owned));
        all.push(self.sshd.url(dest.path()));
        all.extend(refs.into_iter().map(str::to_owned));
        pusher.run(all)
    }
}

pub(crate) fn original() -> Tool {
    Tool::new(ORIGINAL.join("ostree-push"))
}
