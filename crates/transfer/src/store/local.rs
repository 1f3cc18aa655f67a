// SPDX-License-Identifier: MIT OR Apache-2.0
//! A local repository as a destination: a quarantine is a [`Transaction`] of its own, whose objects
//! nobody sees until it is committed.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufReader, Read};
use std::sync::Arc;

use oxtree_format::detached::join::{Room, items};
use oxtree_format::file::{PREFIX_LEN, header_len};
use oxtree_format::refs::{CollectionId, RefName};
use oxtree_format::{CommitId, FileHeader, FileId, ObjectId, ObjectKind};
use oxtree_repo::memory::Buffer;
use oxtree_repo::refs::UNKNOWN_COMMIT;
use oxtree_repo::sign::Signer;
use oxtree_repo::{
    DamagedRef, LostSignatures, RefUpdate, Repo, SummaryUpdate, Transaction, Unfinished, traverse,
};
use rayon::prelude::*;

use super::memory::hold;
use super::{Attached, Destination, Quarantine, Quota, Rules};
use crate::error::{Error, Result};
use crate::limits::{self, Budget};
use crate::protocol::message::{Limits, UnfinishedPush};
use crate::protocol::patch::{self, Patched};
use crate::protocol::stream::{Form, Record};
use crate::semaphore::ClientPermit;

/// A repository on this machine.
#[derive(Clone, Debug)]
pub struct LocalDestination {
    repo: Arc<Repo>,
}

impl LocalDestination {
    /// The repository as a destination.
    pub fn new(repo: impl Into<Arc<Repo>>) -> Self {
        Self { repo: repo.into() }
    }

    /// The quarantine of a push whose objects the receiver fetches itself.
    pub(crate) fn local_quarantine(&self, quota: Quota<'_>) -> Result<LocalQuarantine<'_>> {
        let transaction = Transaction::quarantine(&self.repo)?;
        Ok(LocalQuarantine::new(transaction, quota))
    }

    /// The repository.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    fn bad_config(&self, reason: String) -> Error {
        let path = self.repo.path().join("config");
        oxtree_repo::Error::Config { path, reason }.into()
    }
}

impl Destination for LocalDestination {
    fn mode(&self) -> &str {
        self.repo.mode().as_str()
    }

    fn collection(&self) -> Option<&str> {
        let collection = self.repo.config().collection_id.as_ref();
        collection.map(CollectionId::as_str)
    }

    fn refs(&self) -> Result<BTreeMap<RefName, CommitId>> {
        let found = self.repo.survey_local_refs()?;
        let mut refs = found.refs;
        // A damaged ref can be deleted and replaced.
        let damaged = found.damaged.iter().filter_map(DamagedRef::refspec);
        refs.extend(damaged.map(|refspec| (refspec.name, UNKNOWN_COMMIT)));
        Ok(refs)
    }

    fn partial(&self) -> Result<HashSet<CommitId>> {
        let mut partial = self.repo.partial_commits()?;
        // A ref's commit that is missing can be pushed again.
        for commit in self.repo.local_refs()?.into_values() {
            if !self.repo.has_own_object(&commit.object())? {
                partial.insert(commit);
            }
        }
        Ok(partial)
    }

    fn unfinished(&self) -> Result<Vec<UnfinishedPush>> {
        let found = self.repo.unfinished()?;
        Ok(found.iter().map(unfinished).collect())
    }

    fn rules(&self) -> Result<Rules> {
        let boolean = |key: &str| {
            let value = self.repo.config().boolean(limits::GROUP, key, false);
            value.map_err(|reason| self.bad_config(reason))
        };
        Ok(Rules {
            deny_non_fast_forward: boolean("deny-non-fast-forward")?,
            deny_deletes: boolean("deny-deletes")?,
        })
    }

    fn limits(&self) -> Result<Limits> {
        let limits = limits::from_config(&self.repo.config().file);
        limits.map_err(|reason| self.bad_config(reason))
    }

    fn missing(&self, objects: &[ObjectId]) -> Result<Vec<bool>> {
        let has = |object: &ObjectId| match object.kind {
            ObjectKind::CommitMeta => Ok(true),
            _ => Ok(!self.repo.has_own_object(object)?),
        };
        objects.par_iter().map(has).collect()
    }

    fn load(&self, object: &ObjectId) -> Result<Vec<u8>> {
        Ok(self.repo.load_metadata(object)?)
    }

