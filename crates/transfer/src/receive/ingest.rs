// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ingest: from the stream of objects to verified objects in the quarantine, on all cores.
//!
//! The thread that reads the connection cuts the stream into objects and hands them to workers
//! through a bounded queue: a small object whole, a large one piece by piece through a queue of its
//! own. An object is checked and named by the worker, and has no name before.
//!
//! A patch may have as its base an object that came earlier in the same push: its worker waits
//! until that one is there.

use std::collections::HashMap;
use std::io::{self, Read};
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use oxtree_format::FileId;

use crate::error::{Error, Result};
use crate::limits::check;
use crate::protocol::stream::{Event, Form, Record};
use crate::store::Quarantine;

/// Objects up to this size wait in memory as a whole.
const SMALL: u64 = 256 << 10;

/// Small objects that wait for a worker.
pub const QUEUE: usize = 64;

/// Pieces of a large object that wait for its worker, and bytes of each.
const PIECES: usize = 4;
const PIECE: usize = 128 << 10;

struct Job {
    record: Record,
    /// How many jobs there were before.
    number: u64,
    bytes: Bytes,
}

enum Bytes {
    Small(Vec<u8>),
    Large(Receiver<Vec<u8>>),
}

/// What the reading thread is in the middle of.
enum Current {
    Small(Record, Vec<u8>),
    Large(SyncSender<Vec<u8>>),
}

/// Turns a stream of objects into objects in a quarantine.
pub struct Ingest<'scope> {
    jobs: Option<SyncSender<Job>>,
    current: Option<Current>,
    workers: Vec<ScopedJoinHandle<'scope, ()>>,
    shared: Arc<Shared>,
    max_size: u64,
    submitted: u64,
}

#[derive(Default)]
struct Shared {
    failed: Mutex<Option<Error>>,
    done: AtomicU64,
    in_flight: InFlight,
}

/// The file objects that are on their way into the quarantine, each with its job's number.
#[derive(Default)]
struct InFlight {
    files: Mutex<HashMap<FileId, u64>>,
    landed: Condvar,
}

