// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules that the owner of a repository sets for pushes, beyond the limits in its config: required
//! signatures, who may change which ref, hooks, whether commits are kept or copied. The policy is
//! checked in [`admit`](super::admit) and carried out before publishing, so it holds however a
//! push arrives.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::{Duration, SystemTime};

use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, ObjectId};
use oxtree_repo::LostSignatures;
use oxtree_repo::refs::pattern::fits;
use oxtree_repo::sign::{Signer, Verifier};

use super::audit::Audit;
use super::hook::Hook;
use super::view::View;
use crate::error::Result;
use crate::limits::Caps;
use crate::protocol::message::RefOutcome;
use crate::store::Destination;
use crate::visibility::Visibility;

/// All of it. The default asks for nothing.
#[derive(Debug, Default)]
pub struct Policy {
    /// Each has to be content with the signatures of every commit that becomes public.
    pub verifiers: Vec<Box<dyn Verifier>>,
    /// Each signs the commits that refs are set to, and the summary.
    pub signers: Vec<Box<dyn Signer + Send + Sync>>,
    /// What a ref is set to.
    pub commits: Commits,
    /// What becomes of a commit that is no step forward.
    pub stale: Stale,
    /// Whose word it is that a ref may go back or sideways.
    pub force: Force,
    /// No push may delete a ref.
    pub no_deletes: bool,
    /// How far ahead of its clock the receiver lets a commit be.
    pub future: Option<Future>,
    /// Refs that are made from others here (`appstream/…`, `ostree-metadata`) are left out.
    pub no_generated_refs: bool,
    /// The name of the SSH identity or the token that pushes, for hooks; [`None`] where nobody knows it.
    pub pusher: Option<String>,
    /// Which client's part of the memory its objects need, where a process has several.
    pub client: String,
    /// What this pusher may do; [`None`] for anything.
    pub identity: Option<Identity>,
    /// Which refs and commits the pusher may know of; [`None`]: all.
    pub visibility: Option<Box<dyn Visibility>>,
    /// Bounds for this pusher.
    pub caps: Caps,
    /// Is asked before anything is published.
    pub hook: Option<Hook>,
    /// Records what is about to be published, when only the refs are still to change.
    pub outbox: Option<Outbox>,
    /// Brings up to date what is computed from refs.
    pub derive: Derive,
    /// Where each push is noted down.
    pub audit: Option<Audit>,
}

/// What a ref is set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commits {
    /// The very commit that was pushed.
    #[default]
    Keep,
    /// A commit made of it for this repository: `Transaction::copy_commit`.
    Copy,
}

/// What becomes of a commit that is no step forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stale {
    /// The push is refused. A descendant, or a newer commit, is a step forward.
    #[default]
    Refuse,
    /// The ref stays as it is, the others go on, as in ostree-push. A step forward is a newer
    /// commit with another tree.
    Skip,
}

/// Whose word it is that a ref may go back or sideways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Force {
    /// The pusher's.
    #[default]
    Asked,
    /// Every push may.
    Always,
    /// No push may.
    Never,
}

/// How far ahead of the receiver's clock a commit may be.
#[derive(Clone, Copy, Debug)]
pub struct Future {
    /// The clock.
    pub now: SystemTime,
    /// How far.
    pub bound: Duration,
}

/// Who pushes, and what they may.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The name, for messages and for the audit log.
    pub name: String,
    /// Patterns of the refs that they may change (`*` stands for anything, `?` for one character);
    /// [`None`] for all.
    pub refs: Option<Vec<String>>,
    /// They may change nothing.
    pub read_only: bool,
    /// They may only ask what a push would do.
    pub dry_run_only: bool,
    /// They may delete no ref.
    pub no_deletes: bool,
    /// They may only set refs to commits that are there.
    pub promote_only: bool,
}

/// Durably records the ref changes that a push is about to make, so that work which has to follow
/// them is not lost if the machine stops. An error ends the push.
pub struct Outbox(pub Box<RecordChanges>);

