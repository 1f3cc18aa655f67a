// SPDX-License-Identifier: MIT OR Apache-2.0
//! Transactions: many objects, and then refs, become visible together.
//!
//! Objects are written below `tmp/staging-BOOTID-XXXXXX/` in the layout of `objects/`, and moved
//! there at the end: content first made durable (one `syncfs`), then the names (each directory
//! synced), then the refs. So there is no instant at which a reader, or the disk after a power
//! cut, has a ref whose commit is incomplete. A lock file beside the staging directory tells
//! everybody that it is in use; libostree does the same.

mod flush;
mod staging;
mod unfinished;

use std::collections::{BTreeSet, HashSet};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use oxtree_format::{CommitId, FileId, ObjectId, ObjectKind};

use self::flush::Flusher;
use self::staging::{QUARANTINE, folder, move_folders};
pub(crate) use self::staging::{Staging, move_objects, staged_objects};
pub use self::unfinished::Unfinished;
use crate::config::MinFreeSpace;
use crate::fs;
use crate::fs::lock::{FileLock, LockKind};
use crate::refs::RefUpdate;
use crate::{CommitState, Error, FileObject, Repo, Result};

/// What a transaction has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Metadata objects that were to be written, those that were there already included.
    pub metadata_total: u64,
    /// Metadata objects that were written, because they were not there.
    pub metadata_written: u64,
    /// File objects that were to be written, those that were there already included.
    pub content_total: u64,
    /// File objects that were written, because they were not there.
    pub content_written: u64,
    /// Bytes of content in those file objects.
    pub content_bytes: u64,
    /// Files that were known by device and inode, and not even read.
    pub cache_hits: u64,
}

#[derive(Debug, Default)]
struct Counters {
    metadata_total: AtomicU64,
    metadata: AtomicU64,
    content_total: AtomicU64,
    content: AtomicU64,
    cache_hits: AtomicU64,
    bytes: AtomicU64,
}

/// An open transaction. Dropped without [`Transaction::commit`], it leaves nothing behind, unless
/// it is a quarantine, which stays for the next one to resume.
#[derive(Debug)]
pub struct Transaction<'r> {
    repo: Handle<'r>,
    _lock: Option<FileLock>,
    staging: Option<Staging>,
    counters: Counters,
    /// Where there is something to be waited for at the end.
    flusher: Option<Flusher>,
    /// Bytes that may still be written before `min-free-space` is hit; [`None`] for no limit.
    space: Option<AtomicU64>,
    fanout: [AtomicBool; 256],
    /// What [`Repo::prune_stamp`] was at the beginning.
    prune_stamp: Vec<u8>,
}

/// The repository of a transaction: lent, or its own for as long as it lasts.
#[derive(Debug)]
enum Handle<'r> {
    Lent(&'r Repo),
    Shared(Arc<Repo>),
}

impl Deref for Handle<'_> {
    type Target = Repo;

    fn deref(&self) -> &Repo {
        match self {
            Self::Lent(repo) => repo,
            Self::Shared(repo) => repo,
        }
    }
}

impl Transaction<'static> {
    /// [`Transaction::quarantine`] for whoever keeps it longer than a call lasts.
    pub fn shared_quarantine(repo: Arc<Repo>) -> Result<Self> {
        Self::open_quarantine(Handle::Shared(repo))
    }
}

impl<'r> Transaction<'r> {
    /// Begins a transaction; holds the repository's shared lock until it ends.
    pub fn begin(repo: &'r Repo) -> Result<Self> {
        let lock = repo.lock(LockKind::Shared)?;
        let config = repo.config();
        // Without a sync at the end (or with one an object) there is nothing to wait for.
        let staged = config.fsync && !config.per_object_fsync;
        let staging = staged
            .then(|| Staging::create(repo, "staging-", false))
            .transpose()?;
        Self::new(Handle::Lent(repo), lock, staging)
    }

