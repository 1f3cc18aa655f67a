// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much two commits have in common.

use std::collections::HashSet;

use oxtree_format::{CommitId, ObjectId};
use rayon::prelude::*;

use crate::{Repo, Result, traverse};

/// The objects of two commits, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectCounts {
    /// Objects of the first.
    pub a: usize,
    /// Objects of the second.
    pub b: usize,
    /// Objects of both.
    pub common: usize,
    /// Bytes that these take in the repository.
    pub common_size: u64,
}

/// Counts the objects of two commits, and those that both have.
pub fn count_objects(repo: &Repo, a: CommitId, b: CommitId) -> Result<ObjectCounts> {
    let of_a: HashSet<ObjectId> = traverse::all_objects(repo, a)?.into_iter().collect();
    let mut of_b = traverse::all_objects(repo, b)?;
    let mut counts = ObjectCounts {
        a: of_a.len(),
        b: of_b.len(),
        ..ObjectCounts::default()
    };
    of_b.retain(|object| of_a.contains(object));
    counts.common = of_b.len();
    counts.common_size = of_b
        .par_iter()
        .map(|object| repo.stored_size(object))
        .try_reduce(|| 0, |a, b| Ok(a + b))?;
    Ok(counts)
}
