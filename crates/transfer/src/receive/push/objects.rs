// SPDX-License-Identifier: MIT OR Apache-2.0
//! One stream of objects of a push that consists of many.

use std::io::Read;

use oxtree_format::{ObjectId, ObjectKind};

use crate::error::{Error, Result};
use crate::protocol::frame::{self, Frame, FrameKind};
use crate::protocol::message::{Limits, Progress};
use crate::protocol::stream::{Decoder, Event, Unpacker, ZSTD};
use crate::receive::ingest::Ingest;
use crate::receive::progress::Meter;
use crate::semaphore::ClientSemaphore;
use crate::store::MAX_WAIT;
use crate::store::Quarantine;

/// Small objects that wait for a worker: there may be many streams.
const QUEUE: usize = 8;

/// What a stream has brought, be it to its end or not.
#[derive(Debug, Default)]
pub(super) struct Brought {
    pub(super) progress: Progress,
    /// The commits among it, complete or not.
    pub(super) commits: Vec<ObjectId>,
}

/// What came before it in the same push.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

/// What a stream may bring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<'r> {
    pub(super) limits: Limits,
    pub(super) before: Before,
    /// For those in zstd, and whose part of it.
    pub(super) compressed: (&'r ClientSemaphore, &'r str),
}

/// Takes in a stream, from its first to its last byte. What came before an error counts.
pub(super) fn take(
    quarantine: &dyn Quarantine,
    from: &mut impl Read,
    bounds: Bounds<'_>,
) -> (Brought, Result<()>) {
    let mut brought = Brought::default();
    let taken = std::thread::scope(|scope| {
        let mut ingest = Ingest::start(scope, quarantine, bounds.limits.object, QUEUE);
        let mut meter = Meter::new();
        let next = || meter.wait(|| frame::read(from));
        let read = read(next, bounds, &mut brought, &mut ingest);
        let bytes = brought.progress.bytes;
        brought.progress = meter.total(ingest.done(), bytes);
        // The first thing that went wrong with an object says more than what came of it.
        let done = ingest.finish();
        brought.progress.objects = *done.as_ref().unwrap_or(&brought.progress.objects);
        read.and(done.map(drop))
    });
    (brought, taken)
}

fn read(
    mut next: impl FnMut() -> Result<Option<Frame>>,
    bounds: Bounds<'_>,
    brought: &mut Brought,
    ingest: &mut Ingest<'_>,
) -> Result<()> {
    let Bounds {
        limits,
        before,
        compressed: (compressed, client),
    } = bounds;
    let mut unpacker = Unpacker::default();
    let mut decoder = Decoder::default();
    let (mut begun, mut unpacked) = (0, 0);
    let mut window = None;
    while let Some(frame) = next()? {
        if frame.kind != FrameKind::Data {
            return Err(Error::Protocol(format!(
                "unexpected {:?} frame among the objects",
                frame.kind
            )));
        }
        let size = frame.payload.len() as u64;
        crate::limits::check("a frame", size, limits.frame, "max-frame-size")?;
        let came = &mut brought.progress.bytes;
        *came += size;
        let came = before.bytes.saturating_add(*came);
        if frame.payload.first() == Some(&ZSTD) {
            // To unpack it needs more memory than all the rest.
            if window.is_none() {
                let held = compressed.acquire_within(client, 1, MAX_WAIT);
                let busy = || Error::Busy("too many packed streams are on their way".to_owned());
                window = Some(held.ok_or_else(busy)?);
            }
        }
        let commits = &mut brought.commits;
        decoder.feed(&unpacker.unpack(&frame.payload)?, &mut |event| {
            match &event {
                Event::Begin(record) => {
                    begun += 1;
                    limits.check_objects(before.objects.saturating_add(begun))?;
                    if record.object.kind == ObjectKind::Commit {
                        commits.push(record.object);
                    }
                }
                Event::Bytes(bytes) => {
                    unpacked += bytes.len() as u64;
                    limits.check_stream(came, unpacked)?;
                }
                Event::End => {}
            }
            ingest.feed(event)
        })?;
    }
    match decoder.is_at_boundary() && unpacker.is_at_boundary() {
        true => Ok(()),
        false => Err(Error::Protocol(
            "the objects end in the middle of one".to_owned(),
        )),
    }
}
