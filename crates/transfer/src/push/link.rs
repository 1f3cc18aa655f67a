// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures the link, to decide how much work a byte on the wire is worth.
//!
//! On a fast link, objects are sent as they are stored. On a slow one (below 40 MB/s), and in
//! pushes of less than 4 MiB, it pays to find patches and to compress well. The receiver reports
//! how many bytes it got in what time, and how long it waited for more; the pusher knows how long
//! it waited to send. If both wait, the link is slow, and the receiver's count gives its speed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::protocol::message::Progress;

/// A link that carries less than this (bytes a second) is slow: finding and packing patches gets
/// content through at several times that.
const SLOW: u64 = 40 << 20;

/// Pushes smaller than this are over before anything is measured, and cost little to pack.
const LITTLE: u64 = 4 << 20;

/// The level of zstd where the link is slow, and where it is very slow.
const LEVEL: i32 = 8;
const SLOWER: (u64, i32) = (4 << 20, 9);

/// How the stream is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As the link needs it.
    #[default]
    Auto,
    /// Everything as it is stored.
    None,
    /// Patches where there is a base, all packed at this level, 1 to 9.
    Level(u32),
}

/// The link as far as it is known.
#[derive(Debug)]
pub(super) struct Link {
    how: Compression,
    /// The level of zstd; 0 sends objects as they are stored.
    level: AtomicI32,
    /// It was measured, or need not be.
    known: AtomicBool,
    /// Bytes still to be written that go as they are, whatever the link is like.
    ahead: AtomicU64,
}

impl Link {
    /// What is to be thought of a link before `bytes` are sent.
    pub(super) fn new(how: Compression, bytes: u64, limit_rate: Option<u64>) -> Self {
        let level = match how {
            Compression::None => 0,
            Compression::Level(level) => level.try_into().unwrap_or(LEVEL),
            Compression::Auto => match limit_rate {
                Some(rate) => level_for(rate),
                None if bytes < LITTLE => LEVEL,
                None => 0,
            },
        };
        Self {
            how,
            level: AtomicI32::new(level),
            known: AtomicBool::new(how != Compression::Auto || level > 0),
            ahead: AtomicU64::new(0),
        }
    }

    /// Notes that so many bytes are sent first, by which the link can be measured.
    pub(super) fn begin_with(&self, bytes: u64) {
        self.ahead.store(bytes, Ordering::Relaxed);
    }

    /// Notes that so many of them have been written.
    pub(super) fn wrote_ahead(&self, bytes: u64) {
        let less = |ahead: u64| Some(ahead.saturating_sub(bytes));
        // Never fails: there is always a value.
        let _ = self
            .ahead
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Waits for the first measurement, but only as long as the link has something to carry.
    pub(super) fn wait_until_known(&self) {
        while !self.is_known() && self.ahead.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it was measured, or need not be.
    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Nobody is to wait for a measurement any more.
    pub(super) fn stop_measuring(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// The level at which to pack now; [`None`] to send things as they are stored.
    pub(super) fn level(&self) -> Option<i32> {
        Some(self.level.load(Ordering::Relaxed)).filter(|level| *level > 0)
    }

    fn is_measured(&self) -> bool {
        self.how == Compression::Auto && self.level().is_none()
    }
}

fn level_for(rate: u64) -> i32 {
    match rate {
        rate if rate < SLOWER.0 => SLOWER.1,
        rate if rate < SLOW => LEVEL,
        _ => 0,
    }
}

/// Measures the link while something is sent.
#[derive(Debug)]
pub(super) struct Gauge {
    link: Arc<Link>,
    /// The receiver's word of the last time.
    last: Progress,
    since: Instant,
    blocked: Duration,
    /// The last time it looked slow.
    suspected: bool,
}

impl Gauge {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            last: Progress::default(),
            since: Instant::now(),
            blocked: Duration::ZERO,
            suspected: false,
        }
    }

    /// Notes that writing took so long.
    pub(super) fn wrote(&mut self, time: Duration) {
        self.blocked += time;
    }

    /// Notes what the receiver says, and judges the link by it.
    pub(super) fn heard(&mut self, now: Progress) {
        if now.bytes == 0 || !self.link.is_measured() {
            return;
        }
        let elapsed = now.elapsed.saturating_sub(self.last.elapsed).max(1);
        let here = self.since.elapsed();
        let span = Span {
            bytes: now.bytes.saturating_sub(self.last.bytes),
            elapsed,
            receiver_waited: now.waited.saturating_sub(self.last.waited) * 3 > elapsed,
            we_waited: self.blocked * 3 > here,
        };
        self.judge(&span);
        self.last = now;
        self.since = Instant::now();
        self.blocked = Duration::ZERO;
    }

    /// Notes what the receiver says of a batch that took so long to be made, and judges the link by
    /// it. What does not go on at once may wait on its way, so we do not see how long it takes.
    pub(super) fn answered(&mut self, batch: Progress, making: Duration) {
        if batch.bytes == 0 || !self.link.is_measured() {
            return;
        }
        let elapsed = batch.elapsed.max(1);
        let making = u64::try_from(making.as_millis()).unwrap_or(u64::MAX);
        let span = Span {
            bytes: batch.bytes,
            elapsed,
            receiver_waited: batch.waited.saturating_mul(3) > elapsed,
            we_waited: making.saturating_mul(3) < elapsed.saturating_mul(2),
        };
        self.suspected |= elapsed >= LONG;
        self.judge(&span);
    }

    fn judge(&mut self, span: &Span) {
        let rate = span.bytes.saturating_mul(1000) / span.elapsed;
        tracing::debug!(rate, ?span, "pace");
        let level = match span.receiver_waited && span.we_waited {
            true => level_for(rate),
            false => 0,
        };
        // Once is not enough: a connection begins slowly, and a machine is busy for a moment.
        let again = self.suspected;
        self.suspected = level > 0;
        if again && level > 0 {
            self.link.level.store(level, Ordering::Relaxed);
        }
        if again || level == 0 {
            self.link.known.store(true, Ordering::Relaxed);
        }
    }
}

/// A time in which something was sent.
#[derive(Debug)]
struct Span {
    bytes: u64,
    /// Milliseconds.
    elapsed: u64,
    /// The receiver was waiting for much of it.
    receiver_waited: bool,
    /// So were we, to get rid of what was there to be sent.
    we_waited: bool,
}

/// Milliseconds that are enough to know a link by.
const LONG: u64 = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(bytes: u64, elapsed: u64, waited: u64) -> Progress {
        Progress {
            objects: 0,
            bytes,
            elapsed,
            waited,
        }
    }

