// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two repositories of the same mode, one for each tool.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use oxtree_testkit::{BinDir, Output, Repo, Tool};

static BINS: LazyLock<BinDir> =
    LazyLock::new(|| BinDir::linked(env!("CARGO_BIN_EXE_oxtree"), &["ostree"]));

/// The modes that can be written.
pub(crate) const MODES: [&str; 4] = ["archive", "bare", "bare-user", "bare-user-only"];

/// Our binary, called as `ostree`.
pub(crate) fn our_tool() -> Tool {
    Tool::new(BINS.path().join("ostree")).env("LC_ALL", "C.UTF-8")
}

fn real_tool() -> Tool {
    Tool::ostree().env("LC_ALL", "C.UTF-8")
}

/// A directory with two repositories, `real` and `ours`.
pub(crate) struct Pair {
    dir: tempfile::TempDir,
    pub(crate) real: Repo,
    pub(crate) ours: Repo,
}

impl Pair {
    pub(crate) fn new(mode: &str) -> Self {
        let dir = oxtree_testkit::temp_dir();
        let at = |name: &str| dir.path().join(name);
        let real = real_tool().dir(dir.path()).repo(at("real")).init(mode);
        let ours = our_tool().dir(dir.path()).repo(at("ours")).init(mode);
        let pair = Self { dir, real, ours };
        // Hundreds of small commits without waiting for the disk.
        for repo in [&pair.real, &pair.ours] {
            repo.ok("config", ["set", "core.fsync", "false"]);
        }
        pair
    }

    /// A path beside the repositories, where both tools run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new directory beside the repositories.
    pub(crate) fn tree(&self, name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        fill(&path);
        path
    }

    /// Writes a small file beside the repositories.
    pub(crate) fn file(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Commits with both tools; both succeed and print the same checksum, which is returned.
    pub(crate) fn same(&self, args: &[&str]) -> String {
        let (real, ours) = self.both(args);
        let (real, ours) = (real.expect_ok(), ours.expect_ok());
        assert_eq!(ours.stdout(), real.stdout(), "{args:?}");
        ours.stdout().trim().to_owned()
    }

    /// Commits with both tools; both fail with the same line.
    pub(crate) fn same_failure(&self, args: &[&str]) -> String {
        let (real, ours) = self.both(args);
        assert_eq!((real.code, ours.code), (Some(1), Some(1)), "{args:?}");
        assert_eq!(ours.stderr(), real.stderr(), "{args:?}");
        ours.stderr()
    }

    /// Commits with both tools; both fail, ours with `text` in its message.
    pub(crate) fn both_fail(&self, args: &[&str], text: &str) {
        let (real, ours) = self.both(args);
        assert_ne!(real.code, Some(0), "{args:?}");
        assert_eq!(ours.code, Some(1), "{args:?}");
        let message = ours.stderr();
        assert!(message.contains(text), "{args:?}: {message}");
        assert!(
            message.starts_with("error: ") && message.lines().count() == 1,
            "{message}"
        );
    }

    fn both(&self, args: &[&str]) -> (Output, Output) {
        let args = [&["--timestamp=@1700000000"], args].concat();
        (
            self.real.run("commit", &args),
            self.ours.run("commit", &args),
        )
    }

    /// The real tool finds ours in order, and our tool the real one.
    pub(crate) fn fsck(&self) {
        real_tool().repo(self.ours.path()).fsck();
        our_tool().repo(self.real.path()).fsck();
    }
}

/// The files in a directory and below.
pub(crate) fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files
}
