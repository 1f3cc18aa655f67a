// SPDX-License-Identifier: MIT OR Apache-2.0
//! What tends a repository, and checkouts, killed.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use oxtree_testkit::{Compare, Dice, Output, Repo, Tool, trees};

use crate::look::{Look, names, objects};
use crate::rig::{OXTREE, Place, copy, kill_after};

const KILLS: usize = 100;

/// A repository with a history, static deltas and detached metadata, of which copies are made.
struct Site {
    place: Place,
}

impl Site {
    fn new(mode: &str) -> Self {
        let site = Self {
            place: Place::in_memory(),
        };
        let repo = Tool::ostree()
            .repo(site.at("template"))
            .init(mode)
            .without_fsync();
        for number in 1..=6 {
            let tree = site.tree(number);
            fs::create_dir(&tree).expect("mkdir");
            trees::many(&tree, 40, number);
            for branch in ["main", "other"] {
                fs::write(tree.join("branch"), format!("{branch} {number}")).expect("write");
                let flags = [
                    "--canonical-permissions",
                    "--add-detached-metadata-string=a=b",
                ];
                repo.commit(branch, &tree, &flags);
            }
        }
        for rev in ["main", "main^"] {
            repo.ok("static-delta", ["generate", rev]);
        }
        repo.ok("config", ["set", "core.tombstone-commits", "true"]);
        repo.ok("summary", ["--update"]);
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.at(name)
    }

    fn tree(&self, number: u64) -> PathBuf {
        self.at(&format!("tree-{number}"))
    }

    /// A new copy.
    fn repo(&self) -> Repo {
        let path = self.at("repo");
        if path.exists() {
            fs::remove_dir_all(&path).expect("delete the repository");
        }
        copy(&self.at("template"), &path);
        Tool::ostree().repo(path)
    }

    /// Ours on the copy.
    fn ours(&self, command: &str, words: &[&str]) -> Command {
        let repo = format!("--repo={}", self.at("repo").display());
        Tool::new(OXTREE).command([command, &repo].iter().chain(words))
    }

    /// Runs it to its end, which is this exit code; how long that takes.
    fn finish(&self, command: &str, words: &[&str], code: i32) -> Duration {
        let begun = Instant::now();
        let output = Output::of(&mut self.ours(command, words));
        assert_eq!(output.code, Some(code), "{output:?}");
        begun.elapsed()
    }
}

fn public(repo: &Repo) -> BTreeSet<String> {
    objects(&repo.path().join("objects"))
}

/// Kills a command until that was done often enough. `check` looks at what each has left, and is
/// told whether that is the last before a new copy.
fn kill_often(
    (site, kills): (&Site, usize),
    command: &str,
    words: &[&str],
    code: i32,
    check: impl Fn(&Repo, bool),
) {
    let mut dice = Dice::new();
    let repo = site.repo();
    let longest = site.finish(command, words, code);
    check(&repo, true);
    let (mut killed, mut tries) = (0, 0);
    while killed < kills {
        let repo = site.repo();
        let mut again = true;
        while again {
            tries += 1;
            assert!(tries < 20 * kills, "only {killed} could be killed");
            let after = dice.time(longest);
            let hit = kill_after(&mut site.ours(command, words), after, code);
            killed += usize::from(hit);
            again = hit && dice.percent(40);
            check(&repo, !again);
        }
    }
}

#[test]
fn prunes() {
    let site = Site::new("archive");
    let words = ["--refs-only", "--depth=1"];
    let repo = site.repo();
    let before = Look::at(repo.path()).refs;
    site.finish("prune", &words, 0);
    let pruned = public(&repo);
    let all = objects(&site.at("template/objects"));
    let half_done = Cell::new(0);
    kill_often((&site, KILLS), "prune", &words, 0, |repo, last| {
        repo.fsck();
        assert_eq!(Look::at(repo.path()).refs, before);
        let left = public(repo);
        let stays =
            |object: &String| object.ends_with(".tombstone-commit") || left.contains(object);
        assert!(pruned.iter().all(stays));
        let is_half_done = left != pruned && !all.is_subset(&left);
        half_done.set(half_done.get() + usize::from(is_half_done));
        if last {
            site.finish("prune", &words, 0);
            assert_eq!(public(repo), pruned);
            assert_eq!(names(&repo.path().join("deltas")).len(), 2);
            repo.fsck();
        }
    });
    assert!(half_done.get() > 0, "all came too early or too late");
}

#[test]
fn checks_that_delete() {
    let site = Site::new("archive");
    let template = site.at("template").join("objects");
    let all = objects(&template);
    // Every fourth file is damaged.
    let files = all.iter().filter(|object| object.ends_with(".filez"));
    let damaged: BTreeSet<String> = files.step_by(4).cloned().collect();
    for object in &damaged {
        let path = template.join(object);
        let file = fs::OpenOptions::new().append(true).open(path);
        file.and_then(|mut file| file.write_all(b"junk"))
            .expect("damage a file");
    }
    let marks = |repo: &Repo| -> BTreeSet<String> {
        names(&repo.path().join("state")).into_iter().collect()
    };
    let repo = site.repo();
    site.finish("fsck", &["--delete"], 1);
    let marked = marks(&repo);
    kill_often((&site, KILLS), "fsck", &["--delete"], 1, |repo, last| {
        let left = public(repo);
        let gone: Vec<&String> = all.difference(&left).collect();
        assert!(
            gone.iter().all(|object| damaged.contains(*object)),
            "{gone:?}"
        );
        // No commit seems whole that lacks one of them.
        let unmarked = Output::of(Command::new("ostree").args([
            "fsck".as_ref(),
            "-q".as_ref(),
            "-a".as_ref(),
            Path::new("--repo").as_os_str(),
            repo.path().as_os_str(),
        ]));
        let said = unmarked.stderr();
        assert!(!said.contains("Object missing"), "{said}");
        if last {
            site.finish("fsck", &["--delete"], 1);
            let left = public(repo);
            assert_eq!(left, all.difference(&damaged).cloned().collect());
            assert!(marked.is_subset(&marks(repo)));
        }
    });
}

#[test]
fn summaries() {
    let site = Site::new("archive");
    let before = Look::at(&site.at("template")).refs;
    kill_often((&site, KILLS), "summary", &["--update"], 0, |repo, last| {
        let shown = repo.ok("summary", ["--view"]);
        for name in before.keys() {
            assert!(shown.contains(&format!("* {name}\n")), "{shown}");
        }
        if last {
            assert_eq!(Look::at(repo.path()).refs, before);
            site.finish("summary", &["--update"], 0);
            repo.fsck();
        }
    });
}

#[test]
fn checkouts() {
    for mode in ["archive", "bare-user"] {
        let site = Site::new(mode);
        let (out, tree) = (site.at("out"), site.tree(6));
        fs::write(tree.join("branch"), "main 6").expect("write");
        let to = out.display().to_string();
        let words = ["-U", "--union", "main", &to];
        kill_often((&site, KILLS / 2), "checkout", &words, 0, |repo, last| {
            if !last {
                return;
            }
            // Neither what was half written nor what is kept in a cache does any harm.
            site.finish("checkout", &words, 0);
            let compare = Compare::default().owners(false).xattrs(false).modes(false);
            assert_eq!(compare.run(&tree, &out), Vec::<String>::new());
            fs::remove_dir_all(&out).expect("delete what was checked out");
            site.finish("checkout", &words, 0);
            assert_eq!(compare.run(&tree, &out), Vec::<String>::new());
            fs::remove_dir_all(&out).expect("delete what was checked out");
            repo.fsck();
        });
    }
}
