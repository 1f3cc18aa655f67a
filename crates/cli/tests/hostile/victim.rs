// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real `oxtree receive`, and what must not come of it.

use std::cell::OnceCell;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oxtree_testkit::{Meter, Output, Repo, Snapshot, Tool, descendants, kill, temp_dir, trees};
use serde_json::Value;

use crate::conversation::Part;
use crate::site::Site;

/// The binary under test.
pub(crate) const OXTREE: &str = env!("CARGO_BIN_EXE_oxtree");

/// What either end may take at the most.
pub(crate) const MEMORY: u64 = 100_000_000;

/// How long a receiver may take to see that something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// A repository that others want to push to, in a directory that they want to get out of.
pub(crate) struct Victim {
    /// It ends before its repository does.
    site: OnceCell<Site>,
    dir: tempfile::TempDir,
    template: Repo,
    meter: Meter,
}

/// What a receiver has said to the pusher.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) errors: Vec<String>,
    pub(crate) outcomes: Vec<Value>,
}

impl Answer {
    /// Why nothing came of it: the error, or why refs were refused.
    pub(crate) fn told(&self) -> String {
        match self.errors.as_slice() {
            [error] => error.clone(),
            _ => format!("{:?} {:?}", self.errors, self.outcomes),
        }
    }
}

/// Whether a text says one of these words, between which there are lines.
pub(crate) fn says(text: &str, words: &str) -> bool {
    words.split('|').any(|words| text.contains(words))
}

impl Victim {
    pub(crate) fn new() -> Self {
        let dir = temp_dir();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("tree")).expect("mkdir");
        trees::small(&at("tree"), 1);
        let source = Tool::ostree().repo(at("source")).init("archive");
        source.commit("main", at("tree"), &["--canonical-permissions"]);
        let template = Tool::ostree().repo(at("template")).init("archive");
        let path = at("template").display().to_string();
        Tool::new(OXTREE).repo(source.path()).ok("push", [path]);
        let meter = Meter::of(OXTREE, &["oxtree", "ostree-receive-0", "ostree-receive-1"]);
        Self {
            dir,
            template,
            meter,
            site: OnceCell::new(),
        }
    }

    /// A new copy of the repository, alone with one other file in a directory.
    pub(crate) fn repo(&self, config: &[(&str, &str)]) -> Repo {
        let repo = self.copy("parent");
        for (key, value) in config {
            repo.ok("config", ["set", key, value]);
        }
        repo
    }

    /// A server of such a copy.
    pub(crate) fn site(&self) -> &Site {
        self.site.get_or_init(|| Site::new(self))
    }

    /// A copy of the repository, and the other file, in a directory of this name.
    pub(crate) fn copy(&self, parent: &str) -> Repo {
        let parent = self.dir.path().join(parent);
        if parent.exists() {
            fs::remove_dir_all(&parent).expect("delete what was there");
        }
        fs::create_dir(&parent).expect("mkdir");
        fs::write(parent.join("other"), "nobody's business").expect("write");
        let repo = parent.join("repo");
        let from = self.template.path();
        Output::of(Command::new("cp").arg("-a").args([from, &repo])).expect_ok();
        Tool::ostree().repo(repo)
    }

    /// Where the real binary is, and how much memory it takes.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Says all this to a receiver, waits for its end, and checks that nothing has come of it.
    /// The connection stays open: a receiver has to end by itself.
    pub(crate) fn hears(
        &self,
        repo: &Repo,
        parts: impl IntoIterator<Item = Part, IntoIter: Send>,
    ) -> Answer {
        let words = ["receive".to_owned(), path_of(repo)];
        let mut parts = parts.into_iter();
        let run = self.survives(repo, || {
            self.run("oxtree", &words, None, |to| {
                let mut going = true;
                while let Some(part) = going.then(|| parts.next()).flatten() {
                    if let Part::Pause(time) = part {
                        std::thread::sleep(time);
                    }
                    going = still_says(to, &part.bytes());
                }
            })
        });
        let (errors, outcomes) = messages(&run.said);
        let answer = Answer { errors, outcomes };
        let published = |outcome: &Value| {
            let refs = outcome["refs"].as_array().cloned().unwrap_or_default();
            let stays = |one: &Value| one["status"] == "rejected" || one["status"] == "not-done";
            refs.is_empty() || !refs.iter().any(stays)
        };
        assert!(!answer.outcomes.iter().any(published), "{answer:?}");
        answer
    }

    /// Checks that a receiver ends by itself, has taken little memory, and that nothing has come of
    /// what it has received.
    pub(crate) fn survives(&self, repo: &Repo, receive: impl FnOnce() -> Run) -> Run {
        let before = public(repo);
        let run = receive();
        before.assert_unchanged(&public(repo));
        let peak = self.meter.peaks().pop().expect("a run");
        assert!(
            peak < MEMORY,
            "the receiver has taken {peak} bytes: {run:?}"
        );
        let panicked = run.stderr.contains("panicked");
        assert!(!panicked && run.code.is_some(), "{run:?}");
        repo.fsck();
        run
    }

    /// Runs the receiver of this name while `talk` talks to it; `conf` is its configuration.
    pub(crate) fn run(
        &self,
        name: &str,
        words: &[String],
        conf: Option<&str>,
        talk: impl FnOnce(&mut dyn Write) + Send,
    ) -> Run {
        let path = scratch(self, "conf.yaml");
        fs::write(&path, conf.unwrap_or_default()).expect("write");
        let program = Tool::new(self.meter.program(name)).env("OSTREE_RECEIVE_CONF", path);
        listen(program.command(words), talk)
    }
}

