// SPDX-License-Identifier: MIT OR Apache-2.0
//! One repository that is served.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use oxtree_repo::Repo;
use oxtree_transfer::receive::LocalReceiver;
use oxtree_transfer::receive::policy::{self, Derive, Derived};
use oxtree_transfer::receive::push::{Book, Pushes};
use oxtree_transfer::visibility::{self, CommitIndex, RefVisibility, Visibility};

use crate::access::{Permission, Visitor};
use crate::jobs::Jobs;
use crate::jobs::announced::Herald;
use crate::jobs::retention::Retention;
use crate::jobs::webhooks::Webhook;
use crate::{Error, Result};

/// Makes of the repository what a visitor's pushes go to, with all that its owner asks of them.
pub type OpenDestination = dyn Fn(&Visitor) -> oxtree_transfer::Result<LocalReceiver> + Send + Sync;

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
    pub(crate) pushes: Pushes,
    pub(crate) jobs: Arc<Jobs>,
    index: Arc<CommitIndex>,
    /// Whoever shows no token.
    anonymous: Arc<Visitor>,
    open: Box<OpenDestination>,
    /// The repository could not be written to when the server started: nothing is kept in it.
    pub(crate) read_only: bool,
}

/// The book of a repository that cannot be written to: it has no pushes.
struct NoPushes;

impl Book for NoPushes {
    fn load(&self) -> oxtree_transfer::Result<Vec<(String, Vec<u8>)>> {
        Ok(Vec::new())
    }

    fn write(&self, _: &str, _: &[u8]) -> oxtree_transfer::Result<()> {
        Err(no_pushes())
    }

    fn delete(&self, _: &str) -> oxtree_transfer::Result<()> {
        Ok(())
    }
}

/// What those are told who push there.
fn no_pushes() -> oxtree_transfer::Error {
    let reason = "the server cannot write to this repository, and only serves it";
    oxtree_transfer::Error::ReadOnly(reason.to_owned())
}

impl Site {
    pub(crate) fn new(config: SiteConfig, lifetime: u64, anonymous: &Arc<Visitor>) -> Result<Self> {
        let in_repo = |error: oxtree_transfer::Error| Error::Repository {
            path: config.path.clone(),
            source: Box::new(error),
        };
        let repo = Repo::open(&config.path).map_err(|error| in_repo(error.into()))?;
        let repo = Arc::new(repo);
        let read_only = repo.check_writable().is_err();
        let name = config.name.clone();
        let (book, jobs): (Arc<dyn Book>, _) = match read_only {
            true => (Arc::new(NoPushes), Ok(Jobs::off(Arc::clone(&repo), name))),
            false => {
                visibility::tidy(&repo).map_err(|error| in_repo(error.into()))?;
                let (webhooks, retention) = (config.webhooks, config.retention);
                let jobs = Jobs::load(Arc::clone(&repo), name, webhooks, retention);
                (Arc::clone(&repo) as _, jobs)
            }
        };
        let jobs = jobs.map_err(|error| in_repo(error.into()))?;
        let pushes = Pushes::load(book, lifetime).map_err(in_repo)?;
        Ok(Self {
            name: config.name,
            repo,
            pushes,
            jobs: Arc::new(jobs),
            index: Arc::default(),
            anonymous: Arc::clone(anonymous),
            open: config.open,
            read_only,
        })
    }

    /// What a visitor's pushes go to: opened anew, so that what has changed in its configuration
    /// counts from now on.
    pub(crate) fn destination(
        &self,
        visitor: &Visitor,
        from: IpAddr,
    ) -> oxtree_transfer::Result<LocalReceiver> {
        let destination = self.described(visitor, from)?;
        // The file system may have become read-only since.
        match self.read_only || destination.repo().check_writable().is_err() {
            true => Err(no_pushes()),
            false => Ok(destination),
        }
    }

    /// The same for those who only want to know about it.
    pub(crate) fn described(
        &self,
        visitor: &Visitor,
        from: IpAddr,
    ) -> oxtree_transfer::Result<LocalReceiver> {
        let mut destination = (self.open)(visitor)?;
        let policy = &mut destination.policy;
        visitor.restrict(policy, from);
        policy.client = visitor.client(from).to_string();
        policy.visibility = self.visibility_of_pusher(visitor);
        let herald = Arc::new(Herald::new(Arc::clone(&self.jobs), visitor.name.clone()));
        let derives = !matches!(policy.derive, Derive::Nothing);
        let jobs = Arc::clone(&self.jobs);
        let published = Arc::clone(&herald);
        policy.outbox = Some(policy::Outbox(Box::new(move |refs| herald.announce(refs))));
        policy.derive = Derive::By(Box::new(move |_, _, _| match published.published() {
            // In its turn: pushes that end at the same time need it only once.
            Some(ticket) if derives => jobs.wait(ticket),
            _ => Ok(Derived::Done),
        }));
        Ok(destination)
    }

    /// Which refs and commits a visitor's pushes may know of, if not of all: those that this visitor may
    /// know of, or a client without a token.
    fn visibility_of_pusher(&self, visitor: &Visitor) -> Option<Box<dyn Visibility>> {
        let anonymous = &*self.anonymous;
        let reads = anonymous.may(Permission::Read, &self.name);
        if visitor.sees_all() || reads && anonymous.sees_all() {
            return None;
        }
        let mut who = vec![visitor];
        who.extend(reads.then_some(anonymous));
        Some(Box::new(self.visibility(&who)))
    }

    /// What those may know of who may do what all of these may.
    pub(crate) fn visibility(&self, who: &[&Visitor]) -> RefVisibility {
        let all = || vec!["*".to_owned()];
        let patterns = who.iter().map(|one| one.refs.clone().unwrap_or_else(all));
        RefVisibility::new(&self.repo, &self.index, patterns.flatten())
    }

    /// The same for the server itself.
    pub(crate) fn own_destination(&self) -> oxtree_transfer::Result<LocalReceiver> {
        (self.open)(&Visitor::anonymous([Permission::Admin]))
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
