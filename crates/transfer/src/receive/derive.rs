// SPDX-License-Identifier: MIT OR Apache-2.0
//! Derive: what is computed from the refs is brought up to date after they were set. What fails
//! here is a warning, since what was published stays published, and it can be done again.

use oxtree_format::refs::RefName;

use super::admit::Verdict;
use super::chain;
use super::hook::is_change;
use super::policy::Derive;
use crate::destination::Destination;

/// Brings everything up to date; returns what the user should know. What programs print on the way is `said`.
pub fn derive<D: Destination>(
    destination: &D,
    verdict: &Verdict,
    said: &mut String,
) -> Vec<String> {
    let changes = verdict.iter().filter(|change| is_change(change.status));
    let changed: Vec<RefName> = changes.map(|change| change.name.0.clone()).collect();
    if changed.is_empty() {
        return Vec::new();
    }
    let Err(error) = destination.derive(&changed, said) else {
        return Vec::new();
    };
    let error = chain(&error);
    vec![match destination.policy().derive {
        Derive::By(_) => format!("published, but then: {error}"),
        _ => format!(
            "published, but the summary could not be updated: {error}; run `ostree summary -u` there"
        ),
    }]
}
