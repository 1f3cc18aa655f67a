// SPDX-License-Identifier: MIT OR Apache-2.0
//! `fsck` on repositories damaged in many ways, beside the real one.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::Command;

use oxtree_testkit::{Output, Tool, is_root};

use crate::side::{Side, ours};

const MODES: [&str; 4] = ["archive", "bare-user", "bare", "bare-user-only"];

/// A repository with two commits on `main` and one on `other`.
struct Damaged {
    side: Side,
    mode: &'static str,
}

impl Damaged {
    fn new(mode: &'static str) -> Self {
        let side = Side::empty();
        let init = ["init", "--repo=repo", &format!("--mode={mode}")];
        side.real(&init).expect_ok();
        side.real(&["config", "--repo=repo", "set", "core.fsync", "false"])
            .expect_ok();
        let tree = side.path("tree");
        fs::create_dir_all(tree.join("sub")).unwrap();
        for (name, content) in [("a", "hello\n"), ("sub/b", "world\n"), ("empty", "")] {
            fs::write(tree.join(name), content).unwrap();
        }
        std::os::unix::fs::symlink("a", tree.join("l")).unwrap();
        let damaged = Self { side, mode };
        damaged.commit("main", "tree");
        fs::write(damaged.side.path("tree/c"), "x\n").unwrap();
        damaged.commit("main", "tree");
        damaged.commit("other", "tree/sub");
        damaged
    }

    fn commit(&self, branch: &str, tree: &str) {
        let words = ["commit", "--repo=repo", "-b", branch, tree];
        self.side.real(&words).expect_ok();
    }

    /// The path of an object, by its name or that of a ref.
    fn object(&self, rev: &str, kind: &str) -> PathBuf {
        let words = ["rev-parse", "--repo=repo", rev];
        let checksum = self.side.real(&words).expect_ok().stdout();
        self.loose(checksum.trim(), kind)
    }

    fn loose(&self, checksum: &str, kind: &str) -> PathBuf {
        let suffix = match (kind, self.mode) {
            ("file", "archive") => "filez",
            (kind, _) => kind,
        };
        let path = format!("objects/{}/{}.{suffix}", &checksum[..2], &checksum[2..]);
        self.side.repo().join(path)
    }

    /// The path of the object of a path in `main`; `column` is one of `ls -C`.
    fn of(&self, path: &str, column: usize, kind: &str) -> PathBuf {
        let words = ["ls", "--repo=repo", "-d", "-C", "main", path];
        let line = self.side.real(&words).expect_ok().stdout();
        let checksum = line.split_whitespace().nth(column).unwrap();
        self.loose(checksum, kind)
    }

    fn file(&self) -> PathBuf {
        self.of("/a", 4, "file")
    }

    fn dirtree(&self) -> PathBuf {
        self.of("/sub", 4, "dirtree")
    }

    fn dirmeta(&self) -> PathBuf {
        self.of("/", 5, "dirmeta")
    }

    /// Both tools, each on a copy of its own, print the same, exit the same, and mark the same
    /// commits as partial.
    fn same(&self, args: &[&str]) -> Output {
        let real = self.run_on_copy(&Tool::ostree(), args);
        let ours = self.run_on_copy(&ours("ostree"), args);
        assert_eq!(normal(&ours.0), normal(&real.0), "{} {args:?}", self.mode);
        assert_eq!(ours.1, real.1, "{} {args:?}", self.mode);
        ours.0
    }

    /// The same exit code and error at the end. The real one stops at the first damage without `--all`; ours says
    /// what that one does, and goes on.
    fn same_and_more(&self, args: &[&str]) {
        let real = normal(&self.run_on_copy(&Tool::ostree(), args).0);
        let ours = normal(&self.run_on_copy(&ours("ostree"), args).0);
        assert_eq!(ours.0, real.0, "{} {args:?}", self.mode);
        for line in real.1.iter().chain(&real.2) {
            let said = ours.1.contains(line) || ours.2.contains(line);
            assert!(said, "{} {args:?}: {line} is not in {ours:?}", self.mode);
        }
    }

    /// What our fsck does where the real one is wrong or says something else.
    fn ours(&self, args: &[&str]) -> (Output, Vec<String>) {
        self.run_on_copy(&ours("ostree"), args)
    }

