// SPDX-License-Identifier: MIT OR Apache-2.0
//! A served repository: its store, its open pushes and its background jobs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use oxtree_repo::Repo;
use oxtree_transfer::receive::LocalReceiver;
use oxtree_transfer::receive::push::{Book, Pushes};
use oxtree_transfer::visibility::{self, CommitIndex};

use crate::access::{Client, Permission};
use crate::error::{Error, Result};
use crate::jobs::Jobs;
use crate::jobs::retention::Retention;
use crate::jobs::webhooks::Webhook;

/// Makes of the repository what a client's pushes go to, with all that its owner asks of them.
pub type OpenDestination = dyn Fn(&Client) -> oxtree_transfer::Result<LocalReceiver> + Send + Sync;

/// A repository that is to be served.
pub struct ServedConfig {
    /// Its name, below the server's root; empty where it is the root.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The destination of pushes.
    pub open: Box<OpenDestination>,
    /// The webhooks.
    pub webhooks: Vec<Webhook>,
    /// The retention; [`None`] to keep everything.
    pub retention: Option<Retention>,
}

impl fmt::Debug for ServedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedConfig")
            .field("name", &self.name)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A repository that is served.
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) repo: Arc<Repo>,
    pub(crate) pushes: Pushes,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) index: Arc<CommitIndex>,
    open: Arc<OpenDestination>,
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

/// The error for pushes to it.
pub(crate) fn no_pushes() -> oxtree_transfer::Error {
    let reason = "the server cannot write to this repository, and only serves it";
    oxtree_transfer::Error::ReadOnly(reason.to_owned())
}

impl Served {
    pub(crate) fn new(config: ServedConfig, lifetime: u64) -> Result<Self> {
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
            open: config.open.into(),
            read_only,
        })
    }

    /// Opens the destination of a client's pushes, without the restrictions of the client's token.
    pub(crate) fn open(&self, client: &Client) -> oxtree_transfer::Result<LocalReceiver> {
        (self.open)(client)
    }

    /// The destination of the server's own work.
    pub(crate) fn own_destination(&self) -> oxtree_transfer::Result<LocalReceiver> {
        open_own(&*self.open)
    }

    /// Starts the background work.
    pub(crate) fn start_jobs(&self) {
        let open = Arc::clone(&self.open);
        let open = Arc::new(move || open_own(&*open));
        tokio::spawn(Jobs::work(Arc::clone(&self.jobs), open));
        tokio::spawn(Jobs::call(Arc::clone(&self.jobs)));
    }
}

fn open_own(open: &OpenDestination) -> oxtree_transfer::Result<LocalReceiver> {
    open(&Client::anonymous([Permission::Admin]))
}