impl Victim {
    /// Runs what a client of ssh asks for whose key is that of an identity.
    pub(crate) fn run_as(
        &self,
        identity: &str,
        command: &str,
        conf: &str,
        talk: impl FnOnce(&mut dyn Write) + Send,
    ) -> Run {
        let path = scratch(self, "conf.yaml");
        fs::write(&path, conf).expect("write");
        let program = Tool::new(OXTREE)
            .env("OSTREE_RECEIVE_CONF", path)
            .env("SSH_ORIGINAL_COMMAND", command);
        listen(program.command(["receive", "--identity", identity]), talk)
    }
}

/// What a receiver has said on standard output and error, and how it ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) said: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

pub(crate) fn path_of(repo: &Repo) -> String {
    repo.path().display().to_string()
}

/// All that anybody can see of a repository, and all that is around it.
pub(crate) fn public(repo: &Repo) -> Snapshot {
    let parent = repo.path().parent().expect("a parent");
    Snapshot::of(parent).without("repo/tmp")
}

fn listen(mut command: Command, talk: impl FnOnce(&mut dyn Write) + Send) -> Run {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start a receiver");
    let mut stdin = child.stdin.take().expect("a pipe");
    let (mut said, mut stderr) = (Vec::new(), String::new());
    let (mut out, mut err) = (
        child.stdout.take().expect("a pipe"),
        child.stderr.take().expect("a pipe"),
    );
    let code = std::thread::scope(|scope| {
        let talking = scope.spawn(|| {
            talk(&mut stdin);
            stdin
        });
        scope.spawn(|| out.read_to_end(&mut said).expect("read what it says"));
        scope.spawn(|| err.read_to_string(&mut stderr).expect("read stderr"));
        let code = wait(&mut child);
        drop(talking.join().expect("all was said"));
        code
    });
    Run { said, stderr, code }
}

/// Waits for the end of a process that has to end by itself.
fn wait(child: &mut Child) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("ask after it") {
            return status.code();
        }
        if begun.elapsed() > PATIENCE {
            descendants(child.id()).into_iter().for_each(kill);
            kill(child.id());
            let status = child.wait().expect("its end");
            panic!("a receiver did not end by itself: {status}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The errors and the outcomes that a receiver has told.
fn messages(said: &[u8]) -> (Vec<String>, Vec<Value>) {
    let (mut errors, mut outcomes) = (Vec::new(), Vec::new());
    let mut left = said.strip_prefix(b"OXTREE-RECEIVE\n").expect("a greeting");
    while let Some((head, rest)) = left.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (payload, rest) = rest.split_at(length);
        left = rest;
        if head[0] != b'C' {
            continue;
        }
        let message: Value = serde_json::from_slice(payload).expect("a message");
        match message["type"].as_str() {
            Some("error") => errors.push(message["text"].as_str().expect("a text").to_owned()),
            Some("outcome") => outcomes.push(message),
            _ => {}
        }
    }
    assert!(left.is_empty(), "half a frame: {left:?}");
    (errors, outcomes)
}

/// Says all of it. The other end may have heard enough before.
pub(crate) fn say(to: &mut dyn Write, bytes: &[u8]) {
    still_says(to, bytes);
}

/// Says all of it; false if the other end does not listen any more.
pub(crate) fn still_says(to: &mut dyn Write, bytes: &[u8]) -> bool {
    to.write_all(bytes).and_then(|()| to.flush()).is_ok()
}

/// A file below the victim's directory, for what a hostile receiver says.
pub(crate) fn scratch(victim: &Victim, name: &str) -> PathBuf {
    victim.dir.path().join(name)
}
