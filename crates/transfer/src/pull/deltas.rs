// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits that come by a web server's static deltas. What a delta leaves out is fetched as ever.
//!
//! Which deltas there are says the commit's index or, where the server has none, the summary. Without
//! either, that delta is asked for which would be of use. The commit in the superblock is checked
//! before any part is fetched; parts are unpacked while they come in.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use oxtree_format::delta::{DeltaName, Signed, Superblock, index};
use oxtree_format::{Checksum, Commit, CommitId, MAX_METADATA_SIZE, ObjectKind};
use oxtree_repo::delta::each_part;
use oxtree_repo::sign::{Subject, Verifier};
use oxtree_repo::{Progress, Transaction};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::fetch::{Download, Fetcher, Mirrors};
use super::objects::{Asker, PIECES, PieceReader, get_detached, send_pieces};
use super::policy::PullPolicy;
use super::wanted::Wanted;
use crate::error::{Error, Result, invalid};
use crate::pull::estimate::{DeltaReport, Estimate, best, is_whole, none_found};

/// The largest index that is fetched, in bytes.
const MAX_INDEX: u64 = 16 << 20;

/// Where it is said which deltas there are.
#[derive(Debug)]
pub(super) enum Announced {
    /// In an index for each commit.
    Indexed,
    /// In the summary.
    Listed(Vec<(DeltaName, Checksum)>),
    /// Nowhere.
    Unknown,
}

/// The deltas of a server.
#[derive(Debug)]
pub(super) struct Deltas<'a> {
    pub(super) fetcher: &'a Fetcher,
    /// Where detached metadata is.
    pub(super) signatures: &'a Mirrors,
    /// Where deltas are.
    pub(super) objects: &'a Mirrors,
    pub(super) announced: &'a Announced,
    pub(super) policy: &'a PullPolicy<'a>,
    /// Has to be content with each superblock's signatures.
    pub(super) verifier: Option<&'a dyn Verifier>,
    /// Each commit that is not whole here has to come by a delta.
    pub(super) required: bool,
}

/// What came by deltas.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) report: DeltaReport,
    /// The detached metadata that was asked for.
    pub(super) detached: HashMap<CommitId, Option<Vec<u8>>>,
}

/// A delta that is to be taken.
#[derive(Debug)]
struct Choice {
    name: DeltaName,
    /// The checksum of its superblock's file, if that is known.
    checksum: Option<Checksum>,
}

/// A delta whose superblock has come.
#[derive(Debug)]
struct Delta {
    /// The superblock, without signatures.
    bytes: Vec<u8>,
    /// The size of its file in bytes.
    size: u64,
    /// The commit's detached metadata.
    detached: Option<Vec<u8>>,
}

impl Delta {
    fn superblock(&self) -> Result<Superblock<'_>> {
        Superblock::parse(&self.bytes).map_err(|error| wrong(error.to_string()))
    }
}

