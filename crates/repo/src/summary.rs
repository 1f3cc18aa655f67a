// SPDX-License-Identifier: MIT OR Apache-2.0
//! The repository's summary file: written anew from its refs and static deltas.

use std::collections::BTreeMap;
use std::time::SystemTime;

use oxtree_format::detached::NewDetached;
use oxtree_format::gvariant::OwnedVariant;
use oxtree_format::refs::{RefName, Refspec};
use oxtree_format::summary::{Info, NewRef, NewSummary, keys};
use oxtree_format::{
    CollectionId, Commit, CommitId, DirMeta, DirMetaId, ObjectKind, Summary, Xattrs,
};
use rayon::prelude::*;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::commit::CommitBuilder;
use crate::mtree::MutableTree;
use crate::refs::RefUpdate;
use crate::sign::{self, Signer};
use crate::summary_signatures::LostSignatures;
use crate::{DamagedRef, Error, Expected, LockKind, Repo, Result, Transaction, fs};

/// The largest summary that is read, in bytes: tens of thousands of refs fit.
const MAX_SUMMARY: u64 = 128 << 20;

const SUMMARY: &str = "summary";
const SIGNATURES: &str = "summary.sig";

/// Serializes updates, so that none overwrites what a later one has written. Not `.lock`, which
/// pushes hold while they last.
const SUMMARY_LOCK: &str = ".summary-lock";

/// The ref of a collection's metadata commits.
const METADATA_REF: &str = "ostree-metadata";

type Metadata = Vec<(String, OwnedVariant)>;

/// What a new summary is to say besides what is in the repository.
#[derive(Clone, Debug, Default)]
pub struct SummaryUpdate {
    /// The user's own keys. Those that describe the repository are not the user's.
    pub extra: Metadata,
    /// In a repository with a collection id, also commit the metadata to the ref
    /// `ostree-metadata`.
    pub metadata_commit: bool,
}

impl Repo {
    /// The bytes of the summary file, which are not checked; [`None`] if there is none.
    pub fn read_summary(&self) -> Result<Option<Vec<u8>>> {
        fs::read_file(self.dir(), SUMMARY, MAX_SUMMARY)
            .map_err(Error::io("reading", self.path().join(SUMMARY)))
    }

    /// The bytes of the summary's signatures (`a{sv}`), which are not checked; [`None`] if there
    /// are none.
    pub fn read_summary_signatures(&self) -> Result<Option<Vec<u8>>> {
        fs::read_file(self.dir(), SIGNATURES, MAX_SUMMARY)
            .map_err(Error::io("reading", self.path().join(SIGNATURES)))
    }

    /// Writes the summary anew, and removes the signatures of the old one. Updates wait for each
    /// other, and each sees the refs that there are when it is its turn.
    pub fn update_summary(&self, update: &SummaryUpdate) -> Result<()> {
        self.update_signed_summary(update, &[])
    }

    /// [`Repo::update_summary`], and signs it.
    pub fn update_signed_summary(
        &self,
        update: &SummaryUpdate,
        signers: &[&dyn Signer],
    ) -> Result<()> {
        let lock = self.lock(LockKind::Shared)?;
        let turn = self.take_lock(SUMMARY_LOCK, LockKind::Exclusive)?;
        self.rewrite_summary(update, signers)?;
        drop((turn, lock));
        Ok(())
    }

    /// The same for an update that nobody has asked for: if signatures were lost by it, nothing is changed, and
    /// they are returned.
    pub fn refresh_summary(
        &self,
        update: &SummaryUpdate,
        signers: &[&dyn Signer],
    ) -> Result<Option<LostSignatures>> {
        let lock = self.lock(LockKind::Shared)?;
        let turn = self.take_lock(SUMMARY_LOCK, LockKind::Exclusive)?;
        let has_commit = update.metadata_commit && self.config().collection_id.is_some();
        let generated = has_commit.then(metadata_ref).transpose()?;
        let keys: Vec<&str> = signers.iter().map(|signer| signer.metadata_key()).collect();
        let lost = self.signatures_to_lose(&keys, generated.as_slice())?;
        if lost.is_none() {
            self.rewrite_summary(update, signers)?;
        }
        drop((turn, lock));
        Ok(lost)
    }

