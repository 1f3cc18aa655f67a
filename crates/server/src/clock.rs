// SPDX-License-Identifier: MIT OR Apache-2.0
//! The time of day.

use std::time::SystemTime;

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
