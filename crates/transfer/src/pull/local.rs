// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pull from a remote that is on this machine: what is wanted is decided here, all else is
//! [`on_disk`]'s.

use std::path::Path;

use oxtree_repo::Repo;
use oxtree_repo::object::import::{ImportOptions, Verify};

use super::on_disk::{self, Copy};
use super::request::RefRequest;
use super::subpath::Part;
use super::summary::of_repository;
use super::wanted::Wanted;
use super::{Job, PullReport, look_up};
use crate::error::Result;
use crate::pull::estimate::DeltaUse;

pub(super) fn pull(job: &Job<'_>, path: &Path) -> Result<PullReport> {
    let options = job.options;
    let source = Repo::open_in(path, &options.environment)?;
    let verifier = options.summary_verifier.as_deref();
    let summary = of_repository(&source, verifier)?;
    let wanted = match &summary.bytes {
        Some(bytes) if verifier.is_some() || job.is_of_all() => {
            look_up(job.requests, bytes, job.remote.collection.as_ref())?
        }
        _ => wanted(job, &source)?,
    };
    if options.dry_run {
        let commits = wanted.iter().map(|wanted| wanted.commit);
        let estimate = on_disk::deltas::estimate(&source, job.repo, commits)?;
        return Ok(PullReport {
            estimate: Some(estimate),
            ..PullReport::default()
        });
    }
    let copy = Copy {
        wanted: &wanted,
        into: job.into,
        policy: job.policy(),
        depth: options.depth,
        commit_metadata_only: options.commit_metadata_only,
        require_deltas: options.deltas == DeltaUse::Required,
        delta_verifier: options.delta_verifier.as_deref(),
        part: Part::of_root(&options.subpaths),
        import: ImportOptions {
            // Where a commit is signed, what it names has to be what was signed.
            verify: Verify::All,
            bareuseronly_files: options.bareuseronly_files,
        },
    };
    let left_out = match job.is_of_all() && summary.bytes.is_none() {
        true => source.unusable_refs()?,
        false => Vec::new(),
    };
    let copied = on_disk::copy(job.repo, &source, &copy, job.progress)?;
    if let (true, Some(bytes)) = (job.is_of_all(), &summary.bytes) {
        let signatures = summary.signatures.as_deref();
        job.repo.write_mirrored_summary(bytes, signatures)?;
    }
    Ok(PullReport {
        local_metadata: copied.metadata,
        local_content: copied.content,
        written: copied.bytes,
        deltas: copied.deltas,
        is_local: true,
        left_out: left_out.iter().map(ToString::to_string).collect(),
        ..PullReport::default()
    })
}

/// What is wanted, as the refs are now.
fn wanted(job: &Job<'_>, source: &Repo) -> Result<Vec<Wanted>> {
    if job.is_of_all() {
        let all = source.local_refs()?.into_iter();
        return Ok(all
            .map(|(name, commit)| Wanted {
                name: Some(name),
                commit,
            })
            .collect());
    }
    let find = |name: &oxtree_format::RefName| {
        let mut found = source.read_ref(&name.clone().into())?;
        if let (None, Some(collection)) = (found, &job.remote.collection) {
            let refs = source.collection_refs()?;
            found = refs.get(&(collection.clone(), name.clone())).copied();
        }
        Ok(found.ok_or_else(|| oxtree_repo::Error::RefNotFound(name.to_string()))?)
    };
    let resolve = |request: &RefRequest| request.resolve(find);
    job.requests.iter().map(resolve).collect()
}
