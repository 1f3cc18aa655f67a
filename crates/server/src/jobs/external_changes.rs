// SPDX-License-Identifier: MIT OR Apache-2.0
//! External changes: refs changed by other programs, such as a push over SSH or `ostree commit` in
//! the repository. The server compares the times of the refs' folders every few seconds. It knows
//! the changes of its own pushes, as it notes them before they are made. Changes made while no
//! server runs are not noticed.

use std::collections::{BTreeMap, BTreeSet};

use oxtree_format::CommitId;
use oxtree_format::refs::RefName;
use oxtree_repo::refs::RefsStamp;
use oxtree_transfer::protocol::message::{RefOutcome, Status, WireCommit, WireRef};
use oxtree_transfer::receive::policy::is_generated;

use super::Jobs;
use super::outbox::PendingPush;

type Refs = BTreeMap<RefName, CommitId>;

/// A ref that was set by one of our own pushes, and to what.
type Own = (RefName, Option<CommitId>);

/// The state seen last.
#[derive(Debug, Default)]
pub(super) struct KnownRefs {
    stamp: Option<RefsStamp>,
    /// [`None`] until it is known.
    refs: Option<Refs>,
    /// Refs that own pushes are about to set, by the names of their notes.
    open: BTreeMap<String, BTreeSet<RefName>>,
    /// And those that they have set since.
    own: BTreeSet<Own>,
    /// When that was computed last which is computed from the refs of others.
    derived: Option<RefsStamp>,
}

impl KnownRefs {
    /// An own push is about to set its refs.
    pub(super) fn announced(&mut self, name: &str, push: &PendingPush) {
        let refs = push.refs.iter().map(|change| change.name.0.clone());
        self.open.insert(name.to_owned(), refs.collect());
    }

    /// It has done it, or never will.
    pub(super) fn settled(&mut self, name: &str, push: &PendingPush, published: bool) {
        self.open.remove(name);
        if published {
            let set = |change: &RefOutcome| {
                let new = change.new.as_ref().map(|commit| commit.0);
                (change.name.0.clone(), new)
            };
            self.own.extend(push.refs.iter().map(set));
        }
    }

    /// The refs cannot be read: what they were is not known any more.
    fn forget(&mut self) {
        (self.stamp, self.refs) = (None, None);
        self.own.clear();
    }

    /// Compares with the current refs. Returns the external changes, and whether all changes are
    /// decided. `own`: the changes of the server's own pushes before the refs were read.
    fn judge(&mut self, mut now: Refs, own: &BTreeSet<Own>) -> (Vec<RefOutcome>, bool) {
        let Some(old) = self.refs.take() else {
            self.refs = Some(now);
            return (Vec::new(), true);
        };
        let names = now
            .keys()
            .chain(old.keys().filter(|name| !now.contains_key(*name)));
        let differs = |name: &&RefName| now.get(*name) != old.get(*name);
        let changed: Vec<RefName> = names.filter(differs).cloned().collect();
        let mut all = true;
        let mut changes = Vec::new();
        for name in changed {
            let (before, after) = (old.get(&name).copied(), now.get(&name).copied());
            if self.open.values().any(|open| open.contains(&name)) {
                // It is not known yet whose change it is.
                all = false;
                match before {
                    Some(commit) => now.insert(name, commit),
                    None => now.remove(&name),
                };
                continue;
            }
            let change = (name, after);
            if is_generated(&change.0) || own.contains(&change) || self.own.contains(&change) {
                continue;
            }
            changes.push(RefOutcome {
                name: WireRef(change.0),
                old: before.map(WireCommit),
                new: after.map(WireCommit),
                status: match (before, after) {
                    (None, _) => Status::Created,
                    (_, None) => Status::Deleted,
                    _ => Status::Updated,
                },
                reason: None,
            });
        }
        self.refs = Some(now);
        (changes, all)
    }
}

impl Jobs {
    /// Looks whether others have changed refs, and has done what is done after a push.
    pub(crate) fn look(&self) {
        // The one before may not have ended.
        let Ok(_looking) = self.looking.try_lock() else {
            return;
        };
        if self.off {
            return;
        }
        if let Err(error) = self.try_look().and_then(|()| self.review()) {
            tracing::warn!("{}: {error}", self.repo.path().display());
            // From the next time on.
            self.seen().forget();
        }
    }