    fn quarantine(&self, quota: Quota<'_>) -> Result<Box<dyn Quarantine + '_>> {
        Ok(Box::new(self.local_quarantine(quota)?))
    }

    fn shared_quarantine(&self, quota: Quota<'_>) -> Result<Box<dyn Quarantine>> {
        let transaction = Transaction::shared_quarantine(Arc::clone(&self.repo))?;
        Ok(Box::new(LocalQuarantine::new(transaction, quota)))
    }

    fn update_summary(&self, signers: &[&dyn Signer]) -> Result<Option<LostSignatures>> {
        if self.repo.config().auto_update_summary == Some(false) {
            return Ok(None);
        }
        let update = SummaryUpdate::default();
        Ok(self.repo.refresh_summary(&update, signers)?)
    }

    fn local(&self) -> Option<&Repo> {
        Some(&self.repo)
    }
}

/// A transaction that nobody sees yet.
#[derive(Debug)]
pub struct LocalQuarantine<'d> {
    transaction: Transaction<'d>,
    budget: Budget,
    /// Whose part of the memory its objects need.
    client: String,
}

impl Quarantine for LocalQuarantine<'_> {
    fn is_resumed(&self) -> bool {
        self.transaction.is_resumed()
    }

    fn missing(&self, objects: &[ObjectId]) -> Result<Vec<bool>> {
        let has = |object: &ObjectId| match object.kind {
            ObjectKind::CommitMeta => Ok(!self.transaction.is_staged_here(object)?),
            _ => Ok(!self.transaction.has_staged(object)?),
        };
        objects.par_iter().map(has).collect()
    }

    fn put(&self, record: &Record, bytes: &mut dyn Read, max_size: u64) -> Result<()> {
        match record.form {
            Form::Metadata => self.put_metadata(record, bytes),
            Form::Filez => self.put_filez(record, bytes, max_size),
            Form::Plain => self.put_plain(record, bytes, max_size),
            Form::Patch => Err(Error::Protocol("a patch without a base".to_owned())),
        }
    }

    fn put_patched(
        &self,
        record: &Record,
        base: FileId,
        bytes: &mut dyn Read,
        max_size: u64,
    ) -> Result<()> {
        let object = record.object;
        let corrupt = |reason: &dyn std::fmt::Display| oxtree_repo::Error::corrupt(object, reason);
        let header = read_header(object, bytes)?;
        let mut size = [0; 8];
        bytes.read_exact(&mut size).map_err(|e| corrupt(&e))?;
        let size = u64::from_be_bytes(size);
        self.budget.take_up_to(&object, size, size, max_size)?;
        if size > patch::MAX_CONTENT || header.is_symlink() {
            return Err(corrupt(&"too large for a patch, or no regular file").into());
        }
        let (base, _held) = self.load_base(object, base, size)?;
        let mut content = Patched::new(&base, BufReader::with_capacity(PATCH_BUFFER, bytes));
        let id = FileId(object.checksum);
        self.transaction
            .write_file(&header, size, &mut content, Some(id))?;
        Ok(())
    }

    fn load(&self, object: &ObjectId) -> Result<Vec<u8>> {
        Ok(self.transaction.load_metadata(object)?)
    }

    fn check_complete(&self, commit: CommitId, complete: Option<CommitId>) -> Result<()> {
        Ok(traverse::check_complete(
            &self.transaction,
            commit,
            complete,
        )?)
    }

    fn is_public(&self, object: &ObjectId) -> Result<bool> {
        Ok(self.transaction.repo().has_own_object(object)?)
    }

    fn copy_commit(
        &self,
        source: CommitId,
        name: &RefName,
        parent: Option<CommitId>,
    ) -> Result<CommitId> {
        Ok(self.transaction.copy_commit(source, name, parent)?)
    }

    fn sign(&self, commit: CommitId, signers: &[&dyn Signer]) -> Result<()> {
        Ok(self.transaction.sign_commit_once(commit, signers)?)
    }

    fn detached(&self) -> Result<HashSet<CommitId>> {
        let staged = self.transaction.staged_commits(ObjectKind::CommitMeta)?;
        Ok(staged.into_iter().collect())
    }

    fn attach(&self, commit: CommitId, room: Room) -> Result<Attached> {
        let joined = self.transaction.join_detached_metadata(commit, room)?;
        let adds = joined.full.is_none() && {
            let public = self.transaction.repo().load_detached_metadata(commit)?;
            let public = items(public.as_deref().unwrap_or_default());
            !items(&joined.detached.to_bytes()).is_subset(&public)
        };
        Ok(Attached {
            adds,
            left_out: joined.left_out,
            full: joined.full,
        })
    }

    fn publish(
        self: Box<Self>,
        refs: &[RefUpdate],
        commits: &HashSet<CommitId>,
        attached: &HashSet<CommitId>,
    ) -> Result<()> {
        self.transaction.retain_commits(commits, attached)?;
        // They were checked to be complete, whatever an earlier pull had left of them.
        let complete: Vec<CommitId> = commits.iter().copied().collect();
        self.transaction.commit_joined(refs, &complete)?;
        Ok(())
    }

    fn discard(self: Box<Self>) -> Result<()> {
        Ok(self.transaction.abort()?)
    }
}

