// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections on which no wait is unlimited. A receiver polls before each read and write, as
//! other processes may share its ends of the connection. A pusher uses a pipe that does not block.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::error::IdleTimeout;

/// So much can be written to a pipe that has any room at all without waiting.
const PIPE_BUF: usize = 4096;

/// How long the other side is waited for. Both directions of a connection share one; it can be
/// changed while they are used.
#[derive(Debug)]
pub(crate) struct Timeouts {
    terms: Mutex<Terms>,
    settings: Option<[&'static str; 2]>,
}

#[derive(Clone, Copy, Debug)]
struct Terms {
    started: Instant,
    idle: Option<Duration>,
    time: Option<Duration>,
}

impl Timeouts {
    /// Waits forever. `settings`: the names of the two settings, for the errors.
    pub(crate) fn new(settings: Option<[&'static str; 2]>) -> Self {
        let terms = Terms {
            started: Instant::now(),
            idle: None,
            time: None,
        };
        Self {
            terms: Mutex::new(terms),
            settings,
        }
    }

    /// From now on waits at most `idle` for anything to happen, and for all of it at most `time`
    /// since the beginning; [`None`] for ever.
    pub(crate) fn set(&self, idle: Option<Duration>, time: Option<Duration>) {
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        (terms.idle, terms.time) = (idle, time);
    }

    /// How long to wait for something that has been waited for since `since`; the error if that
    /// has been too long. `what` happened not.
    pub(crate) fn left(&self, since: Instant, what: &str) -> io::Result<Option<Duration>> {
        let terms = *self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |limit: Duration, since: Instant, setting: usize, what: &str| {
            let left = limit.saturating_sub(since.elapsed());
            match left.is_zero() {
                true => {
                    let text = format!("{what} {} s", limit.as_secs_f32());
                    Err(match self.settings {
                        Some(names) => {
                            let text = format!("{text} ({})", names[setting]);
                            io::Error::new(io::ErrorKind::TimedOut, text)
                        }
                        None => IdleTimeout::error(text),
                    })
                }
                false => Ok(left),
            }
        };
        let what = format!("{what} for");
        let idle = terms.idle.map(|idle| left(idle, since, 0, &what));
        let too_long = "the push takes longer than";
        let time = terms
            .time
            .map(|time| left(time, terms.started, 1, too_long));
        let (idle, time) = (idle.transpose()?, time.transpose()?);
        Ok([idle, time].into_iter().flatten().min())
    }
}

/// A stream that gives up waiting after its [`Timeouts`], and then for good.
#[derive(Debug)]
pub(crate) struct Timed<'p, T> {
    inner: T,
    timeouts: &'p Timeouts,
    /// Reading and writing never wait.
    nonblocking: bool,
    gone: bool,
}

impl<'p, T: AsFd> Timed<'p, T> {
    /// For a stream that others may have as well, which can therefore not be changed.
    pub(crate) fn new(inner: T, timeouts: &'p Timeouts) -> Self {
        Self {
            inner,
            timeouts,
            nonblocking: false,
            gone: false,
        }
    }

    /// For a stream that is ours alone: writes as much as goes at once.
    pub(crate) fn owned(inner: T, timeouts: &'p Timeouts) -> io::Result<Self> {
        fcntl_setfl(&inner, fcntl_getfl(&inner)? | OFlags::NONBLOCK)?;
        Ok(Self {
            nonblocking: true,
            ..Self::new(inner, timeouts)
        })
    }

    fn wait(&mut self, flags: PollFlags, what: &str) -> io::Result<()> {
        let since = Instant::now();
        loop {
            let left = match self.gone {
                true => Err(io::ErrorKind::TimedOut.into()),
                false => self.timeouts.left(since, what),
            };
            let left = left.inspect_err(|_| self.gone = true)?;
            let timeout = left.map(|left| Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            });
            let mut fds = [PollFd::new(&self.inner, flags)];
            match poll(&mut fds, timeout.as_ref()) {
                // The terms may have changed.
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<T: AsFd + Read> Read for Timed<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait(PollFlags::IN, "nothing has come from the far side")?;
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

impl<T: AsFd + Write> Write for Timed<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let what = "the far side has taken nothing";
        let bytes = match self.nonblocking {
            true => bytes,
            false => {
                self.wait(PollFlags::OUT, what)?;
                &bytes[..bytes.len().min(PIPE_BUF)]
            }
        };
        loop {
            match self.inner.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, what)?;
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::PipeWriter;
    use std::thread::{scope, sleep};

    use super::*;

    const SHORT: Option<Duration> = Some(Duration::from_millis(50));

    fn impatient(idle: Option<Duration>, time: Option<Duration>) -> Timeouts {
        let timeouts = Timeouts::new(Some(["the idle key", "the time key"]));
        timeouts.set(idle, time);
        timeouts
    }

    fn is_over(result: io::Result<usize>, words: &[&str]) {
        let error = result.expect_err("it is over");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }

    #[test]
    fn nobody_is_read_from_for_ever() {
        let (from, mut to) = io::pipe().unwrap();
        let timeouts = impatient(SHORT, None);
        let mut from = Timed::new(from, &timeouts);
        let mut buffer = [0; 10];
        to.write_all(b"x").unwrap();
        assert_eq!(from.read(&mut buffer).unwrap(), 1);
        is_over(
            from.read(&mut buffer),
            &["nothing has come", "0.05 s", "the idle key"],
        );
        timeouts.set(None, None);
        assert!(from.read(&mut buffer).is_err(), "it stays so");
    }

    #[test]
    fn a_sign_now_and_then_is_enough_but_not_for_ever() {
        let (from, mut to) = io::pipe().unwrap();
        let timeouts = impatient(
            Some(Duration::from_secs(60)),
            Some(Duration::from_millis(200)),
        );
        let mut from = Timed::new(from, &timeouts);
        scope(|scope| {
            scope.spawn(move || {
                while to.write_all(b"x").is_ok() {
                    sleep(Duration::from_millis(20));
                }
            });
            let mut heard = 0;
            let end = loop {
                match from.read(&mut [0; 10]) {
                    Ok(len) => heard += len,
                    end => break end,
                }
            };
            assert!(heard > 1);
            is_over(end, &["longer than 0.2 s", "the time key"]);
            drop(from);
        });
    }

    /// Writes until the other end of the pipe, which nobody reads, is full, and then some.
    fn fill(mut to: Timed<'_, PipeWriter>) {
        let started = Instant::now();
        let end = loop {
            match to.write(&[0; 100_000]) {
                Ok(len) => assert!(len > 0),
                end => break end,
            }
        };
        is_over(end, &["has taken nothing", "0.05 s", "the idle key"]);
        assert!(to.write(b"x").is_err());
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn nobody_is_written_to_for_ever() {
        let timeouts = impatient(SHORT, None);
        let (_from, to) = io::pipe().unwrap();
        fill(Timed::new(to, &timeouts));
        let (_from, to) = io::pipe().unwrap();
        fill(Timed::owned(to, &timeouts).unwrap());
    }

    #[test]
    fn the_end_is_seen() {
        let timeouts = impatient(SHORT, None);
        let (from, to) = io::pipe().unwrap();
        drop(to);
        assert_eq!(Timed::new(from, &timeouts).read(&mut [0; 1]).unwrap(), 0);
        let (from, to) = io::pipe().unwrap();
        drop(from);
        let error = Timed::new(to, &timeouts).write(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
