// SPDX-License-Identifier: MIT OR Apache-2.0
//! The changes that a client asks for when it opens a push. Unlike in messages over SSH, an unknown key
//! is an error: a client that misspells `new` would delete the ref.

use oxtree_transfer::protocol::message::{WireCommit, WireItem, WireRef, WireUpdate};
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    pub(super) updates: Vec<Change>,
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// A [`WireUpdate`], read strictly.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    #[serde(rename = "ref")]
    name: WireRef,
    #[serde(deserialize_with = "said")]
    old: Option<WireCommit>,
    #[serde(deserialize_with = "said")]
    new: Option<WireCommit>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    timestamp: u64,
    #[serde(default)]
    fast_forward: bool,
    #[serde(default)]
    detached: Option<Vec<WireItem>>,
}

/// None has to be said: `null`.
fn said<'de, D: Deserializer<'de>>(value: D) -> Result<Option<WireCommit>, D::Error> {
    Option::deserialize(value)
}

impl From<Change> for WireUpdate {
    fn from(change: Change) -> Self {
        Self {
            name: change.name,
            old: change.old,
            new: change.new,
            force: change.force,
            timestamp: change.timestamp,
            fast_forward: change.fast_forward,
            detached: change.detached,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_or_not_said_is_an_error() {
        let read = |change: &str| {
            let wish = format!(r#"{{"updates": [{change}]}}"#);
            serde_json::from_str::<Wish>(&wish).map(|_| ())
        };
        read(r#"{"ref": "a", "old": null, "new": null, "force": true}"#).unwrap();
        for (change, said) in [
            (
                r#"{"ref": "a", "old": null, "new": null, "forse": true}"#,
                "unknown field `forse`",
            ),
            (r#"{"ref": "a", "old": null}"#, "missing field `new`"),
            (r#"{"ref": "a", "new": null}"#, "missing field `old`"),
        ] {
            let error = read(change).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let wish = r#"{"updates": [], "dryrun": true}"#;
        assert!(serde_json::from_str::<Wish>(wish).is_err());
    }
}