/// Bytes of a patch that are read at a time.
const PATCH_BUFFER: usize = 32 << 10;

impl<'d> LocalQuarantine<'d> {
    fn new(transaction: Transaction<'d>, quota: Quota<'_>) -> Self {
        Self {
            transaction,
            budget: Budget::new(quota.limits),
            client: quota.client.to_owned(),
        }
    }

    /// The content of a file that a patch of `object` refers to, with the room for it and for the
    /// `size` bytes that are made of it.
    fn load_base(
        &self,
        object: ObjectId,
        base: FileId,
        size: u64,
    ) -> Result<(Buffer, Option<ClientPermit<'static>>)> {
        let corrupt = |reason: &dyn std::fmt::Display| {
            let reason = format!("its base, file object {base}: {reason}");
            oxtree_repo::Error::corrupt(object, reason)
        };
        let file = self.transaction.open_file(base).map_err(|e| corrupt(&e))?;
        if file.size > patch::MAX_CONTENT {
            return Err(corrupt(&"too large for a base").into());
        }
        let held = hold(&self.client, file.size, size)?;
        let mut content = file.content;
        let content = Buffer::read(&mut content, file.size).map_err(|e| corrupt(&e))?;
        let wrong = || corrupt(&"not of the size that it should have");
        Ok((content.ok_or_else(wrong)?, held))
    }

    fn put_metadata(&self, record: &Record, bytes: &mut dyn Read) -> Result<()> {
        let object = record.object;
        self.budget.take(&object, record.len, record.len)?;
        let _held = hold(&self.client, record.len, 0)?;
        let mut content = Vec::new();
        let len = bytes.read_to_end(&mut content).map_err(Error::Connection)?;
        if len as u64 != record.len {
            return Err(oxtree_repo::Error::corrupt(object, "it was cut off").into());
        }
        if object.kind == ObjectKind::CommitMeta {
            // It is joined with what is public when it is known whose it is.
            let commit = CommitId(object.checksum);
            return Ok(self.transaction.write_detached_metadata(commit, &content)?);
        }
        self.transaction
            .write_metadata(object.kind, &content, Some(object.checksum))?;
        Ok(())
    }

    fn put_filez(&self, record: &Record, bytes: &mut dyn Read, max_size: u64) -> Result<()> {
        let id = FileId(record.object.checksum);
        let budget = &self.budget;
        budget.write_filez(&self.transaction, id, bytes, record.len, max_size)?;
        Ok(())
    }

    /// The transaction below, and how much may go into it.
    pub(crate) fn parts(&self) -> (&Transaction<'_>, &Budget) {
        (&self.transaction, &self.budget)
    }

    fn put_plain(&self, record: &Record, bytes: &mut dyn Read, max_size: u64) -> Result<()> {
        let object = record.object;
        let corrupt = |reason: String| Error::from(oxtree_repo::Error::corrupt(object, reason));
        let header = read_header(object, bytes)?;
        let size = record
            .len
            .checked_sub(header.hashed_bytes().len() as u64)
            .ok_or_else(|| corrupt("header longer than the object".to_owned()))?;
        self.budget.take_up_to(&object, size, size, max_size)?;
        if header.is_symlink() && size > 0 {
            return Err(corrupt("a symbolic link with content".to_owned()));
        }
        let _held = hold(&self.client, 0, size)?;
        self.transaction
            .write_file(&header, size, bytes, Some(FileId(object.checksum)))?;
        Ok(())
    }
}

/// What a repository knows of a push, as the other side is told.
pub fn unfinished(found: &Unfinished) -> UnfinishedPush {
    UnfinishedPush {
        age: found.age.as_secs(),
        objects: found.objects,
        bytes: found.bytes,
        running: found.running,
    }
}

/// Reads the header of a file object as it is hashed.
fn read_header(object: ObjectId, bytes: &mut dyn Read) -> Result<FileHeader> {
    let corrupt = |reason: &dyn std::fmt::Display| oxtree_repo::Error::corrupt(object, reason);
    let mut prefix = [0; PREFIX_LEN];
    bytes.read_exact(&mut prefix).map_err(|e| corrupt(&e))?;
    let len = header_len(prefix).map_err(|e| corrupt(&e))?;
    let mut header = Vec::new();
    bytes
        .take(len as u64)
        .read_to_end(&mut header)
        .map_err(|e| corrupt(&e))?;
    if header.len() < len {
        return Err(corrupt(&"header longer than the object").into());
    }
    Ok(FileHeader::parse(&header).map_err(|e| corrupt(&e))?)
}
