// SPDX-License-Identifier: MIT OR Apache-2.0
//! Local pulls, killed.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oxtree_testkit::{Dice, Output, Repo, Tool, kill};

use crate::commit::grow_old;
use crate::look::{Look, names};
use crate::rig::{OXTREE, Place, tree};

/// Where pulls are killed: two sources, of which the second goes on where the first ends.
struct Workshop {
    place: Place,
    sources: [Repo; 2],
    commits: [String; 2],
    to: &'static str,
    fsync: bool,
}

impl Workshop {
    fn new(from: &'static str, to: &'static str, fsync: bool) -> Self {
        let place = Place::in_memory();
        let source = |number: u64| {
            let at = place.at(&format!("source-{number}"));
            Tool::ostree().repo(at).init(from).without_fsync()
        };
        let sources = [source(1), source(2)];
        let commit = |repo: &Repo, number: u64| {
            let files = place.at(&format!("tree-{number}"));
            if !files.exists() {
                tree(&files, 0, number);
            }
            let timestamp = format!("--timestamp=2026-01-0{number}T03:04:05Z");
            repo.commit("main", &files, &["--canonical-permissions", &timestamp])
        };
        let first = commit(&sources[0], 1);
        assert_eq!(commit(&sources[1], 1), first);
        let second = commit(&sources[1], 2);
        Self {
            sources,
            commits: [first, second],
            place,
            to,
            fsync,
        }
    }

    fn repo(&self) -> Repo {
        let path = self.place.at("repo");
        if path.exists() {
            fs::remove_dir_all(&path).expect("delete the repository");
        }
        let repo = Tool::ostree().repo(path).init(self.to);
        match self.fsync {
            true => repo,
            false => repo.without_fsync(),
        }
    }

    fn pull(&self, repo: &Repo, number: usize) -> Command {
        let words = [
            "pull-local".to_owned(),
            format!("--repo={}", repo.path().display()),
            "--depth=-1".to_owned(),
            self.sources[number].path().display().to_string(),
        ];
        Tool::new(OXTREE).command(words)
    }

    fn finish(&self, repo: &Repo, number: usize) {
        Output::of(&mut self.pull(repo, number)).expect_ok();
        repo.fsck();
        assert_eq!(repo.rev_parse("main"), self.commits[number]);
    }

    /// Kills a pull. Says whether it was there to be killed.
    fn kill(&self, repo: &Repo, number: usize, after: Duration) -> bool {
        let mut command = self.pull(repo, number);
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::null()).spawn().expect("start it");
        std::thread::sleep(after.saturating_sub(begun.elapsed()));
        let running = child.try_wait().expect("ask after it").is_none();
        kill(child.id());
        let status = child.wait().expect("its end");
        assert!(running || status.success(), "{status}");
        running
    }
}

/// Kills so many pulls. After each, the ref is at the old commit or at the new one, which is whole, and
/// the same can be pulled again.
fn kill_pulls(from: &'static str, to: &'static str, fsync: bool, kills: usize) {
    let workshop = Workshop::new(from, to, fsync);
    let mut dice = Dice::new();
    let repo = workshop.repo();
    let begun = Instant::now();
    Output::of(&mut workshop.pull(&repo, 0)).expect_ok();
    let longest = begun.elapsed();
    let (mut killed, mut tries, mut old_ones) = (0, 0, 0);
    while killed < kills {
        let repo = workshop.repo();
        let mut before = None;
        for (number, commit) in workshop.commits.iter().enumerate() {
            let mut again = true;
            while again {
                tries += 1;
                assert!(tries < 20 * kills, "only {killed} could be killed");
                killed += usize::from(workshop.kill(&repo, number, dice.time(longest)));
                repo.fsck();
                let now = Look::at(repo.path()).refs.remove("main");
                assert!(now == before || now.as_ref() == Some(commit), "{now:?}");
                old_ones += usize::from(now == before);
                let done = now != before;
                again = !done && dice.percent(30);
                if !done && !again {
                    workshop.finish(&repo, number);
                }
            }
            before = Some(commit.clone());
        }
        // What was left does not stay for ever.
        grow_old(repo.path());
        workshop.finish(&repo, 1);
        let mut left = names(&repo.path().join("tmp"));
        left.retain(|name| name != "cache" && !name.ends_with("-lock"));
        assert!(left.is_empty(), "left: {left:?}");
    }
    assert!(
        old_ones > kills / 4,
        "most came too late: {old_ones} of {killed}"
    );
}

#[test]
fn pulls_of_hard_links() {
    kill_pulls("archive", "archive", true, 30);
}

#[test]
fn pulls_that_pack() {
    kill_pulls("bare-user-only", "archive", true, 30);
}

#[test]
fn pulls_that_unpack() {
    kill_pulls("archive", "bare", true, 20);
}

#[test]
fn pulls_without_a_staging_directory() {
    kill_pulls("archive", "archive", false, 20);
}
