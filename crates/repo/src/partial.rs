// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which commits are known to lack objects.
//!
//! `state/COMMIT.commitpartial` says so: empty, where only a part of a commit was fetched on
//! purpose or not yet all of it; beginning with `f`, where a check has found it damaged.

use std::collections::HashSet;

use oxtree_format::CommitId;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::{Error, Repo, Result, fs};

/// What is known of a commit's completeness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitState {
    /// Nothing against it.
    Normal,
    /// Not all of it was fetched.
    Partial,
    /// A check has found objects missing or damaged.
    Damaged,
}

const DAMAGED: u8 = b'f';
const SUFFIX: &str = ".commitpartial";

impl Repo {
    /// What is known of a commit's completeness.
    pub fn commit_state(&self, commit: CommitId) -> Result<CommitState> {
        let path = marker(commit);
        let io = Error::io("reading", self.path().join(&path));
        Ok(match fs::read_file(self.dir(), &*path, 4096).map_err(io)? {
            None => CommitState::Normal,
            Some(bytes) if bytes.first() == Some(&DAMAGED) => CommitState::Damaged,
            Some(_) => CommitState::Partial,
        })
    }

    /// All commits that are known to lack something, those that are not here at all included.
    pub fn partial_commits(&self) -> Result<HashSet<CommitId>> {
        let names = self.names_in("state")?;
        let commit = |name: &String| name.strip_suffix(SUFFIX)?.parse().ok();
        Ok(names.iter().filter_map(commit).collect())
    }

    /// Notes what is known of a commit's completeness.
    pub fn set_commit_state(&self, commit: CommitId, state: CommitState) -> Result<()> {
        let path = marker(commit);
        let io = |action| Error::io(action, self.path().join(&path));
        let content: &[u8] = match state {
            CommitState::Normal => {
                return match rustix::fs::unlinkat(self.dir(), &*path, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => Ok(()),
                    Err(error) => Err(io("deleting")(error.into())),
                };
            }
            CommitState::Partial => b"",
            CommitState::Damaged => &[DAMAGED],
        };
        fs::ensure_dir(self.dir(), "state").map_err(io("creating"))?;
        self.write_file(&path, content).map_err(io("writing"))
    }
}

fn marker(commit: CommitId) -> String {
    format!("state/{commit}{SUFFIX}")
}