impl InFlight {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<FileId, u64>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, job: &Job) {
        if !job.record.object.kind.is_metadata() {
            let file = FileId(job.record.object.checksum);
            self.lock().insert(file, job.number);
        }
    }

    fn end(&self, record: &Record) {
        if !record.object.kind.is_metadata() {
            self.lock().remove(&FileId(record.object.checksum));
            self.landed.notify_all();
        }
    }

    /// Waits for a file that came before the job of this number. One that comes later is not waited
    /// for: it may wait for this one.
    fn wait_for(&self, file: FileId, number: u64) {
        let earlier =
            |files: &mut HashMap<FileId, u64>| files.get(&file).is_some_and(|n| *n < number);
        let waited = self.landed.wait_while(self.lock(), earlier);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Shared {
    fn fail(&self, error: Error) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert(error);
    }

    fn take(&self) -> Option<Error> {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn has_failed(&self) -> bool {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }
}

impl<'scope> Ingest<'scope> {
    /// Starts the workers. Objects of more than `max_size` bytes are refused, and no more than `queue`
    /// small ones wait.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        quarantine: &'env dyn Quarantine,
        max_size: u64,
        queue: usize,
    ) -> Self {
        let (jobs, queue) = sync_channel(queue);
        let queue = Arc::new(Mutex::new(queue));
        let shared = Arc::new(Shared::default());
        let count = std::thread::available_parallelism().map_or(2, NonZero::get);
        let workers = (0..count)
            .map(|_| {
                let (queue, shared) = (Arc::clone(&queue), Arc::clone(&shared));
                scope.spawn(move || work(quarantine, &queue, &shared, max_size))
            })
            .collect();
        Self {
            jobs: Some(jobs),
            current: None,
            workers,
            shared,
            max_size,
            submitted: 0,
        }
    }

    /// Takes the next piece of the stream.
    pub fn feed(&mut self, event: Event<'_>) -> Result<()> {
        match event {
            Event::Begin(record) => self.begin(record),
            Event::Bytes(bytes) => match &mut self.current {
                Some(Current::Small(_, have)) => {
                    have.extend_from_slice(bytes);
                    Ok(())
                }
                Some(Current::Large(pieces)) => {
                    let mut sent = bytes.chunks(PIECE).map(|piece| pieces.send(piece.to_vec()));
                    match sent.all(|sent| sent.is_ok()) {
                        true => Ok(()),
                        // Its worker has given up, and has said why.
                        false => self.check(),
                    }
                }
                None => Ok(()),
            },
            Event::End => match self.current.take() {
                Some(Current::Small(record, bytes)) => self.submit(record, Bytes::Small(bytes)),
                _ => self.check(),
            },
        }
    }

    fn begin(&mut self, record: Record) -> Result<()> {
        // A header comes on top of the content.
        let limit = self
            .max_size
            .saturating_add(oxtree_format::file::MAX_HEADER_LEN as u64);
        check("an object", record.len, limit, "max-object-size")?;
        if record.len <= SMALL {
            let capacity = usize::try_from(record.len).unwrap_or(0);
            self.current = Some(Current::Small(record, Vec::with_capacity(capacity)));
            return self.check();
        }
        let (pieces, queue) = sync_channel(PIECES);
        self.current = Some(Current::Large(pieces));
        self.submit(record, Bytes::Large(queue))
    }

    fn submit(&mut self, record: Record, bytes: Bytes) -> Result<()> {
        let job = Job {
            record,
            number: self.submitted,
            bytes,
        };
        self.submitted += 1;
        self.shared.in_flight.begin(&job);
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok());
        self.check()?;
        match sent {
            true => Ok(()),
            false => Err(Error::Protocol(
                "the receiver's workers have stopped".to_owned(),
            )),
        }
    }

    fn check(&self) -> Result<()> {
        if self.shared.has_failed() {
            self.shared.take().map_or(Ok(()), Err)
        } else {
            Ok(())
        }
    }

    /// Objects that are in the quarantine.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Waits until every object was written. The first error, if there was one.
    pub fn finish(mut self) -> Result<u64> {
        self.stop();
        self.shared.take().map_or_else(|| Ok(self.done()), Err)
    }

    fn stop(&mut self) {
        self.current = None;
        self.jobs = None;
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                self.shared.fail(Error::Protocol(
                    "a worker of the receiver has crashed".to_owned(),
                ));
            }
        }
    }
}

impl Drop for Ingest<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Ingest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest")
            .field("done", &self.done())
            .finish_non_exhaustive()
    }
}

fn work(quarantine: &dyn Quarantine, queue: &Mutex<Receiver<Job>>, shared: &Shared, max_size: u64) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // After a failure the queue is only emptied, so that nobody waits for it.
        if !shared.has_failed() {
            match put(quarantine, &job, shared, max_size) {
                Ok(()) => drop(shared.done.fetch_add(1, Ordering::Relaxed)),
                Err(error) => shared.fail(error),
            }
        }
        shared.in_flight.end(&job.record);
    }
}

fn put(quarantine: &dyn Quarantine, job: &Job, shared: &Shared, max_size: u64) -> Result<()> {
    let Job {
        record,
        number,
        bytes,
    } = job;
    let mut pieces;
    let mut small;
    let bytes: &mut dyn Read = match bytes {
        Bytes::Small(bytes) => {
            small = &bytes[..];
            &mut small
        }
        Bytes::Large(queue) => {
            pieces = Pieces {
                queue,
                piece: Vec::new(),
                at: 0,
            };
            &mut pieces
        }
    };
    if record.form != Form::Patch {
        return quarantine.put(record, bytes, max_size);
    }
    let mut base = [0; 32];
    bytes
        .read_exact(&mut base)
        .map_err(|error| oxtree_repo::Error::corrupt(record.object, error))?;
    let base = FileId(oxtree_format::Checksum(base));
    shared.in_flight.wait_for(base, *number);
    quarantine.put_patched(record, base, bytes, max_size)
}

/// Reads a large object out of its queue.
struct Pieces<'q> {
    queue: &'q Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.queue.recv() {
                Ok(piece) => (self.piece, self.at) = (piece, 0),
                Err(_) => return Ok(0),
            }
        }
        let len = buffer.len().min(self.piece.len() - self.at);
        buffer[..len].copy_from_slice(&self.piece[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}
