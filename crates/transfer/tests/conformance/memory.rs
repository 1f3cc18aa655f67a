// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small store in memory: it shows that the traits ask for nothing that only files can do.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

use flate2::Compression;
use flate2::read::{DeflateDecoder, DeflateEncoder};
use oxtree_format::detached::join::Room;
use oxtree_format::file::{PREFIX_LEN, header_len};
use oxtree_format::refs::RefName;
use oxtree_format::{
    Checksum, Commit, CommitId, DirMeta, DirTree, FileHeader, FileId, FilezHeader, ObjectId,
    ObjectKind,
};
use oxtree_repo::sign::Signer;
use oxtree_repo::traverse::{Objects, check_complete};
use oxtree_repo::{Expected, LostSignatures, RefUpdate};
use oxtree_transfer::protocol::message::{Limits, UnfinishedPush};
use oxtree_transfer::protocol::stream::{Form, Record};
use oxtree_transfer::store::published::{
    Content, Lasts, PublishedFile, PublishedRefs, RefsVersion,
};
use oxtree_transfer::store::{Attached, Destination, Published, Quarantine, Quota, Rules};
use oxtree_transfer::{Error, Result};

/// Objects by their ids: metadata as it is, files as an archive stores them.
type Stored = BTreeMap<ObjectId, Vec<u8>>;

#[derive(Debug, Default)]
struct State {
    objects: Stored,
    refs: BTreeMap<RefName, CommitId>,
    version: u64,
    /// What dropped quarantines have left.
    left: Stored,
}

/// The store. A clone is another handle of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>);

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no thread has panicked")
    }
}

fn not_found(object: &ObjectId) -> oxtree_repo::Error {
    oxtree_repo::Error::MetadataNotFound(*object)
}

impl Destination for Memory {
    fn mode(&self) -> &str {
        "archive-z2"
    }

    fn collection(&self) -> Option<&str> {
        None
    }

    fn refs(&self) -> Result<BTreeMap<RefName, CommitId>> {
        Ok(self.state().refs.clone())
    }

    fn partial(&self) -> Result<HashSet<CommitId>> {
        Ok(HashSet::new())
    }

    fn unfinished(&self) -> Result<Vec<UnfinishedPush>> {
        Ok(Vec::new())
    }

    fn rules(&self) -> Result<Rules> {
        Ok(Rules::default())
    }

    fn limits(&self) -> Result<Limits> {
        Ok(Limits::default())
    }

    fn missing(&self, objects: &[ObjectId]) -> Result<Vec<bool>> {
        let state = self.state();
        let lacks = |id: &ObjectId| !state.objects.contains_key(id);
        Ok(objects.iter().map(lacks).collect())
    }

    fn load(&self, object: &ObjectId) -> Result<Vec<u8>> {
        let state = self.state();
        Ok(state
            .objects
            .get(object)
            .ok_or_else(|| not_found(object))?
            .clone())
    }

    fn quarantine(&self, quota: Quota<'_>) -> Result<Box<dyn Quarantine + '_>> {
        self.shared_quarantine(quota)
    }

    fn shared_quarantine(&self, _: Quota<'_>) -> Result<Box<dyn Quarantine>> {
        let staged = std::mem::take(&mut self.state().left);
        Ok(Box::new(Staging {
            store: self.clone(),
            resumed: !staged.is_empty(),
            staged: Mutex::new(staged),
        }))
    }

    fn update_summary(&self, _: &[&dyn Signer]) -> Result<Option<LostSignatures>> {
        Ok(None)
    }
}

impl Published for Memory {
    fn mode(&self) -> &str {
        "archive-z2"
    }

    fn refs(&self) -> Result<PublishedRefs> {
        Ok(PublishedRefs {
            refs: self.state().refs.clone(),
            ..PublishedRefs::default()
        })
    }

    fn version(&self) -> Result<RefsVersion> {
        Ok(RefsVersion::Number(self.state().version))
    }

