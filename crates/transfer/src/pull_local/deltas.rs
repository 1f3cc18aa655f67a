// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits that come by the source's static deltas.

use oxtree_format::CommitId;
use oxtree_format::delta::DeltaName;
use oxtree_repo::traverse::Objects;
use oxtree_repo::{Repo, Transaction};

use super::invalid;
use crate::Result;

/// What came by static deltas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many parts were applied.
    pub parts: u64,
    /// How many other files were read: superblocks, and what says which deltas there are.
    pub loose: u64,
    /// The sizes of all of these but the last ones, in bytes.
    pub bytes: u64,
    /// Bytes of content that were made of them.
    pub content: u64,
}

/// Stages what each commit that is not whole here gets by a delta, from a commit that is, or else from
/// scratch. Each has to have one.
pub(super) fn apply(
    source: &Repo,
    transaction: &Transaction<'_>,
    commits: impl Iterator<Item = CommitId>,
) -> Result<Report> {
    let mut report = Report::default();
    for commit in commits {
        if is_whole(transaction, commit)? {
            continue;
        }
        let name = best(source, transaction, commit)?;
        let none = || {
            invalid(format!(
                "Static deltas required, but none found for {commit}"
            ))
        };
        let name = name.ok_or_else(none)?;
        let files = source.open_static_delta(&name)?.ok_or_else(none)?;
        let superblock = files.superblock()?;
        transaction.check_delta_source(&superblock)?;
        let (parts, bytes) = files.apply_parts(&superblock, transaction)?;
        report.parts += parts;
        report.loose += 2;
        report.bytes += bytes + files.superblock_size();
    }
    report.content = transaction.stats().content_bytes;
    Ok(report)
}

/// The delta to take.
fn best(
    source: &Repo,
    transaction: &Transaction<'_>,
    commit: CommitId,
) -> Result<Option<DeltaName>> {
    let mut scratch = None;
    for (name, _) in source.announced_deltas(commit)? {
        match name.from {
            Some(from) if is_whole(transaction, from)? => return Ok(Some(name)),
            Some(_) => {}
            None => scratch = Some(name),
        }
    }
    Ok(scratch)
}

fn is_whole(transaction: &Transaction<'_>, commit: CommitId) -> Result<bool> {
    Ok(transaction.has(&commit.object())? && !transaction.is_partial(commit)?)
}
