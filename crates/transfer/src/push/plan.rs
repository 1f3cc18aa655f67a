// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a push is to do: which refs change, which commits go along, which objects those are made
//! of. Made of the local repository and of what the receiver has told of its refs.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use oxtree_format::detached::join::items;
use oxtree_format::refs::RefName;
use oxtree_format::{Commit, CommitId, Detached, DirId, ObjectId, ObjectKind};
use oxtree_repo::object::verify::check_checksum;
use oxtree_repo::{CommitState, Repo, traverse};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::protocol::message::{RefOutcome, Status, WireCommit, WireItem, WireRef, WireUpdate};

/// How much of the history before a commit goes along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// What the receiver lacks since the newest commit it has, else only the tip.
    #[default]
    SinceReceiver,
    /// So many commits before each tip.
    Depth(u64),
    /// All of it.
    All,
}

/// What the user wants to push.
#[derive(Clone, Debug, Default)]
pub struct PushRequest {
    /// The refs; none for all local ones.
    pub refs: Vec<RefName>,
    /// Refs to be deleted at the receiver.
    pub deletes: Vec<RefName>,
    /// Refs may go back or sideways.
    pub force: bool,
    /// How much history goes along.
    pub history: History,
}

impl PushRequest {
    /// What of this cannot be done together.
    pub fn contradiction(&self) -> Option<String> {
        let both = self.refs.iter().find(|name| self.deletes.contains(name))?;
        Some(format!(
            "ref {both} is both to be pushed and to be deleted: name it only once"
        ))
    }
}

/// What is to be sent.
#[derive(Debug, Default)]
pub struct Plan {
    /// The refs that change.
    pub updates: Vec<WireUpdate>,
    /// The refs that are there already.
    pub unchanged: Vec<RefOutcome>,
    /// The objects that the receiver may lack, each once; commits come after what they hold.
    pub objects: Vec<ObjectId>,
    /// Commits that go along, each with the one before it, which the receiver has by then.
    pub steps: Vec<(CommitId, CommitId)>,
}

/// What the receiver has told of itself.
#[derive(Clone, Copy, Debug)]
pub struct Remote<'r> {
    /// Its refs.
    pub refs: &'r BTreeMap<RefName, CommitId>,
    /// The commits that it has only in part.
    pub partial: &'r HashSet<CommitId>,
    /// Root directories of its refs' commits that it has told, all of which it has.
    pub roots: &'r HashSet<DirId>,
    /// Whether it takes detached metadata of commits that it has already.
    pub takes_detached: bool,
}

/// Names of detached metadata that are told: for more than that in one push or of one commit, the receiver asks
/// without knowing them.
const MAX_ITEMS: usize = 50_000;
const MAX_ITEMS_EACH: usize = 200;

/// The local refs that are asked for; an error names all that are not there.
pub fn wanted_refs(repo: &Repo, request: &PushRequest) -> Result<BTreeMap<RefName, CommitId>> {
    if let Some(contradiction) = request.contradiction() {
        return Err(Error::NothingToPush(contradiction));
    }
    let local = repo.local_refs()?;
    if request.refs.is_empty() && !request.deletes.is_empty() {
        return Ok(BTreeMap::new());
    }
    if request.refs.is_empty() {
        return Ok(local);
    }
    let asked: BTreeSet<&RefName> = request.refs.iter().collect();
    let missing: Vec<&str> = asked
        .iter()
        .filter(|name| !local.contains_key(**name))
        .map(|name| name.as_str())
        .collect();
    if let Some(first) = missing.first() {
        // One that cannot be read is there.
        if let Ok(name) = first.parse::<RefName>() {
            repo.read_ref(&name.into())?;
        }
        let path = repo.path().display();
        return Err(Error::NothingToPush(format!(
            "Refs {} not found in {path}",
            missing.join(" ")
        )));
    }
    Ok(local
        .into_iter()
        .filter(|(name, _)| asked.contains(name))
        .collect())
}

