// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the owner of a repository asks of pushes, beyond the rules in its config: whose commits are
//! taken, who may change which ref, what is made of what has come. It holds for every door.

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, SystemTime};

use oxtree_format::ObjectId;
use oxtree_format::refs::RefName;
use oxtree_repo::Repo;
use oxtree_repo::refs::pattern::fits;
use oxtree_repo::sign::{Signer, Verifier};

use super::audit::Audit;
use super::hook::Hook;
use super::sight::{Eyes, Sight};
use crate::Result;
use crate::limits::Caps;
use crate::protocol::message::RefOutcome;

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
    /// How far ahead of its clock the receiver lets a commit be.
    pub future: Option<Future>,
    /// Refs that are made from others here (`appstream/…`, `ostree-metadata`) are left out.
    pub no_generated_refs: bool,
    /// Who pushes, as far as that is known.
    pub identity: Option<Identity>,
    /// Which of the commits that are there they may know of; [`None`]: all.
    pub sight: Option<Box<dyn Sight>>,
    /// Bounds for them.
    pub caps: Caps,
    /// Is asked before anything is published.
    pub hook: Option<Hook>,
    /// Is told what is about to be published, when nothing but the refs is missing.
    pub herald: Option<Herald>,
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
}

/// Is told of the changes of refs that are about to be made, so that what has to be done after them is
/// not lost if the machine stops. An error ends the push.
pub struct Herald(pub Box<Announce>);

/// See [`Herald`].
pub type Announce = dyn Fn(&[RefOutcome]) -> Result<(), String> + Send + Sync;

impl fmt::Debug for Herald {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Herald")
    }
}

/// How what is computed from refs is brought up to date.
#[derive(Default)]
pub enum Derive {
    /// By a new summary.
    #[default]
    Summary,
    /// Not at all.
    Nothing,
    /// By this, which is given the refs that have changed. The error is for the pusher's user, and so is what
    /// it puts at the end of the text.
    By(Box<Deriver>),
}

/// See [`Derive::By`].
pub type Deriver = dyn Fn(&Repo, &[RefName], &mut String) -> Result<(), String> + Send + Sync;

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
        Eyes::new(self, &HashSet::new()).hide(ids, missing)
    }

    /// Whether a push may move a ref back or sideways, if it asks for that or not.
    pub(super) fn forced(&self, asked: bool) -> bool {
        match self.force {
            Force::Asked => asked,
            Force::Always => true,
            Force::Never => false,
        }
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
        let allowed = refs.iter().any(|pattern| fits(pattern, name.as_str()));
        (!allowed).then(|| format!("{who} may not change this ref, only {}", refs.join(", ")))
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
