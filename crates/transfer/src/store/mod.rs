// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stores of commits. A push writes to a [`Destination`] through a [`Quarantine`], a server reads
//! what is [`Published`]. A local repository is both; other kinds of store can be added behind the
//! same traits, and must pass the same tests (`tests/conformance/`). Stores know nothing of the policy for pushes, which
//! [`receive`](crate::receive) applies.

pub mod archived;
pub mod local;
mod memory;
pub mod published;

use std::collections::{BTreeMap, HashSet};
use std::io::Read;

use oxtree_format::detached::join::Room;
use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, FileId, ObjectId};
use oxtree_repo::sign::Signer;
use oxtree_repo::{LostSignatures, RefUpdate, Repo};

pub(crate) use self::memory::MAX_WAIT;
pub use self::published::Published;
use crate::error::Result;
use crate::protocol::message::{Limits, UnfinishedPush};
use crate::protocol::stream::Record;

/// A store that commits can be pushed to.
pub trait Destination: Send + Sync {
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

    /// How much it takes of a push.
    fn limits(&self) -> Result<Limits>;

    /// Of these objects, which are not there. Changes nothing. Detached metadata never is: it can change.
    fn missing(&self, objects: &[ObjectId]) -> Result<Vec<bool>>;

    /// The bytes of a metadata object.
    fn load(&self, object: &ObjectId) -> Result<Vec<u8>>;

    /// Opens a quarantine. What it is asked for, and what an interrupted one has left, is verified
    /// again, and is in it then: an answer can take long.
    fn quarantine(&self, quota: Quota<'_>) -> Result<Box<dyn Quarantine + '_>>;

    /// A quarantine that lives longer than this handle of the store.
    fn shared_quarantine(&self, quota: Quota<'_>) -> Result<Box<dyn Quarantine>>;

    /// Rewrites the summary after refs have changed, unless the owner has turned that off. Can fail
    /// and be done again. [`Some`]: the summary stays, as a new one would lose these signatures.
    fn update_summary(&self, signers: &[&dyn Signer]) -> Result<Option<LostSignatures>>;

    /// The local repository, if it is one, for programs that are run on its files.
    fn local(&self) -> Option<&Repo> {
        None
    }
}

/// How much the objects of one push may take.
#[derive(Clone, Copy, Debug)]
pub struct Quota<'a> {
    /// Sizes and numbers.
    pub limits: Limits,
    /// The client whose share of the memory they use.
    pub client: &'a str,
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
        self: Box<Self>,
        refs: &[RefUpdate],
        commits: &HashSet<CommitId>,
        attached: &HashSet<CommitId>,
    ) -> Result<()>;

    /// Throws everything away.
    fn discard(self: Box<Self>) -> Result<()>;
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
