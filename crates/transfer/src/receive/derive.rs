// SPDX-License-Identifier: MIT OR Apache-2.0
//! Derive: what is computed from the refs is brought up to date after they were set. What fails
//! here is a warning, since what was published stays published, and it can be done again.

use crate::destination::Destination;

/// Brings everything up to date; returns what the user should know.
pub fn derive<D: Destination>(destination: &D) -> Vec<String> {
    match destination.derive() {
        Ok(()) => Vec::new(),
        Err(error) => vec![format!(
            "published, but the summary could not be updated: {error}; run `ostree summary -u` there"
        )],
    }
}
