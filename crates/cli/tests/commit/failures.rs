// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes wrong: one clear line, and nothing left behind.

use std::path::Path;
use std::process::Command;

use oxtree_testkit::trees::{self, directory, file};
use oxtree_testkit::{Output, Repo, Tmpfs};

use crate::pair::{Pair, files_below, our_tool};

/// No ref, no object, nothing in tmp.
fn assert_untouched(repo: &Repo) {
    for folder in ["refs", "tmp", "objects"] {
        let files = files_below(&repo.path().join(folder));
        assert_eq!(files, Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn what_no_commit_can_hold() {
    let pair = Pair::new("archive");
    for repo in [&pair.real, &pair.ours] {
        repo.ok("config", ["set", "core.fsync", "true"]);
    }
    pair.tree("fifo", trees::with_fifo);
    pair.tree("name", trees::with_non_utf8_name);
    pair.tree("dir", |path| {
        use std::os::unix::ffi::OsStrExt;
        directory(&path.join(std::ffi::OsStr::from_bytes(b"d\xfe")), 0o755);
    });
    pair.tree("device", |path| {
        let args = ["c", "1", "3"].map(Into::into);
        let node = path.join("null").into_os_string();
        let words: Vec<std::ffi::OsString> = [node].into_iter().chain(args).collect();
        Output::of(Command::new("mknod").args(words)).expect_ok();
    });
    pair.tree("socket", |path| {
        std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
    });
    for (tree, message) in [
        ("fifo", "Not a regular file or symlink: fifo/fifo"),
        ("device", "Not a regular file or symlink: device/null"),
        ("socket", "Not a regular file or symlink: socket/socket"),
        ("name", "Invalid UTF-8 in filename bad-\\xff-name"),
        ("dir", "Invalid UTF-8 in filename d\\xfe"),
        ("missing", "opening missing: No such file or directory"),
        ("fifo/good", "opening fifo/good: Not a directory"),
    ] {
        pair.both_fail(&["-b", "main", tree], message);
        assert_untouched(&pair.ours);
    }
}

#[test]
fn wrong_options() {
    let pair = Pair::new("archive");
    pair.ours.ok("config", ["set", "core.fsync", "true"]);
    pair.tree("tree", |path| trees::small(path, 1));
    pair.tree("clash", |path| directory(&path.join("seed"), 0o755));
    pair.file("nospace", "nospace\n");
    for args in [
        &["tree"][..],
        &["-b", "a//b", "tree"],
        &["-b", "main", "--parent=zz", "tree"],
        &["-b", "main", "--tree=tree"],
        &["-b", "main", "--tree=zip=tree"],
        &["-b", "main", "--tree=ref=nothing"],
        &["-b", "main", "--base=nothing"],
        &["-b", "main", "--tree=dir=tree", "--tree=dir=clash"],
        &["-b", "main", "--tree=dir=clash", "--tree=dir=tree"],
        &["-b", "main", "--add-metadata-string=x", "tree"],
        &["-b", "main", "--add-metadata=x", "tree"],
        &["-b", "main", "--add-metadata-string==x", "tree"],
        &["-b", "main", "--keep-metadata=x", "tree"],
        &["-b", "main", "--statoverride=nospace", "tree"],
        &["-b", "main", "--fsync=perhaps", "tree"],
        &["-b", "main", "--timestamp=whenever", "tree"],
        &[
            "-b",
            "main",
            "--canonical-permissions",
            "--owner-uid=1",
            "tree",
        ],
        &[
            "-b",
            "main",
            "--canonical-permissions",
            "--owner-gid=1",
            "tree",
        ],
    ] {
        pair.same_failure(args);
        assert_untouched(&pair.ours);
    }
    pair.file("override", "512 /nothing\n");
    pair.same_failure(&["-b", "main", "--statoverride=override", "tree"]);
    pair.file("skip", "/nothing\n");
    pair.same_failure(&["-b", "main", "--skip-list=skip", "tree"]);
    pair.file("skip", "/\n");
    pair.same_failure(&["-b", "main", "--skip-list=skip", "tree"]);
    assert_eq!(pair.ours.refs(), [""; 0]);
}

#[test]
fn what_cannot_be_read() {
    let dir = oxtree_testkit::temp_dir();
    let nobody = our_tool().as_nobody().dir(dir.path());
    std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
    let repo = nobody.repo(dir.path().join("repo")).init("archive");
    let tree = dir.path().join("tree");
    directory(&tree, 0o755);
    trees::many(&tree, 300, 1);
    file(&tree.join("secret"), b"secret\n", 0o600);
    let fails = |message: &str| {
        let out = repo.run("commit", ["-b", "main", "tree"]).expect_failure();
        assert_eq!(out.stderr(), format!("error: {message}\n"));
        assert_untouched(&repo);
    };
    fails("opening tree/secret: Permission denied");
    std::fs::remove_file(tree.join("secret")).unwrap();
    directory(&tree.join("closed"), 0o700);
    fails("opening tree/closed: Permission denied");
}

#[test]
fn a_file_that_changes_meanwhile() {
    let pair = Pair::new("archive");
    pair.ours.ok("config", ["set", "core.fsync", "true"]);
    let tree = pair.tree("tree", |path| file(&path.join("file"), b"", 0o644));
    // Has content and says that it has none, like a file that grows while it is read.
    let mounted = Mounted::over(&tree.join("file"), "/proc/version");
    let out = pair
        .ours
        .run("commit", ["-b", "main", "tree"])
        .expect_failure();
    drop(mounted);
    let message = "error: reading tree/file: it has more than the 0 bytes expected\n";
    assert_eq!(out.stderr(), message);
    assert_untouched(&pair.ours);
}

struct Mounted(std::path::PathBuf);

impl Mounted {
    fn over(path: &Path, source: &str) -> Self {
        Output::of(Command::new("mount").args(["--bind", source]).arg(path)).expect_ok();
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Output::of(Command::new("umount").arg(&self.0)).expect_ok();
    }
}

#[test]
fn a_full_disk() {
    for mode in ["archive", "bare-user", "bare"] {
        let small = Tmpfs::mount(4 << 20);
        let pair = Pair::new("archive");
        pair.tree("tree", |path| {
            for n in 0..8 {
                trees::incompressible(&path.join(format!("{n}")), 1 << 20, n);
            }
        });
        // tmpfs has had no user attributes for long: bare-user may not be possible there.
        let repo = our_tool()
            .dir(pair.path(""))
            .repo(small.path().join("repo"));
        if repo.run("init", [format!("--mode={mode}")]).code != Some(0) {
            assert_eq!(mode, "bare-user");
            continue;
        }
        // By the rule for free space first, and then by the disk itself.
        let limit = repo.run("commit", ["-b", "main", "tree"]).expect_failure();
        assert!(
            limit.stderr().contains("min-free-space-percent"),
            "{limit:?}"
        );
        assert_untouched(&repo);
        repo.ok("config", ["set", "core.min-free-space-percent", "0"]);
        let full = repo.run("commit", ["-b", "main", "tree"]).expect_failure();
        let message = full.stderr();
        assert!(message.contains("No space left on device"), "{message}");
        assert!(
            message.contains(small.path().to_str().unwrap()),
            "{message}"
        );
        assert_untouched(&repo);
    }
}

#[test]
fn a_repository_that_cannot_be_written() {
    let disk = Tmpfs::mount(4 << 20);
    let repo = our_tool().repo(disk.path().join("repo")).init("archive");
    disk.make_read_only();
    let pair = Pair::new("archive");
    let tree = pair.tree("tree", |path| trees::small(path, 1));
    let args = ["-b", "main", tree.to_str().unwrap()];
    let message = repo.run("commit", args).expect_failure().stderr();
    assert!(message.contains("Read-only file system"), "{message}");
    let missing = our_tool().repo(pair.path("missing"));
    let message = missing.run("commit", args).expect_failure().stderr();
    assert!(message.starts_with("error: opening repo: "), "{message}");
}
