// SPDX-License-Identifier: MIT OR Apache-2.0
//! A receiver of pushes: a store, and the policy of its owner.

use std::sync::Arc;

use oxtree_format::refs::RefName;
use oxtree_repo::Repo;

use super::policy::{Changed, Derive, Derived, Policy};
use crate::error::{Error, Result};
use crate::protocol::message::Limits;
use crate::store::local::LocalDestination;
use crate::store::{Destination, Quarantine, Quota};

/// A receiver. One of a particular store can be used wherever a `&Receiver` is asked for.
#[derive(Debug)]
pub struct Receiver<S: ?Sized = dyn Destination> {
    /// What the owner asks of a push, beyond the limits of the store.
    pub policy: Policy,
    /// Where commits go.
    pub store: S,
}

/// A receiver for a repository on this machine.
pub type LocalReceiver = Receiver<LocalDestination>;

impl LocalReceiver {
    /// A receiver whose owner asks for nothing but what the repository's config says.
    pub fn new(mut repo: Repo) -> Self {
        let auto_update = &mut repo.config_mut().auto_update_summary;
        // A push does it once, when the refs are set.
        *auto_update = auto_update.filter(|auto| !auto);
        Self::with_policy(repo, Policy::default())
    }

    /// A receiver with a policy.
    pub fn with_policy(repo: impl Into<Arc<Repo>>, policy: Policy) -> Self {
        let store = LocalDestination::new(repo);
        Self { policy, store }
    }

    /// The repository.
    pub fn repo(&self) -> &Repo {
        self.store.repo()
    }
}

impl<S: Destination + ?Sized> Receiver<S> {
    /// How much it takes of a push: the store's limits, or the pusher's where these are lower.
    pub fn limits(&self) -> Result<Limits> {
        Ok(self.policy.caps.apply(self.store.limits()?))
    }

    pub(super) fn quota(&self) -> Result<Quota<'_>> {
        Ok(Quota {
            limits: self.limits()?,
            client: &self.policy.client,
        })
    }

    pub(super) fn quarantine(&self) -> Result<Box<dyn Quarantine + '_>> {
        self.store.quarantine(self.quota()?)
    }

    pub(super) fn shared_quarantine(&self) -> Result<Box<dyn Quarantine>> {
        self.store.shared_quarantine(self.quota()?)
    }
}

impl Receiver {
    /// Brings up to date what is computed from refs, now that these have changed. Can fail and be
    /// done again. What programs print goes to the end of `said`.
    pub fn derive(&self, changed: &[RefName], said: &mut String) -> Result<Derived> {
        match &self.policy.derive {
            Derive::Nothing => Ok(Derived::Done),
            Derive::Summary => Ok(self.store.update_summary(&self.policy.signers())?.into()),
            Derive::By(deriver) => {
                let changed = Changed {
                    refs: changed,
                    pusher: self.policy.pusher.as_deref(),
                };
                deriver(&self.store, changed, said).map_err(Error::Hook)
            }
        }
    }
}
