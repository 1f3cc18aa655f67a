// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sends objects: from object ids to data frames.
//!
//! ```text
//!  jobs ──► threads: read, find bases, make patches ──► one: zstd, in order ──► caller: frames
//!   │                                                                             │
//!   └── is the link slow? ◄──────────── `link` ◄── the receiver's progress ◄──────┘
//! ```
//!
//! Objects are grouped to jobs. Threads prepare several jobs at a time. One thread packs the
//! results into one stream, in the order of the jobs, and the caller writes it. The queues between
//! them are short, so memory is bounded.

use std::fs::File;
use std::io::Write;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use oxtree_format::{CommitId, ObjectId, ObjectKind};
use oxtree_repo::similar::Table;
use oxtree_repo::{Progress, Repo};

use super::batches::{Arrived, Batches, Sizes};
use super::compress::Compressor;
use super::jobs::{Job, LARGE, jobs};
use super::link::{Compression, Gauge, Link};
use super::object::{MOST_ALONE, MOST_TOGETHER, Source};
use crate::error::{Error, Result};
use crate::protocol::frame::{self, FrameKind};
use crate::protocol::message;
use crate::protocol::stream::{MAX_PIECE, pack, stored_payload};
use crate::semaphore::Semaphore;

/// Pieces of a job that wait for their turn.
const PIECES: usize = 2;

/// Pieces that are packed in zstd are smaller: several wait at a time, and less is held by them.
const SQUEEZED_PIECE: usize = 256 << 10;

/// Bytes of payloads that wait to be written.
const WAITING: usize = 3 << 20;

/// Payloads that wait to be written, those that take no memory included.
const PAYLOADS: usize = 1024;

/// The level of deflate where the link is fast.
const DEFLATE: u32 = 1;

/// How the stream is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packing {
    /// How well.
    pub compression: Compression,
    /// How many threads read and pack; 0 for one a core.
    pub jobs: usize,
}

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Shipment<'r> {
    pub(super) repo: &'r Repo,
    /// The objects, each with its size as it is stored.
    pub(super) objects: &'r [(ObjectId, u64)],
    /// Commits that are sent, each with the one that the receiver has before it.
    pub(super) steps: &'r [(CommitId, CommitId)],
    pub(super) packing: Packing,
    /// What the receiver knows: patches, and zstd.
    pub(super) compresses: bool,
    pub(super) limit_rate: Option<u64>,
    /// How much of the stream goes into one payload.
    pub(super) piece: usize,
    /// How large its batches are; none if it is one.
    pub(super) batches: Option<Sizes>,
}

/// How much of the stream goes into a payload of so many bytes.
pub(super) fn piece_for(payload: usize) -> usize {
    // However badly it packs.
    (payload / 2)
        .max(payload.saturating_sub(1024))
        .clamp(1, MAX_PIECE)
}

/// A payload.
enum Payload {
    /// In memory.
    Ready(Vec<u8>),
    /// To be read when its turn has come.
    File(Part),
    /// None: the end of this batch.
    End(usize),
}

/// A part of an archive's file as it is stored.
struct Part {
    object: ObjectId,
    /// What comes before it in the payload.
    head: Vec<u8>,
    file: Arc<File>,
    at: u64,
    len: usize,
}

impl Payload {
    /// Bytes of memory.
    fn memory(&self) -> usize {
        match self {
            Self::Ready(payload) => payload.len(),
            Self::File(..) | Self::End(..) => 0,
        }
    }
}

/// Bytes of the stream.
enum Piece {
    /// A payload as it will be sent.
    Payload(Payload),
    /// To be packed at this level with what came before it.
    Plain(Vec<u8>, i32),
}

/// Something for the next thread, and how many bytes of stored objects it stands for.
type Counted<T> = Result<(T, u64)>;

/// Where payloads go.
pub(super) trait Outlet {
    /// Sends a payload, of which so many bytes are an object's as it is stored, which goes like that
    /// whatever the link is like.
    fn put(&mut self, payload: &[u8], as_stored: u64) -> Result<()>;

    /// The end of this batch: what follows has to stand for itself.
    fn end_batch(&mut self, batch: usize) -> Result<()>;
}

/// A connection, to which all goes one after the other.
pub(super) struct Stream<'a, W> {
    to: W,
    link: &'a Arc<Link>,
    gauge: Gauge,
    heard: &'a dyn Fn() -> Option<message::Progress>,
}

impl<'a, W: Write> Stream<'a, W> {
    /// Writes to `to`. `heard` gives what the receiver has said of its pace since the last time.
    pub(super) fn new(
        to: W,
        link: &'a Arc<Link>,
        heard: &'a dyn Fn() -> Option<message::Progress>,
    ) -> Self {
        let gauge = Gauge::new(Arc::clone(link));
        Self {
            to,
            link,
            gauge,
            heard,
        }
    }
}

