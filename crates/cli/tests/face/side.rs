// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real `ostree` and ours, called as `ostree`, side by side.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use oxtree_testkit::{BinDir, Output, Tool};

static BINS: LazyLock<BinDir> = LazyLock::new(|| {
    let names = ["oxtree", "ostree"];
    BinDir::linked(env!("CARGO_BIN_EXE_oxtree"), &names)
});

/// The real tool prints question marks in the C locale, and refuses arguments.
const UTF8: &str = "C.UTF-8";

/// Our binary under one of its names.
pub(crate) fn ours(name: &str) -> Tool {
    Tool::new(BINS.path().join(name))
}

/// A directory with a repository that both tools work on.
pub(crate) struct Side {
    dir: tempfile::TempDir,
}

impl Side {
    /// A directory with nothing in it.
    pub(crate) fn empty() -> Self {
        Self {
            dir: oxtree_testkit::temp_dir(),
        }
    }

    /// A new archive repository, made by the real tool, and a small tree to commit.
    pub(crate) fn new() -> Self {
        let side = Self::empty();
        side.real(&["init", "--repo=repo", "--mode=archive"])
            .expect_ok();
        // Hundreds of commits without waiting for the disk.
        side.real(&["config", "--repo=repo", "set", "core.fsync", "false"])
            .expect_ok();
        let tree = side.path("tree");
        std::fs::create_dir_all(tree.join("d")).unwrap();
        std::fs::write(tree.join("f"), "hi\n").unwrap();
        std::os::unix::fs::symlink("f", tree.join("l")).unwrap();
        side
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    /// Commits the tree with the real tool.
    pub(crate) fn commit(&self, branch: &str, args: &[&str]) -> String {
        let mut words = vec!["commit", "--repo=repo", "--tree=dir=tree", "-b", branch];
        words.extend(args);
        self.real(&words).expect_ok().stdout().trim().to_owned()
    }

    /// Runs the real tool in the directory.
    pub(crate) fn real(&self, args: &[&str]) -> Output {
        Tool::ostree()
            .env("LC_ALL", UTF8)
            .dir(self.dir.path())
            .run(args)
    }

    /// Runs ours in the directory.
    pub(crate) fn ours(&self, args: &[&str]) -> Output {
        ours("ostree")
            .env("LC_ALL", UTF8)
            .dir(self.dir.path())
            .run(args)
    }

    /// Runs both on the repository `repo`; they print and exit the same.
    pub(crate) fn same(&self, args: &[&str]) -> Output {
        let args = with_repo(args, "repo");
        let (real, ours) = (self.real(&args), self.ours(&args));
        assert_eq!(
            (ours.code, ours.stdout(), error_line(&ours)),
            (real.code, real.stdout(), error_line(&real)),
            "{args:?}"
        );
        ours
    }

    /// As [`Side::same`] for commands that list in an order of no meaning.
    pub(crate) fn same_sorted(&self, args: &[&str]) {
        let args = with_repo(args, "repo");
        let (real, ours) = (self.real(&args), self.ours(&args));
        assert_eq!(ours.code, real.code, "{args:?}");
        assert_eq!(sorted(&ours.stdout()), sorted(&real.stdout()), "{args:?}");
    }

    /// Runs each tool on its own copy of the repository, `repo` (the real one) and `copy`; they
    /// print and exit the same. Compare the copies with [`Side::assert_copies_equal`].
    pub(crate) fn same_change(&self, args: &[&str]) {
        let real = self.real(&with_repo(args, "repo"));
        let ours = self.ours(&with_repo(args, "copy"));
        assert_eq!(
            (ours.code, ours.stdout(), error_line(&ours)),
            (real.code, real.stdout(), error_line(&real)),
            "{args:?}"
        );
    }

    /// Makes `copy` from `repo`.
    pub(crate) fn copy(&self) {
        Tool::new("/bin/cp").ok([Path::new("-a"), &self.repo(), &self.path("copy")]);
    }

    /// The two copies hold the same refs and the same config.
    pub(crate) fn assert_copies_equal(&self) {
        for part in ["refs", "config"] {
            assert_eq!(
                files(&self.path("copy").join(part)),
                files(&self.repo().join(part))
            );
        }
    }
}

fn with_repo<'a>(args: &[&'a str], repo: &'static str) -> Vec<&'a str> {
    let option = match repo {
        "copy" => "--repo=copy",
        _ => "--repo=repo",
    };
    let mut words = args.to_vec();
    words.insert(1, option);
    words
}

/// The last line of standard error: the real tool prints its usage before some errors.
fn error_line(output: &Output) -> String {
    output.stderr().lines().last().unwrap_or("").to_owned()
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Every file and link below `path` with what it holds.
fn files(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    if let Ok(target) = path.read_link() {
        found.push((PathBuf::new(), target.into_os_string().into_encoded_bytes()));
    } else if path.is_dir() {
        for entry in path.read_dir().unwrap() {
            let name = entry.unwrap().file_name();
            let below = files(&path.join(&name)).into_iter();
            found.extend(below.map(|(file, bytes)| (Path::new(&name).join(file), bytes)));
        }
    } else {
        found.push((PathBuf::new(), std::fs::read(path).unwrap()));
    }
    found.sort();
    found
}
