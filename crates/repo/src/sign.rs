// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures, as far as the store knows them: somebody signs bytes, somebody says whether
//! signatures are good. Which schemes there are and what keys look like is for others to know.
//!
//! A commit's signatures stand in its detached metadata and are over the bytes of the commit
//! object; the summary's stand in `summary.sig` and are over the bytes of the summary.

use std::fmt;

use oxtree_format::detached::join::{Joined, Room, join};
use oxtree_format::detached::{Detached, NewDetached};
use oxtree_format::refs::RemoteName;
use oxtree_format::{CommitId, ObjectId, ObjectKind};

use crate::{Error, LockKind, RefUpdate, Repo, Result, Stats, Transaction, fs};

/// Why something could not be signed, or was not signed well. Its text names the scheme.
pub type SignError = Box<dyn std::error::Error + Send + Sync>;

/// Serializes changes of detached metadata, so that no signature is lost to another. Not `.lock`,
/// which pushes hold while they last.
const SIGN_LOCK: &str = ".sign-lock";

/// How the file with the keys of a remote's signers is called, after the remote's name.
const KEYRING: &str = ".trustedkeys.gpg";

/// The largest keyring that is read, in bytes.
const MAX_KEYRING: u64 = 64 << 20;

/// Makes signatures.
pub trait Signer: fmt::Debug {
    /// The key of detached metadata under which the signatures go.
    fn metadata_key(&self) -> &'static str;

    /// A signature of these bytes. `earlier` are those that are there already under the key.
    fn sign(&self, data: &[u8], earlier: &[&[u8]]) -> Result<Vec<u8>, SignError>;

    /// Whether one of these signatures is its own, as far as it can tell.
    fn has_signed(&self, _earlier: &[&[u8]]) -> bool {
        false
    }
}

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A commit.
    Commit(CommitId),
    /// The summary.
    Summary,
    /// The superblock of a static delta that leads to this commit.
    Delta(CommitId),
}

/// Decides whether something is signed as it has to be.
pub trait Verifier: fmt::Debug + Send + Sync {
    /// Checks that `data` (a commit object's bytes, the summary's, or a superblock's) are signed well by what is
    /// in `detached` (the bytes of the detached metadata, or of `summary.sig`; [`None`] if there
    /// are none). The error says why not, in libostree's words where it has some.
    fn verify(
        &self,
        subject: Subject,
        data: &[u8],
        detached: Option<&[u8]>,
    ) -> Result<(), SignError>;
}

/// Adds a signature by each signer to detached metadata.
pub(crate) fn add_signatures(
    signers: &[&dyn Signer],
    data: &[u8],
    detached: &mut NewDetached,
) -> Result<(), SignError> {
    for signer in signers {
        let key = signer.metadata_key();
        let bytes = detached.to_bytes();
        let old = Detached::parse(&bytes)?.signatures(key)?;
        let new = signer.sign(data, &old)?;
        detached.add_signature(key, &new)?;
    }
    Ok(())
}