    fn open(&self, path: &str) -> Result<Option<PublishedFile>> {
        let state = self.state();
        let (bytes, lasts) = match path.split_once('/') {
            Some(("objects", rest)) => {
                let object = rest.split_once('/');
                let object = object.and_then(|(dir, file)| ObjectId::from_loose(dir, file, true));
                let bytes = object.and_then(|object| state.objects.get(&object).cloned());
                (bytes, Lasts::Forever)
            }
            Some(("refs", rest)) => {
                let name = rest
                    .strip_prefix("heads/")
                    .and_then(|name| name.parse().ok());
                let commit = name.and_then(|name: RefName| state.refs.get(&name));
                (
                    commit.map(|commit| format!("{commit}\n").into_bytes()),
                    Lasts::Short,
                )
            }
            _ if path == "config" => (
                Some(b"[core]\nrepo_version=1\nmode=archive-z2\n".to_vec()),
                Lasts::Short,
            ),
            _ => (None, Lasts::Short),
        };
        Ok(bytes.map(|bytes| PublishedFile {
            size: bytes.len() as u64,
            content: Content::Bytes(bytes),
            modified: (0, 0),
            lasts,
        }))
    }

    fn load(&self, object: &ObjectId) -> Result<Vec<u8>> {
        Destination::load(self, object)
    }
}

/// A quarantine of it.
struct Staging {
    store: Memory,
    resumed: bool,
    staged: Mutex<Stored>,
}

impl Staging {
    fn staged(&self) -> MutexGuard<'_, Stored> {
        self.staged.lock().expect("no thread has panicked")
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let left = std::mem::take(&mut *self.staged());
        self.store.state().left.extend(left);
    }
}

impl Objects for Staging {
    fn load(&self, object: &ObjectId) -> oxtree_repo::Result<Vec<u8>> {
        if let Some(bytes) = self.staged().get(object) {
            return Ok(bytes.clone());
        }
        let state = self.store.state();
        Ok(state
            .objects
            .get(object)
            .ok_or_else(|| not_found(object))?
            .clone())
    }

    fn has(&self, object: &ObjectId) -> oxtree_repo::Result<bool> {
        Ok(self.staged().contains_key(object) || self.store.state().objects.contains_key(object))
    }

    fn is_partial(&self, _: CommitId) -> oxtree_repo::Result<bool> {
        Ok(false)
    }
}

impl Quarantine for Staging {
    fn is_resumed(&self) -> bool {
        self.resumed
    }

    fn missing(&self, objects: &[ObjectId]) -> Result<Vec<bool>> {
        objects.iter().map(|id| Ok(!self.has(id)?)).collect()
    }

    fn put(&self, record: &Record, from: &mut dyn Read, max_size: u64) -> Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(Error::Connection)?;
        let checked = check(record, bytes, max_size);
        let stored =
            checked.map_err(|reason| oxtree_repo::Error::corrupt(record.object, reason))?;
        self.staged().insert(record.object, stored);
        Ok(())
    }

    fn put_patched(&self, _: &Record, _: FileId, _: &mut dyn Read, _: u64) -> Result<()> {
        Err(unsupported())
    }

    fn load(&self, object: &ObjectId) -> Result<Vec<u8>> {
        Ok(Objects::load(self, object)?)
    }

    fn check_complete(&self, commit: CommitId, complete: Option<CommitId>) -> Result<()> {
        Ok(check_complete(self, commit, complete)?)
    }

    fn is_public(&self, object: &ObjectId) -> Result<bool> {
        Ok(self.store.state().objects.contains_key(object))
    }

    fn copy_commit(&self, _: CommitId, _: &RefName, _: Option<CommitId>) -> Result<CommitId> {
        Err(unsupported())
    }

    fn sign(&self, _: CommitId, signers: &[&dyn Signer]) -> Result<()> {
        signers.is_empty().then_some(()).ok_or_else(unsupported)
    }

    fn detached(&self) -> Result<HashSet<CommitId>> {
        Ok(HashSet::new())
    }

    fn attach(&self, _: CommitId, _: Room) -> Result<Attached> {
        Err(unsupported())
    }

    fn publish(
        self: Box<Self>,
        refs: &[RefUpdate],
        commits: &HashSet<CommitId>,
        _: &HashSet<CommitId>,
    ) -> Result<()> {
        let mut state = self.store.state();
        for RefUpdate {
            refspec, expected, ..
        } in refs
        {
            let actual = state.refs.get(&refspec.name).copied();
            if let Expected::Exactly(expected) = *expected
                && expected != actual
            {
                let name = refspec.name.to_string();
                drop(state);
                return Err(oxtree_repo::Error::RefMoved {
                    name,
                    expected,
                    actual,
                }
                .into());
            }
        }
        let mut staged = std::mem::take(&mut *self.staged());
        staged.retain(|id, _| {
            id.kind != ObjectKind::Commit || commits.contains(&CommitId(id.checksum))
        });
        state.objects.append(&mut staged);
        for RefUpdate { refspec, new, .. } in refs {
            match new {
                Some(new) => state.refs.insert(refspec.name.clone(), *new),
                None => state.refs.remove(&refspec.name),
            };
        }
        state.version += 1;
        drop(state);
        Ok(())
    }

    fn discard(self: Box<Self>) -> Result<()> {
        self.staged().clear();
        Ok(())
    }
}

