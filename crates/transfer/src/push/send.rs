// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending: from object ids to data frames.
//!
//! Objects are put together to jobs. Threads read and prepare them, several jobs at a time; one
//! packs what they give into one stream, in the order of the jobs; and the one that has called
//! writes. Queues between them are short, so that memory is bounded and nobody runs ahead of the
//! link.

use std::io::Write;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use oxtree_format::{CommitId, ObjectId, ObjectKind};
use oxtree_repo::{Progress, Repo};

use super::link::{Compression, Gauge, Link};
use super::object::{MOST_ALONE, MOST_TOGETHER, Scratch, Source};
use super::squeeze::Squeezer;
use crate::protocol::frame::{self, FrameKind};
use crate::protocol::message;
use crate::protocol::stream::{MAX_PIECE, pack};
use crate::{Error, Result};

/// Objects larger than this are jobs of their own.
const SMALL: u64 = 256 << 10;

/// About so many bytes of small objects make a job.
const BATCH: u64 = 512 << 10;

/// Of objects larger than this, one at a time is patched: base and content are held in memory.
const LARGE: u64 = 1 << 20;

/// Pieces of a job that wait for their turn.
const PIECES: usize = 2;

/// Pieces that are packed in zstd are smaller: they need not be told apart by the receiver.
const SQUEEZED_PIECE: usize = 256 << 10;

/// Payloads that wait to be written.
const PAYLOADS: usize = 6;

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
    pub(super) squeezes: bool,
    pub(super) limit_rate: Option<u64>,
    /// How much of the stream goes into one payload.
    pub(super) piece: usize,
}

/// How much of the stream goes into a payload of so many bytes.
pub(super) fn piece_for(payload: usize) -> usize {
    // However badly it packs.
    (payload / 2)
        .max(payload.saturating_sub(1024))
        .clamp(1, MAX_PIECE)
}

/// Objects that are read by one thread, one after the other.
#[derive(Debug, Default)]
struct Job {
    objects: Vec<(ObjectId, u64)>,
    bytes: u64,
    /// Nothing is to be gained by packing them.
    as_stored: bool,
}

/// Bytes of the stream.
enum Piece {
    /// A payload as it will be sent.
    Payload(Vec<u8>),
    /// To be packed at this level with what came before it.
    Plain(Vec<u8>, i32),
}

/// Something for the next thread, and how many bytes of stored objects it stands for.
type Counted<T> = Result<(T, u64)>;

impl Shipment<'_> {
    /// Sends it all. `heard` gives what the receiver has said of its pace since the last time.
    pub(super) fn send(
        &self,
        to: &mut impl Write,
        progress: &dyn Progress,
        heard: &dyn Fn() -> Option<message::Progress>,
    ) -> Result<()> {
        let total = self.objects.iter().map(|(_, size)| size).sum();
        let how = match self.squeezes {
            true => self.packing.compression,
            // What is left is deflate, which is cheap enough anywhere.
            false => Compression::None,
        };
        let link = Link::new(how, total, self.limit_rate);
        let ids: Vec<ObjectId> = self.objects.iter().map(|(id, _)| *id).collect();
        let source = Source::new(self.repo, self.steps, &ids);
        drop(ids);
        let desk = Desk {
            jobs: jobs(&source, self.objects)?,
            source,
            link: &link,
            piece: self.piece,
            deflate: self.packing.compression != Compression::None,
            next: Mutex::new(0),
            large: Mutex::new(()),
        };
        let threads = match self.packing.jobs {
            0 => std::thread::available_parallelism().map_or(2, NonZero::get),
            jobs => jobs,
        };
        std::thread::scope(|scope| {
            let (line, jobs) = sync_channel(threads);
            for _ in 0..threads {
                let (line, desk) = (line.clone(), &desk);
                scope.spawn(move || desk.work(&line));
            }
            drop(line);
            let (payloads, ready) = sync_channel(PAYLOADS);
            scope.spawn(move || {
                let mut squeezer = Squeezer::default();
                if let Err(error) = squeeze(&mut squeezer, &jobs, &payloads) {
                    // Nobody listens: the writer has failed, and says why.
                    let _ = payloads.send(Err(error));
                }
            });
            let mut gauge = Gauge::new(&link);
            for payload in ready {
                let (payload, bytes) = payload?;
                let begun = Instant::now();
                frame::write(to, FrameKind::Data, &payload).map_err(Error::Connection)?;
                gauge.wrote(begun.elapsed());
                progress.advance(bytes);
                if let Some(pace) = heard() {
                    gauge.heard(pace);
                }
            }
            Ok(())
        })
    }
}