    /// See [`Repo::update_signed_summary`]. Both locks are held.
    fn rewrite_summary(&self, update: &SummaryUpdate, signers: &[&dyn Signer]) -> Result<()> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        if let (Some(collection), true) = (&self.config().collection_id, update.metadata_commit) {
            self.commit_metadata(collection, &update.extra, signers, now)?;
        }
        let deltas = self.static_deltas()?;
        self.reindex_deltas(&deltas)?;
        let refs = self.own_entries()?;
        let info = Info {
            mode: Some(self.mode().to_string()),
            last_modified: Some(now),
            expires: None,
            tombstone_commits: Some(self.config().tombstone_commits),
            indexed_deltas: Some(true),
            static_deltas: match self.config().no_deltas_in_summary {
                true => BTreeMap::new(),
                false => deltas,
            },
            collection_id: self.config().collection_id.clone(),
            collection_map: self.other_collections()?,
            extra: own_keys(&update.extra),
        };
        let wrong = |error: oxtree_format::Error| Error::Format {
            path: self.path().join(SUMMARY),
            reason: error.to_string(),
        };
        let metadata = info.metadata().map_err(wrong)?;
        let bytes = NewSummary { refs, metadata }.to_bytes().map_err(wrong)?;
        Summary::parse(&bytes).map_err(wrong)?;
        let mut signatures = NewDetached::new();
        sign::add_signatures(signers, &bytes, &mut signatures).map_err(Error::Signature)?;
        self.write_file(SUMMARY, &bytes)
            .map_err(Error::io("writing", self.path().join(SUMMARY)))?;
        let signatures = (!signatures.is_empty()).then(|| signatures.to_bytes());
        self.replace_summary_signatures(signatures.as_deref())
    }

    /// Puts in place a summary as another repository has it, with its signatures, if any: this one is a
    /// mirror of that.
    pub fn write_mirrored_summary(&self, summary: &[u8], signatures: Option<&[u8]>) -> Result<()> {
        let lock = self.lock(LockKind::Shared)?;
        let turn = self.take_lock(SUMMARY_LOCK, LockKind::Exclusive)?;
        self.write_file(SUMMARY, summary)
            .map_err(Error::io("writing", self.path().join(SUMMARY)))?;
        self.replace_summary_signatures(signatures)?;
        drop((turn, lock));
        Ok(())
    }

    /// Puts the signatures of a summary that was just written beside it, with its time of change,
    /// as libostree does: caches on the way see by it that the two belong together.
    fn replace_summary_signatures(&self, signatures: Option<&[u8]>) -> Result<()> {
        let path = || self.path().join(SIGNATURES);
        let Some(signatures) = signatures else {
            return match rustix::fs::unlinkat(self.dir(), SIGNATURES, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(error) => Err(Error::io("deleting", path())(error)),
            };
        };
        self.write_file(SIGNATURES, signatures)
            .map_err(Error::io("writing", path()))?;
        let io = || Error::io("setting the time of", path());
        let time = |stat: &rustix::fs::Stat| rustix::fs::Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as _,
        };
        let stat = rustix::fs::statat(self.dir(), SUMMARY, AtFlags::empty()).map_err(io())?;
        let times = rustix::fs::Timestamps {
            last_access: time(&stat),
            last_modification: time(&stat),
        };
        rustix::fs::utimensat(self.dir(), SIGNATURES, &times, AtFlags::empty()).map_err(io())
    }

    fn other_collections(&self) -> Result<BTreeMap<CollectionId, BTreeMap<RefName, NewRef>>> {
        let mut map: BTreeMap<CollectionId, BTreeMap<RefName, CommitId>> = BTreeMap::new();
        let own = self.config().collection_id.as_ref();
        for ((collection, name), commit) in self.collection_refs()? {
            if own != Some(&collection) {
                map.entry(collection).or_default().insert(name, commit);
            }
        }
        let refs = |(collection, refs)| {
            let (entries, left_out) = refs_of(self, refs)?;
            self.warn_of(&left_out);
            Ok((collection, entries))
        };
        map.into_iter().map(refs).collect()
    }

    /// Commits an empty tree with the collection's metadata, for clients that trust commits only.
    fn commit_metadata(
        &self,
        collection: &CollectionId,
        extra: &Metadata,
        signers: &[&dyn Signer],
        timestamp: u64,
    ) -> Result<()> {
        let refspec = Refspec::from(metadata_ref()?);
        let parent = self.read_ref_if_sound(&refspec)?;
        let transaction = Transaction::begin(self)?;
        let meta = DirMeta {
            uid: 0,
            gid: 0,
            mode: 0o040_755,
            xattrs: Xattrs::NONE,
        };
        let meta = transaction.write_metadata(ObjectKind::DirMeta, &meta.to_bytes(), None)?;
        let mut tree = MutableTree::new();
        tree.set_meta(DirMetaId(meta));
        let root = tree.write(&transaction)?;
        let mut commit = CommitBuilder {
            metadata: extra.clone(),
            parent,
            timestamp,
            ..CommitBuilder::default()
        };
        commit.bind(&[METADATA_REF], Some(collection));
        let new = commit.write(root, &transaction)?;
        transaction.sign_commit(new, signers)?;
        transaction.commit(&[])?;
        // The summary is about to be written.
        self.update_refs_only(&[RefUpdate {
            refspec,
            expected: Expected::Exactly(parent),
            new: Some(new),
        }])
    }
}

