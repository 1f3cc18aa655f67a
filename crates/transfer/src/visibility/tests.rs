// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is found out little by little is what a walk from all refs finds.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use oxtree_format::{Checksum, DirId, DirMetaId, DirTreeId};
use oxtree_repo::commit::CommitBuilder;
use oxtree_repo::{Mode, RefUpdate, Transaction};

use super::*;

const PATTERNS: [&str; 3] = ["app/*", "os/*", "dev/?"];
const REFS: [&str; 6] = ["app/a", "app/b", "os/a", "os/b", "dev/a", "dev/long"];

/// A repository, and what is known of it by other means.
struct Model {
    dir: tempfile::TempDir,
    repo: Arc<Repo>,
    index: Arc<CommitIndex>,
    /// In the order in which they were made.
    commits: Vec<CommitId>,
    parents: HashMap<CommitId, Option<CommitId>>,
    refs: BTreeMap<String, CommitId>,
    /// The commits that histories end with, and the refs for which they do not.
    ends: HashMap<CommitId, Vec<String>>,
    /// The next number by chance.
    chance: u64,
}

impl Model {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repo::create(&dir.path().join("repo"), Mode::Archive, None).unwrap();
        Self {
            dir,
            repo: Arc::new(repo),
            index: Arc::default(),
            commits: Vec::new(),
            parents: HashMap::new(),
            refs: BTreeMap::new(),
            ends: HashMap::new(),
            chance: 1,
        }
    }

    fn number(&mut self, below: usize) -> usize {
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.chance >> 33).unwrap() % below
    }

    fn some_commit(&mut self) -> Option<CommitId> {
        let number = self.number(self.commits.len() + 1);
        self.commits.get(number).copied()
    }

    fn commit(&mut self, parent: Option<CommitId>) -> CommitId {
        let transaction = Transaction::begin(&self.repo).unwrap();
        let root = DirId {
            tree: DirTreeId(Checksum([1; 32])),
            meta: DirMetaId(Checksum([2; 32])),
        };
        let commit = CommitBuilder {
            metadata: Vec::new(),
            detached: Vec::new(),
            parent,
            subject: String::new(),
            body: String::new(),
            timestamp: self.commits.len() as u64,
        };
        let id = commit.write(root, &transaction).unwrap();
        transaction.commit(&[]).unwrap();
        self.commits.push(id);
        self.parents.insert(id, parent);
        id
    }

    fn set(&mut self, name: &str, commit: Option<CommitId>) {
        let update = RefUpdate {
            new: commit,
            ..RefUpdate::set(name.parse().unwrap(), self.commits[0])
        };
        self.repo.update_refs(&[update]).unwrap();
        match commit {
            Some(commit) => self.refs.insert(name.to_owned(), commit),
            None => self.refs.remove(name),
        };
    }

    fn client(&self, pattern: &str) -> RefVisibility {
        RefVisibility::new(&self.repo, &self.index, [pattern.to_owned()])
    }

    /// Goes back from a ref, as a client with this pattern may.
    fn history(&self, name: &str, pattern: &str) -> Vec<CommitId> {
        let mut all = vec![self.refs[name]];
        while let Some(last) = all.last().copied() {
            let sees = |kept: &String| self.refs.contains_key(kept) && fits(pattern, kept);
            let ends = self
                .ends
                .get(&last)
                .is_some_and(|kept| !kept.iter().any(sees));
            match self.parents.get(&last) {
                Some(Some(parent)) if !ends => all.push(*parent),
                _ => break,
            }
        }
        all
    }

    fn bring(&mut self, commit: CommitId, pattern: &str) {
        let others = self.refs.keys().filter(|name| !fits(pattern, name));
        let kept = others.filter(|name| self.history(name, name).contains(&commit));
        let kept = kept.cloned().collect();
        self.ends.entry(commit).or_insert(kept);
        self.client(pattern).end_history(commit).unwrap();
    }

    fn check(&self) {
        for pattern in PATTERNS {
            let names = self.refs.keys().filter(|name| fits(pattern, name));
            let all: Vec<CommitId> = names.flat_map(|name| self.history(name, pattern)).collect();
            let client = self.client(pattern);
            for commit in &self.commits {
                assert_eq!(
                    client.sees(*commit).unwrap(),
                    all.contains(commit),
                    "{pattern}"
                );
            }
        }
    }
}

#[test]
fn what_is_kept_in_memory_is_what_the_repository_says() {
    let mut model = Model::new();
    model.commit(None);
    for step in 0..150 {
        let name = REFS[model.number(REFS.len())];
        match model.number(8) {
            0..=2 => {
                let parent = model.refs.get(name).copied();
                let commit = model.commit(parent);
                model.set(name, Some(commit));
            }
            3 => {
                let parent = model.some_commit();
                let commit = model.commit(parent);
                model.bring(commit, PATTERNS[step % 3]);
                model.set(name, Some(commit));
            }
            4 => {
                let commit = model.some_commit();
                model.set(name, commit);
            }
            5 => model.set(name, None),
            6 => {
                if let Some(commit) = model.some_commit() {
                    model.bring(commit, PATTERNS[step % 3]);
                    model.set(name, Some(commit));
                }
            }
            _ => model.index = Arc::default(),
        }
        if model.number(2) == 0 {
            model.check();
        }
    }
    model.check();
}

#[test]
fn what_comes_later_is_followed() {
    let mut model = Model::new();
    let first = model.commit(None);
    let second = model.commit(Some(first));
    let third = model.commit(Some(second));
    let text = second.to_string();
    let file = format!("repo/objects/{}/{}.commit", &text[..2], &text[2..]);
    let (file, away) = (model.dir.path().join(file), model.dir.path().join("away"));
    fs::rename(&file, &away).unwrap();
    model.set("app/x", Some(third));
    let client = model.client("app/*");
    let sees = || [third, second, first].map(|commit| client.sees(commit).unwrap());
    assert_eq!(sees(), [true, true, false]);
    fs::rename(&away, &file).unwrap();
    assert_eq!(sees(), [true, true, true]);
}

#[test]
fn a_damaged_commit_keeps_no_others_out() {
    let mut model = Model::new();
    let (first, other) = (model.commit(None), model.commit(None));
    model.set("app/a", Some(first));
    model.set("app/b", Some(other));
    let last = model.commit(Some(other));
    model.set("app/b", Some(last));
    let text = first.to_string();
    let file = format!("repo/objects/{}/{}.commit", &text[..2], &text[2..]);
    fs::write(model.dir.path().join(file), "").unwrap();
    let client = model.client("app/*");
    for commit in [first, other, last] {
        assert!(client.sees(commit).unwrap());
    }
}
