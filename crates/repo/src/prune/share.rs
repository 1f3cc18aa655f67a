// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much of what goes belonged to which ref.

use std::collections::HashSet;

use oxtree_format::{CommitId, DirTree, ObjectId};

use super::history::{load_root, parent};
use super::marks::Marks;
use super::{Doomed, Target};
use crate::{Repo, Result};

/// What goes of the history of one ref. What several refs had is counted for the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The ref as messages show it; [`None`] for what belongs to none.
    pub name: Option<String>,
    /// Commits of its history that stay.
    pub kept: u64,
    /// Commits that go.
    pub commits: u64,
    /// Objects that go, commits included.
    pub objects: u64,
    /// Their size on disk in bytes.
    pub bytes: u64,
}

/// What goes by ref, in the order of `targets`; what belongs to no ref comes last.
pub(super) fn by_ref(
    repo: &Repo,
    marks: &Marks,
    targets: &[Target],
    doomed: &[Doomed],
) -> Result<Vec<Share>> {
    let mut claims = Claims {
        repo,
        doomed,
        claimed: HashSet::new(),
    };
    let mut shares = Vec::new();
    for target in targets {
        let mut share = Share {
            name: Some(target.shown.trim_matches('\'').to_owned()),
            ..Share::default()
        };
        let mut next = Some(target.commit);
        // A damaged repository may have a history that goes round in circles.
        let mut seen = HashSet::new();
        while let Some(commit) = next.filter(|commit| seen.insert(*commit)) {
            if marks.is_marked(&commit.object()) {
                share.kept += 1;
            } else if marks.has(&commit.object()) {
                claims.commit(commit, &mut share)?;
            }
            // What cannot be read is found elsewhere: this only explains.
            next = parent(repo, commit).unwrap_or(None);
        }
        shares.push(share);
    }
    let mut nobodys = Share::default();
    for one in doomed {
        claims.claim(&one.object, &mut nobodys);
    }
    if nobodys.objects > 0 {
        shares.push(nobodys);
    }
    Ok(shares)
}

/// What was counted already.
struct Claims<'a> {
    repo: &'a Repo,
    doomed: &'a [Doomed],
    claimed: HashSet<ObjectId>,
}

impl Claims<'_> {
    /// Counts an object if it goes, and was not counted yet.
    fn claim(&mut self, object: &ObjectId, share: &mut Share) -> bool {
        let Ok(at) = self
            .doomed
            .binary_search_by_key(object, |doomed| doomed.object)
        else {
            return false;
        };
        let new = self.claimed.insert(*object);
        if new {
            share.objects += 1;
            share.bytes += self.doomed[at].size;
            share.commits += u64::from(object.kind == oxtree_format::ObjectKind::Commit);
        }
        new
    }

    fn commit(&mut self, commit: CommitId, share: &mut Share) -> Result<()> {
        if !self.claim(&commit.object(), share) {
            return Ok(());
        }
        let Some(root) = load_root(self.repo, commit)? else {
            return Ok(());
        };
        let mut folders = vec![root];
        while let Some(dir) = folders.pop() {
            self.claim(&dir.meta.object(), share);
            if !self.claim(&dir.tree.object(), share) {
                continue;
            }
            // What cannot be read is counted for nobody: this only explains what goes anyway.
            let Ok(bytes) = self.repo.load_metadata(&dir.tree.object()) else {
                continue;
            };
            let Ok(tree) = DirTree::parse(&bytes) else {
                continue;
            };
            for (_, file) in tree.files() {
                self.claim(&file.object(), share);
            }
            folders.extend(tree.dirs().map(|(_, dir)| dir));
        }
        Ok(())
    }
}