impl Deltas<'_> {
    /// Stages what comes by deltas.
    pub(super) fn apply(
        &self,
        runtime: &Runtime,
        wanted: &[Wanted],
        transaction: &Transaction<'_>,
        progress: &dyn Progress,
    ) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let before = transaction.stats().content_bytes;
        for wanted in self.missing(wanted)? {
            let found = runtime.block_on(self.find(wanted, &mut outcome.report))?;
            let Some(delta) = found else { continue };
            let superblock = delta.superblock()?;
            transaction.check_delta_source(&superblock)?;
            progress.start("Fetching delta parts", Some(superblock.part_count() as u64));
            let applied = self.apply_parts(runtime, &superblock, transaction, progress);
            progress.finish();
            let (parts, bytes) = applied?;
            transaction.write_metadata(
                ObjectKind::Commit,
                superblock.commit,
                Some(wanted.commit.0),
            )?;
            outcome.report.parts += parts;
            outcome.report.bytes += bytes + delta.size;
            outcome.detached.insert(wanted.commit, delta.detached);
        }
        outcome.report.content = transaction.stats().content_bytes - before;
        Ok(outcome)
    }

    /// What [`Deltas::apply`] would do.
    pub(super) fn estimate(&self, runtime: &Runtime, wanted: &[Wanted]) -> Result<Estimate> {
        let mut estimate = Estimate::default();
        for wanted in self.missing(wanted)? {
            let found = runtime.block_on(self.find(wanted, &mut DeltaReport::default()))?;
            if let Some(delta) = found {
                estimate.add(self.policy.repo, &delta.superblock()?)?;
            }
        }
        Ok(estimate)
    }

    /// The commits that are not whole here, each once.
    fn missing<'w>(&self, wanted: &'w [Wanted]) -> Result<Vec<&'w Wanted>> {
        let mut seen = HashSet::new();
        let mut missing = Vec::new();
        for wanted in wanted {
            if seen.insert(wanted.commit) && !is_whole(self.policy.repo, wanted.commit)? {
                missing.push(wanted);
            }
        }
        Ok(missing)
    }

    /// The delta that brings a commit; [`None`] if it has to come otherwise.
    async fn find(&self, wanted: &Wanted, report: &mut DeltaReport) -> Result<Option<Delta>> {
        let delta = match self.choose(wanted, report).await? {
            Some(choice) => self.fetch(wanted, &choice, report).await?,
            None => None,
        };
        match delta {
            None if self.required => Err(none_found(wanted.commit)),
            delta => Ok(delta),
        }
    }

    async fn choose(&self, wanted: &Wanted, report: &mut DeltaReport) -> Result<Option<Choice>> {
        let (repo, to) = (self.policy.repo, wanted.commit);
        let current = match &wanted.name {
            Some(name) => self.policy.into.current(repo, name)?,
            None => None,
        };
        let indexed;
        let announced = match self.announced {
            Announced::Listed(deltas) => deltas,
            Announced::Indexed => {
                indexed = self.index(to).await?;
                report.loose += 1;
                &indexed
            }
            Announced::Unknown => {
                let of_use = match current {
                    Some(from) => from != to && is_whole(repo, from)?,
                    None => true,
                };
                let name = DeltaName { from: current, to };
                let checksum = None;
                return Ok(of_use.then_some(Choice { name, checksum }));
            }
        };
        let leading = || announced.iter().filter(|(name, _)| name.to == to);
        let best = best(repo, leading().map(|(name, _)| *name))?;
        // Who has the ref already lacks little of the commit, and a delta from scratch has all of it.
        let best = best.filter(|name| name.from.is_some() || current.is_none() || self.required);
        Ok(best.map(|best| Choice {
            name: best,
            checksum: leading().find_map(|(name, checksum)| (*name == best).then_some(*checksum)),
        }))
    }

    /// The deltas that lead to a commit, as its index has them.
    async fn index(&self, to: CommitId) -> Result<Vec<(DeltaName, Checksum)>> {
        let path = index::path(to);
        match self.fetcher.find(self.objects, &path, MAX_INDEX).await? {
            Some(bytes) => Ok(index::parse(&bytes).unwrap_or_else(|error| {
                tracing::warn!(
                    "the index of static deltas to {to} cannot be read, so none is used: {error}"
                );
                Vec::new()
            })),
            None => Ok(Vec::new()),
        }
    }

    /// Fetches a superblock, and checks it; [`None`] if there is none.
    async fn fetch(
        &self,
        wanted: &Wanted,
        choice: &Choice,
        report: &mut DeltaReport,
    ) -> Result<Option<Delta>> {
        let name = &choice.name;
        let path = format!("{}/superblock", name.folder());
        let found = self.fetcher.find(self.objects, &path, MAX_METADATA_SIZE);
        let Some(file) = found.await? else {
            return Ok(None);
        };
        report.loose += 1;
        if choice
            .checksum
            .is_some_and(|sum| sum != Checksum::of(&file))
        {
            return Err(invalid(format!("Invalid checksum for static delta {name}")));
        }
        let size = file.len() as u64;
        let bytes = self.unsigned(name, file)?;
        let alone = Arc::new(Semaphore::new(1));
        let asker = Asker::new(self.fetcher.clone(), MAX_METADATA_SIZE, alone);
        let mut delta = Delta {
            bytes,
            size,
            detached: get_detached(&asker, self.signatures, name.to).await?,
        };
        let superblock = delta.superblock()?;
        if superblock.name != *name {
            let other = superblock.name;
            return Err(wrong(format!("{name} says that it is {other}")));
        }
        if delta.detached.is_none() {
            let within = superblock.detached_metadata().map(<[u8]>::to_vec);
            delta.detached = within;
        }
        let superblock = delta.superblock()?;
        let commit = Commit::parse(superblock.commit).map_err(|error| wrong(error.to_string()))?;
        let detached = delta.detached.as_deref();
        let of_ref = wanted.name.as_ref();
        self.policy
            .check(name.to, superblock.commit, &commit, detached, of_ref)?;
        Ok(Some(delta))
    }

    /// The superblock without the signatures around it, which have to be good.
    fn unsigned(&self, name: &DeltaName, file: Vec<u8>) -> Result<Vec<u8>> {
        let signed = Signed::parse(&file).map_err(|error| wrong(format!("{name}: {error}")))?;
        let superblock = signed
            .as_ref()
            .map_or(&file[..], |signed| signed.superblock);
        if let Some(verifier) = self.verifier {
            let signatures = signed.as_ref().map(|signed| signed.signatures.to_bytes());
            verifier
                .verify(Subject::Delta(name.to), superblock, signatures.as_deref())
                .map_err(|error| invalid(error.to_string()))?;
        }
        Ok(match signed {
            Some(signed) => signed.superblock.to_vec(),
            None => file,
        })
    }

    /// Fetches the parts that make something new, and makes it.
    fn apply_parts(
        &self,
        runtime: &Runtime,
        superblock: &Superblock<'_>,
        transaction: &Transaction<'_>,
        progress: &dyn Progress,
    ) -> Result<(u64, u64)> {
        let folder = superblock.name.folder();
        each_part(superblock, transaction, |index, part| {
            if let Some(mut packed) = superblock.inline_part(index) {
                transaction.apply_delta_part(superblock, index, &mut packed)?;
            } else {
                let path = format!("{folder}/{index}");
                let (fetcher, from) = (self.fetcher.clone(), self.objects.clone());
                let download = Download::new(fetcher, from, path, part.size);
                let (sender, pieces) = tokio::sync::mpsc::channel(PIECES);
                runtime.spawn(send_pieces(download, sender));
                let mut packed = PieceReader::new(Vec::new(), pieces);
                let applied = transaction.apply_delta_part(superblock, index, &mut packed);
                packed.blame(applied.map_err(Into::into))?;
            }
            progress.advance(1);
            Ok(())
        })
    }
}

fn wrong(reason: impl std::fmt::Display) -> Error {
    invalid(format!("Parsing a static delta: {reason}"))
}
