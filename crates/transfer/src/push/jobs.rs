// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is sent together, and in which order.

use oxtree_format::{ObjectId, ObjectKind};

use super::object::Source;
use crate::error::Result;

/// Objects larger than this are jobs of their own.
const SMALL: u64 = 256 << 10;

/// About so many bytes of small objects make a job.
const BATCH: u64 = 512 << 10;

/// Of objects larger than this, one at a time is patched: base and content are held in memory.
pub(super) const LARGE: u64 = 768 << 10;

/// Objects that are read by one thread, one after the other.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub(super) objects: Vec<(ObjectId, u64)>,
    pub(super) bytes: u64,
    /// A file of an archive that would be no smaller however it were packed.
    pub(super) as_stored: bool,
}

/// Makes jobs of all objects: the bulkiest first of those that pack badly, while the link is still
/// unknown; then metadata, and files in the order of the tree. The other bulky ones are spread over these:
/// they keep the link busy while the rest keeps the processors busy.
pub(super) fn jobs(source: &Source<'_>, objects: &[(ObjectId, u64)]) -> Result<Vec<Job>> {
    let (mut bulky, mut files, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
    for (id, size) in objects {
        if id.kind != ObjectKind::File {
            metadata.push((*id, *size));
        } else if *size > LARGE && source.is_incompressible(*id, *size)? {
            bulky.push((*id, *size));
        } else {
            files.push((*id, *size));
        }
    }
    bulky.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let mut rest = Vec::new();
    batch(metadata, &mut rest);
    batch(files, &mut rest);
    let every = rest.len() / bulky.len().max(1) + 1;
    let mut bulky = bulky.into_iter().map(|(id, size)| Job {
        objects: vec![(id, size)],
        bytes: size,
        as_stored: true,
    });
    let mut jobs = Vec::new();
    for (at, job) in rest.into_iter().enumerate() {
        if at % every == 0 {
            jobs.extend(bulky.next());
        }
        jobs.push(job);
    }
    jobs.extend(bulky);
    Ok(jobs)
}

fn batch(objects: Vec<(ObjectId, u64)>, jobs: &mut Vec<Job>) {
    let mut job = Job::default();
    for (id, size) in objects {
        if size > SMALL || job.bytes + size > BATCH {
            jobs.extend(Some(std::mem::take(&mut job)).filter(|job| !job.objects.is_empty()));
        }
        job.objects.push((id, size));
        // A record's head, and the header of a bare file, are not free either.
        job.bytes += size + 128;
    }
    jobs.extend(Some(job).filter(|job| !job.objects.is_empty()));
}
