// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much a transaction may write before `core.min-free-space-percent` or `-size` is reached.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Transaction;
use crate::config::MinFreeSpace;
use crate::{Error, Repo, Result};

impl Transaction<'_> {
    /// Asks for `bytes` of disk space before they are written. Where it is short, what pushes have
    /// left that were cut off has to go.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<()> {
        let Some(space) = &self.space else {
            return Ok(());
        };
        let less = |left: u64| left.checked_sub(bytes);
        let reserved = || space.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if reserved().is_ok() {
            return Ok(());
        }
        let deleted = self.repo.delete_unfinished(Duration::ZERO)?;
        let deleted: u64 = deleted.iter().map(|one| one.bytes).sum();
        let now = free_space(&self.repo)?.unwrap_or(u64::MAX);
        let more = |left: u64| Some(left.saturating_add(deleted).min(now));
        let _ = space.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        match reserved() {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::NoSpace {
                rule: self.repo.config().min_free_space.to_string(),
                requested: bytes,
            }),
        }
    }

    /// Gives back what was reserved for a file that is gone.
    pub(crate) fn release(&self, bytes: u64) {
        if let Some(space) = &self.space {
            space.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// How many bytes may be written; [`None`] for as many as fit.
pub(super) fn free_space(repo: &Repo) -> Result<Option<u64>> {
    let stat = rustix::fs::fstatvfs(repo.dir())
        .map_err(Error::io("asking for free space on", repo.path()))?;
    // Some file systems (ramfs, some of FUSE) have no blocks to count: nothing is known of their space.
    if stat.f_blocks == 0 {
        return Ok(None);
    }
    let block = stat.f_frsize;
    let reserved = match repo.config().min_free_space {
        MinFreeSpace::Percent(0) | MinFreeSpace::Bytes(0) => return Ok(None),
        MinFreeSpace::Percent(percent) => (stat.f_blocks / 100)
            .saturating_mul(u64::from(percent))
            .saturating_mul(block),
        MinFreeSpace::Bytes(bytes) => bytes,
    };
    let free = stat.f_bavail.saturating_mul(block);
    Ok(Some(free.saturating_sub(reserved)))
}
