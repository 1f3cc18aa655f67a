// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts invalid tokens per client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::limits::network;

/// So many a minute are answered; of the rest nothing is said.
const MAX_A_MINUTE: u32 = 10;

/// Addresses that are remembered.
const MAX_KNOWN: usize = 10_000;

/// The failures of the last minute.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<IpAddr, (u64, u32)>>);

/// The reaction to a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Say that it failed.
    Tell,
    /// There were too many; it is the first of those.
    Enough,
    /// There were too many.
    Ignore,
}

impl Failures {
    /// Notes a failure at this time, in seconds. Addresses of one IPv6 network count as one.
    pub(super) fn note(&self, from: IpAddr, now: u64) -> Verdict {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_KNOWN {
            all.retain(|_, (since, _)| now < *since + 60);
        }
        if all.len() >= MAX_KNOWN {
            all.clear();
        }
        let (since, count) = all.entry(network(from)).or_insert((now, 0));
        if now >= *since + 60 {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        match *count {
            ..=MAX_A_MINUTE => Verdict::Tell,
            count if count == MAX_A_MINUTE + 1 => Verdict::Enough,
            _ => Verdict::Ignore,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_are_too_many_until_the_minute_is_over() {
        let failures = Failures::default();
        let here: IpAddr = "2001:db8::1".parse().unwrap();
        let near: IpAddr = "2001:db8::2".parse().unwrap();
        let there: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..MAX_A_MINUTE {
            assert_eq!(failures.note(here, 100), Verdict::Tell);
        }
        assert_eq!(failures.note(near, 130), Verdict::Enough);
        assert_eq!(failures.note(here, 159), Verdict::Ignore);
        assert_eq!(failures.note(there, 159), Verdict::Tell);
        assert_eq!(failures.note(here, 160), Verdict::Tell);
        for at in 0..2 * MAX_KNOWN as u32 {
            failures.note(IpAddr::from(at.to_be_bytes()), 160);
        }
        assert!(failures.0.lock().unwrap().len() <= MAX_KNOWN);
    }
}
