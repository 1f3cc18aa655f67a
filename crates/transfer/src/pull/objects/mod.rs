// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fetches objects from a web server: many requests at once, and each object is verified and
//! stored on all cores as it arrives.
//!
//! ```text
//!  wanted ──► one thread: what to request next ──► requests (tokio, up to 128)
//!                  ▲                                        │ bytes
//!                  └── entries of a folder ◄── pool: verify, store, list
//! ```
//!
//! One thread decides about the next request. It waits for requests, and for the pool. Objects
//! that are stored already, or in a local cache, are not requested; nor are entries that are equal
//! at the same path of a complete commit. Small objects (up to 128 KiB) are held in memory until
//! they are written. Large files are streamed through a thread each, two at a time. An archive
//! keeps a verified `.filez` unchanged. Everything goes into the transaction, so nothing is public
//! before all of it is there.

mod commits;
mod held;
mod run;
mod scan;
mod stream;

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use oxtree_format::{CommitId, FileId, FilezHeader, ObjectId, ObjectKind};
use oxtree_repo::object::import::{Buffer, ImportOptions, Importer, Verify, check_mode};
use oxtree_repo::traverse::Objects as _;
use oxtree_repo::{Progress, Repo, Transaction};

pub(super) use self::commits::get_detached;
pub(super) use self::held::Asker;
use self::run::Run;
pub(super) use self::stream::{PIECES, PieceReader, send_pieces};
use super::fetch::{Fetcher, Mirrors};
use super::policy::PullPolicy;
use super::subpath::Part;
use super::wanted::{Step, Wanted};
use crate::error::{Error, Result};
use crate::limits::Budget;

/// What of each commit is fetched, and how it is looked at.
#[derive(Clone, Debug)]
pub(crate) struct What {
    /// How many parents come along; [`None`] for all.
    pub(crate) depth: Option<u64>,
    /// Only the commits themselves.
    pub(crate) commits_only: bool,
    /// Which part of their trees.
    pub(crate) part: Part,
    /// An archive takes files as they come, without looking into them.
    pub(crate) trusted: bool,
    /// Regular files with mode bits other than 0775 are an error.
    pub(crate) bareuseronly_files: bool,
    /// Where a commit is missing, a tombstone may say that it was deleted.
    pub(crate) tombstones: bool,
}

/// Objects at a web server, and the transaction that they go into.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) fetcher: Fetcher,
    /// Where detached metadata is.
    pub(crate) signatures: Mirrors,
    /// Where everything else is.
    pub(crate) objects: Mirrors,
    pub(crate) transaction: &'a Transaction<'a>,
    caches: Vec<Cache<'a>>,
    what: What,
    budget: Option<&'a Budget>,
    /// Commits that are fetched though they may be here.
    hidden: HashSet<CommitId>,
    /// Detached metadata that was asked for before.
    detached: HashMap<CommitId, Option<Vec<u8>>>,
    counts: Counts,
    seen: Mutex<HashSet<ObjectId>>,
}

/// Another repository on this machine that may have an object.
#[derive(Debug)]
struct Cache<'a> {
    repo: &'a Repo,
    importer: Importer<'a>,
}

/// Objects that were stored.
#[derive(Debug, Default)]
struct Counts {
    metadata: AtomicU64,
    content: AtomicU64,
    local_metadata: AtomicU64,
    local_content: AtomicU64,
}

/// The same, when it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) metadata: u64,
    pub(crate) content: u64,
    /// From local caches.
    pub(crate) local_metadata: u64,
    pub(crate) local_content: u64,
}