    /// Begins a transaction for objects that somebody else sends. They stay out of sight until
    /// they are committed. What earlier quarantines had received before they were cut off is taken
    /// over, after every object was verified, which can take long.
    pub fn quarantine(repo: &'r Repo) -> Result<Self> {
        Self::open_quarantine(Handle::Lent(repo))
    }

    fn open_quarantine(repo: Handle<'r>) -> Result<Self> {
        let lock = repo.lock(LockKind::Shared)?;
        let staging = match Staging::resume(&repo)? {
            Some(staging) => staging,
            None => Staging::create(&repo, QUARANTINE, true)?,
        };
        Self::new(repo, lock, Some(staging))
    }

    fn new(repo: Handle<'r>, lock: Option<FileLock>, staging: Option<Staging>) -> Result<Self> {
        repo.check_writable()?;
        if repo.config().requires_fsverity {
            let reason = "fsverity required but filesystem does not support it, or oxtree cannot \
                          turn it on (see ex-integrity.fsverity in the repository's config)";
            return Err(Error::Invalid(reason.to_owned()));
        }
        let space = free_space(&repo)?.map(AtomicU64::new);
        let fanout = [const { AtomicBool::new(false) }; 256];
        let flusher = match repo.config().fsync && staging.is_some() {
            true => {
                let dir = repo.dir().try_clone_to_owned();
                Some(Flusher::new(
                    dir.map_err(Error::io("opening", repo.path()))?,
                ))
            }
            false => None,
        };
        let prune_stamp = repo.prune_stamp()?;
        Ok(Self {
            repo,
            _lock: lock,
            staging,
            counters: Counters::default(),
            flusher,
            space,
            fanout,
            prune_stamp,
        })
    }

    /// The repository.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// Whether this is a quarantine that has taken over what earlier ones had left.
    pub fn is_resumed(&self) -> bool {
        self.staging.as_ref().is_some_and(|staging| staging.resumed)
    }

    /// Whether the object is in this transaction or in the repository itself. (Not in a parent:
    /// what is committed here is complete here.)
    pub fn has_staged(&self, object: &ObjectId) -> Result<bool> {
        if let Some(staging) = &self.staging {
            let path = self.repo.loose(object);
            let stat = fs::stat(&staging.dir, &path).map_err(Error::io(
                "looking for",
                self.repo.path().join("tmp").join(&path),
            ))?;
            if stat.is_some() {
                return Ok(true);
            }
        }
        self.repo.has_own_object(object)
    }

    /// A view of the repository in which this transaction's objects are there.
    pub fn load_metadata(&self, object: &ObjectId) -> Result<Vec<u8>> {
        if let Some(staging) = &self.staging {
            let path = self.repo.loose(object);
            let bytes =
                fs::read_file(&staging.dir, &path, oxtree_format::MAX_METADATA_SIZE).map_err(
                    Error::io("reading", self.repo.path().join("tmp").join(&path)),
                )?;
            if let Some(bytes) = bytes {
                return Ok(bytes);
            }
        }
        self.repo.load_metadata(object)
    }

    /// Opens a file object that is in this transaction, or in the repository.
    pub fn open_file(&self, id: FileId) -> Result<FileObject> {
        if let Some(staging) = &self.staging
            && let Some(file) = self.repo.open_file_in(staging.dir.as_fd(), id)?
        {
            return Ok(file);
        }
        self.repo.open_file(id)
    }

    /// A view of what is in this transaction only, as if that were a repository.
    pub(crate) fn staged(&self) -> Result<Repo> {
        self.repo
            .with_objects_in(self.staging_dir())
            .map_err(Error::io("opening", self.staging_path()))
    }

