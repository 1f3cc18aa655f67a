// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which commits are to stay.

use std::collections::HashMap;

use oxtree_format::{Commit, CommitId, DirId};

use crate::object::verify::check_checksum;
use crate::{Error, Repo, Result};

/// How much of the history of a ref stays. The commit that the ref points at always does, and of
/// those before it what either rule keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// So many parents; [`None`]: all.
    pub depth: Option<u64>,
    /// Commits that are not older than this, in seconds since 1970, up to the first that is.
    pub younger_than: Option<i64>,
}

impl Keep {
    /// Everything.
    pub const ALL: Self = Self {
        depth: None,
        younger_than: None,
    };

    /// So many parents, all with a negative number.
    pub fn depth(depth: i64) -> Self {
        Self {
            depth: match depth {
                -1 => None,
                depth => Some(u64::try_from(depth).unwrap_or(0)),
            },
            younger_than: None,
        }
    }

    /// The last commit, and those before it that are not older than `time`.
    pub fn younger_than(time: i64) -> Self {
        Self {
            depth: Some(0),
            younger_than: Some(time),
        }
    }
}

/// What a rule means for one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    /// So many commits stay, this one included; [`u64::MAX`]: all.
    left: u64,
    /// All from here on stay that are not older.
    younger_than: Option<i64>,
}

impl Step {
    fn first(keep: Keep) -> Self {
        Self {
            left: keep.depth.map_or(u64::MAX, |depth| depth.saturating_add(1)),
            younger_than: keep.younger_than,
        }
    }

    fn keeps(self, timestamp: i64) -> bool {
        self.left > 0 || self.younger_than.is_some_and(|time| timestamp >= time)
    }

    /// The same for the parent of a commit of that time; [`None`] if it does not stay.
    fn parent(self, timestamp: i64) -> Option<Self> {
        let parent = Self {
            left: match self.left {
                u64::MAX => u64::MAX,
                left => left.saturating_sub(1),
            },
            younger_than: self.younger_than.filter(|time| timestamp >= *time),
        };
        (parent.left > 0 || parent.younger_than.is_some()).then_some(parent)
    }

    /// A later date keeps less, and none keeps nothing.
    fn date(self) -> i64 {
        self.younger_than.unwrap_or(i64::MAX)
    }

    /// Whether all that `other` keeps is kept.
    fn covers(self, other: Self) -> bool {
        self.left >= other.left && (self.left == u64::MAX || self.date() <= other.date())
    }

    /// What is kept when both were followed.
    fn with(self, other: Self) -> Self {
        let younger_than = self
            .younger_than
            .into_iter()
            .chain(other.younger_than)
            .min();
        Self {
            left: self.left.max(other.left),
            younger_than,
        }
    }
}

/// A commit that stays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) root: DirId,
    parent: Option<CommitId>,
    timestamp: i64,
    step: Step,
}

/// The commits that stay.
pub(super) struct History<'r> {
    repo: &'r Repo,
    /// To be deleted whatever has it for a parent.
    gone: Option<CommitId>,
    pub(super) kept: HashMap<CommitId, Kept>,
}

impl<'r> History<'r> {
    pub(super) fn new(repo: &'r Repo, gone: Option<CommitId>) -> Self {
        Self {
            repo,
            gone,
            kept: HashMap::new(),
        }
    }

    /// Keeps a commit, and those before it as far as `keep` says. Ends where one is not there.
    pub(super) fn keep(&mut self, tip: CommitId, keep: Keep) -> Result<()> {
        let mut next = Some((tip, Step::first(keep)));
        while let Some((id, step)) = next.take() {
            if self.gone == Some(id) {
                break;
            }
            let commit = match self.kept.get(&id) {
                Some(known) if known.step.covers(step) => break,
                Some(known) => Kept {
                    step: known.step.with(step),
                    ..*known
                },
                None => match load(self.repo, id)? {
                    Some(commit) => Kept { step, ..commit },
                    None => break,
                },
            };
            if !step.keeps(commit.timestamp) {
                break;
            }
            self.kept.insert(id, commit);
            let step = step.parent(commit.timestamp);
            next = commit.parent.zip(step);
        }
        Ok(())
    }
}

/// A commit, verified; [`None`] if it is not there.
fn load(repo: &Repo, id: CommitId) -> Result<Option<Kept>> {
    let bytes = match repo.load_metadata(&id.object()) {
        Err(error) if error.is_missing_object() => return Ok(None),
        bytes => bytes?,
    };
    check_checksum(&id.object(), &bytes)?;
    let commit = Commit::parse(&bytes).map_err(|error| Error::corrupt(id, error))?;
    Ok(Some(Kept {
        root: commit.root,
        parent: commit.parent,
        // Before 1970, times are negative numbers.
        timestamp: commit.timestamp.cast_signed(),
        step: Step {
            left: 0,
            younger_than: None,
        },
    }))
}

/// The root directory of a commit; [`None`] if it is not there.
pub(super) fn load_root(repo: &Repo, id: CommitId) -> Result<Option<DirId>> {
    Ok(load(repo, id)?.map(|commit| commit.root))
}

/// The parent of a commit; [`None`] if there is none, or the commit is not there.
pub(super) fn parent(repo: &Repo, id: CommitId) -> Result<Option<CommitId>> {
    Ok(load(repo, id)?.and_then(|commit| commit.parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which commits of a history stay, newest first.
    fn kept(keep: Keep, times: &[i64]) -> usize {
        let mut next = Some(Step::first(keep));
        let kept = times.iter().take_while(|time| {
            let step = next.take().filter(|step| step.keeps(**time));
            next = step.and_then(|step| step.parent(**time));
            step.is_some()
        });
        kept.count()
    }

    #[test]
    fn depths_and_dates() {
        let times = [50, 40, 30, 20, 10];
        assert_eq!(kept(Keep::ALL, &times), 5);
        assert_eq!(kept(Keep::depth(-1), &times), 5);
        assert_eq!(kept(Keep::depth(0), &times), 1);
        assert_eq!(kept(Keep::depth(2), &times), 3);
        assert_eq!(kept(Keep::depth(i64::MIN), &times), 1);
        assert_eq!(kept(Keep::younger_than(30), &times), 3);
        assert_eq!(kept(Keep::younger_than(31), &times), 2);
        assert_eq!(kept(Keep::younger_than(60), &times), 1);
        // A commit that is too old ends it, whatever comes then.
        assert_eq!(kept(Keep::younger_than(30), &[10, 40, 50]), 1);
        assert_eq!(kept(Keep::younger_than(30), &[40, 10, 50]), 1);
        let both = Keep {
            depth: Some(3),
            younger_than: Some(45),
        };
        assert_eq!(kept(both, &times), 4);
    }

    #[test]
    fn what_was_followed_is_not_followed_again() {
        let step = |left, younger_than| Step { left, younger_than };
        let all = step(u64::MAX, None);
        assert!(all.covers(step(5, Some(3))) && !step(5, Some(3)).covers(all));
        assert!(step(5, None).covers(step(4, None)) && !step(4, None).covers(step(5, None)));
        assert!(!step(5, None).covers(step(4, Some(3))));
        let both = step(5, None).with(step(1, Some(3)));
        assert!(both.covers(step(5, Some(3))) && both.covers(step(2, Some(4))));
        assert!(!both.covers(step(2, Some(2))));
    }
}
