// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commits that a client can reach: those that lead to the refs it may see. They are looked for as far
//! as a client asks, and once; of a ref that has moved, only the commits that are new.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use oxtree_format::CommitId;
use oxtree_repo::Result;

use super::concerns;
use super::known::Known;

/// What comes before a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// This one, or nothing.
    Is(Option<CommitId>),
    /// The commit itself is not there.
    Unknown,
}

/// Tells what comes before a commit.
pub(super) type Parents<'a> = dyn Fn(CommitId) -> Result<Before> + 'a;

/// A ref that has moved further is not followed, but everything is begun again.
const MOST_STEPS: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Reachable {
    /// What it was computed from.
    known: Arc<Known>,
    /// The visible refs, by their paths.
    tips: BTreeMap<String, CommitId>,
    /// All that were met.
    commits: HashSet<CommitId>,
    /// Those of them beyond which nothing was looked for yet.
    pending: VecDeque<CommitId>,
    /// Those of them that were not there.
    absent: HashSet<CommitId>,
}

impl Reachable {
    /// How many commits it holds.
    pub(super) fn len(&self) -> usize {
        self.commits.len()
    }

    /// Takes over what is known now.
    pub(super) fn update(
        &mut self,
        known: &Arc<Known>,
        patterns: &[String],
        parents: &Parents<'_>,
    ) -> Result<()> {
        if Arc::ptr_eq(&self.known, known) {
            return Ok(());
        }
        let tips = known.refs.iter();
        let tips = tips.filter(|(_, one)| concerns(patterns, &one.name));
        let tips = tips.map(|(path, one)| (path.clone(), one.tip)).collect();
        let old = std::mem::replace(&mut self.tips, tips);
        let same = self.known.ends == known.ends
            && (!known.ends.depend_on_refs() || old.keys().eq(self.tips.keys()));
        // Should this fail, all is begun again the next time.
        self.known = Arc::default();
        if !(same && self.follow(&old, known, parents)?) {
            self.begin();
        }
        self.known = Arc::clone(known);
        Ok(())
    }

    fn begin(&mut self) {
        self.commits.clear();
        self.pending.clear();
        self.absent.clear();
        for tip in self.tips.values() {
            if self.commits.insert(*tip) {
                self.pending.push_back(*tip);
            }
        }
    }

    /// Adds what the refs have come to since they were `old`; false if something may have to go.
    fn follow(
        &mut self,
        old: &BTreeMap<String, CommitId>,
        known: &Known,
        parents: &Parents<'_>,
    ) -> Result<bool> {
        for (path, was) in old {
            let Some(now) = self.tips.get(path).copied() else {
                return Ok(false);
            };
            if now != *was && !self.climb(now, *was, known, parents)? {
                return Ok(false);
            }
        }
        let new = self
            .tips
            .iter()
            .filter(|(path, _)| !old.contains_key(*path));
        for (_, tip) in new {
            if self.commits.insert(*tip) {
                self.pending.push_back(*tip);
            }
        }
        Ok(true)
    }

    /// Adds the commits from one to another that comes before it; false if it does not.
    fn climb(
        &mut self,
        now: CommitId,
        was: CommitId,
        known: &Known,
        parents: &Parents<'_>,
    ) -> Result<bool> {
        let (mut chain, mut at) = (Vec::new(), now);
        while at != was {
            let ends = chain.len() == MOST_STEPS || self.commits.contains(&at);
            if ends || self.is_end(at, known) {
                return Ok(false);
            }
            chain.push(at);
            match parents(at)? {
                Before::Is(Some(parent)) => at = parent,
                _ => return Ok(false),
            }
        }
        self.commits.extend(chain);
        Ok(true)
    }

    fn is_end(&self, commit: CommitId, known: &Known) -> bool {
        known.ends.end(commit, |path| self.tips.contains_key(path))
    }

    /// Whether it reaches this commit.
    pub(super) fn has(&mut self, commit: CommitId, parents: &Parents<'_>) -> Result<bool> {
        if self.commits.contains(&commit) {
            if self.absent.contains(&commit) && parents(commit)? != Before::Unknown {
                // It has come since.
                self.absent.remove(&commit);
                self.pending.push_back(commit);
            }
            return Ok(true);
        }
        while let Some(next) = self.pending.front().copied() {
            let before = match self.is_end(next, &self.known) {
                true => Before::Is(None),
                false => parents(next)?,
            };
            self.pending.pop_front();
            match before {
                Before::Unknown => drop(self.absent.insert(next)),
                Before::Is(None) => {}
                Before::Is(Some(parent)) => {
                    if self.commits.insert(parent) {
                        self.pending.push_back(parent);
                    }
                    if parent == commit {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}
