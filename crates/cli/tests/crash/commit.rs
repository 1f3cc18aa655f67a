// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits, killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use oxtree_testkit::{Compare, Dice, Output, Repo, Tool};

use crate::look::{Look, names};
use crate::rig::{OXTREE, Place, kill_after, tree};

/// Where commits are killed: a repository a round, and two trees that are committed one after the
/// other.
struct Workshop {
    place: Place,
    mode: &'static str,
}

impl Workshop {
    fn new(place: Place, mode: &'static str) -> Self {
        for number in [1, 2] {
            tree(&place.at(&format!("tree-{number}")), 0, number);
        }
        Self { place, mode }
    }

    fn repo(&self) -> Repo {
        let path = self.place.at("repo");
        if path.exists() {
            fs::remove_dir_all(&path).expect("delete the repository");
        }
        Tool::ostree().repo(path).init(self.mode)
    }

    fn tree(&self, number: usize) -> PathBuf {
        self.place.at(&format!("tree-{number}"))
    }

    /// Our commit of tree `number`, which has the same checksum whenever it is made.
    fn commit(&self, repo: &Repo, number: usize) -> Command {
        let words = [
            "commit".to_owned(),
            format!("--repo={}", repo.path().display()),
            "--branch=main".to_owned(),
            format!("--timestamp=2026-01-0{number}T03:04:05Z"),
            "--canonical-permissions".to_owned(),
            self.tree(number).display().to_string(),
        ];
        Tool::new(OXTREE).command(words)
    }

    fn finish(&self, repo: &Repo, number: usize) -> String {
        Output::of(&mut self.commit(repo, number)).expect_ok();
        repo.fsck();
        repo.rev_parse("main")
    }

    /// The commits of the two trees, and how long the first takes.
    fn undisturbed(&self) -> ([String; 2], Duration) {
        let repo = self.repo();
        let begun = Instant::now();
        let first = self.finish(&repo, 1);
        let took = begun.elapsed();
        ([first, self.finish(&repo, 2)], took)
    }

    /// Kills a commit. Says whether it was there to be killed.
    fn kill(&self, repo: &Repo, number: usize, after: Duration) -> bool {
        kill_after(&mut self.commit(repo, number), after, 0)
    }
}

/// Lets everything in `tmp/` look as if it had been there for two days.
pub(crate) fn grow_old(repo: &Path) {
    let then = SystemTime::now() - Duration::from_secs(2 * 24 * 3600);
    for name in names(&repo.join("tmp")) {
        let left = fs::File::open(repo.join("tmp").join(name)).expect("open what is left");
        left.set_modified(then).expect("set its time");
    }
}

/// Kills so many commits. After each, the branch is at the old commit or at the new one, which is
/// whole, and the same can be committed again.
fn kill_commits(mode: &'static str, kills: usize) {
    let workshop = Workshop::new(Place::in_memory(), mode);
    let mut dice = Dice::new();
    let (commits, longest) = workshop.undisturbed();
    let (mut killed, mut tries, mut old_ones) = (0, 0, 0);
    while killed < kills {
        let repo = workshop.repo();
        let mut before = None;
        for (number, commit) in (1..).zip(&commits) {
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
                    assert_eq!(&workshop.finish(&repo, number), commit);
                }
            }
            before = Some(commit.clone());
        }
        let out = workshop.place.at("out");
        repo.checkout("main", &out, &["-U"]);
        let compare = Compare::default().owners(false).xattrs(false).modes(false);
        let differences = compare.run(&workshop.tree(2), &out);
        assert_eq!(differences, Vec::<String>::new());
        fs::remove_dir_all(out).expect("delete what was checked out");
        // What was left does not stay for ever.
        grow_old(repo.path());
        workshop.finish(&repo, 1);
        let mut left = names(&repo.path().join("tmp"));
        left.retain(|name| name != "cache" && !name.ends_with("-lock"));
        assert!(left.is_empty(), "left: {left:?}");
    }
    assert!(
        old_ones > kills / 2,
        "most came too late: {old_ones} of {killed}"
    );
}

#[test]
fn commits_to_an_archive() {
    kill_commits("archive", 120);
}

#[test]
fn commits_to_a_bare_repository() {
    kill_commits("bare", 80);
}