impl Plan {
    /// Compares `wanted` with the receiver's refs.
    pub fn new(
        repo: &Repo,
        request: &PushRequest,
        wanted: &BTreeMap<RefName, CommitId>,
        remote: Remote<'_>,
    ) -> Result<Self> {
        let Remote {
            refs: remote,
            partial,
            roots,
            takes_detached,
        } = remote;
        let mut plan = Self::default();
        let mut room = MAX_ITEMS;
        // What the receiver has only in part is as good as not there.
        let whole = |id: &CommitId| !partial.contains(id);
        let theirs: HashSet<CommitId> = remote.values().copied().filter(whole).collect();
        let mut seen = HashSet::new();
        for (name, tip) in wanted {
            let old = remote.get(name).copied();
            let detached = match takes_detached {
                true => detached_items(repo, *tip, &mut room)?,
                false => None,
            };
            if old == Some(*tip) && whole(tip) {
                match detached.as_ref().is_some_and(|all| !all.is_empty()) {
                    true => plan.add_detached(repo, name, *tip, (detached, &mut seen))?,
                    false => plan.unchanged.push(unchanged(name, *tip)),
                }
                continue;
            }
            let lineage = Lineage::follow(repo, *tip, old, (&theirs, roots), request.history)?;
            plan.add_objects(repo, &lineage, old.filter(whole), &mut seen)?;
            // Also where the receiver has the commit: it may have been signed since.
            plan.add_detached_object(repo, *tip, &mut seen)?;
            plan.updates.push(WireUpdate {
                name: WireRef(name.clone()),
                old: old.map(WireCommit),
                new: Some(WireCommit(*tip)),
                force: request.force,
                timestamp: lineage.timestamp,
                fast_forward: lineage.fast_forward,
                detached,
            });
        }
        let deletes: BTreeSet<&RefName> = request.deletes.iter().collect();
        for name in deletes {
            plan.delete(name, remote)?;
        }
        Ok(plan)
    }

    fn delete(&mut self, name: &RefName, remote: &BTreeMap<RefName, CommitId>) -> Result<()> {
        let Some(old) = remote.get(name) else {
            let reason = format!("cannot delete ref {name}: the receiver does not have it");
            return Err(Error::NothingToPush(reason));
        };
        self.updates.push(WireUpdate {
            name: WireRef(name.clone()),
            old: Some(WireCommit(*old)),
            new: None,
            force: false,
            timestamp: 0,
            fast_forward: false,
            detached: None,
        });
        Ok(())
    }

    /// Offers what is kept beside the commit of a ref that stays what it is.
    fn add_detached(
        &mut self,
        repo: &Repo,
        name: &RefName,
        tip: CommitId,
        (detached, seen): (Option<Vec<WireItem>>, &mut HashSet<ObjectId>),
    ) -> Result<()> {
        self.add_detached_object(repo, tip, seen)?;
        self.updates.push(WireUpdate {
            name: WireRef(name.clone()),
            old: Some(WireCommit(tip)),
            new: Some(WireCommit(tip)),
            force: false,
            timestamp: 0,
            fast_forward: true,
            detached,
        });
        Ok(())
    }

    fn add_detached_object(
        &mut self,
        repo: &Repo,
        commit: CommitId,
        seen: &mut HashSet<ObjectId>,
    ) -> Result<()> {
        let detached = ObjectId::new(ObjectKind::CommitMeta, commit.0);
        if repo.has_object(&detached)? && seen.insert(detached) {
            self.objects.push(detached);
        }
        Ok(())
    }

    /// Adds the objects of the commits that go along, which are not yet in `seen`.
    fn add_objects(
        &mut self,
        repo: &Repo,
        lineage: &Lineage,
        old: Option<CommitId>,
        seen: &mut HashSet<ObjectId>,
    ) -> Result<()> {
        // Oldest first, so that each is compared with the one before it.
        let mut base = match (lineage.base, old) {
            (None, Some(old)) if repo.has_object(&old.object())? => Some(old),
            (base, _) => base.or(lineage.alike),
        };
        for commit in lineage.commits.iter().rev() {
            if repo.commit_state(*commit)? != CommitState::Normal {
                let reason = format!("commit {commit} is incomplete here: pull all of it first");
                return Err(Error::NothingToPush(reason));
            }
            let bases: Vec<CommitId> = base.into_iter().collect();
            let step = base.filter(|base| base != commit);
            self.steps.extend(step.map(|base| (*commit, base)));
            let mut objects = traverse::new_objects(&Verified(repo), *commit, &bases)?;
            // What has only moved is found in all of the base (if that is whole here), which takes a
            // moment.
            if let Some(base) = base.filter(|_| objects.len() > MANY)
                && let Ok(there) = traverse::all_objects(repo, base)
            {
                let there: HashSet<ObjectId> = there.into_iter().collect();
                objects.retain(|object| !there.contains(object));
            }
            self.objects
                .extend(objects.into_iter().filter(|object| seen.insert(*object)));
            self.add_detached_object(repo, *commit, seen)?;
            base = Some(*commit);
        }
        Ok(())
    }

