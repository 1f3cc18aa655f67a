// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes static deltas.
//!
//! ```text
//!  plan ──► parts ──► threads: read, compare with the old file, pack ──► files in tmp/ ──► deltas/
//! ```
//!
//! 1. The plan lists the new objects, the old file that each is compared with, and the part it
//!    goes to. It holds no content. Objects are sorted by folder and by the ending of their names,
//!    so that similar ones are neighbours: this makes up for the small dictionary of 2 MiB. One of
//!    32 MiB, as in libostree's deltas, would need 370 MB per packer.
//! 2. Threads take parts. A thread writes each part straight into its packer, object by object. So
//!    it needs the memory of its packer and of two files that are compared. Lists of modes and
//!    attributes come first, as the plan knows them; operations come last.
//! 3. Old and new file are compared by [`crate::similar`], like in a push. The result is written
//!    as copies of runs or in bsdiff's format, whichever packs smaller. Pairs of more than 16 MiB
//!    are compared one at a time. Pairs larger than `max_bsdiff` are compared as streams, by
//!    checksums of chunks.
//! 4. All files of the delta appear by one rename. An older delta of the same name is replaced by
//!    exchanging the two folders.

mod encode;
mod pack;
mod part;
mod plan;
mod publish;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use oxtree_format::delta::{ByteOrder, DeltaName, NewPart, NewSuperblock};
use oxtree_format::detached::NewDetached;
use oxtree_format::{Commit, delta};

use self::encode::{Encoder, Large};
use self::plan::Plan;
use self::publish::Destination;
use crate::fs::tmpfile::TmpFile;
use crate::sign::{self, Signer};
use crate::{Error, LockKind, Progress, Repo, Result};

/// Packers that work at the same time at the most: each needs about 25 MB.
const PACKERS: usize = 8;

/// How a static delta is to be made. Sizes are in bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// Put the parts into the superblock.
    pub inline: bool,
    /// Make patches of files that have changed a little in many places.
    pub bsdiff: bool,
    /// Files that are larger and like no old one are left out, to be fetched one by one; [`None`] for none.
    pub min_fallback: Option<u64>,
    /// An old and a new file that have more together are not patched.
    pub max_bsdiff: u64,
    /// How much content a part may have, but for one file that is larger.
    pub max_chunk: u64,
    /// The order of the bytes of sizes.
    pub order: ByteOrder,
    /// The superblock's file, with the parts beside it; [`None`] for the repository.
    pub file: Option<PathBuf>,
    /// When the delta is made, in seconds since 1970.
    pub timestamp: u64,
}

/// libostree's, in the order of bytes that nearly everybody has.
impl Default for Options {
    fn default() -> Self {
        Self {
            inline: false,
            bsdiff: true,
            min_fallback: Some(4_000_000),
            max_bsdiff: 128_000_000,
            max_chunk: 32_000_000,
            order: ByteOrder::Little,
            file: None,
            timestamp: 0,
        }
    }
}

/// What a static delta that was made has in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Metadata objects, without the commit.
    pub metadata: usize,
    /// Regular files, those left out included.
    pub regular: usize,
    /// Symbolic links.
    pub symlinks: usize,
    /// Regular files that are like an old one.
    pub modified: usize,
    /// Of these, files of which parts are copied,
    pub copied: usize,
    /// and how many bytes of them are.
    pub copied_bytes: u64,
    /// Of these, files that are patched.
    pub patched: usize,
    /// Files that were left out, with their sizes in bytes.
    pub fallbacks: Vec<(oxtree_format::FileId, u64)>,
    /// The size of the content of all objects, in bytes.
    pub uncompressed: u64,
    /// The size of all parts, in bytes.
    pub compressed: u64,
    /// The size of the same objects as they are stored in the repository, in bytes.
    pub loose: u64,
}

impl Report {
    fn add(&mut self, part: &Self) {
        self.copied += part.copied;
        self.copied_bytes += part.copied_bytes;
        self.patched += part.patched;
    }
}

impl Repo {
    /// Makes a static delta, in the place of one of the same name. The commits have to be whole.
    pub fn generate_static_delta(
        &self,
        name: &DeltaName,
        options: &Options,
        signers: &[&dyn Signer],
        progress: &dyn Progress,
    ) -> Result<Report> {
        let lock = self.lock(LockKind::Shared)?;
        let commit = self.load_commit(name.to)?;
        Commit::parse(&commit).map_err(|error| Error::corrupt(name.to, error))?;
        let detached = self.load_detached_metadata(name.to)?;
        let plan = Plan::new(self, name, options)?;
        let mut report = plan.report.clone();
        let mut destination = Destination::new(self, name, options.file.as_deref())?;
        let mut parts = Vec::new();
        for (index, built) in build(self, &plan, &destination, progress)?
            .into_iter()
            .enumerate()
        {
            report.add(&built.report);
            report.compressed += built.part.size;
            let mut part = built.part;
            match options.inline {
                true => part.inline = Some(destination.read(&built.file)?),
                false => destination.add(&index.to_string(), built.file)?,
            }
            parts.push(part);
        }
        let superblock = NewSuperblock {
            name: *name,
            commit: &commit,
            detached: detached.as_deref(),
            timestamp: options.timestamp,
            order: options.order,
            parts,
            fallbacks: plan.fallbacks,
        }
        .into_bytes();
        let superblock = signed(superblock, signers)?;
        destination.publish(&superblock)?;
        drop(lock);
        Ok(report)
    }
}

fn signed(superblock: Vec<u8>, signers: &[&dyn Signer]) -> Result<Vec<u8>> {
    if signers.is_empty() {
        return Ok(superblock);
    }
    let mut signatures = NewDetached::new();
    sign::add_signatures(signers, &superblock, &mut signatures).map_err(Error::Signature)?;
    delta::sign(&superblock, &signatures).map_err(Error::invalid)
}

/// A part that was made.
struct Built<'d> {
    part: NewPart,
    file: TmpFile<'d>,
    report: Report,
}

/// Makes all parts, on all cores.
fn build<'d>(
    repo: &Repo,
    plan: &Plan,
    destination: &'d Destination<'_>,
    progress: &dyn Progress,
) -> Result<Vec<Built<'d>>> {
    progress.start("Generating static delta", Some(plan.report.uncompressed));
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let large = Large::default();
    let work = || -> Result<Vec<(usize, Built<'d>)>> {
        let mut encoder = Encoder::new(repo, plan, &large);
        let mut built = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(items) = plan.parts().nth(index) else {
                break;
            };
            let part = part::build(&mut encoder, items, destination.new_file()?, progress);
            failed.fetch_or(part.is_err(), Ordering::Relaxed);
            built.push((index, part?));
        }
        Ok(built)
    };
    let workers = PACKERS
        .min(rayon::current_num_threads())
        .min(plan.parts().len());
    let mut built = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut built = Vec::new();
        for worker in workers {
            let crashed = |_| Error::Invalid("a thread that makes a delta crashed".to_owned());
            built.extend(worker.join().map_err(crashed)??);
        }
        Ok::<_, Error>(built)
    })?;
    progress.finish();
    built.sort_unstable_by_key(|(index, _)| *index);
    Ok(built.into_iter().map(|(_, built)| built).collect())
}