    /// What was written so far.
    pub fn stats(&self) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            metadata_total: load(&self.counters.metadata_total),
            metadata_written: load(&self.counters.metadata),
            content_total: load(&self.counters.content_total),
            content_written: load(&self.counters.content),
            content_bytes: load(&self.counters.bytes),
            cache_hits: load(&self.counters.cache_hits),
        }
    }

    /// Makes all objects visible and durable, and then sets `refs`, all of them or, if one is not
    /// what its update expects, none.
    pub fn commit(self, refs: &[RefUpdate]) -> Result<Stats> {
        self.commit_complete(refs, &[])
    }

    /// The same, with commits of which all is there then: that they are not partial any more is
    /// noted before the refs are set.
    pub fn commit_complete(mut self, refs: &[RefUpdate], complete: &[CommitId]) -> Result<Stats> {
        let stats = self.stats();
        if let Err(told_to) = self.repo.check_may_commit() {
            // As if the machine had stopped here.
            if let Some(staging) = &mut self.staging {
                staging.keep = true;
            }
            return Err(told_to);
        }
        let publishing = self.repo.lock_publishing()?;
        self.check_nothing_pruned(&self.prune_stamp, refs)?;
        self.publish_objects()?;
        for commit in complete {
            self.repo.set_commit_state(*commit, CommitState::Normal)?;
        }
        self.repo.update_refs(refs)?;
        drop(publishing);
        // What others have left is no reason to call this a failure.
        if let Err(error) = self.repo.clean_tmp() {
            tracing::warn!("{error}");
        }
        Ok(stats)
    }

    fn publish_objects(&mut self) -> Result<()> {
        let Some(staging) = self.staging.as_mut() else {
            return Ok(());
        };
        let repo = &*self.repo;
        let config = repo.config();
        let io = || Error::io("publishing objects in", repo.path());
        if config.fsync {
            rustix::fs::syncfs(repo.dir()).map_err(Error::io("syncing", repo.path()))?;
        }
        let objects: Vec<String> = staged_objects(staging.dir.as_fd()).map_err(io())?;
        // Commits last: nobody is to find one whose objects are still on their way.
        let (commits, mut others): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|path| path.ends_with(".commit"));
        let from = staging.dir.as_fd();
        let with_commits: HashSet<&str> = commits.iter().map(|path| folder(path)).collect();
        let folders: BTreeSet<&str> = others
            .iter()
            .map(|path| folder(path))
            .filter(|folder| !with_commits.contains(folder))
            .collect();
        let left = move_folders(from, repo.objects(), folders.iter().copied()).map_err(io())?;
        let left: HashSet<String> = left
            .into_iter()
            .chain(with_commits)
            .map(str::to_owned)
            .collect();
        others.retain(|path| left.contains(folder(path)));
        for batch in [others, commits] {
            move_objects(from, repo.objects(), config.fsync, &batch).map_err(io())?;
        }
        staging.keep = false;
        let staging = self.staging.take();
        staging.map_or(Ok(()), |staging| staging.remove(repo))
    }

    /// The commits that were staged.
    pub(crate) fn staged_commits(&self) -> Result<Vec<CommitId>> {
        let Some(staging) = &self.staging else {
            return Ok(Vec::new());
        };
        let io = Error::io("reading", self.repo.path().join("tmp").join(&staging.name));
        let paths = staged_objects(staging.dir.as_fd()).map_err(io)?;
        let objects = paths.iter().filter_map(|path| {
            let (dir, file) = path.split_once('/')?;
            ObjectId::from_loose(dir, file, self.repo.mode().is_archive())
        });
        Ok(objects
            .filter(|object| object.kind == ObjectKind::Commit)
            .map(|object| CommitId(object.checksum))
            .collect())
    }

    /// Forgets staged commits that are not in `keep`, with their detached metadata. What an
    /// interrupted push has left may include a commit without its files, which nobody is to see.
    pub fn retain_commits(&self, keep: &HashSet<CommitId>) -> Result<()> {
        let Some(staging) = &self.staging else {
            return Ok(());
        };
        let io = || Error::io("reading", self.repo.path().join("tmp").join(&staging.name));
        for path in staged_objects(staging.dir.as_fd()).map_err(io())? {
            let object = path.split_once('/').and_then(|(dir, file)| {
                ObjectId::from_loose(dir, file, self.repo.mode().is_archive())
            });
            let stray = object.is_some_and(|object| {
                matches!(object.kind, ObjectKind::Commit | ObjectKind::CommitMeta)
                    && !keep.contains(&CommitId(object.checksum))
            });
            if stray {
                fs::remove_all(staging.dir.as_fd(), path.as_bytes()).map_err(io())?;
            }
        }
        Ok(())
    }

    /// Ends the transaction; a quarantine's objects are deleted, too.
    pub fn abort(mut self) -> Result<()> {
        self.staging
            .take()
            .map_or(Ok(()), |staging| staging.remove(&self.repo))
    }

    /// Notes that an object is to be written, if it is not there already.
    pub(crate) fn count_wanted(&self, kind: ObjectKind) {
        let counter = match kind {
            ObjectKind::File => &self.counters.content_total,
            _ => &self.counters.metadata_total,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a file was recognised without being read.
    pub(crate) fn count_cache_hit(&self) {
        self.counters.cache_hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that an object was written.
    pub(crate) fn count(&self, object: &ObjectId, bytes: u64) {
        if let Some(flusher) = &self.flusher {
            flusher.wrote(bytes);
        }
        if object.kind == ObjectKind::File {
            self.counters.content.fetch_add(1, Ordering::Relaxed);
            self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        } else {
            self.counters.metadata.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Asks for `bytes` of disk space before they are written.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<()> {
        let Some(space) = &self.space else {
            return Ok(());
        };
        let less = |left: u64| left.checked_sub(bytes);
        match space.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::NoSpace {
                rule: self.repo.config().min_free_space.to_string(),
                requested: bytes,
            }),
        }
    }

    /// Gives back what was reserved for a file that is gone.
    pub(crate) fn release(&self, bytes: u64) {
        if let Some(space) = &self.space {
            space.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// The directory below which objects are written, in the layout of `objects/`.
    pub(crate) fn staging_dir(&self) -> BorrowedFd<'_> {
        match &self.staging {
            Some(staging) => staging.dir.as_fd(),
            None => self.repo.objects(),
        }
    }

    /// Whether objects are written where nobody looks before all of them are complete.
    pub(crate) fn is_staged(&self) -> bool {
        self.staging.is_some()
    }

    /// [`Transaction::staging_dir`] as people would call it.
    pub(crate) fn staging_path(&self) -> PathBuf {
        match &self.staging {
            Some(staging) => self.repo.path().join("tmp").join(&staging.name),
            None => self.repo.path().join("objects"),
        }
    }

    /// The directory for files that have no name yet.
    pub(crate) fn tmp_dir(&self) -> BorrowedFd<'_> {
        self.repo.tmp()
    }

    /// Makes the directory of all objects whose checksum begins with `first`.
    pub(crate) fn ensure_fanout(&self, first: u8) -> Result<()> {
        let made = &self.fanout[usize::from(first)];
        if !made.load(Ordering::Relaxed) {
            let name = format!("{first:02x}");
            fs::ensure_dir(self.staging_dir(), &*name).map_err(Error::io(
                "creating",
                self.repo.path().join("objects").join(name),
            ))?;
            made.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        let of_no_use = |staging: &Staging| {
            // What is not empty, or cannot be looked at, stays.
            !staging.keep || (staging.remove_empty_folders().is_ok() && staging.is_empty())
        };
        if let Some(staging) = self.staging.take().filter(of_no_use)
            && let Err(error) = staging.remove(&self.repo)
        {
            tracing::warn!("{error}");
        }
    }
}

/// How many bytes may be written; [`None`] for as many as fit.
fn free_space(repo: &Repo) -> Result<Option<u64>> {
    let stat = rustix::fs::fstatvfs(repo.dir())
        .map_err(Error::io("asking for free space on", repo.path()))?;
    let block = stat.f_frsize;
    let reserved = match repo.config().min_free_space {
        MinFreeSpace::Percent(0) | MinFreeSpace::Bytes(0) => return Ok(None),
        MinFreeSpace::Percent(percent) => stat.f_blocks / 100 * u64::from(percent) * block,
        MinFreeSpace::Bytes(bytes) => bytes,
    };
    Ok(Some((stat.f_bavail * block).saturating_sub(reserved)))
}
