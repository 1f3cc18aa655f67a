// SPDX-License-Identifier: MIT OR Apache-2.0
//! Upload batches: the parts of a push that go in a request each. A batch can refer to an object of
//! an earlier one only after the receiver has confirmed that one.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::jobs::Job;

/// How large batches are: each is larger than the one before it, up to a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Bytes of the first, as they are stored.
    pub(super) first: u64,
    /// The most bytes, but that an object is never parted.
    pub(super) most: u64,
}

/// Which jobs go together.
#[derive(Debug)]
pub(super) struct Batches {
    /// Of each, the job after its last.
    ends: Vec<usize>,
}

impl Batches {
    /// Puts jobs together, in their order.
    pub(super) fn new(jobs: &[Job], sizes: Option<Sizes>) -> Self {
        let mut ends = Vec::new();
        let mut size = sizes.map_or(u64::MAX, |sizes| sizes.first);
        let mut bytes = 0;
        for (at, job) in jobs.iter().enumerate() {
            // The others may wait until the answer to the first one tells what the link is like.
            let first = sizes.is_some() && at == 1 && jobs[0].as_stored;
            if first || (bytes > 0 && bytes + job.bytes > size) {
                ends.push(at);
                bytes = 0;
                size = sizes.map_or(size, |sizes| (2 * size).min(sizes.most));
            }
            bytes += job.bytes;
        }
        if !jobs.is_empty() {
            ends.push(jobs.len());
        }
        Self { ends }
    }

    /// In which batch a job is.
    pub(super) fn of_job(&self, job: usize) -> usize {
        self.ends.partition_point(|end| *end <= job)
    }

    /// The batch that ends with this job.
    pub(super) fn ended_by(&self, job: usize) -> Option<usize> {
        self.ends.binary_search(&(job + 1)).ok()
    }
}

/// The batches that the receiver has said it has.
#[derive(Debug, Default)]
pub(super) struct Arrived(Mutex<BTreeSet<usize>>);

impl Arrived {
    /// Notes that it has this one.
    pub(super) fn note(&self, batch: usize) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(batch);
    }

    /// Whether it has this one.
    pub(super) fn has(&self, batch: usize) -> bool {
        let arrived = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.contains(&batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_put_together_and_never_parted() {
        let job = |bytes| Job {
            bytes,
            ..Job::default()
        };
        let jobs = [5, 1, 1, 1, 3, 9, 1, 1].map(job);
        let sizes = Sizes { first: 2, most: 4 };
        let batches = Batches::new(&jobs, Some(sizes));
        assert_eq!(batches.ends, [1, 4, 5, 6, 8]);
        assert_eq!(batches.of_job(0), 0);
        assert_eq!(batches.of_job(3), 1);
        assert_eq!(batches.of_job(7), 4);
        assert_eq!(batches.ended_by(3), Some(1));
        assert_eq!(batches.ended_by(2), None);
        assert_eq!(Batches::new(&jobs, None).ends, [8]);
        let first = Job {
            as_stored: true,
            ..Job::default()
        };
        let jobs = [first, Job::default()];
        assert_eq!(Batches::new(&jobs, Some(sizes)).ends, [1, 2]);
        assert_eq!(Batches::new(&[], None).ends, [0; 0]);
    }
}