    /// These objects with their sizes in bytes, as they are stored here.
    pub fn sizes(repo: &Repo, objects: Vec<ObjectId>) -> Result<Vec<(ObjectId, u64)>> {
        let size = |object: ObjectId| Ok((object, repo.stored_size(&object)?));
        objects.into_par_iter().map(size).collect()
    }
}

/// The repository to walk, with every object checked that is read: one that is damaged is to be
/// named itself, not what seems to be missing from it.
struct Verified<'r>(&'r Repo);

impl traverse::Objects for Verified<'_> {
    fn load(&self, object: &ObjectId) -> oxtree_repo::Result<Vec<u8>> {
        let bytes = self.0.load_metadata(object)?;
        check_checksum(object, &bytes)?;
        Ok(bytes)
    }

    fn has(&self, object: &ObjectId) -> oxtree_repo::Result<bool> {
        self.0.has_object(object)
    }

    fn is_partial(&self, commit: CommitId) -> oxtree_repo::Result<bool> {
        traverse::Objects::is_partial(self.0, commit)
    }
}

/// The names of what is kept beside a commit, so that the receiver can tell whether it lacks some of it.
fn detached_items(
    repo: &Repo,
    commit: CommitId,
    room: &mut usize,
) -> Result<Option<Vec<WireItem>>> {
    let Some(bytes) = repo.load_detached_metadata(commit)? else {
        return Ok(Some(Vec::new()));
    };
    let object = ObjectId::new(ObjectKind::CommitMeta, commit.0);
    Detached::parse(&bytes).map_err(|error| oxtree_repo::Error::corrupt(object, error))?;
    let mut all: Vec<WireItem> = items(&bytes).into_iter().map(WireItem).collect();
    if all.len() > (*room).min(MAX_ITEMS_EACH) {
        return Ok(None);
    }
    *room -= all.len();
    all.sort_unstable();
    Ok(Some(all))
}

fn unchanged(name: &RefName, commit: CommitId) -> RefOutcome {
    let commit = Some(WireCommit(commit));
    RefOutcome {
        name: WireRef(name.clone()),
        old: commit.clone(),
        new: commit,
        status: Status::Unchanged,
        reason: None,
    }
}

/// More new objects than this are worth a look at the whole of the commit before.
const MANY: usize = 2000;

/// How far back the receiver's present commit is looked for.
const MAX_HISTORY: u64 = 100_000;

/// A commit's history as far as it matters to a push.
struct Lineage {
    /// The commits that go along, newest first.
    commits: Vec<CommitId>,
    /// The newest commit that the receiver has.
    base: Option<CommitId>,
    /// The newest commit whose root directory the receiver has, if only in a commit of its own.
    alike: Option<CommitId>,
    /// The receiver's present commit of the ref is an ancestor.
    fast_forward: bool,
    /// When the newest one was made.
    timestamp: u64,
}

impl Lineage {
    fn follow(
        repo: &Repo,
        tip: CommitId,
        old: Option<CommitId>,
        (theirs, roots): (&HashSet<CommitId>, &HashSet<DirId>),
        history: History,
    ) -> Result<Self> {
        let mut lineage = Self {
            commits: Vec::new(),
            base: None,
            alike: None,
            fast_forward: false,
            timestamp: 0,
        };
        for (depth, ancestor) in (0..MAX_HISTORY).zip(traverse::ancestors(repo, tip)) {
            let (id, bytes) = ancestor?;
            let commit = Commit::parse(&bytes).map_err(|e| oxtree_repo::Error::corrupt(id, e))?;
            if depth == 0 {
                lineage.timestamp = commit.timestamp;
            }
            if lineage.alike.is_none() && roots.contains(&commit.root) {
                lineage.alike = Some(id);
            }
            lineage.fast_forward |= old == Some(id);
            if lineage.base.is_none() && theirs.contains(&id) {
                lineage.base = Some(id);
            }
            let goes_along = match history {
                History::SinceReceiver => lineage.base.is_none(),
                History::Depth(more) => depth <= more,
                History::All => true,
            };
            if goes_along {
                lineage.commits.push(id);
            }
        }
        if history == History::SinceReceiver && lineage.base.is_none() {
            lineage.commits.truncate(1);
        }
        Ok(lineage)
    }
}
