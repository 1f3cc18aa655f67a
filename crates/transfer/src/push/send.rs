// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending: from object ids to data frames. Small objects are read and packed by all cores, many a
//! frame; large ones go piece by piece.

use std::io::{self, Read, Write};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use oxtree_format::{FileId, ObjectId, ObjectKind};
use oxtree_repo::{FileContent, FileObject, Progress, Repo};

use crate::protocol::frame::{self, FrameKind, MAX_FRAME};
use crate::protocol::stream::{Form, MAX_PIECE, Record, pack};
use crate::{Error, Result};

/// Objects larger than this are sent piece by piece.
const SMALL: u64 = 256 << 10;

/// About so many bytes of small objects go into one frame.
const BATCH: u64 = 512 << 10;

/// Packed batches that wait to be written.
const QUEUE: usize = 8;

/// How the stream is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// The level of deflate, 1 to 9; [`None`] sends everything as it is.
    pub level: Option<u32>,
    /// How many threads read and pack; 0 for one a core.
    pub jobs: usize,
    /// Bytes of a frame's payload at the most.
    pub frame: usize,
}

impl Default for Packing {
    fn default() -> Self {
        Self {
            level: Some(1),
            jobs: 0,
            frame: MAX_FRAME,
        }
    }
}

impl Packing {
    /// How much of the stream goes into one frame.
    fn piece(&self) -> usize {
        (self.frame / 2)
            .max(self.frame.saturating_sub(1024))
            .clamp(1, MAX_PIECE)
    }
}

/// The bytes of one batch, and its payloads. These go one after the other: a record may lie across two of them.
type Packed = (u64, Vec<Vec<u8>>);

/// Sends `objects`, whatever their order. `progress` is told of bytes as they go.
pub fn send(
    repo: &Repo,
    objects: &[ObjectId],
    packing: Packing,
    to: &mut impl Write,
    progress: &dyn Progress,
) -> Result<()> {
    let (small, large) = batches(repo, objects)?;
    let threads = match packing.jobs {
        0 => std::thread::available_parallelism().map_or(2, NonZero::get),
        jobs => jobs,
    };
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (done, queue) = sync_channel::<Result<Packed>>(QUEUE);
        for _ in 0..threads {
            let (done, small, next, stop) = (done.clone(), &small, &next, &stop);
            scope.spawn(move || pack_batches(repo, small, packing, next, stop, &done));
        }
        drop(done);
        let written = (|| {
            for object in &large {
                send_large(repo, *object, packing, to, progress)?;
            }
            for batch in &queue {
                let (bytes, payloads) = batch?;
                for payload in payloads {
                    frame::write(to, FrameKind::Data, &payload).map_err(Error::Connection)?;
                }
                progress.advance(bytes);
            }
            Ok(())
        })();
        // Whoever still packs is not to wait for a queue that nobody empties.
        stop.store(true, Ordering::Relaxed);
        drop(queue);
        written
    })
}

/// Batches of small objects, each either of metadata or of files, and the large ones.
fn batches(repo: &Repo, objects: &[ObjectId]) -> Result<(Vec<Vec<ObjectId>>, Vec<ObjectId>)> {
    let (mut small, mut large) = (Vec::new(), Vec::new());
    let (files, metadata): (Vec<ObjectId>, Vec<ObjectId>) = objects
        .iter()
        .partition(|object| object.kind == ObjectKind::File);
    for group in [metadata, files] {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for object in group {
            let size = repo.stored_size(&object)?;
            if size > SMALL {
                large.push(object);
                continue;
            }
            if bytes + size > BATCH {
                small.push(std::mem::take(&mut batch));
                bytes = 0;
            }
            batch.push(object);
            // A record's head, and the header of a bare file, are not free either.
            bytes += size + 128;
        }
        small.push(batch);
    }
    small.retain(|batch| !batch.is_empty());
    Ok((small, large))
}

fn pack_batches(
    repo: &Repo,
    batches: &[Vec<ObjectId>],
    packing: Packing,
    next: &AtomicUsize,
    stop: &AtomicBool,
    done: &SyncSender<Result<Packed>>,
) {
    while !stop.load(Ordering::Relaxed) {
        let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) else {
            return;
        };
        let packed = pack_batch(repo, batch, packing);
        let failed = packed.is_err();
        if done.send(packed).is_err() || failed {
            return;
        }
    }
}

