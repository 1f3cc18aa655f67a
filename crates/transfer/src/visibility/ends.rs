// SPDX-License-Identifier: MIT OR Apache-2.0
//! Notes of where histories end. Each is of one commit, which was brought by a client that does not see
//! its parent, and is kept in the repository as long as the commit is.
//!
//! The first line of a note is the commit. Each line after it is a ref from which the history goes on: the
//! commit was part of it before it was brought by a client that may not see that ref.
//!
//! ```text
//! 6fb6…c1
//! refs/heads/os/stable
//! ```

use std::collections::HashMap;
use std::time::SystemTime;

use oxtree_format::CommitId;
use oxtree_repo::{Repo, Result};

/// The kind of these notes.
const KIND: &str = "histories";

/// The commits that histories end with, and the refs, as paths, for which they do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends(HashMap<CommitId, Vec<String>>);

impl Ends {
    /// All of them; what is known from `before` is not read again. A note that is none of ours is none.
    pub(super) fn read(repo: &Repo, before: Option<&Self>) -> Result<Self> {
        let mut all = HashMap::new();
        for repo in std::iter::successors(Some(repo), |repo| repo.parent()) {
            for name in repo.note_names(KIND)? {
                let id: Option<CommitId> = name.parse().ok();
                let known = id.and_then(|id| Some((id, before?.0.get(&id)?.clone())));
                let found = match known {
                    Some(known) => Some(known),
                    None => repo.note(KIND, &name)?.and_then(|note| parse(&note)),
                };
                all.extend(found);
            }
        }
        Ok(Self(all))
    }

    /// Whether a history ends with this commit that comes from one of certain refs. `is_one`: whether
    /// the ref at a path is one of them.
    pub(super) fn end(&self, commit: CommitId, is_one: impl Fn(&str) -> bool) -> bool {
        let kept = self.0.get(&commit);
        kept.is_some_and(|kept| !kept.iter().any(|path| is_one(path)))
    }

    pub(super) fn has(&self, commit: CommitId) -> bool {
        self.0.contains_key(&commit)
    }

    /// Whether it depends on the refs where some history ends.
    pub(super) fn depend_on_refs(&self) -> bool {
        self.0.values().any(|kept| !kept.is_empty())
    }
}

/// Those of versions before had one ref after the commit, which was the only one to end there.
fn parse(note: &[u8]) -> Option<(CommitId, Vec<String>)> {
    let mut lines = std::str::from_utf8(note).ok()?.lines();
    let commit = lines.next()?.split(' ').next()?.parse().ok()?;
    Some((commit, lines.map(str::to_owned).collect()))
}

/// Notes that histories end with a commit, but for those that come from the refs at these paths.
pub(super) fn write(repo: &Repo, commit: CommitId, kept: &[String]) -> Result<()> {
    let mut note = commit.to_string();
    for path in kept {
        note.push('\n');
        note += path;
    }
    repo.write_note_durably(KIND, &commit.to_string(), note.as_bytes())
}

/// Deletes the notes of commits that are gone. A note is written before its commit becomes public, so one
/// stays that is no older than what an interrupted push may leave (`core.tmp-expiry-secs`).
pub fn tidy(repo: &Repo) -> Result<()> {
    let bound = SystemTime::now().checked_sub(repo.config().tmp_expiry);
    for name in repo.note_names(KIND)? {
        let commit = repo.note(KIND, &name)?.and_then(|note| parse(&note));
        let is_there = match commit {
            Some((commit, _)) => repo.has_object(&commit.object())?,
            None => false,
        };
        let is_old = || Ok::<_, oxtree_repo::Error>(repo.note_time(KIND, &name)? < bound);
        if !is_there && is_old()? {
            repo.delete_note(KIND, &name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_now_and_before() {
        let text = "1".repeat(64);
        let id: CommitId = text.parse().unwrap();
        let read = |note: &str| parse(note.as_bytes());
        assert_eq!(read(&text), Some((id, vec![])));
        assert_eq!(read(&format!("{text} app/x")), Some((id, vec![])));
        let kept = vec!["refs/heads/a".to_owned(), "refs/heads/b".to_owned()];
        let note = format!("{text}\nrefs/heads/a\nrefs/heads/b");
        assert_eq!(read(&note), Some((id, kept.clone())));
        for odd in ["", "x", "\n", "11 app/x"] {
            assert_eq!(read(odd), None, "{odd:?}");
        }
        let ends = Ends(HashMap::from([(id, kept)]));
        assert!(ends.end(id, |_| false) && ends.depend_on_refs());
        assert!(!ends.end(id, |path| path == "refs/heads/b"));
        let other: CommitId = "2".repeat(64).parse().unwrap();
        assert!(!ends.end(other, |_| false));
    }
}
