// SPDX-License-Identifier: MIT OR Apache-2.0
//! The public description of a job.

use serde::{Deserialize, Serialize};

use crate::clock::now;

/// A waiting job, as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct JobInfo {
    pub(super) kind: &'static str,
    pub(super) state: &'static str,
    pub(super) tries: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) refs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    /// Seconds until it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Why it is skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// Something that was tried, and when it is tried again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tried {
    #[serde(default)]
    pub(crate) tries: u32,
    /// In seconds since 1970.
    #[serde(default)]
    pub(crate) next: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(skip)]
    pub(crate) running: bool,
}

impl Tried {
    /// It has failed: it is tried again after a while, which grows.
    pub(crate) fn failed(&mut self, error: String, first: u64, longest: u64) {
        let pause = first.saturating_mul(1 << self.tries.min(20)).min(longest);
        self.tries += 1;
        self.next = now().saturating_add(pause);
        self.error = Some(error);
        self.running = false;
    }

    pub(super) fn info(&self, kind: &'static str) -> JobInfo {
        JobInfo {
            kind,
            state: match (self.running, &self.error) {
                (true, _) => "running",
                (false, None) => "waiting",
                (false, Some(_)) => "failed",
            },
            tries: self.tries,
            refs: Vec::new(),
            to: None,
            next: Some(self.next.saturating_sub(now())).filter(|next| *next > 0),
            error: self.error.clone(),
            reason: None,
        }
    }
}
