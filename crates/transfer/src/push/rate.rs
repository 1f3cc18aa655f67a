// SPDX-License-Identifier: MIT OR Apache-2.0
//! A writer that counts, and that writes no faster than it may.

use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Written in one go, so that the pace is even.
const SLICE: usize = 32 << 10;

/// Counts the bytes that go through, and waits where they would be too many a second.
#[derive(Debug)]
pub(super) struct Paced<W> {
    to: Option<W>,
    written: u64,
    rate: Option<u64>,
    started: Option<Instant>,
}

impl<W: Write> Paced<W> {
    /// Writes to `to`, at most `rate` bytes a second.
    pub(super) fn new(to: W, rate: Option<u64>) -> Self {
        let rate = rate.filter(|rate| *rate > 0);
        Self {
            to: Some(to),
            written: 0,
            rate,
            started: None,
        }
    }

    /// How many bytes have gone through.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// What is written to, unless it was closed.
    pub(super) fn inner(&mut self) -> Option<&mut W> {
        self.to.as_mut()
    }

    /// Writes what is left and closes, so that the other side sees the end.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.to.take().map_or(Ok(()), |mut to| to.flush())
    }

    fn wait(&mut self) {
        let Some(rate) = self.rate else { return };
        let started = *self.started.get_or_insert_with(Instant::now);
        let due = Duration::from_secs_f64(self.written as f64 / rate as f64);
        sleep(due.saturating_sub(started.elapsed()));
    }
}

impl<W: Write> Write for Paced<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait();
        let slice = if self.rate.is_some() {
            &bytes[..bytes.len().min(SLICE)]
        } else {
            bytes
        };
        let to = self.to.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let len = to.write(slice)?;
        self.written += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.as_mut().map_or(Ok(()), Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_closes() {
        let mut out = Vec::new();
        let mut paced = Paced::new(&mut out, None);
        paced.write_all(&[1; 100]).unwrap();
        assert_eq!(paced.written(), 100);
        paced.finish().unwrap();
        assert!(paced.write_all(&[1]).is_err());
        assert_eq!(out.len(), 100);
    }
}