/// See [`Outbox`].
pub type RecordChanges = dyn Fn(&[RefOutcome]) -> Result<(), String> + Send + Sync;

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbox")
    }
}

/// How what is computed from refs is brought up to date.
#[derive(Default)]
pub enum Derive {
    /// By a new summary, unless `core.auto-update-summary` turns it off or signatures would be lost.
    #[default]
    Summary,
    /// Not at all.
    Nothing,
    /// By this, which is given what has changed. The error is for the pusher's user, and so is what it puts
    /// at the end of the text.
    By(Box<Deriver>),
}

/// See [`Derive::By`].
pub type Deriver =
    dyn Fn(&dyn Destination, Changed<'_>, &mut String) -> Result<Derived, String> + Send + Sync;

/// What a push has changed.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'a> {
    /// The refs.
    pub refs: &'a [RefName],
    /// See [`Policy::pusher`].
    pub pusher: Option<&'a str>,
}

/// What became of what is computed from refs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Derived {
    /// All is as the owner wants it.
    #[default]
    Done,
    /// Something stays as it was, and the user should know why: a new summary would lose the signatures of
    /// the old one.
    Skipped(String),
}

impl From<Option<LostSignatures>> for Derived {
    fn from(lost: Option<LostSignatures>) -> Self {
        match lost {
            Some(lost) => Self::Skipped(format!(
                "the summary stays as it was: {lost}; write and sign a new one there"
            )),
            None => Self::Done,
        }
    }
}

impl fmt::Debug for Derive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Summary => "Summary",
            Self::Nothing => "Nothing",
            Self::By(_) => "By(..)",
        })
    }
}

impl Policy {
    /// Makes those of these objects missing that the pusher, who has brought none, may not know of.
    pub fn hide(&self, ids: &[ObjectId], missing: &mut [bool]) -> Result<()> {
        View::new(self, &HashSet::new()).hide(ids, missing)
    }

    /// Those of these commits that the pusher, who has brought none, may not know of.
    pub(super) fn hidden(
        &self,
        commits: impl Iterator<Item = CommitId>,
    ) -> Result<HashSet<CommitId>> {
        let (none, mut hidden) = (HashSet::new(), HashSet::new());
        let view = View::new(self, &none);
        for commit in commits {
            if view.hides(&commit.object())? {
                hidden.insert(commit);
            }
        }
        Ok(hidden)
    }

    /// Those of these refs that the pusher may know of.
    pub fn visible(&self, mut refs: BTreeMap<RefName, CommitId>) -> BTreeMap<RefName, CommitId> {
        if let Some(visibility) = &self.visibility {
            refs.retain(|name, _| visibility.sees_ref(name.as_str()));
        }
        refs
    }

    /// Whether a push may move a ref back or sideways, if it asks for that or not.
    pub(super) fn forced(&self, asked: bool) -> bool {
        match self.force {
            Force::Asked => asked,
            Force::Always => true,
            Force::Never => false,
        }
    }

    /// Whether commits are signed here.
    pub(super) fn signs(&self) -> bool {
        !self.signers.is_empty()
    }

    /// Whether the pusher may write some refs only.
    pub(super) fn limits_refs(&self) -> bool {
        let identity = self.identity.as_ref();
        identity.is_some_and(|identity| identity.refs.is_some())
    }

    /// Whether it matters what a pushed commit is bound to: see [`super::bindings`].
    pub(super) fn minds_bindings(&self) -> bool {
        self.commits == Commits::Keep && (self.signs() || self.limits_refs())
    }

    /// Whether detached metadata of commits that are here can be brought.
    pub fn takes_detached(&self) -> bool {
        let identity = self.identity.as_ref();
        self.commits == Commits::Keep && !identity.is_some_and(|identity| identity.read_only)
    }

    /// Whether the pusher may bring nothing.
    pub(super) fn promotes_only(&self) -> bool {
        let identity = self.identity.as_ref();
        identity.is_some_and(|identity| identity.promote_only)
    }

