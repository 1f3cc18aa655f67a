// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a place that commits are pushed to must be able to do. A local repository can; other kinds
//! of store can be added behind the same two traits, and must pass the same tests
//! (`tests/conformance.rs`).

pub mod archived;
pub mod local;
mod memory;

use std::collections::{BTreeMap, HashSet};
use std::io::Read;

use oxtree_format::detached::join::Room;
use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, FileId, ObjectId};
use oxtree_repo::RefUpdate;
use oxtree_repo::sign::Signer;

pub(crate) use self::memory::TURN;
use crate::Result;
use crate::protocol::message::{Limits, UnfinishedPush};
use crate::protocol::stream::Record;
use crate::receive::policy::{Derived, Policy};

/// A store of commits.
pub trait Destination: Sync {
    /// What holds objects back until they are published.
    type Quarantine<'d>: Quarantine
    where
        Self: 'd;

    /// How it stores files, in the words of a repository's config.
    fn mode(&self) -> &str;

    /// The collection that its refs are in, if any.
    fn collection(&self) -> Option<&str>;

    /// Its local refs.
    fn refs(&self) -> Result<BTreeMap<RefName, CommitId>>;

    /// The commits that are known to lack some of their objects.
    fn partial(&self) -> Result<HashSet<CommitId>>;

    /// The pushes that are running or were cut off.
    fn unfinished(&self) -> Result<Vec<UnfinishedPush>>;

    /// The rules that its owner has set.
    fn rules(&self) -> Result<Rules>;

    /// What else its owner asks of a push.
    fn policy(&self) -> &Policy;

    /// How much it takes.
    fn limits(&self) -> Result<Limits>;

    /// Of these objects, which are not there. Changes nothing. Detached metadata never is: it can change.
    fn missing(&self, objects: &[ObjectId]) -> Result<Vec<bool>>;

    /// The bytes of a metadata object.
    fn load(&self, object: &ObjectId) -> Result<Vec<u8>>;

    /// Opens a quarantine. What it is asked for, and what an interrupted one has left, is verified
    /// again, and is in it then: an answer can take long.
    fn quarantine(&self) -> Result<Self::Quarantine<'_>>;

    /// The same for whoever keeps it longer than a call lasts.
    fn shared_quarantine(&self) -> Result<Self::Quarantine<'static>>
    where
        Self: 'static;

    /// Brings up to date what is computed from refs, now that these have changed. Can fail and be
    /// done again.
    fn derive(&self, changed: &[RefName], said: &mut String) -> Result<Derived>;
}

/// Objects that are not public yet. Used by many threads at once. Dropped, it keeps its verified
/// objects for the next one to find.
pub trait Quarantine: Send + Sync {
    /// Whether objects are in it that an interrupted one had left.
    fn is_resumed(&self) -> bool;

    /// Of these objects, which are neither here nor public. Detached metadata has to be here: that which is
    /// public can change.
    fn missing(&self, objects: &[ObjectId]) -> Result<Vec<bool>>;

    /// Reads an object of exactly `record.len` bytes, and keeps it if it is what `record` says.
    fn put(&self, record: &Record, bytes: &mut dyn Read, max_size: u64) -> Result<()>;

    /// The same of a [`Form::Patch`](crate::protocol::stream::Form::Patch), of which the name of the
    /// `base`, here or public, was read already.
    fn put_patched(
        &self,
        record: &Record,
        base: FileId,
        bytes: &mut dyn Read,
        max_size: u64,
    ) -> Result<()>;

    /// The bytes of a metadata object, here or public.
    fn load(&self, object: &ObjectId) -> Result<Vec<u8>>;

    /// Checks that all of the commit's objects are here or public. `complete`: a public commit
    /// whose objects are known to be there.
    fn check_complete(&self, commit: CommitId, complete: Option<CommitId>) -> Result<()>;

    /// Whether the object is public already.
    fn is_public(&self, object: &ObjectId) -> Result<bool>;

    /// Writes a commit for the ref `name` with the content of `source`, after `parent`.
    fn copy_commit(
        &self,
        source: CommitId,
        name: &RefName,
        parent: Option<CommitId>,
    ) -> Result<CommitId>;

    /// Adds signatures to a commit's detached metadata, by those who have not signed it yet.
    fn sign(&self, commit: CommitId, signers: &[&dyn Signer]) -> Result<()>;

    /// The commits of which detached metadata has come.
    fn detached(&self) -> Result<HashSet<CommitId>>;

    /// Joins that of a commit with what is public, as far as there is room.
    fn attach(&self, commit: CommitId, room: Room) -> Result<Attached>;

    /// Makes the objects public, and then changes the refs: all of them or none. Of commits only
    /// those in `commits`, which are known to be complete: an interrupted push may have left others. Of detached
    /// metadata that of those in `commits` or `attached`.
    fn publish(
        self,
        refs: &[RefUpdate],
        commits: &HashSet<CommitId>,
        attached: &HashSet<CommitId>,
    ) -> Result<()>;

    /// Throws everything away.
    fn discard(self) -> Result<()>;
}

/// The result for detached metadata that a pusher brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Something is among it that is not public.
    pub adds: bool,
    /// Why some of it was left out, a reason each.
    pub left_out: Vec<String>,
    /// The kind of signatures for which there is no room; then nothing was done.
    pub full: Option<String>,
}

/// What a destination's owner allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `receive.deny-non-fast-forward`: not even `--force` moves a ref back or sideways.
    pub deny_non_fast_forward: bool,
    /// `receive.deny-deletes`: no ref is deleted.
    pub deny_deletes: bool,
}
