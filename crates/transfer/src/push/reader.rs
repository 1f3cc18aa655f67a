// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the receiver's messages in a thread of its own, because the receiver may report an error
//! while the pusher is still sending.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver as Queue, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, IdleTimeout, Result};
use crate::protocol::RECEIVER_GREETING;
use crate::protocol::frame::{self, Frame, FrameKind};
use crate::protocol::message::{Message, Progress};

/// Frames that wait until somebody has time for them.
const FRAMES: usize = 16;

/// The receiver's messages.
#[derive(Debug)]
pub(super) struct Reader {
    queue: Queue<Result<Option<Frame>>>,
    /// Bytes that have come in.
    heard: Arc<AtomicU64>,
    /// What the receiver has said of its progress, if nobody has asked since.
    pace: Arc<Mutex<Option<Progress>>>,
    idle: Option<Duration>,
}

impl Reader {
    /// Begins to listen. Gives up when nothing was heard for `idle`. The thread ends with the
    /// connection.
    pub(super) fn start(from: impl Read + Send + 'static, idle: Option<Duration>) -> Self {
        let heard = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&heard);
        let (frames, queue) = sync_channel(FRAMES);
        let pace = Arc::new(Mutex::new(None));
        let told = Arc::clone(&pace);
        std::thread::spawn(move || read_frames(Counted { from, count }, &frames, &told));
        Self {
            queue,
            heard,
            pace,
            idle,
        }
    }

    /// How many bytes have come in.
    pub(super) fn bytes(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// What the receiver has said of its progress since the last time.
    pub(super) fn pace(&self) -> Option<Progress> {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.take()
    }

    /// The next frame, waited for as long as there are signs of life.
    pub(super) fn next(&self) -> Result<Frame> {
        self.wait()??.ok_or_else(lost)
    }

    /// A frame that is there already, or comes very soon.
    pub(super) fn next_within(&self, time: Duration) -> Option<Frame> {
        self.queue.recv_timeout(time).ok()?.ok()?
    }

    fn wait(&self) -> Result<Result<Option<Frame>>> {
        let Some(idle) = self.idle else {
            return self.queue.recv().map_err(|_| lost());
        };
        let (mut heard, mut since) = (self.bytes(), Instant::now());
        loop {
            let step = (idle / 8).max(Duration::from_millis(1));
            match self.queue.recv_timeout(step) {
                Ok(frame) => return Ok(frame),
                Err(RecvTimeoutError::Disconnected) => return Err(lost()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = self.bytes();
            if now != heard {
                (heard, since) = (now, Instant::now());
            } else if since.elapsed() >= idle {
                let seconds = idle.as_secs_f32();
                let text = format!("nothing has come from the far side for {seconds} s");
                return Err(Error::Connection(IdleTimeout::error(text)));
            }
        }
    }
}

fn read_frames(
    from: impl Read,
    frames: &SyncSender<Result<Option<Frame>>>,
    pace: &Mutex<Option<Progress>>,
) {
    let mut from = BufReader::with_capacity(64 << 10, from);
    if let Err(error) = read_greeting(&mut from) {
        let _ = frames.send(Err(error));
        return;
    }
    loop {
        let frame = frame::read(&mut from);
        if let Ok(Some(frame)) = &frame
            && let Some(progress) = progress(frame)
        {
            // Only the last one counts, and while objects are sent nobody has time for more.
            *pace.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
            continue;
        }
        let last = !matches!(frame, Ok(Some(_)));
        // Nobody listens any more: the push is over.
        if frames.send(frame).is_err() || last {
            return;
        }
    }
}

fn progress(frame: &Frame) -> Option<Progress> {
    let control = frame.kind == FrameKind::Control;
    match control.then(|| Message::parse(&frame.payload))? {
        Ok(Message::Progress(progress)) => Some(progress),
        _ => None,
    }
}

/// Whatever comes in before the greeting is not ours: some login shell's banner, or an error of a
/// program that is not this one.
fn read_greeting(from: &mut impl BufRead) -> Result<()> {
    let mut line = Vec::new();
    // Something else is known by its first bytes: a prompt, say, has no end to wait for.
    while RECEIVER_GREETING.starts_with(&line) && !line.ends_with(b"\n") {
        let buffer = match from.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer.map_err(Error::Connection)?,
        };
        if buffer.is_empty() {
            break;
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let len = end.map_or(buffer.len(), |end| end + 1);
        line.extend_from_slice(&buffer[..len]);
        from.consume(len);
    }
    if line == RECEIVER_GREETING {
        return Ok(());
    }
    if line.is_empty() {
        return Err(lost());
    }
    let line = String::from_utf8_lossy(&line[..line.len().min(80)])
        .trim_end()
        .to_owned();
    Err(Error::NotTheProtocol(line))
}

fn lost() -> Error {
    let reason = "it has ended before the push was answered";
    Error::Connection(io::Error::new(io::ErrorKind::UnexpectedEof, reason))
}

/// Counts what is read.
struct Counted<R> {
    from: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.from.read(buffer)?;
        self.count.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}
