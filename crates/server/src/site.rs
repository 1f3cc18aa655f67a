// SPDX-License-Identifier: MIT OR Apache-2.0
//! One repository that is served.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use oxtree_repo::Repo;
use oxtree_transfer::local::LocalDestination;
use oxtree_transfer::receive::push::Pushes;

use crate::access::Visitor;
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
    open: Box<OpenDestination>,
}

impl Site {
    pub(crate) fn new(config: SiteConfig, lifetime: u64) -> Result<Self> {
        let in_repo = |error: oxtree_transfer::Error| Error::Repository {
            path: config.path.clone(),
            source: Box::new(error),
        };
        let repo = Repo::open(&config.path).map_err(|error| in_repo(error.into()))?;
        let repo = Arc::new(repo);
        let pushes = Pushes::load(Arc::clone(&repo) as _, lifetime).map_err(in_repo)?;
        Ok(Self {
            name: config.name,
            repo,
            pushes,
            open: config.open,
        })
    }

    /// What a visitor's pushes go to: opened anew, so that what has changed in its configuration
    /// counts from now on.
    pub(crate) fn destination(
        &self,
        visitor: &Visitor,
    ) -> oxtree_transfer::Result<LocalDestination> {
        (self.open)(visitor)
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
