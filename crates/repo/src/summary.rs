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
use crate::{Error, Expected, LockKind, Repo, Result, Transaction, fs};

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
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        if let (Some(collection), true) = (&self.config().collection_id, update.metadata_commit) {
            self.commit_metadata(collection, &update.extra, now)?;
        }
        let deltas = self.static_deltas()?;
        self.reindex_deltas(&deltas)?;
        let refs = refs_of(self, self.local_refs()?)?;
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
        self.replace_summary_signatures(signatures.as_deref())?;
        drop((turn, lock));
        Ok(())
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
        let refs = |(collection, refs)| Ok((collection, refs_of(self, refs)?));
        map.into_iter().map(refs).collect()
    }

    /// Commits an empty tree with the collection's metadata, for clients that trust commits only.
    fn commit_metadata(
        &self,
        collection: &CollectionId,
        extra: &Metadata,
        timestamp: u64,
    ) -> Result<()> {
        let wrong = |error: oxtree_format::refs::Error| Error::Invalid(error.to_string());
        let refspec = Refspec::from(METADATA_REF.parse::<RefName>().map_err(wrong)?);
        let parent = self.read_ref(&refspec)?;
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
        let new = Some(commit.write(root, &transaction)?);
        transaction.commit(&[RefUpdate {
            refspec,
            expected: Expected::Exactly(parent),
            new,
        }])?;
        Ok(())
    }
}

/// What a summary says of refs.
fn refs_of(
    repo: &Repo,
    refs: impl IntoIterator<Item = (RefName, CommitId)>,
) -> Result<BTreeMap<RefName, NewRef>> {
    let refs: Vec<_> = refs.into_iter().collect();
    refs.into_par_iter()
        .with_min_len(64)
        .map(|(name, id)| {
            let bytes = repo.load_commit(id)?;
            let commit = Commit::parse(&bytes).map_err(|error| Error::corrupt(id, error))?;
            let version = commit.metadata_str(oxtree_format::commit::keys::VERSION);
            let entry = NewRef::new(bytes.len() as u64, id, commit.timestamp, version);
            Ok((name, entry))
        })
        .collect()
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
