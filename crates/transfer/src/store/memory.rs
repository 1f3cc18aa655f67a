// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory for large objects while they are received: bases of patches, contents, and their packed
//! forms. All threads of the process share one budget, and each client may use a part of it. An
//! object that gets no memory waits, for up to two minutes.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::semaphore::{ClientPermit, ClientSemaphore};

/// In bytes, in all and of one client. A client leaves as much as the largest object needs.
static MEMORY: ClientSemaphore = ClientSemaphore::new(96 << 20, 48 << 20);

/// Of objects for which this is enough, every thread may hold one.
const LITTLE: u64 = 1 << 20;

/// Of larger contents than this, some blocks at a time are held.
const MOST_HELD: u64 = 8 << 20;

/// How long an object waits: others may be slow in bringing the rest of what has memory.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(120);

/// Waits for memory for `base` bytes, and a content of `size` with what it is packed to; for others, if
/// that is much.
pub(crate) fn hold(client: &str, base: u64, size: u64) -> Result<Option<ClientPermit<'static>>> {
    let bytes = base.saturating_add(2 * size.min(MOST_HELD));
    if bytes <= LITTLE {
        return Ok(None);
    }
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let held = MEMORY.acquire_within(client, bytes, MAX_WAIT);
    let busy = || Error::Busy("too many large objects are on their way".to_owned());
    held.map(Some).ok_or_else(busy)
}
