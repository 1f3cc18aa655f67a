// SPDX-License-Identifier: MIT OR Apache-2.0
//! The audit log: a line of JSON for each ref of each push, only ever appended.

use std::fs::File;
use std::io::Write;
use std::time::SystemTime;

use serde::Serialize;

use crate::protocol::message::{RefOutcome, Status};

/// A log that can be appended to.
#[derive(Debug)]
pub struct Audit {
    /// Opened for appending.
    pub file: File,
    /// Who pushes, as far as that is known.
    pub identity: Option<String>,
    /// From where, as far as that is known.
    pub client: Option<String>,
    /// The clock.
    pub now: fn() -> SystemTime,
}

#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since 1970.
    time: u64,
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(rename = "ref")]
    name: String,
    old: Option<String>,
    new: Option<String>,
    result: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Audit {
    /// Notes what became of each ref.
    pub fn record(&self, refs: &[RefOutcome]) -> std::io::Result<()> {
        let time = (self.now)().duration_since(SystemTime::UNIX_EPOCH);
        let mut text = Vec::new();
        // Refs that were named because of what is kept beside their commits are no news otherwise.
        let is_news = |outcome: &&RefOutcome| {
            outcome.status != Status::Unchanged
                || outcome.old != outcome.new
                || outcome.reason.is_some()
        };
        for outcome in refs.iter().filter(is_news) {
            let line = Line {
                time: time.as_ref().map_or(0, std::time::Duration::as_secs),
                identity: self.identity.as_deref(),
                client: self.client.as_deref(),
                name: outcome.name.to_string(),
                old: outcome.old.as_ref().map(ToString::to_string),
                new: outcome.new.as_ref().map(ToString::to_string),
                result: outcome.status,
                reason: outcome.reason.as_deref(),
            };
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        // In one go: pushes that end at the same time do not mix their lines.
        (&self.file).write_all(&text)?;
        self.file.sync_data()
    }
}