impl Transaction<'_> {
    /// Signs a commit that is in this transaction or in the repository.
    pub fn sign_commit(&self, commit: CommitId, signers: &[&dyn Signer]) -> Result<()> {
        if signers.is_empty() {
            return Ok(());
        }
        self.edit_detached_metadata(commit, |data, detached| {
            add_signatures(signers, data, detached)
        })
    }

    /// The same, by those who have not signed it yet.
    pub fn sign_commit_once(&self, commit: CommitId, signers: &[&dyn Signer]) -> Result<()> {
        if signers.is_empty() {
            return Ok(());
        }
        self.edit_detached_metadata(commit, |data, detached| {
            for signer in signers {
                let bytes = detached.to_bytes();
                let old = Detached::parse(&bytes)?.signatures(signer.metadata_key())?;
                if !signer.has_signed(&old) {
                    add_signatures(&[*signer], data, detached)?;
                }
            }
            Ok(())
        })
    }

    /// Joins the detached metadata of a commit in this transaction, which a pusher has brought, with that in the
    /// repository. Where there is no room for a signature ([`Joined::full`]), nothing is written.
    pub fn join_detached_metadata(&self, commit: CommitId, room: Room) -> Result<Joined> {
        let object = ObjectId::new(ObjectKind::CommitMeta, commit.0);
        let ours = self.repo().load_detached_metadata(commit)?;
        let theirs = self.load_metadata(&object)?;
        // Of a commit that is not public yet, nobody else has anything to lose.
        let room = match self.repo().has_own_object(&commit.object())? {
            true => room,
            false => Room {
                others: usize::MAX,
                ..room
            },
        };
        let ours = ours.as_deref().unwrap_or_default();
        let joined = join(ours, &theirs, room);
        if joined.full.is_none() {
            self.write_detached_metadata(commit, &joined.detached.to_bytes())?;
        }
        Ok(joined)
    }

    /// Commits, and nothing of the detached metadata is lost that has become public meanwhile.
    pub fn commit_joined(self, refs: &[RefUpdate], complete: &[CommitId]) -> Result<Stats> {
        let staged = self.staged_commits(ObjectKind::CommitMeta)?;
        if staged.is_empty() {
            return self.commit_complete(refs, complete);
        }
        let turn = self.repo().take_lock(SIGN_LOCK, LockKind::Exclusive)?;
        for commit in staged {
            let object = ObjectId::new(ObjectKind::CommitMeta, commit.0);
            let public = match self.repo().load_metadata(&object) {
                Err(error) if error.is_missing_object() => continue,
                public => public?,
            };
            let ours = self.load_metadata(&object)?;
            let joined = join(&public, &ours, Room::UNBOUNDED);
            self.write_detached_metadata(commit, &joined.detached.to_bytes())?;
        }
        let done = self.commit_complete(refs, complete);
        drop(turn);
        done
    }

    /// Lets `edit` change a commit's detached metadata. It is given the commit's bytes, too.
    pub fn edit_detached_metadata<T>(
        &self,
        commit: CommitId,
        edit: impl FnOnce(&[u8], &mut NewDetached) -> Result<T, SignError>,
    ) -> Result<T> {
        let data = self.load_metadata(&ObjectId::from(commit))?;
        let object = ObjectId::new(ObjectKind::CommitMeta, commit.0);
        let old = match self.load_metadata(&object) {
            Err(error) if error.is_missing_object() => Vec::new(),
            old => old?,
        };
        let parsed = Detached::parse(&old).map_err(|error| Error::corrupt(object, error))?;
        let mut detached = NewDetached::from(parsed);
        let done = edit(&data, &mut detached).map_err(Error::Signature)?;
        let new = detached.to_bytes();
        if new != old {
            self.write_detached_metadata(commit, &new)?;
        }
        Ok(done)
    }
}

impl Repo {
    /// Signs a commit.
    pub fn sign_commit(&self, commit: CommitId, signers: &[&dyn Signer]) -> Result<()> {
        self.edit_detached_metadata(commit, |data, detached| {
            add_signatures(signers, data, detached)
        })
    }

    /// Lets `edit` change a commit's detached metadata. It is given the commit's bytes, too. One
    /// after the other, if several want to.
    pub fn edit_detached_metadata<T>(
        &self,
        commit: CommitId,
        edit: impl FnOnce(&[u8], &mut NewDetached) -> Result<T, SignError>,
    ) -> Result<T> {
        let lock = self.lock(LockKind::Shared)?;
        let turn = self.take_lock(SIGN_LOCK, LockKind::Exclusive)?;
        let transaction = Transaction::begin(self)?;
        let done = transaction.edit_detached_metadata(commit, edit)?;
        transaction.commit(&[])?;
        drop((turn, lock));
        Ok(done)
    }

    /// The keyring of a remote, as it stands in the file; [`None`] if it has none. A remote of a
    /// parent repository has its keyring there.
    pub fn remote_keyring(&self, remote: &RemoteName) -> Result<Option<Vec<u8>>> {
        let name = keyring_name(remote);
        let own = fs::read_file(self.dir(), &*name, MAX_KEYRING)
            .map_err(Error::io("reading", self.path().join(&name)))?;
        match (own, self.parent()) {
            (None, Some(parent)) => parent.remote_keyring(remote),
            (own, _) => Ok(own),
        }
    }

    /// The keyrings of all remotes.
    pub fn remote_keyrings(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = self.names_in(".")?;
        names.sort_unstable();
        let remotes = names
            .iter()
            .filter_map(|name| name.strip_suffix(KEYRING)?.parse().ok());
        remotes
            .filter_map(|remote: RemoteName| self.remote_keyring(&remote).transpose())
            .collect()
    }

    /// Gives a remote another keyring.
    pub fn write_remote_keyring(&self, remote: &RemoteName, keyring: &[u8]) -> Result<()> {
        self.check_writable()?;
        let name = keyring_name(remote);
        self.write_file(&name, keyring)
            .map_err(Error::io("writing", self.path().join(&name)))
    }
}

fn keyring_name(remote: &RemoteName) -> String {
    format!("{remote}{KEYRING}")
}
