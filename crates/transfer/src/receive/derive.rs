// SPDX-License-Identifier: MIT OR Apache-2.0
//! Derive: what is computed from the refs is brought up to date after they were set. What fails
//! here is a warning, since what was published stays published, and it can be done again.

use oxtree_format::refs::RefName;

use super::Receiver;
use super::admit::Verdict;
use super::hook::is_change;
use super::policy::{Derive, Derived};
use crate::error::chain;
use crate::protocol::message::Outcome;

/// Brings everything up to date, and notes in the outcome what the user should know. What programs print on the
/// way is `said`.
pub fn derive(receiver: &Receiver, verdict: &Verdict, outcome: &mut Outcome, said: &mut String) {
    let changes = verdict.iter().filter(|change| is_change(change.status));
    let changed: Vec<RefName> = changes.map(|change| change.name.0.clone()).collect();
    if changed.is_empty() {
        return;
    }
    let warning = match receiver.derive(&changed, said) {
        Ok(Derived::Done) => return,
        Ok(Derived::Skipped(what)) => format!("published, but {what}"),
        Err(error) => {
            outcome.failed = true;
            let error = chain(&error);
            match receiver.policy.derive {
                Derive::By(_) => format!("published, but then: {error}"),
                _ => format!(
                    "published, but the summary could not be updated: {error}; run `ostree summary -u` there"
                ),
            }
        }
    };
    outcome.warnings.push(warning);
}