/// What belongs together: metadata, which is wanted in any case; what is large and packs badly, while
/// the link is still unknown; everything else, in the order of the tree.
fn jobs(source: &Source<'_>, objects: &[(ObjectId, u64)]) -> Result<Vec<Job>> {
    let (files, metadata): (Vec<_>, Vec<_>) = objects
        .iter()
        .partition(|(id, _)| id.kind == ObjectKind::File);
    let (mut bulky, mut others) = (Vec::new(), Vec::new());
    batch(metadata, &mut others);
    let mut rest = Vec::new();
    for (id, size) in files {
        if size > LARGE && source.is_incompressible(id, size)? {
            bulky.push(Job {
                objects: vec![(id, size)],
                bytes: size,
                as_stored: true,
            });
        } else {
            rest.push((id, size));
        }
    }
    others.append(&mut bulky);
    batch(rest, &mut others);
    Ok(others)
}

fn batch(objects: Vec<(ObjectId, u64)>, jobs: &mut Vec<Job>) {
    let mut job = Job::default();
    for (id, size) in objects {
        if size > SMALL || job.bytes + size > BATCH {
            jobs.extend(Some(std::mem::take(&mut job)).filter(|job| !job.objects.is_empty()));
        }
        job.objects.push((id, size));
        // A record's head, and the header of a bare file, are not free either.
        job.bytes += size + 128;
    }
    jobs.extend(Some(job).filter(|job| !job.objects.is_empty()));
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

impl Desk<'_> {
    /// Does jobs until there are none. Each gets into the line before the next one is given out.
    fn work(&self, line: &SyncSender<Receiver<Counted<Piece>>>) {
        let mut scratch = Scratch::default();
        while let Some((at, pieces, alone)) = self.take(line) {
            let level = self.link.level().filter(|_| !self.jobs[at].as_stored);
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
            let done = self.put(at, alone.is_some(), &mut scratch, &mut out);
            if let Err(error) = done.and_then(|()| out.flush()) {
                // If nobody listens, something has failed already.
                let _ = pieces.send(Err(error));
                return;
            }
            if alone.is_some() {
                scratch.shrink();
            }
        }
    }

    fn take(
        &self,
        line: &SyncSender<Receiver<Counted<Piece>>>,
    ) -> Option<(
        usize,
        SyncSender<Counted<Piece>>,
        Option<MutexGuard<'_, ()>>,
    )> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = *next;
        let job = self.jobs.get(at)?;
        *next += 1;
        let (pieces, out) = sync_channel(PIECES);
        line.send(out).ok()?;
        // While the next job is held back: whoever waits for this one is behind it in the line.
        let large = job.bytes > LARGE && !job.as_stored && self.link.level().is_some();
        let alone = large.then(|| self.large.lock().unwrap_or_else(PoisonError::into_inner));
        Some((at, pieces, alone))
    }

    fn put(&self, at: usize, alone: bool, scratch: &mut Scratch, out: &mut Out<'_>) -> Result<()> {
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
                        .put_small(at, *object, *stored, most, scratch, to)?;
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
            Some(level) if Squeezer::WORKS => Piece::Plain(piece, level),
            Some(level) => Piece::Payload(pack(&piece, u32::try_from(level).ok())),
            None => Piece::Payload(pack(&piece, self.deflate)),
        };
        let bytes = std::mem::take(&mut self.bytes);
        self.pieces
            .send(Ok((piece, bytes)))
            .map_err(|_| Error::Connection(std::io::ErrorKind::BrokenPipe.into()))
    }
}

/// Makes payloads of the pieces of all jobs, in their order.
fn squeeze(
    squeezer: &mut Squeezer,
    jobs: &Receiver<Receiver<Counted<Piece>>>,
    payloads: &SyncSender<Counted<Vec<u8>>>,
) -> Result<()> {
    let send = |payload, bytes| {
        let gone = |_| Error::Connection(std::io::ErrorKind::BrokenPipe.into());
        payloads.send(Ok((payload, bytes))).map_err(gone)
    };
    for job in jobs {
        for piece in job {
            let (piece, bytes) = piece?;
            match piece {
                Piece::Plain(piece, level) => send(squeezer.pack(&piece, level)?, bytes)?,
                Piece::Payload(payload) => {
                    if let Some(end) = squeezer.end()? {
                        send(end, 0)?;
                    }
                    send(payload, bytes)?;
                }
            }
        }
    }
    match squeezer.end()? {
        Some(end) => send(end, 0),
        None => Ok(()),
    }
}