impl<W: Write> Outlet for Stream<'_, W> {
    fn put(&mut self, payload: &[u8], as_stored: u64) -> Result<()> {
        let begun = Instant::now();
        frame::write(&mut self.to, FrameKind::Data, payload).map_err(Error::Connection)?;
        self.link.wrote_ahead(as_stored);
        self.gauge.wrote(begun.elapsed());
        if let Some(pace) = (self.heard)() {
            self.gauge.heard(pace);
        }
        Ok(())
    }

    fn end_batch(&mut self, _batch: usize) -> Result<()> {
        Ok(())
    }
}

impl Shipment<'_> {
    /// What is to be thought of the link before anything is sent.
    pub(super) fn link(&self) -> Link {
        let total = self.objects.iter().map(|(_, size)| size).sum();
        let how = match self.compresses {
            true => self.packing.compression,
            // What is left is deflate, which is cheap enough anywhere.
            false => Compression::None,
        };
        Link::new(how, total, self.limit_rate)
    }

    /// Sends it all.
    pub(super) fn send(
        &self,
        outlet: &mut impl Outlet,
        link: &Link,
        arrived: &Arrived,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut source = Source::new(self.repo, self.steps, self.objects);
        let jobs = jobs(&source, self.objects)?;
        let batches = &Batches::new(&jobs, self.batches);
        source.arrange(&jobs, batches, arrived);
        link.begin_with(match jobs.first() {
            Some(first) if first.as_stored => first.bytes,
            _ => 0,
        });
        let desk = Desk {
            jobs,
            source,
            link,
            piece: self.piece,
            deflate: self.packing.compression != Compression::None,
            next: Mutex::new(0),
            large: Mutex::new(()),
        };
        let threads = match self.packing.jobs {
            0 => std::thread::available_parallelism().map_or(2, NonZero::get),
            jobs => jobs,
        };
        let budget = &Semaphore::new(WAITING);
        std::thread::scope(|scope| {
            let (line, jobs) = sync_channel(threads);
            for _ in 0..threads {
                let (line, desk) = (line.clone(), &desk);
                scope.spawn(move || desk.work(&line));
            }
            drop(line);
            let (payloads, ready) = sync_channel(PAYLOADS);
            scope.spawn(move || {
                if let Err(error) = compress(&jobs, batches, &payloads, budget) {
                    // Nobody listens: the writer has failed, and says why.
                    let _ = payloads.send(Err(error));
                }
            });
            let mut buffer = Vec::new();
            let mut written = Ok(());
            for payload in ready {
                written = payload.and_then(|(payload, bytes)| {
                    let memory = payload.memory();
                    write(payload, outlet, &mut buffer)?;
                    budget.release(memory);
                    progress.advance(bytes);
                    Ok(())
                });
                if written.is_err() {
                    break;
                }
            }
            budget.close();
            link.stop_measuring();
            written
        })
    }
}

fn write(payload: Payload, outlet: &mut impl Outlet, buffer: &mut Vec<u8>) -> Result<()> {
    match payload {
        Payload::Ready(payload) => outlet.put(&payload, 0),
        Payload::File(part) => {
            buffer.clear();
            buffer.extend_from_slice(&part.head);
            buffer.resize(part.head.len() + part.len, 0);
            part.file
                .read_exact_at(&mut buffer[part.head.len()..], part.at)
                .map_err(|error| oxtree_repo::Error::corrupt(part.object, error))?;
            outlet.put(buffer, part.len as u64)
        }
        Payload::End(batch) => outlet.end_batch(batch),
    }
}

/// Where the threads that read get their work.
struct Desk<'a> {
    source: Source<'a>,
    link: &'a Link,
    jobs: Vec<Job>,
    piece: usize,
    deflate: bool,
    next: Mutex<usize>,
    large: Mutex<()>,
}

/// A job that was given out.
struct Taken<'d> {
    /// Which one.
    at: usize,
    /// Where its pieces go.
    pieces: SyncSender<Counted<Piece>>,
    /// Held while no other large file may be in memory.
    alone: Option<MutexGuard<'d, ()>>,
}