fn unsupported() -> Error {
    Error::State("the store in memory cannot do this".to_owned())
}

/// Verifies an object. Returns what is stored of it.
fn check(record: &Record, bytes: Vec<u8>, max_size: u64) -> Result<Vec<u8>, String> {
    let text = |error: oxtree_format::Error| error.to_string();
    let Record { object, form, len } = *record;
    if bytes.len() as u64 != len {
        return Err("it has another size".to_owned());
    }
    let (checksum, stored) = match (form, object.kind) {
        (Form::Metadata, kind) => {
            match kind {
                ObjectKind::Commit => drop(Commit::parse(&bytes).map_err(text)?),
                ObjectKind::DirTree => drop(DirTree::parse(&bytes).map_err(text)?),
                ObjectKind::DirMeta => drop(DirMeta::parse(&bytes).map_err(text)?),
                _ => return Err("it is of another kind".to_owned()),
            }
            (Checksum::of(&bytes), bytes)
        }
        (Form::Filez, ObjectKind::File) => {
            let (header, rest) = split(&bytes)?;
            let header = FilezHeader::parse(header).map_err(text)?;
            let mut unpacker = DeflateDecoder::new(rest);
            let mut content = Vec::new();
            if !header.file.is_symlink() {
                let most = header.size.min(max_size);
                let read = unpacker.by_ref().take(most + 1).read_to_end(&mut content);
                read.map_err(|error| error.to_string())?;
            }
            if content.len() as u64 != header.size || unpacker.total_in() != rest.len() as u64 {
                return Err("its content has another size".to_owned());
            }
            (header.file.id_with(&content).0, bytes)
        }
        (Form::Plain, ObjectKind::File) => {
            let (header, content) = split(&bytes)?;
            let file = FileHeader::parse(header).map_err(text)?;
            let size = content.len() as u64;
            if size > max_size {
                return Err("it is too large".to_owned());
            }
            let checksum = file.id_with(content).0;
            let is_symlink = file.is_symlink();
            let mut stored = FilezHeader { size, file }.stored_bytes();
            if !is_symlink {
                let mut packer = DeflateEncoder::new(content, Compression::fast());
                let packed = packer.read_to_end(&mut stored);
                packed.map_err(|error| error.to_string())?;
            }
            (checksum, stored)
        }
        _ => return Err("it is of another kind".to_owned()),
    };
    match checksum == object.checksum {
        true => Ok(stored),
        false => Err("it has another checksum".to_owned()),
    }
}

/// The header of a file object, and what follows it.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let (prefix, rest) = bytes
        .split_first_chunk::<PREFIX_LEN>()
        .ok_or("it is cut off")?;
    let len = header_len(*prefix).map_err(|error| error.to_string())?;
    rest.split_at_checked(len)
        .ok_or_else(|| "it is cut off".to_owned())
}
