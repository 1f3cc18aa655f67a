// SPDX-License-Identifier: MIT OR Apache-2.0
//! Facts about the histories of one repository, shared by all its clients. The visible commits of
//! each set of patterns are kept in memory, and each question is one look-up. So hidden and
//! missing commits take the same time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oxtree_format::{Commit, CommitId};
use oxtree_repo::{Error, Repo, Result};

use super::known::{Known, Last};
use super::reachable::{Before, Reachable};
use super::{concerns, ends};

/// Commits that are held for all clients together, 40 bytes each. Those of the clients go that have not
/// asked for the longest time.
const MOST_REACHABLE: usize = 1 << 20;

/// Commits of which it is known what comes before them, 80 bytes each.
const MOST_PARENTS: usize = 1 << 20;

/// Clients with different patterns.
const MOST_CLIENTS: usize = 256;

/// See [`RefVisibility`](super::RefVisibility).
#[derive(Debug, Default)]
pub struct CommitIndex {
    last: Last,
    parents: Mutex<HashMap<CommitId, Option<CommitId>>>,
    /// Who has asked last is the last.
    clients: Mutex<Vec<Arc<Client>>>,
}

/// Clients with the same patterns.
#[derive(Debug, Default)]
struct Client {
    patterns: Vec<String>,
    reachable: Mutex<Reachable>,
    size: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CommitIndex {
    /// Whether a commit leads to a ref whose name fits one of the patterns. That one is hidden is found out
    /// in the same way, and takes as long, as that there is none.
    pub(super) fn sees(&self, repo: &Repo, patterns: &[String], commit: CommitId) -> Result<bool> {
        let known = self.last.get(repo)?;
        let client = self.client(patterns);
        let mut reachable = lock(&client.reachable);
        let parents = |id| self.before(repo, id);
        reachable.update(&known, patterns, &parents)?;
        let has = reachable.has(commit, &parents)?;
        client.size.store(reachable.len(), Ordering::Relaxed);
        drop(reachable);
        self.make_room();
        Ok(has)
    }

    fn client(&self, patterns: &[String]) -> Arc<Client> {
        let mut clients = lock(&self.clients);
        let found = clients.iter().position(|one| one.patterns == patterns);
        let client = match found {
            Some(at) => clients.remove(at),
            None => Arc::new(Client {
                patterns: patterns.to_vec(),
                ..Client::default()
            }),
        };
        clients.push(Arc::clone(&client));
        client
    }

    fn make_room(&self) {
        let mut clients = lock(&self.clients);
        let size = |client: &Arc<Client>| client.size.load(Ordering::Relaxed);
        let mut all: usize = clients.iter().map(size).sum();
        while clients.len() > 1 && (all > MOST_REACHABLE || clients.len() > MOST_CLIENTS) {
            all -= size(&clients.remove(0));
        }
    }

    /// What comes before a commit. One that is damaged leads nowhere.
    fn before(&self, repo: &Repo, id: CommitId) -> Result<Before> {
        if let Some(parent) = lock(&self.parents).get(&id) {
            return Ok(Before::Is(*parent));
        }
        let bytes = match repo.load_commit(id) {
            Err(error) if error.is_missing_object() => return Ok(Before::Unknown),
            Err(error) if error.is_bad_object() => {
                tracing::warn!("{error}");
                return Ok(Before::Unknown);
            }
            loaded => loaded?,
        };
        let commit = Commit::parse(&bytes).map_err(|error| Error::corrupt(id, error))?;
        let mut parents = lock(&self.parents);
        if parents.len() >= MOST_PARENTS {
            parents.clear();
        }
        parents.insert(id, commit.parent);
        Ok(Before::Is(commit.parent))
    }

    /// Notes that histories end with a commit that a client with these patterns brings. Refs that the
    /// client does not see go on from there if they do already.
    pub(super) fn end_history(
        &self,
        repo: &Repo,
        patterns: &[String],
        commit: CommitId,
    ) -> Result<()> {
        let known = self.last.get(repo)?;
        if known.ends.has(commit) {
            return Ok(());
        }
        let kept = match repo.has_object(&commit.object())? {
            true => self.leading_to(commit, repo, patterns, &known)?,
            false => Vec::new(),
        };
        ends::write(repo, commit, &kept)
    }

    /// The refs that fit none of the patterns and have a commit in their history.
    fn leading_to(
        &self,
        commit: CommitId,
        repo: &Repo,
        patterns: &[String],
        known: &Known,
    ) -> Result<Vec<String>> {
        let mut leads = HashMap::from([(commit, true)]);
        let mut found = Vec::new();
        let hidden = known.refs.iter();
        for (path, one) in hidden.filter(|(_, one)| !concerns(patterns, &one.name)) {
            let (mut chain, mut next) = (Vec::new(), Some(one.tip));
            // What is found out about these holds for all refs: no note is in between.
            let mut shared = 0;
            let mut is_led = false;
            while let Some(at) = next {
                if let Some(known) = leads.get(&at) {
                    is_led = *known;
                    break;
                }
                chain.push(at);
                if known.ends.has(at) {
                    shared = chain.len();
                }
                next = match known.ends.end(at, |kept| kept == path) {
                    true => None,
                    false => match self.before(repo, at)? {
                        Before::Is(parent) => parent,
                        Before::Unknown => None,
                    },
                };
            }
            leads.extend(chain[shared..].iter().map(|at| (*at, is_led)));
            if is_led {
                found.push(path.clone());
            }
        }
        Ok(found)
    }
}