impl Desk<'_> {
    /// Does jobs until there are none. Each gets into the line before the next one is given out.
    fn work(&self, line: &SyncSender<Receiver<Counted<Piece>>>) {
        let mut table = Table::default();
        while let Some(Taken { at, pieces, alone }) = self.take(line) {
            if self.jobs[at].as_stored {
                if let Err(error) = self.put_whole(at, &pieces) {
                    let _ = pieces.send(Err(error));
                    return;
                }
                continue;
            }
            self.link.wait_until_known();
            let level = self.link.level();
            let mut out = Out {
                pieces: &pieces,
                most: match level {
                    Some(_) => self.piece.min(SQUEEZED_PIECE),
                    None => self.piece,
                },
                level,
                deflate: self.deflate.then_some(DEFLATE),
                piece: Vec::new(),
                bytes: 0,
            };
            let done = self.put(at, alone.is_some(), &mut table, &mut out);
            if let Err(error) = done.and_then(|()| out.flush()) {
                // If nobody listens, something has failed already.
                let _ = pieces.send(Err(error));
                return;
            }
        }
    }

    fn take(&self, line: &SyncSender<Receiver<Counted<Piece>>>) -> Option<Taken<'_>> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = *next;
        let job = self.jobs.get(at)?;
        *next += 1;
        let (pieces, out) = sync_channel(PIECES);
        line.send(out).ok()?;
        // While the next job is held back: whoever waits for this one is behind it in the line.
        let large = job.bytes > LARGE && !job.as_stored && self.link.level().is_some();
        let alone = large.then(|| self.large.lock().unwrap_or_else(PoisonError::into_inner));
        Some(Taken { at, pieces, alone })
    }

    /// Objects of an archive as they are, not even read here.
    fn put_whole(&self, at: usize, pieces: &SyncSender<Counted<Piece>>) -> Result<()> {
        for (object, stored) in &self.jobs[at].objects {
            let (mut head, file, len) = self.source.open_stored(*object)?;
            let mut done = 0;
            while done < len {
                let most = (self.piece - head.len()) as u64;
                let size = most.min(len - done);
                let head = stored_payload(std::mem::take(&mut head));
                let size = usize::try_from(size).unwrap_or(self.piece);
                let part = Part {
                    object: *object,
                    head,
                    file: Arc::clone(&file),
                    at: done,
                    len: size,
                };
                let told = if done == 0 { *stored } else { 0 };
                send_piece(pieces, Piece::Payload(Payload::File(part)), told)?;
                done += size as u64;
            }
        }
        Ok(())
    }

    fn put(&self, at: usize, alone: bool, table: &mut Table, out: &mut Out<'_>) -> Result<()> {
        let job = &self.jobs[at];
        let most = if alone { MOST_ALONE } else { MOST_TOGETHER };
        for (object, stored) in &job.objects {
            // What is deflated already is not deflated again.
            if out.level.is_none() && object.kind == ObjectKind::File && self.source.is_packed() {
                out.deflate = None;
            }
            match out.level {
                Some(_) => {
                    let to = &mut |bytes: &[u8]| out.put(bytes);
                    self.source
                        .put_small(at, *object, *stored, most, table, to)?;
                }
                None => self
                    .source
                    .put_stored(*object, &mut |bytes| out.put(bytes))?,
            }
            out.bytes += stored;
        }
        Ok(())
    }
}

/// Cuts what a job gives into pieces.
struct Out<'a> {
    pieces: &'a SyncSender<Counted<Piece>>,
    most: usize,
    level: Option<i32>,
    deflate: Option<u32>,
    piece: Vec<u8>,
    /// Bytes of stored objects that are in the pieces, but not told yet.
    bytes: u64,
}

impl Out<'_> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while self.piece.len() + bytes.len() > self.most {
            let (now, later) = bytes.split_at(self.most - self.piece.len());
            self.piece.extend_from_slice(now);
            bytes = later;
            self.flush()?;
        }
        self.piece.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        let piece = match self.level {
            Some(level) if Compressor::WORKS => Piece::Plain(piece, level),
            Some(level) => Piece::Payload(Payload::Ready(pack(&piece, u32::try_from(level).ok()))),
            None => Piece::Payload(Payload::Ready(pack(&piece, self.deflate))),
        };
        send_piece(self.pieces, piece, std::mem::take(&mut self.bytes))
    }
}

fn send_piece(pieces: &SyncSender<Counted<Piece>>, piece: Piece, bytes: u64) -> Result<()> {
    let gone = |_| Error::Connection(std::io::ErrorKind::BrokenPipe.into());
    pieces.send(Ok((piece, bytes))).map_err(gone)
}

/// Makes payloads of the pieces of all jobs, in their order.
fn compress(
    jobs: &Receiver<Receiver<Counted<Piece>>>,
    batches: &Batches,
    payloads: &SyncSender<Counted<Payload>>,
    budget: &Semaphore,
) -> Result<()> {
    let send = |payload: Payload, bytes| {
        budget.acquire(payload.memory());
        let gone = |_| Error::Connection(std::io::ErrorKind::BrokenPipe.into());
        payloads.send(Ok((payload, bytes))).map_err(gone)
    };
    let mut compressor = Compressor::default();
    for (at, job) in jobs.iter().enumerate() {
        for piece in job {
            let (piece, bytes) = piece?;
            match piece {
                Piece::Plain(piece, level) => {
                    send(Payload::Ready(compressor.pack(&piece, level)?), bytes)?;
                }
                Piece::Payload(payload) => {
                    if let Some(end) = compressor.end()? {
                        send(Payload::Ready(end), 0)?;
                    }
                    send(payload, bytes)?;
                }
            }
        }
        if let Some(batch) = batches.ended_by(at) {
            if let Some(end) = compressor.end()? {
                send(Payload::Ready(end), 0)?;
            }
            send(Payload::End(batch), 0)?;
        }
    }
    Ok(())
}