    /// The signers, as the store takes them.
    pub(crate) fn signers(&self) -> Vec<&dyn Signer> {
        let signers = self.signers.iter();
        signers.map(|signer| &**signer as &dyn Signer).collect()
    }
}

impl Identity {
    /// Why they may not change this ref, if they may not.
    pub(super) fn refuses(&self, name: &RefName, dry_run: bool, deletes: bool) -> Option<String> {
        let who = &self.name;
        if self.read_only {
            return Some(format!("{who} may not change anything here"));
        }
        if self.no_deletes && deletes {
            return Some(format!("{who} may not delete refs here"));
        }
        if self.dry_run_only && !dry_run {
            return Some(format!("{who} may only do dry runs here"));
        }
        let refs = self.refs.as_ref()?;
        let allowed = self.may_write(name.as_str());
        (!allowed).then(|| format!("{who} may not change this ref, only {}", refs.join(", ")))
    }

    /// Whether a ref is one of those that they may change.
    pub(super) fn may_write(&self, name: &str) -> bool {
        let refs = self.refs.as_ref();
        refs.is_none_or(|refs| refs.iter().any(|pattern| fits(pattern, name)))
    }
}

impl Future {
    /// Why a commit of this time (in seconds since 1970) is not taken, if it is not.
    pub(super) fn refuses(&self, timestamp: u64) -> Option<String> {
        let now = self.now.duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let ahead = timestamp.saturating_sub(now);
        (ahead > self.bound.as_secs()).then(|| {
            format!(
                "its commit is {ahead} seconds ahead of the clock here, and no more than {} are \
                 allowed: later commits could not follow it",
                self.bound.as_secs()
            )
        })
    }
}

/// Whether a ref is made from others, by `flatpak build-update-repo` or with the summary.
pub fn is_generated(name: &RefName) -> bool {
    let name = name.as_str();
    name == "ostree-metadata" || name.starts_with("appstream/") || name.starts_with("appstream2/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> RefName {
        name.parse().unwrap()
    }

    #[test]
    fn identities_are_held_to_their_refs() {
        let mut who = Identity {
            name: "ci".to_owned(),
            ..Identity::default()
        };
        assert_eq!(who.refuses(&name("a/b"), false, true), None);
        who.refs = Some(vec!["os/*".to_owned(), "x".to_owned()]);
        assert_eq!(who.refuses(&name("os/a/b"), false, false), None);
        assert_eq!(who.refuses(&name("x"), false, false), None);
        for other in ["o", "os", "osx/a", "x/y"] {
            let reason = who.refuses(&name(other), true, false).unwrap();
            assert!(
                reason.contains("ci") && reason.contains("os/*, x"),
                "{reason}"
            );
        }
        who.dry_run_only = true;
        assert_eq!(who.refuses(&name("x"), true, false), None);
        assert!(who.refuses(&name("x"), false, false).is_some());
        who.dry_run_only = false;
        who.no_deletes = true;
        assert_eq!(who.refuses(&name("x"), false, false), None);
        assert!(who.refuses(&name("x"), false, true).is_some());
        who.read_only = true;
        assert!(who.refuses(&name("x"), true, false).is_some());
    }

    #[test]
    fn generated_refs() {
        for generated in ["appstream/x86_64", "appstream2/x", "ostree-metadata"] {
            assert!(is_generated(&name(generated)), "{generated}");
        }
        for other in ["appstream", "appstream3/x", "ostree-metadata/x", "app/x"] {
            assert!(!is_generated(&name(other)), "{other}");
        }
    }

    #[test]
    fn the_future_is_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let bound = Duration::from_secs(10);
        let future = Future { now, bound };
        assert_eq!(future.refuses(1010), None);
        assert_eq!(future.refuses(0), None);
        assert!(future.refuses(1011).unwrap().contains("11 seconds"));
        assert!(future.refuses(u64::MAX).is_some());
    }
}
