// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wire types of a push over HTTP, which takes many requests: what the server says about a push.

use serde::{Deserialize, Serialize};

use super::message::{Outcome, WireRef};

/// A push, for those who ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushInfo {
    /// Its id.
    pub id: String,
    /// What it is at.
    pub state: PushState,
    /// Who has opened it, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The refs that it is to change.
    pub refs: Vec<WireRef>,
    /// Nothing is to be changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Objects that have come; in a dry run, those that would have to.
    pub objects: u64,
    /// Bytes that have come.
    pub bytes: u64,
    /// Seconds since somebody has done something with it.
    #[serde(default)]
    pub idle: u64,
    /// Seconds after which it is forgotten if nobody does anything with it.
    pub expires: u64,
    /// How it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// What a push is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PushState {
    /// Objects may come.
    Open,
    /// It is being admitted and published.
    Finishing,
    /// It has an outcome.
    Ended,
}
