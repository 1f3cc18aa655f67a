// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories, and pushes that run at the same time.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use oxtree_testkit::{BinDir, Output, Repo, Serve, Tool, temp_dir, trees};

/// The binary under test.
pub(crate) const OXTREE: &str = env!("CARGO_BIN_EXE_oxtree");

/// How many push at once.
pub(crate) const CROWD: usize = 16;

pub(crate) struct Fixture {
    dir: tempfile::TempDir,
    bins: BinDir,
    /// A server for each destination that one was needed for.
    servers: Mutex<BTreeMap<PathBuf, Serve>>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let (dir, bins) = (temp_dir(), BinDir::empty());
        bins.script("ssh", "for command; do :; done; exec sh -c \"$command\"");
        let servers = Mutex::default();
        Self { dir, bins, servers }
    }

    /// The URL of a server for this repository.
    fn url(&self, repo: &Repo) -> String {
        let mut servers = self.servers.lock().expect("no panic");
        let start = || {
            let path = repo.path().to_str().expect("UTF-8");
            let args = [
                "serve",
                "--allow-anonymous-push",
                "--listen",
                "127.0.0.1:0",
                path,
            ];
            Serve::start(OXTREE, &args, self.at("serve.log"))
        };
        let server = servers.entry(repo.path().to_owned()).or_insert_with(start);
        server.url().to_owned()
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new archive repository.
    pub(crate) fn repo(&self, name: &str) -> Repo {
        let repo = Tool::ostree().repo(self.at(name)).init("archive");
        let repo = repo.without_fsync();
        // Everybody waits for everybody here.
        repo.ok("config", ["set", "core.lock-timeout-secs", "300"]);
        repo
    }

    /// A small tree, which differs with `seed`; part of it is the same for each.
    pub(crate) fn tree(&self, seed: u64) -> PathBuf {
        let tree = self.at(&format!("tree-{seed}"));
        if !tree.exists() {
            fs::create_dir(&tree).expect("mkdir");
            trees::small(&tree, seed);
            trees::many(&tree, 50, seed);
        }
        tree
    }

    /// Commits the tree of `seed`. A larger `time` is later.
    pub(crate) fn commit(&self, repo: &Repo, branch: &str, seed: u64, time: u64) -> String {
        let timestamp = format!("--timestamp=@{}", 1_700_000_000 + time);
        let args = ["--canonical-permissions", &timestamp];
        repo.commit(branch, self.tree(seed), &args)
    }

    /// `oxtree push` of one ref: by turns with a receiver in a process of its own, in the same one, and to
    /// a server.
    pub(crate) fn push(&self, number: usize, from: &Repo, to: &Repo, name: &str) -> Command {
        let mut words = vec![
            "push".to_owned(),
            format!("--repo={}", from.path().display()),
            "--json".to_owned(),
        ];
        let path = to.path().display();
        if number % 4 == 3 {
            words.push(self.url(to));
        } else if number.is_multiple_of(2) {
            let ssh = self.bins.path().join("ssh");
            words.push(format!("--ssh-command={}", ssh.display()));
            words.push(format!("--command={OXTREE} receive"));
            words.push(format!("near:{path}"));
        } else {
            words.push(path.to_string());
        }
        words.push(name.to_owned());
        Tool::new(OXTREE).command(words)
    }

    /// [`Fixture::push`] in the background.
    pub(crate) fn start(&self, number: usize, from: &Repo, to: &Repo, name: &str) -> Running {
        Running::start(&mut self.push(number, from, to, name))
    }
}

/// A program that was started.
pub(crate) struct Running {
    child: Child,
    about: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let about = format!("{command:?}");
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("start a push");
        Self { child, about }
    }

    /// What came of it.
    pub(crate) fn end(self) -> Output {
        let output = self.child.wait_with_output().expect("its end");
        Output {
            command: self.about,
            code: output.status.code(),
            stdout_bytes: output.stdout,
            stderr_bytes: output.stderr,
        }
    }
}

/// The repository is in order, also for those who read its summary.
pub(crate) fn check(repo: &Repo, refs: &[String]) {
    repo.fsck();
    Tool::new(OXTREE).repo(repo.path()).ok("fsck", ["--quiet"]);
    let summary = repo.ok("summary", ["-v"]);
    for name in refs {
        let commit = repo.rev_parse(name);
        assert!(
            summary.contains(&format!("* {name}\n")) && summary.contains(&commit),
            "{name} at {commit} is not in the summary: {summary}"
        );
    }
}