    fn run_on_copy(&self, tool: &Tool, args: &[&str]) -> (Output, Vec<String>) {
        let copy = self.side.path("copy");
        let cp = Command::new("cp")
            .arg("-a")
            .arg(self.side.repo())
            .arg(&copy)
            .status();
        assert!(cp.unwrap().success());
        let words = [&["fsck", "--repo=copy"], args].concat();
        let tool = tool
            .clone()
            .env("LC_ALL", "C.UTF-8")
            .dir(self.side.path("."));
        let output = tool.run(words);
        let mut marked: Vec<String> = fs::read_dir(copy.join("state"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        marked.sort();
        fs::remove_dir_all(&copy).unwrap();
        (output, marked)
    }
}

/// The exit code and all lines sorted; commits within a line sorted, too.
fn normal(output: &Output) -> (Option<i32>, Vec<String>, Vec<String>) {
    let line = |line: &str| {
        let mut words: Vec<&str> = line.split([' ', ',', ':']).collect();
        words.sort_unstable();
        words.join(" ")
    };
    let lines = |text: &str| {
        // Where a damaged object belongs, libostree does not say.
        let lines = text.lines().filter(|line| !line.starts_with("  "));
        let mut lines: Vec<String> = lines.map(line).collect();
        lines.sort();
        lines
    };
    (
        output.code,
        lines(&output.stdout()),
        lines(&output.stderr()),
    )
}

fn flip(path: &PathBuf, at: u64) {
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(b"z").unwrap();
}

fn truncate(path: &PathBuf) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(4).unwrap();
}

#[test]
fn what_is_whole_passes() {
    for mode in MODES {
        let damaged = Damaged::new(mode);
        for args in [
            &[][..],
            &["-q"],
            &["-a"],
            &["--delete"],
            &["--add-tombstones"],
        ] {
            damaged.same(args);
        }
        damaged.same_and_more(&["--verify-bindings", "--verify-back-refs"]);
    }
}

#[test]
fn a_flipped_byte_in_each_kind_of_object() {
    for mode in MODES {
        let damaged = Damaged::new(mode);
        // The last byte of the content, not of a deflate stream's end.
        let file = damaged.file();
        let at = match mode {
            "archive" => fs::metadata(&file).unwrap().len() - 4,
            _ => 2,
        };
        flip(&file, at);
        for args in [&[][..], &["-a"], &["--delete"]] {
            assert_eq!(damaged.same(args).code, Some(1));
        }
    }
    // Metadata is stored in the same way in every mode.
    for object in [Damaged::dirtree, Damaged::dirmeta] {
        let damaged = Damaged::new("archive");
        flip(&object(&damaged), 3);
        for args in [&[][..], &["-a"], &["--delete"]] {
            assert_eq!(damaged.same(args).code, Some(1));
        }
    }
    let damaged = Damaged::new("archive");
    flip(&damaged.object("main", "commit"), 3);
    damaged.same_and_more(&[]);
    assert_eq!(damaged.same(&["-a"]).code, Some(1));
}

#[test]
fn truncated_and_missing_objects() {
    for mode in MODES {
        let damaged = Damaged::new(mode);
        let file = damaged.file();
        truncate(&file);
        let (output, marked) = damaged.ours(&["-a"]);
        assert_eq!((output.code, marked.len()), (Some(1), 0), "{output:?}");
        let (output, marked) = damaged.ours(&["--delete"]);
        assert_eq!((output.code, marked.len()), (Some(1), 2), "{output:?}");

        fs::remove_file(&file).unwrap();
        for args in [&[][..], &["-q"], &["-a"]] {
            damaged.same(args);
        }
        let damaged = Damaged::new(mode);
        truncate(&damaged.dirtree());
        damaged.same(&["-a"]);
        let damaged = Damaged::new(mode);
        fs::remove_file(damaged.dirmeta()).unwrap();
        damaged.same(&[]);
        let damaged = Damaged::new(mode);
        fs::remove_file(damaged.object("main", "commit")).unwrap();
        damaged.same_and_more(&[]);
    }
}

#[test]
fn a_missing_dirtree_does_not_end_the_check() {
    let damaged = Damaged::new("archive");
    let dirtree = damaged.dirtree();
    fs::remove_file(dirtree).unwrap();
    // The real one gives up here, and marks nothing.
    let (output, marked) = damaged.ours(&[]);
    assert_eq!((output.code, marked.len()), (Some(1), 3), "{output:?}");
    assert!(output.stderr().contains("Object missing in commits "));
}

#[test]
fn metadata_of_files_counts() {
    assert!(is_root(), "needs root");
    let chmod = |path: &PathBuf| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, mode).unwrap();
    };
    let chown = |path: &PathBuf| std::os::unix::fs::chown(path, Some(1), Some(1)).unwrap();
    for damage in [chmod as fn(&PathBuf), chown] {
        let damaged = Damaged::new("bare");
        damage(&damaged.file());
        assert_eq!(damaged.same(&["-a"]).code, Some(1));
    }
    for mode in ["bare", "bare-user-only"] {
        let damaged = Damaged::new(mode);
        chmod(&damaged.file());
        assert_eq!(damaged.same(&["-a"]).code, Some(1));
    }
    // What matters in bare-user is the attribute, not the file's own mode.
    let damaged = Damaged::new("bare-user");
    chmod(&damaged.file());
    assert_eq!(damaged.same(&["-a"]).code, Some(0));
    for value in [None, Some(&b"nonsense"[..])] {
        let damaged = Damaged::new("bare-user");
        let path = damaged.file();
        oxtree_testkit::trees::xattr(&path, "user.ostreemeta", value.unwrap_or(b"x"));
        let (output, _) = damaged.ours(&["-a"]);
        assert_eq!(output.code, Some(1), "{output:?}");
    }
}

