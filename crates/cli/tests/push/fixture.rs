// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories, a far side to push to, and what is checked after each push.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use oxtree_testkit::{Output, Repo, Snapshot, Sshd, Tool, WebServer, temp_dir, trees};
use serde_json::Value;

/// The binary under test.
pub(crate) const OXTREE: &str = env!("CARGO_BIN_EXE_oxtree");

/// Our tool, with an `ssh` that reads nothing of the user's configuration.
pub(crate) fn oxtree() -> Tool {
    Tool::new(OXTREE).env("OXTREE_SSH_COMMAND", "ssh -F none")
}

/// The far side; all tests that run at the same time share one.
fn shared_sshd() -> Arc<Sshd> {
    static SHARED: Mutex<Weak<Sshd>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().expect("no other test has died in here");
    shared.upgrade().unwrap_or_else(|| {
        let sshd = Arc::new(Sshd::with_binary(OXTREE));
        *shared = Arc::downgrade(&sshd);
        sshd
    })
}

/// A place for the repositories of one test, and the far side.
pub(crate) struct Fixture {
    dir: tempfile::TempDir,
    pub(crate) sshd: Arc<Sshd>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            dir: temp_dir(),
            sshd: shared_sshd(),
        }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new repository, made by the real `ostree`.
    pub(crate) fn repo(&self, name: &str, mode: &str) -> Repo {
        Tool::ostree().repo(self.at(name)).init(mode)
    }

    /// A new archive repository with a commit of a small tree in each of `branches`.
    pub(crate) fn source(&self, branches: &[&str]) -> Repo {
        let source = self.repo("source", "archive");
        for (seed, branch) in branches.iter().enumerate() {
            self.commit(&source, branch, seed as u64);
        }
        source
    }

    /// Commits a small tree, which differs with `seed`.
    pub(crate) fn commit(&self, repo: &Repo, branch: &str, seed: u64) -> String {
        let timestamp = format!("--timestamp=2026-01-02T03:04:{seed:02}Z");
        repo.commit(
            branch,
            self.tree(seed),
            &["--canonical-permissions", &timestamp],
        )
    }

    /// A small tree, which differs with `seed`.
    pub(crate) fn tree(&self, seed: u64) -> PathBuf {
        let tree = self.at(&format!("tree-{seed}"));
        if !tree.exists() {
            fs::create_dir(&tree).expect("mkdir");
            trees::small(&tree, seed);
        }
        tree
    }

    /// The words of `oxtree push` to the repository at `dest` over ssh.
    pub(crate) fn words(&self, source: &Repo, dest: &Path, args: &[&str]) -> Vec<String> {
        let mut words = vec![
            "push".to_owned(),
            format!("--repo={}", source.path().display()),
        ];
        words.extend(self.sshd.ssh_options());
        let (options, refs): (Vec<&str>, Vec<&str>) =
            args.iter().partition(|arg| arg.starts_with('-'));
        words.extend(options.into_iter().map(str::to_owned));
        words.push(self.sshd.url(dest));
        words.extend(refs.into_iter().map(str::to_owned));
        words
    }

    /// Pushes over ssh; options (with `=`) and refs may be mixed in `args`.
    pub(crate) fn push(&self, source: &Repo, dest: &Repo, args: &[&str]) -> Output {
        oxtree().run(self.words(source, dest.path(), args))
    }

    /// [`Fixture::push`] that has to succeed; what `--json` says.
    pub(crate) fn push_ok(&self, source: &Repo, dest: &Repo, args: &[&str]) -> Value {
        let args = [args, &["--json"]].concat();
        json(&self.push(source, dest, &args).expect_ok())
    }

    /// [`Fixture::push`] that has to be refused, in one line that has all of `words`, with
    /// nothing changed at the destination.
    pub(crate) fn push_refused(&self, source: &Repo, dest: &Repo, args: &[&str], words: &[&str]) {
        let before = Snapshot::of_repo(dest.path());
        let output = self.push(source, dest, args);
        assert_error(&output, 1, words);
        // The far side may still be tidying up.
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut after = Snapshot::of_repo(dest.path());
        while before != after && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
            after = Snapshot::of_repo(dest.path());
        }
        before.assert_unchanged(&after);
    }
}

/// What `--json` has printed.
pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout()).unwrap_or_else(|e| panic!("{e} in {output:?}"))
}

/// A number of `--json`.
pub(crate) fn number(report: &Value, key: &str) -> u64 {
    report[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no {key} in {report}"))
}

/// The status of a ref in `--json`.
pub(crate) fn status<'v>(report: &'v Value, name: &str) -> &'v str {
    let refs = report["refs"].as_array().expect("a list of refs");
    let found = refs.iter().find(|one| one["ref"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {report}"));
    found["status"].as_str().expect("a status")
}

/// The program has failed with one line on standard error that has all of `words`.
pub(crate) fn assert_error(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.code, Some(code), "{output:?}");
    let stderr = output.stderr();
    assert!(
        stderr.starts_with("error: ") && stderr.lines().count() == 1,
        "not one line of error: {output:?}"
    );
    for word in words {
        assert!(stderr.contains(word), "no {word:?} in {output:?}");
    }
}

/// The repository has exactly these refs of `source`, is in order, a client gets them, over HTTP
/// where its mode allows that, and nothing is left of any push.
pub(crate) fn check_published(source: &Repo, dest: &Repo, refs: &[&str]) {
    check_public(source, dest, refs);
    let left: Vec<_> = fs::read_dir(dest.path().join("tmp"))
        .expect("read tmp/")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name != "cache")
        .collect();
    assert!(left.is_empty(), "left in tmp/: {left:?}");
}

/// The same, whatever is left of other pushes.
pub(crate) fn check_public(source: &Repo, dest: &Repo, refs: &[&str]) {
    let dest = Tool::ostree().repo(dest.path());
    assert_eq!(dest.refs(), refs);
    for name in refs {
        assert_eq!(dest.rev_parse(name), source.rev_parse(name), "{name}");
    }
    dest.fsck();
    check_summary(&dest, refs);
    check_clients(&dest, refs);
}

/// The summary, as the real tool reads it, says where `refs` are and knows no others.
fn check_summary(dest: &Repo, refs: &[&str]) {
    let summary = dest.ok("summary", ["-v"]);
    let listed: Vec<&str> = summary
        .lines()
        .filter_map(|line| line.strip_prefix("* "))
        .collect();
    assert_eq!(listed, refs, "{summary}");
    for name in refs {
        let commit = dest.rev_parse(name);
        assert!(summary.contains(&commit), "{name} at {commit}: {summary}");
    }
}

/// Stock clients can pull all of `refs`.
fn check_clients(dest: &Repo, refs: &[&str]) {
    let mode = dest.ok("config", ["get", "core.mode"]);
    let web = (mode.trim() == "archive-z2").then(|| WebServer::serve(dest.path()));
    for mode in ["archive", "bare-user"] {
        let dir = temp_dir();
        let client = Tool::ostree().repo(dir.path().join("client")).init(mode);
        match &web {
            Some(web) => client.pull(&web.url(), refs),
            None => {
                let path = dest.path().to_str().expect("a path in UTF-8");
                let words = [&["--untrusted", path], refs].concat();
                client.ok("pull-local", words);
            }
        }
        for name in refs {
            assert_eq!(client.rev_parse(name), dest.rev_parse(name), "{name}");
        }
        client.fsck();
    }
}