fn metadata_ref() -> Result<RefName> {
    let wrong = |error: oxtree_format::refs::Error| Error::Invalid(error.to_string());
    METADATA_REF.parse().map_err(wrong)
}

impl Repo {
    /// A summary of the local refs and of nothing else, which is not written anywhere.
    pub fn summary_of_refs(&self) -> Result<Vec<u8>> {
        let summary = NewSummary {
            refs: self.own_entries()?,
            metadata: Metadata::new(),
        };
        summary.to_bytes().map_err(|error| Error::Format {
            path: self.path().join(SUMMARY),
            reason: error.to_string(),
        })
    }
}

impl Repo {
    /// The local refs that a summary leaves out: they cannot be read, or their commits are missing or damaged.
    pub fn left_out_of_summary(&self) -> Result<Vec<DamagedRef>> {
        Ok(self.entries()?.1)
    }

    fn own_entries(&self) -> Result<Entries> {
        let (entries, left_out) = self.entries()?;
        self.warn_of(&left_out);
        Ok(entries)
    }

    fn entries(&self) -> Result<(Entries, Vec<DamagedRef>)> {
        let local = self.survey_local_refs()?;
        let (entries, without_commit) = refs_of(self, local.refs)?;
        let mut left_out = local.damaged;
        left_out.extend(without_commit);
        Ok((entries, left_out))
    }

    fn warn_of(&self, left_out: &[DamagedRef]) {
        for one in left_out {
            let path = self.path().display();
            tracing::warn!("{path}: the summary is written without a ref: {one}");
        }
    }
}

type Entries = BTreeMap<RefName, NewRef>;

/// What a summary says of refs, and the refs that it leaves out because their commits cannot be read.
fn refs_of(
    repo: &Repo,
    refs: impl IntoIterator<Item = (RefName, CommitId)>,
) -> Result<(Entries, Vec<DamagedRef>)> {
    let refs: Vec<_> = refs.into_iter().collect();
    let all: Vec<_> = refs
        .into_par_iter()
        .with_min_len(64)
        .map(|(name, id)| match entry(repo, id) {
            Ok(entry) => Ok(Ok((name, entry))),
            Err(error) if error.is_missing_object() || error.is_bad_object() => {
                let path = format!("refs/heads/{name}");
                Ok(Err(DamagedRef::new(&path, error)))
            }
            Err(error) => Err(error),
        })
        .collect::<Result<_>>()?;
    let (mut entries, mut left_out) = (Entries::new(), Vec::new());
    for one in all {
        match one {
            Ok((name, entry)) => drop(entries.insert(name, entry)),
            Err(damaged) => left_out.push(damaged),
        }
    }
    Ok((entries, left_out))
}

fn entry(repo: &Repo, id: CommitId) -> Result<NewRef> {
    let bytes = repo.load_commit(id)?;
    let commit = Commit::parse(&bytes).map_err(|error| Error::corrupt(id, error))?;
    let version = commit.metadata_str(oxtree_format::commit::keys::VERSION);
    Ok(NewRef::new(
        bytes.len() as u64,
        id,
        commit.timestamp,
        version,
    ))
}

/// The user's keys, each once with its last value, without those that say what the repository is.
fn own_keys(extra: &Metadata) -> Metadata {
    const TAKEN: [&str; 7] = [
        keys::MODE,
        keys::LAST_MODIFIED,
        keys::TOMBSTONE_COMMITS,
        keys::INDEXED_DELTAS,
        keys::STATIC_DELTAS,
        keys::COLLECTION_ID,
        keys::COLLECTION_MAP,
    ];
    let mut own = Metadata::new();
    for (key, value) in extra {
        own.retain(|(known, _)| known != key);
        if !TAKEN.contains(&key.as_str()) {
            own.push((key.clone(), value.clone()));
        }
    }
    own
}
