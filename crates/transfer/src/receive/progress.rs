// SPDX-License-Identifier: MIT OR Apache-2.0
//! Progress messages for the pusher. While the receiver is busy they also show that it is alive.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::send;
use crate::error::{Error, Result};
use crate::protocol::message::{Message, Progress};

/// Progress is told once in this time.
const PROGRESS: Duration = Duration::from_millis(500);

/// The first time it is told earlier: what the link is like is not known yet.
const FIRST_PROGRESS: Duration = Duration::from_millis(60);

/// Is told the progress of a push, and what programs print.
pub(super) trait Observer {
    /// Passes a message on.
    fn tell(&mut self, message: &Message) -> Result<()>;
}

/// The pusher, at the other end of a connection.
impl<W: Write> Observer for W {
    fn tell(&mut self, message: &Message) -> Result<()> {
        send(self, message)?;
        self.flush().map_err(Error::Connection)
    }
}

/// A pusher that waits for no progress. What hooks say is passed on.
pub(super) struct NoticeObserver<'a>(pub(super) &'a mut dyn FnMut(&str));

impl Observer for NoticeObserver<'_> {
    fn tell(&mut self, message: &Message) -> Result<()> {
        if let Message::Notice { text } = message {
            (self.0)(text);
        }
        Ok(())
    }
}

/// Does what takes long, and tells the pusher meanwhile that nobody has died.
pub(super) fn busy<T: Send>(
    to: &mut impl Observer,
    objects: u64,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    std::thread::scope(|scope| {
        let (done, result) = sync_channel(1);
        scope.spawn(move || done.send(work()));
        let mut listens = true;
        loop {
            match result.recv_timeout(PROGRESS) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) if listens => {
                    // If the pusher has gone, what was begun is finished all the same.
                    let progress = Progress {
                        objects,
                        ..Progress::default()
                    };
                    listens = to.tell(&Message::Progress(progress)).is_ok();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let reason = "a thread of the receiver has crashed";
                    return Err(Error::Protocol(reason.to_owned()));
                }
            }
        }
    })
}

/// How fast the objects come in: by it the pusher judges the link.
pub(super) struct Meter {
    begun: Option<Instant>,
    waited: Duration,
    told: Duration,
    interval: Duration,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            begun: None,
            waited: Duration::ZERO,
            told: Duration::ZERO,
            interval: FIRST_PROGRESS,
        }
    }

    /// Waits for what comes next. The clock starts with the first of it.
    pub(super) fn wait<T>(&mut self, read: impl FnOnce() -> T) -> T {
        let since = Instant::now();
        let read = read();
        match self.begun {
            Some(_) => self.waited += since.elapsed(),
            None => self.begun = Some(Instant::now()),
        }
        read
    }

    /// What the pusher is to be told now, if anything.
    pub(super) fn progress(&mut self, objects: u64, bytes: u64) -> Option<Progress> {
        let elapsed = self.begun?.elapsed();
        if elapsed < self.told + self.interval {
            return None;
        }
        self.told = elapsed;
        self.interval = (self.interval * 2).min(PROGRESS);
        Some(self.total(objects, bytes))
    }

    /// All so far.
    pub(super) fn total(&self, objects: u64, bytes: u64) -> Progress {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Progress {
            objects,
            bytes,
            elapsed: self.begun.map_or(0, |begun| millis(begun.elapsed())),
            waited: millis(self.waited),
        }
    }
}
