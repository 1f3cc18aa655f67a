// SPDX-License-Identifier: MIT OR Apache-2.0
//! Transactions: many objects, and then refs, become visible together.
//!
//! A [`Transaction`] is the only way to add objects. It writes them below
//! `tmp/staging-BOOTID-XXXXXX/` (a quarantine: `tmp/oxtree-push-BOOTID-XXXXXX/`) in the layout of
//! `objects/`. A lock file beside the directory marks it as in use, as in libostree. An object
//! whose content is known before it is written gets its name at once. Any other object is written
//! to a file without a name (`O_TMPFILE`), which is linked when its checksum is known.
//!
//! [`Transaction::commit`] then takes these steps, so that no reader, and no disk after a power
//! cut, ever has a ref to an incomplete commit:
//!
//! 1. Make the content durable: one `syncfs`.
//! 2. Move the objects to `objects/`: whole directories where possible, and commits last.
//! 3. Make the names durable: one fsync per changed directory, or one more `syncfs` if there are
//!    many.
//! 4. Remove the staging directory.
//! 5. Set the refs under `.refs-lock`. Each ref is compared with its expected value, and all are
//!    checked before the first is written.
//! 6. Delete expired leftovers in `tmp/`.
//!
//! The repository's `.lock` is held shared all the time, so `ostree prune` waits.

mod flush;
mod leftovers;
mod publish;
mod space;
mod staging;
mod unfinished;

use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use oxtree_format::{FileId, ObjectId, ObjectKind};

use self::flush::Flusher;
use self::leftovers::Leftovers;
use self::space::free_space;
use self::staging::{QUARANTINE, remove_empty_folders};
pub(crate) use self::staging::{STAGED_CACHE, STAGED_DELTA, Staging, move_objects, staged_objects};
pub use self::unfinished::Unfinished;
use crate::fs;
use crate::fs::lock::{FileLock, LockKind};
use crate::{Error, FileObject, Repo, Result};

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
    /// What others have left that this transaction can take over.
    leftovers: Leftovers,
    taken_over: AtomicBool,
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
        let staging = staged.then(|| Staging::of_transaction(repo)).transpose()?;
        Self::new(Handle::Lent(repo), lock, staging)
    }

    /// Begins a transaction for objects that somebody else sends. They stay out of sight until
    /// they are committed. An object that is asked for ([`Transaction::has_staged`], reading) and
    /// that an earlier quarantine had received before it was cut off is verified and taken over.
    pub fn quarantine(repo: &'r Repo) -> Result<Self> {
        Self::open_quarantine(Handle::Lent(repo))
    }

    fn open_quarantine(repo: Handle<'r>) -> Result<Self> {
        let lock = repo.lock(LockKind::Shared)?;
        let leftovers = Leftovers::of(&repo)?;
        let staging = Staging::create(&repo, QUARANTINE, true)?;
        let mut quarantine = Self::new(repo, lock, Some(staging))?;
        quarantine.leftovers = leftovers;
        Ok(quarantine)
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
            leftovers: Leftovers::default(),
            taken_over: AtomicBool::new(false),
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

    /// Whether something was taken over that an earlier quarantine had left.
    pub fn is_resumed(&self) -> bool {
        self.taken_over.load(Ordering::Relaxed)
    }

    /// Whether the object is in this transaction or in the repository itself. (Not in a parent:
    /// what is committed here is complete here.)
    pub fn has_staged(&self, object: &ObjectId) -> Result<bool> {
        Ok(self.is_staged_here(object)?
            || self.repo.has_own_object(object)?
            || self.take_over(object)?)
    }

    /// Whether the object is in this transaction.
    pub fn is_staged_here(&self, object: &ObjectId) -> Result<bool> {
        let Some(staging) = &self.staging else {
            return Ok(false);
        };
        let path = self.repo.loose(object);
        let stat = fs::stat(&staging.dir, &path).map_err(Error::io(
            "looking for",
            self.repo.path().join("tmp").join(&path),
        ))?;
        Ok(stat.is_some())
    }

    /// Takes an object over that is neither here nor in the repository, if somebody has left it;
    /// true if it is here then.
    fn take_over(&self, object: &ObjectId) -> Result<bool> {
        let Some(staging) = self.staging.as_ref().filter(|_| !self.leftovers.is_empty()) else {
            return Ok(false);
        };
        if self.leftovers.take(&self.repo, object, staging.dir.as_fd()) {
            self.taken_over.store(true, Ordering::Relaxed);
            return Ok(true);
        }
        // Another thread may have done it in between.
        self.is_staged_here(object)
    }

    /// A view of the repository in which this transaction's objects are there.
    pub fn load_metadata(&self, object: &ObjectId) -> Result<Vec<u8>> {
        if let Some(bytes) = self.read_staged(object)? {
            return Ok(bytes);
        }
        match self.repo.load_metadata(object) {
            Err(missing) if missing.is_missing_object() && self.take_over(object)? => {
                self.read_staged(object)?.ok_or(missing)
            }
            done => done,
        }
    }

    fn read_staged(&self, object: &ObjectId) -> Result<Option<Vec<u8>>> {
        let Some(staging) = &self.staging else {
            return Ok(None);
        };
        let path = self.repo.loose(object);
        fs::read_file(&staging.dir, &path, oxtree_format::MAX_METADATA_SIZE).map_err(Error::io(
            "reading",
            self.repo.path().join("tmp").join(&path),
        ))
    }

    /// Opens a file object that is in this transaction, or in the repository.
    pub fn open_file(&self, id: FileId) -> Result<FileObject> {
        if let Some(file) = self.open_staged(id)? {
            return Ok(file);
        }
        match self.repo.open_file(id) {
            Err(missing) if missing.is_missing_object() && self.take_over(&id.object())? => {
                self.open_staged(id)?.ok_or(missing)
            }
            done => done,
        }
    }

    fn open_staged(&self, id: FileId) -> Result<Option<FileObject>> {
        match &self.staging {
            Some(staging) => self.repo.open_file_in(staging.dir.as_fd(), id),
            None => Ok(None),
        }
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
            !staging.keep || (remove_empty_folders(&staging.dir).is_ok() && staging.is_empty())
        };
        if let Some(staging) = self.staging.take().filter(of_no_use)
            && let Err(error) = staging.remove(&self.repo)
        {
            tracing::warn!("{error}");
        }
        self.leftovers.tidy(&self.repo);
    }
}
