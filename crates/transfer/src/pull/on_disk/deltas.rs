// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits that come by the source's static deltas.

use oxtree_format::CommitId;
use oxtree_repo::delta::DeltaFiles;
use oxtree_repo::sign::{Subject, Verifier};
use oxtree_repo::traverse::Objects;
use oxtree_repo::{Repo, Transaction};

use crate::error::{Result, invalid};
use crate::pull::estimate::{DeltaReport, Estimate, best, is_whole, none_found};

/// Stages what each commit that is not whole here gets by a delta, from a commit that is, or else from
/// scratch. Each has to have one.
pub(super) fn apply(
    source: &Repo,
    transaction: &Transaction<'_>,
    commits: impl Iterator<Item = CommitId>,
    verifier: Option<&dyn Verifier>,
) -> Result<DeltaReport> {
    let mut report = DeltaReport::default();
    for commit in commits {
        if is_whole(transaction, commit)? {
            continue;
        }
        let files = find(source, transaction, commit)?;
        if let Some(verifier) = verifier {
            verify(&files, commit, verifier)?;
        }
        let superblock = files.superblock()?;
        transaction.check_delta_source(&superblock)?;
        let (parts, bytes) = files.apply_parts(&superblock, transaction)?;
        report.parts += parts;
        report.loose += 2;
        report.bytes += bytes + files.superblock_size();
        // These are taken as they lie there.
        for fallback in superblock.fallbacks() {
            if !transaction.has(&fallback.object)? {
                report.loose += 1;
                report.bytes += fallback.size;
            }
        }
    }
    report.content = transaction.stats().content_bytes;
    Ok(report)
}

/// What [`apply`] would do.
pub(crate) fn estimate(
    source: &Repo,
    repo: &Repo,
    commits: impl Iterator<Item = CommitId>,
) -> Result<Estimate> {
    let mut estimate = Estimate::default();
    for commit in commits {
        if !is_whole(repo, commit)? {
            let files = find(source, repo, commit)?;
            estimate.add(repo, &files.superblock()?)?;
        }
    }
    Ok(estimate)
}

/// Whether the superblock is signed as it has to be.
fn verify(files: &DeltaFiles, commit: CommitId, verifier: &dyn Verifier) -> Result<()> {
    let signed = files.signed()?;
    let signatures = signed.as_ref().map(|signed| signed.signatures.to_bytes());
    let superblock = signed.as_ref().map_or(&[][..], |signed| signed.superblock);
    verifier
        .verify(Subject::Delta(commit), superblock, signatures.as_deref())
        .map_err(|error| invalid(error.to_string()))
}

/// The delta to take.
fn find(source: &Repo, here: &impl Objects, commit: CommitId) -> Result<DeltaFiles> {
    let announced = source.announced_deltas(commit)?.into_iter();
    let name = best(here, announced.map(|(name, _)| name))?;
    let name = name.ok_or_else(|| none_found(commit))?;
    let files = source.open_static_delta(&name)?;
    files.ok_or_else(|| none_found(commit))
}