#[test]
fn stricter_than_libostree_about_what_follows_the_content() {
    let damaged = Damaged::new("archive");
    let path = damaged.file();
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"junk").unwrap();
    let (output, _) = damaged.ours(&[]);
    assert_eq!(output.code, Some(1));
    assert!(
        output
            .stderr()
            .contains("bytes after the end of the content"),
        "{output:?}"
    );
}

#[test]
fn partial_commits_are_counted() {
    let damaged = Damaged::new("archive");
    let commit = damaged
        .side
        .real(&["rev-parse", "--repo=repo", "main"])
        .stdout();
    let marker = format!("state/{}.commitpartial", commit.trim());
    let marker = damaged.side.repo().join(marker);
    fs::write(&marker, "").unwrap();
    assert_eq!(damaged.same(&[]).code, Some(0));
    fs::write(&marker, "f").unwrap();
    for args in [&[][..], &["-q"], &["--add-tombstones"]] {
        assert_eq!(damaged.same(args).code, Some(1));
    }
}

#[test]
fn bindings() {
    for collection in [None, Some("org.example.A")] {
        let damaged = Damaged::new("archive");
        let repo = damaged.side.repo();
        if let Some(id) = collection {
            let words = ["config", "--repo=repo", "set", "core.collection-id", id];
            damaged.side.real(&words).expect_ok();
            fs::remove_file(repo.join("refs/heads/other")).unwrap();
            damaged.commit("main", "tree");
        }
        damaged.same(&["--verify-bindings"]);
        let heads = repo.join("refs/heads");
        fs::copy(heads.join("main"), heads.join("evil")).unwrap();
        damaged.same(&[]);
        damaged.same_and_more(&["--verify-bindings"]);
        fs::remove_file(heads.join("evil")).unwrap();
        let mirror = repo.join("refs/mirrors/org.example.B");
        fs::create_dir_all(&mirror).unwrap();
        fs::copy(heads.join("main"), mirror.join("main")).unwrap();
        damaged.same(&[]);
        damaged.same_and_more(&["--verify-bindings"]);
    }
    let damaged = Damaged::new("archive");
    fs::remove_file(damaged.side.repo().join("refs/heads/other")).unwrap();
    // Which of two commits is named first is a matter of luck there.
    fs::remove_file(damaged.object("main^", "commit")).unwrap();
    damaged.same_and_more(&["--verify-back-refs"]);
}

#[test]
fn a_tombstone_for_the_parent_that_is_not_there() {
    let damaged = Damaged::new("archive");
    let parent = damaged
        .side
        .real(&["rev-parse", "--repo=repo", "main^"])
        .stdout();
    let parent = parent.trim();
    fs::remove_file(damaged.object("main^", "commit")).unwrap();
    // The real one deletes the child instead, which a ref may point at.
    let output = damaged
        .side
        .ours(&["fsck", "--repo=repo", "--add-tombstones"]);
    let output = output.expect_ok().stdout();
    assert!(
        output.contains(&format!("Adding tombstone for commit {parent}\n")),
        "{output:?}"
    );
    assert!(damaged.loose(parent, "tombstone-commit").is_file());
    assert!(damaged.object("main", "commit").is_file());
    let config = fs::read_to_string(damaged.side.repo().join("config")).unwrap();
    assert!(config.contains("tombstone-commits=true"), "{config}");
    damaged.same(&[]);
}

#[test]
fn names_paths_and_refs() {
    for face in ["oxtree", "ostree"] {
        let damaged = Damaged::new("archive");
        fs::remove_file(damaged.of("/sub/b", 4, "file")).unwrap();
        truncate(&damaged.object("other", "commit"));
        let output = ours(face)
            .dir(damaged.side.path("."))
            .run(["fsck", "--repo=repo", "--all"]);
        assert_eq!(output.code, Some(1));
        let stderr = output.stderr();
        assert!(
            stderr.contains(".file belongs to /sub/b of main\n"),
            "{stderr}"
        );
        assert!(stderr.contains(".commit belongs to other\n"), "{stderr}");
        // The same at the end of a check that does not go on.
        let output = ours(face)
            .dir(damaged.side.path("."))
            .run(["fsck", "--repo=repo"]);
        let stderr = output.expect_failure().stderr();
        assert!(
            stderr.contains(".commit belongs to other\nerror: "),
            "{stderr}"
        );
    }
}