    fn try_look(&self) -> oxtree_repo::Result<()> {
        let stamp = self.repo.refs_stamp()?;
        let own = {
            let mut seen = self.seen();
            if seen.stamp.as_ref() == Some(&stamp) {
                return Ok(());
            }
            std::mem::take(&mut seen.own)
        };
        let found = self.repo.survey_local_refs()?;
        let mut refs = found.refs;
        let mut seen = self.seen();
        for one in &found.damaged {
            tracing::warn!(
                "{}: {one}; clients do not see this ref",
                self.repo.path().display()
            );
            // It was not deleted, so nobody is told that it was.
            let name = one.refspec().map(|refspec| refspec.name);
            if let (Some(name), Some(old)) = (name, &seen.refs)
                && let Some(commit) = old.get(&name)
            {
                refs.insert(name, *commit);
            }
        }
        let (changes, all) = seen.judge(refs, &own);
        if !all {
            seen.own.extend(own);
        }
        seen.stamp = (all && stamp.is_settled()).then(|| stamp.clone());
        // A hook may have changed refs: it is not run for that again.
        let is_derived = seen.derived.as_ref() == Some(&stamp);
        drop(seen);
        if changes.is_empty() {
            return Ok(());
        }
        tracing::info!(
            "{}: others have changed {} refs",
            self.repo.path().display(),
            changes.len()
        );
        // A push by another transport may have made the summary, too.
        let derive = !is_derived && !self.repo.is_summary_after(&stamp)?;
        let push = PendingPush {
            user: None,
            refs: changes,
        };
        let mut queue = self.lock();
        self.tell_of(&mut queue, &push);
        if derive {
            self.derive(&mut queue, &push);
            if let Some(job) = &mut queue.derive {
                job.for_external_changes = true;
            }
        }
        Ok(())
    }

    /// Everything derived from external changes is up to date.
    pub(super) fn derived_for_external_changes(&self) {
        let stamp = self.repo.refs_stamp().ok();
        self.seen().derived = stamp;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refs(all: &[(&str, u8)]) -> Refs {
        let refs = all
            .iter()
            .map(|(name, commit)| (name.parse().unwrap(), id(*commit)));
        refs.collect()
    }

    fn id(number: u8) -> CommitId {
        format!("{number:064x}").parse().unwrap()
    }

    fn push(name: &str, old: Option<u8>, new: u8) -> PendingPush {
        let commit = |number| WireCommit(id(number));
        PendingPush {
            user: None,
            refs: vec![RefOutcome {
                name: WireRef(name.parse().unwrap()),
                old: old.map(commit),
                new: Some(commit(new)),
                status: Status::Updated,
                reason: None,
            }],
        }
    }

    #[test]
    fn only_what_others_have_changed_is_told_and_once() {
        let mut seen = KnownRefs::default();
        let names = |(changes, all): (Vec<RefOutcome>, bool)| {
            let names = changes.iter().map(|c| format!("{} {:?}", c.name, c.status));
            (names.collect::<Vec<_>>().join(", "), all)
        };
        // The first look only shows what there is.
        assert_eq!(
            names(seen.judge(refs(&[("a", 1), ("b", 1)]), &BTreeSet::new())).0,
            ""
        );
        let now = refs(&[("a", 2), ("c", 1)]);
        let told = names(seen.judge(now.clone(), &BTreeSet::new()));
        assert_eq!(told, ("a Updated, c Created, b Deleted".to_owned(), true));
        assert_eq!(names(seen.judge(now, &BTreeSet::new())).0, "");
        // Of a push that is about to be published nothing is known yet.
        let own = push("a", Some(2), 3);
        seen.announced("x", &own);
        let now = refs(&[("a", 3), ("c", 2)]);
        assert_eq!(
            names(seen.judge(now.clone(), &BTreeSet::new())),
            ("c Updated".to_owned(), false)
        );
        seen.settled("x", &own, true);
        let before = std::mem::take(&mut seen.own);
        assert_eq!(names(seen.judge(now, &before)), (String::new(), true));
        // A push that was given up does not hide external changes.
        let own = push("a", Some(3), 4);
        seen.announced("y", &own);
        seen.settled("y", &own, false);
        let now = refs(&[("a", 4), ("c", 2)]);
        assert_eq!(names(seen.judge(now, &BTreeSet::new())).0, "a Updated");
    }
}
