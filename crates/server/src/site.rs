// SPDX-License-Identifier: MIT OR Apache-2.0
//! One repository that is served.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use oxtree_repo::Repo;
use oxtree_transfer::local::LocalDestination;
use oxtree_transfer::receive::policy::{self, Derive};
use oxtree_transfer::receive::push::Pushes;
use oxtree_transfer::receive::sight::Sight;

use crate::access::{Permission, Visitor};
use crate::history::{self, Histories, Reach};
use crate::jobs::Jobs;
use crate::jobs::announced::Herald;
use crate::jobs::retention::Retention;
use crate::jobs::webhooks::Webhook;
use crate::{Error, Result};

/// Makes of the repository what a visitor's pushes go to, with all that its owner asks of them.
pub type OpenDestination =
    dyn Fn(&Visitor) -> oxtree_transfer::Result<LocalDestination> + Send + Sync;

/// A repository that is to be served.
pub struct SiteConfig {
    /// Its name, below the server's root; empty where it is the root.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What its visitors push to.
    pub open: Box<OpenDestination>,
    /// Who wants to be told of pushes.
    pub webhooks: Vec<Webhook>,
    /// What of it is kept; [`None`] for all.
    pub retention: Option<Retention>,
}

impl fmt::Debug for SiteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteConfig")
            .field("name", &self.name)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A repository that is served.
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) repo: Arc<Repo>,
    pub(crate) pushes: Pushes<LocalDestination>,
    pub(crate) jobs: Arc<Jobs>,
    histories: Arc<Histories>,
    /// Whoever shows no token.
    anonymous: Arc<Visitor>,
    open: Box<OpenDestination>,
}

impl Site {
    pub(crate) fn new(config: SiteConfig, lifetime: u64, anonymous: &Arc<Visitor>) -> Result<Self> {
        let in_repo = |error: oxtree_transfer::Error| Error::Repository {
            path: config.path.clone(),
            source: Box::new(error),
        };
        let repo = Repo::open(&config.path).map_err(|error| in_repo(error.into()))?;
        let repo = Arc::new(repo);
        history::tidy(&repo).map_err(|error| in_repo(error.into()))?;
        let pushes = Pushes::load(Arc::clone(&repo) as _, lifetime).map_err(in_repo)?;
        let name = config.name.clone();
        let jobs = Jobs::load(Arc::clone(&repo), name, config.webhooks, config.retention);
        let jobs = jobs.map_err(|error| in_repo(error.into()))?;
        Ok(Self {
            name: config.name,
            repo,
            pushes,
            jobs: Arc::new(jobs),
            histories: Arc::default(),
            anonymous: Arc::clone(anonymous),
            open: config.open,
        })
    }

    /// What a visitor's pushes go to: opened anew, so that what has changed in its configuration
    /// counts from now on.
    pub(crate) fn destination(
        &self,
        visitor: &Visitor,
        from: IpAddr,
    ) -> oxtree_transfer::Result<LocalDestination> {
        let mut destination = (self.open)(visitor)?;
        let policy = destination.policy_mut();
        visitor.restrict(policy, from);
        policy.sight = self.sight(visitor);
        let herald = Arc::new(Herald::new(Arc::clone(&self.jobs), visitor.name.clone()));
        let derives = !matches!(policy.derive, Derive::Nothing);
        let jobs = Arc::clone(&self.jobs);
        let published = Arc::clone(&herald);
        policy.herald = Some(policy::Herald(Box::new(move |refs| herald.announce(refs))));
        policy.derive = Derive::By(Box::new(move |_, _, _| match published.published() {
            // In its turn: pushes that end at the same time need it only once.
            Some(ticket) if derives => jobs.wait(ticket),
            _ => Ok(()),
        }));
        Ok(destination)
    }

    /// Which commits a visitor's pushes may know of, if not of all: those that lead to refs that concern
    /// them, or whoever shows no token.
    fn sight(&self, visitor: &Visitor) -> Option<Box<dyn Sight>> {
        let anonymous = Arc::clone(&self.anonymous);
        let reads = anonymous.may(Permission::Read, &self.name);
        if visitor.sees_all() || reads && anonymous.sees_all() {
            return None;
        }
        let mut who = vec![Arc::new(visitor.clone())];
        who.extend(reads.then_some(anonymous));
        Some(Box::new(self.reach(who)))
    }

    /// What these can reach.
    pub(crate) fn reach(&self, who: Vec<Arc<Visitor>>) -> Reach {
        Reach::new(&self.repo, &self.histories, who)
    }

    /// The same for the server itself.
    pub(crate) fn own_destination(&self) -> oxtree_transfer::Result<LocalDestination> {
        (self.open)(&Visitor::anonymous([Permission::Admin]))
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