fn pack_batch(repo: &Repo, batch: &[ObjectId], packing: Packing) -> Result<Packed> {
    let mut stream = Vec::with_capacity(2 * BATCH as usize);
    let mut level = None;
    for object in batch {
        let mut opened = Opened::new(repo, *object)?;
        level = level.or(opened.level(packing));
        opened.record.put(&mut stream);
        opened.copy(&mut |bytes| {
            stream.extend_from_slice(bytes);
            Ok(())
        })?;
    }
    let payloads = stream
        .chunks(packing.piece())
        .map(|piece| pack(piece, level))
        .collect();
    Ok((stream.len() as u64, payloads))
}

fn send_large(
    repo: &Repo,
    object: ObjectId,
    packing: Packing,
    to: &mut impl Write,
    progress: &dyn Progress,
) -> Result<()> {
    let mut opened = Opened::new(repo, object)?;
    let level = opened.level(packing);
    let max = packing.piece();
    let mut piece = Vec::with_capacity(max);
    opened.record.put(&mut piece);
    let mut flush = |piece: &mut Vec<u8>| {
        frame::write(to, FrameKind::Data, &pack(piece, level)).map_err(Error::Connection)?;
        progress.advance(piece.len() as u64);
        piece.clear();
        Ok(())
    };
    opened.copy(&mut |mut bytes| {
        while piece.len() + bytes.len() > max {
            let (now, later) = bytes.split_at(max - piece.len());
            piece.extend_from_slice(now);
            bytes = later;
            flush(&mut piece)?;
        }
        piece.extend_from_slice(bytes);
        Ok(())
    })?;
    flush(&mut piece)
}

/// An object that is about to be sent.
struct Opened {
    record: Record,
    head: Vec<u8>,
    content: Content,
}

enum Content {
    Nothing,
    File(std::fs::File),
    Object(FileContent),
}

impl Opened {
    fn new(repo: &Repo, object: ObjectId) -> Result<Self> {
        if object.kind != ObjectKind::File {
            let head = repo.load_metadata(&object)?;
            let record = Record {
                object,
                form: Form::Metadata,
                len: head.len() as u64,
            };
            return Ok(Self {
                record,
                head,
                content: Content::Nothing,
            });
        }
        let id = FileId(object.checksum);
        if repo.mode().is_archive()
            && let Some((file, len)) = repo.open_filez(id)?
        {
            let record = Record {
                object,
                form: Form::Filez,
                len,
            };
            return Ok(Self {
                record,
                head: Vec::new(),
                content: Content::File(file),
            });
        }
        let FileObject {
            header,
            size,
            content,
        } = repo.open_file(id)?;
        let head = header.hashed_bytes();
        let record = Record {
            object,
            form: Form::Plain,
            len: head.len() as u64 + size,
        };
        Ok(Self {
            record,
            head,
            content: Content::Object(content),
        })
    }

    /// What is deflated already is not deflated again.
    fn level(&self, packing: Packing) -> Option<u32> {
        packing.level.filter(|_| self.record.form != Form::Filez)
    }

    /// Reads all of it. An object that is shorter or longer than it was is an error.
    fn copy(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        sink(&self.head)?;
        let mut left = self.record.len - self.head.len() as u64;
        let mut buffer = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(256 << 10) + 1];
        let object = self.record.object;
        let broken = |reason: &str| Error::from(oxtree_repo::Error::corrupt(object, reason));
        loop {
            let len = match &mut self.content {
                Content::Nothing => 0,
                Content::File(file) => read(file, &mut buffer, &broken)?,
                Content::Object(content) => read(content, &mut buffer, &broken)?,
            };
            if len == 0 && left == 0 {
                return Ok(());
            }
            left = match left.checked_sub(len as u64) {
                Some(left) if len > 0 => left,
                _ => return Err(broken("it has changed while it was sent")),
            };
            sink(&buffer[..len])?;
        }
    }
}

fn read(from: &mut impl Read, buffer: &mut [u8], broken: &dyn Fn(&str) -> Error) -> Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(&error.to_string())),
            Ok(len) => return Ok(len),
        }
    }
}
