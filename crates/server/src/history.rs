// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which commits those may have who may read some refs only: those that lead to one of these refs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use oxtree_format::checksum::hex;
use oxtree_format::refs::{CollectionId, RefName, Refspec};
use oxtree_format::{Checksum, Commit, CommitId};
use oxtree_repo::{Error, Repo, Result};
use oxtree_transfer::receive::sight::Sight;

use crate::access::Visitor;

/// A ref of the repository; those of mirrors have a collection.
type Key = (Option<CollectionId>, Refspec);

/// The commits of each ref that was asked for, as far as they are there. They are read once.
#[derive(Debug, Default)]
pub(crate) struct Histories(Mutex<HashMap<Key, Arc<History>>>);

#[derive(Debug)]
struct History {
    tip: CommitId,
    commits: HashSet<CommitId>,
}

/// What somebody can reach: the commits that lead to the refs that concern one of these.
#[derive(Debug)]
pub(crate) struct Reach {
    repo: Arc<Repo>,
    histories: Arc<Histories>,
    who: Vec<Arc<Visitor>>,
    refs: OnceLock<Vec<(Key, CommitId)>>,
}

impl Reach {
    pub(crate) fn new(
        repo: &Arc<Repo>,
        histories: &Arc<Histories>,
        who: Vec<Arc<Visitor>>,
    ) -> Self {
        Self {
            repo: Arc::clone(repo),
            histories: Arc::clone(histories),
            who,
            refs: OnceLock::new(),
        }
    }

    fn concerns(&self, (_, refspec): &Key) -> bool {
        self.who
            .iter()
            .any(|one| one.concerns(refspec.name.as_ref()))
    }

    /// Whether a commit is one of these.
    pub(crate) fn has(&self, commit: CommitId) -> Result<bool> {
        // Mostly it is of a history that is known, and its ref is all that has to be looked at.
        for (key, tip) in self.histories.with(commit) {
            if key.0.is_none() && self.concerns(&key) && self.repo.read_ref(&key.1)? == Some(tip) {
                return Ok(true);
            }
        }
        let refs = match self.refs.get() {
            Some(refs) => refs,
            None => {
                let refs = self.list()?;
                self.refs.get_or_init(|| refs)
            }
        };
        if refs.iter().any(|(_, tip)| *tip == commit) {
            return Ok(true);
        }
        let mut ends = None;
        for (key, tip) in refs {
            let before = self.histories.lock().get(key).cloned();
            let history = match before {
                Some(history) if history.tip == *tip => history,
                before => {
                    let ends = match &ends {
                        Some(ends) => ends,
                        None => ends.insert(read_ends(&self.repo)?),
                    };
                    let new = History::new(&self.repo, key, *tip, before.as_deref(), ends)?;
                    let new = Arc::new(new);
                    let mut known = self.histories.lock();
                    known.insert(key.clone(), Arc::clone(&new));
                    new
                }
            };
            if history.commits.contains(&commit) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The refs that concern them, and what they are at.
    fn list(&self) -> Result<Vec<(Key, CommitId)>> {
        let mut all: BTreeMap<Key, CommitId> = BTreeMap::new();
        for (refspec, tip) in self.repo.list_refs(None)? {
            all.insert((None, refspec), tip);
        }
        for ((collection, name), tip) in self.repo.mirror_refs()? {
            all.insert((Some(collection), name.into()), tip);
        }
        self.histories.lock().retain(|key, _| all.contains_key(key));
        let concerns = |(key, _): &(Key, CommitId)| self.concerns(key);
        Ok(all.into_iter().filter(concerns).collect())
    }
}

impl Histories {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<History>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The refs that a commit has led to when they were looked at last.
    fn with(&self, commit: CommitId) -> Vec<(Key, CommitId)> {
        let known = self.lock();
        let with = known
            .iter()
            .filter(|(_, history)| history.commits.contains(&commit));
        with.map(|(key, history)| (key.clone(), history.tip))
            .collect()
    }
}

impl History {
    /// Goes back from a commit, up to where the ref was before, or where its history ends.
    fn new(
        repo: &Repo,
        key: &Key,
        tip: CommitId,
        before: Option<&Self>,
        ends: &HashSet<(RefName, CommitId)>,
    ) -> Result<Self> {
        let mut commits = HashSet::new();
        let mut next = Some(tip);
        while let Some(id) = next {
            if let Some(before) = before.filter(|before| before.tip == id) {
                commits.extend(&before.commits);
                break;
            }
            let bytes = match repo.load_commit(id) {
                Err(error) if error.is_missing_object() => break,
                loaded => loaded?,
            };
            if !commits.insert(id) || ends.contains(&(key.1.name.clone(), id)) {
                break;
            }
            next = Commit::parse(&bytes)
                .map_err(|e| Error::corrupt(id, e))?
                .parent;
        }
        Ok(Self { tip, commits })
    }
}

/// The notes that say with which commit the history of a ref ends for those who may not see all: a line
/// with the two each.
const ENDS: &str = "histories";

/// Where histories end. What is no note of ours is none.
fn read_ends(repo: &Repo) -> Result<HashSet<(RefName, CommitId)>> {
    let notes = repo.notes(ENDS)?;
    let ends = notes.iter().filter_map(|(_, note)| parse_end(note));
    Ok(ends.collect())
}

fn parse_end(note: &[u8]) -> Option<(RefName, CommitId)> {
    let (commit, name) = std::str::from_utf8(note).ok()?.split_once(' ')?;
    Some((name.parse().ok()?, commit.parse().ok()?))
}

/// Deletes the notes on commits that are gone.
pub(crate) fn tidy(repo: &Repo) -> Result<()> {
    for (note, bytes) in repo.notes(ENDS)? {
        let is_there = match parse_end(&bytes) {
            Some((_, commit)) => repo.has_object(&commit.object())?,
            None => false,
        };
        if !is_there {
            repo.delete_note(ENDS, &note)?;
        }
    }
    Ok(())
}

impl Sight for Reach {
    fn sees(&self, commit: CommitId) -> oxtree_transfer::Result<bool> {
        Ok(self.has(commit)?)
    }

    fn end_history(&self, name: &RefName, commit: CommitId) -> oxtree_transfer::Result<()> {
        let note = format!("{commit} {name}");
        let called = hex(Checksum::of(note.as_bytes()).as_bytes());
        Ok(self
            .repo
            .write_note_durably(ENDS, &called, note.as_bytes())?)
    }
}