    fn judged(paces: &[Progress], blocked: bool) -> Option<i32> {
        let link = Arc::new(Link::new(Compression::Auto, 1 << 30, None));
        let mut gauge = Gauge::new(Arc::clone(&link));
        for pace in paces {
            if blocked {
                gauge.wrote(Duration::from_secs(1));
            }
            gauge.heard(*pace);
        }
        link.level()
    }

    #[test]
    fn a_slow_link_is_where_both_sides_wait() {
        // So many bytes every 100 ms, of which the receiver waits so many.
        let steady = |bytes: u64, waited: u64| {
            [1, 2].map(|time| pace(bytes * time, 100 * time, waited * time))
        };
        assert_eq!(judged(&steady(1 << 20, 90), true), Some(LEVEL));
        assert_eq!(judged(&steady(1 << 20, 90)[..1], true), None);
        // The receiver waits for us, not for the link.
        assert_eq!(judged(&steady(1 << 20, 90), false), None);
        // We wait for the receiver.
        assert_eq!(judged(&steady(1 << 20, 5), true), None);
        // Fast enough.
        assert_eq!(judged(&steady(30 << 20, 90), true), None);
        assert_eq!(judged(&steady(100 << 10, 90), true), Some(SLOWER.1));
        // A slow beginning is none of a slow link.
        let begins = [pace(1 << 20, 100, 90), pace(51 << 20, 200, 180)];
        assert_eq!(judged(&begins, true), None);
    }

    #[test]
    fn parcels_tell_of_the_link() {
        let judged = |batches: &[Progress], making| {
            let link = Arc::new(Link::new(Compression::Auto, 1 << 30, None));
            let mut gauge = Gauge::new(Arc::clone(&link));
            for batch in batches {
                gauge.answered(*batch, Duration::from_millis(making));
            }
            link.level()
        };
        let quick = pace(1 << 20, 100, 90);
        assert_eq!(judged(&[quick], 1), None);
        assert_eq!(judged(&[quick, quick], 1), Some(LEVEL));
        assert_eq!(judged(&[pace(10 << 20, 1000, 900)], 1), Some(LEVEL));
        // It took that long to make.
        assert_eq!(judged(&[quick, quick], 90), None);
        // The receiver was busy.
        assert_eq!(judged(&[pace(10 << 20, 1000, 100)], 1), None);
    }

    #[test]
    fn nobody_waits_for_a_link_that_carries_nothing() {
        let link = Link::new(Compression::Auto, 1 << 30, None);
        link.wait_until_known();
        link.begin_with(10);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| link.wait_until_known());
            link.wrote_ahead(4);
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            link.wrote_ahead(7);
            waiting.join().unwrap();
        });
        link.begin_with(10);
        link.stop_measuring();
        link.wait_until_known();
    }

    #[test]
    fn what_is_known_before() {
        let level = |how, bytes, rate| Link::new(how, bytes, rate).level();
        assert_eq!(level(Compression::Auto, 1000, None), Some(LEVEL));
        assert_eq!(level(Compression::Auto, 1 << 30, None), None);
        assert_eq!(
            level(Compression::Auto, 1 << 30, Some(100_000)),
            Some(SLOWER.1)
        );
        assert_eq!(level(Compression::Level(7), 1 << 30, None), Some(7));
        assert_eq!(level(Compression::None, 1000, Some(1)), None);
    }
}
