// SPDX-License-Identifier: MIT OR Apache-2.0
//! The refs of a repository and where histories end, kept in memory as long as nothing changes.
//!
//! OSTree's programs touch the directory of a repository after each change of a ref, so one system call
//! tells whether something has changed. What other programs do to the files of refs is noticed by reading
//! them again now and then: so seldom that the cost is negligible, however often a client asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use oxtree_format::CommitId;
use oxtree_format::refs::Refspec;
use oxtree_repo::refs::Touched;
use oxtree_repo::{Repo, Result};

use super::ends::Ends;

/// A ref, whatever it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ref {
    /// Its name, without that of a remote or a collection.
    pub(super) name: String,
    pub(super) tip: CommitId,
}

/// What is known of a repository at some time.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By their paths below the repository.
    pub(super) refs: BTreeMap<String, Ref>,
    pub(super) ends: Ends,
}

/// The last of it.
#[derive(Debug, Default)]
pub(super) struct Last(Mutex<Option<Read>>);

#[derive(Debug)]
struct Read {
    known: Arc<Known>,
    touched: Touched,
    /// What changes later is sure to make a difference to `touched`.
    is_settled: bool,
    /// Then it is read again, whether it has been touched or not.
    until: Instant,
}

/// It is read again by itself after this multiple of the time that reading takes, at the least after [`SHORTEST`].
const SHARE: u32 = 30;
const SHORTEST: Duration = Duration::from_millis(50);

impl Last {
    /// What is known now. As long as nothing changes, that is the same allocation.
    pub(super) fn get(&self, repo: &Repo) -> Result<Arc<Known>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = &*last
            && read.is_settled
            && Instant::now() < read.until
            && repo.touched()? == read.touched
        {
            return Ok(Arc::clone(&read.known));
        }
        let begin = Instant::now();
        let before = last.take().map(|read| read.known);
        let touched = repo.touched()?;
        let is_settled = touched.is_settled();
        // In this order: where a history ends is noted before a ref leads to it.
        let refs = list(repo)?;
        let ends = Ends::read(repo, before.as_ref().map(|known| &known.ends))?;
        let known = match before {
            Some(known) if known.refs == refs && known.ends == ends => known,
            _ => Arc::new(Known { refs, ends }),
        };
        let now = Instant::now();
        *last = Some(Read {
            known: Arc::clone(&known),
            touched,
            is_settled,
            until: now + SHORTEST.max((now - begin) * SHARE),
        });
        Ok(known)
    }
}

fn list(repo: &Repo) -> Result<BTreeMap<String, Ref>> {
    let mut all = BTreeMap::new();
    for (Refspec { remote, name }, tip) in repo.list_refs(None)? {
        let path = match remote {
            None => format!("refs/heads/{name}"),
            Some(remote) => format!("refs/remotes/{remote}/{name}"),
        };
        let name = name.as_str().to_owned();
        all.insert(path, Ref { name, tip });
    }
    for ((collection, name), tip) in repo.mirror_refs()? {
        let path = format!("refs/mirrors/{collection}/{name}");
        let name = name.as_str().to_owned();
        all.insert(path, Ref { name, tip });
    }
    Ok(all)
}