impl<'a> Source<'a> {
    pub(crate) fn new(
        fetcher: Fetcher,
        signatures: Mirrors,
        objects: Mirrors,
        transaction: &'a Transaction<'a>,
        caches: &'a [Repo],
        what: What,
        detached: HashMap<CommitId, Option<Vec<u8>>>,
    ) -> Result<Self> {
        let import = ImportOptions {
            verify: Verify::All,
            bareuseronly_files: what.bareuseronly_files,
        };
        let cache = |repo: &'a Repo| {
            let importer = Importer::new(transaction, repo, import)?;
            Ok(Cache { repo, importer })
        };
        Ok(Self {
            fetcher,
            signatures,
            objects,
            transaction,
            caches: caches.iter().map(cache).collect::<Result<_>>()?,
            what,
            budget: None,
            hidden: HashSet::new(),
            detached,
            counts: Counts::default(),
            seen: Mutex::default(),
        })
    }

    /// Takes no more than this allows: the server is not one that we have chosen.
    pub(crate) fn within(self, budget: &'a Budget) -> Self {
        Self {
            budget: Some(budget),
            ..self
        }
    }

    /// Takes none of these commits from what is here already.
    pub(crate) fn without(self, hidden: HashSet<CommitId>) -> Self {
        Self { hidden, ..self }
    }

    /// Puts the commits that are wanted into the transaction, with all that is wanted of them. Every
    /// commit that `policy` was asked about is returned.
    pub(crate) fn fill(
        &self,
        runtime: &tokio::runtime::Runtime,
        wanted: &[Wanted],
        policy: &PullPolicy<'_>,
        progress: &dyn Progress,
    ) -> Result<(Fetched, Vec<Step>)> {
        progress.start("Fetching objects", None);
        let steps = std::thread::scope(|threads| {
            rayon::in_place_scope(|pool| {
                let run = Run::new(self, policy, progress, pool, threads);
                runtime.block_on(run.go(wanted))
            })
        });
        progress.finish();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let fetched = Fetched {
            metadata: load(&self.counts.metadata),
            content: load(&self.counts.content),
            local_metadata: load(&self.counts.local_metadata),
            local_content: load(&self.counts.local_content),
        };
        Ok((fetched, steps?))
    }

    /// Whether an object is here, or comes from a cache now.
    fn is_here(&self, object: &ObjectId) -> Result<bool> {
        if self.transaction.has(object)? {
            return Ok(true);
        }
        for Cache { repo, importer } in &self.caches {
            if repo.has_object(object)? {
                importer.import(object, &mut Buffer::default())?;
                let counter = match object.kind {
                    ObjectKind::File => &self.counts.local_content,
                    _ => &self.counts.local_metadata,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Notes that an object was met; false if it was before.
    fn is_new(&self, object: ObjectId) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(object)
    }

    /// How many objects were met.
    fn seen(&self) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.len() as u64
    }

    /// Stores metadata, if it is what its name says.
    fn store_metadata(&self, object: &ObjectId, bytes: &[u8]) -> Result<()> {
        if let Some(budget) = self.budget {
            let size = bytes.len() as u64;
            budget.check_came(self.fetcher.received(), self.seen())?;
            budget.take(object, size, size)?;
        }
        self.transaction
            .write_metadata(object.kind, bytes, Some(object.checksum))?;
        self.counts.metadata.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Stores a commit's signatures and what else is kept beside it.
    fn store_detached(&self, id: CommitId, bytes: &[u8]) -> Result<()> {
        if let Some(budget) = self.budget {
            let object = ObjectId::new(ObjectKind::CommitMeta, id.0);
            budget.take(&object, bytes.len() as u64, bytes.len() as u64)?;
        }
        Ok(self.transaction.write_detached_metadata(id, bytes)?)
    }

    /// Stores a file, if it is what its name says. `promised`: of how many bytes, if that is known.
    fn store_file(&self, id: FileId, filez: &mut dyn Read, promised: Option<u64>) -> Result<()> {
        if let Some(budget) = self.budget {
            self.store_file_within(budget, id, filez, promised)?;
            self.counts.content.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let check = |header: &FilezHeader| match self.what.bareuseronly_files {
            true => check_mode(&header.file, id),
            false => Ok(()),
        };
        match self.what.trusted {
            true => self.transaction.write_filez_trusted(id, filez, &check)?,
            false => self.transaction.write_filez(id, filez, &check)?,
        }
        self.counts.content.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Stores a file as far as limits allow. What a server promises is looked at before anything is
    /// written, what it sends while it comes and at the end.
    fn store_file_within(
        &self,
        budget: &Budget,
        id: FileId,
        filez: &mut dyn Read,
        promised: Option<u64>,
    ) -> Result<()> {
        let check = || budget.check_came(self.fetcher.received(), self.seen());
        let mut watched = Watched {
            inner: filez,
            check: &check,
            came: 0,
            over: None,
        };
        let promised = promised.unwrap_or(u64::MAX);
        let written = budget.write_filez(self.transaction, id, &mut watched, promised, u64::MAX);
        let came = watched.came;
        match watched.over {
            Some(over) => Err(over),
            None => budget.check_object_ratio(&id.object(), came, written?),
        }
    }
}

/// Counts what is read, and looks at the limits while more comes.
struct Watched<'a> {
    inner: &'a mut dyn Read,
    check: &'a dyn Fn() -> Result<()>,
    came: u64,
    over: Option<Error>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.came += len as u64;
        match (self.check)() {
            Ok(()) => Ok(len),
            Err(error) => {
                self.over = Some(error);
                Err(io::ErrorKind::QuotaExceeded.into())
            }
        }
    }
}

/// Where an object is at a web server, below the repository.
fn path_of(object: &ObjectId) -> String {
    format!("objects/{}", object.loose_path(true))
}

/// A commit that is to be looked at.
#[derive(Clone, Debug)]
struct CommitWant {
    id: CommitId,
    /// How many parents come along.
    depth: Option<u64>,
    /// The index of what it was wanted as; [`None`] if it is a parent of such a one.
    tip: Option<usize>,
}
