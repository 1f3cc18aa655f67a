// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes patches.
//!
//! On 506 MB of files changed by a Debian upgrade, patches packed by `zstd -6` take 0.136 of the
//! content. On a sample, they take 0.097 where `zstd -9 --patch-from` takes 0.107. Subtracting
//! bytes also avoids decoder dictionaries, which the safe decoder lacks for plain content.

use oxtree_repo::similar::{Step, Table, matches};

use super::put_step;

/// Differences that are written at a time.
const PIECE: usize = 64 << 10;

/// A patch, as long as the content and its base are at hand.
#[derive(Debug)]
pub struct Patch {
    steps: Vec<Step>,
}

impl Patch {
    /// Finds what `content` has in common with `base`.
    pub fn new(base: &[u8], content: &[u8]) -> Self {
        Self::with(&mut Table::default(), base, content)
    }

    /// The same with a table that was used before: its memory is used again.
    pub fn with(table: &mut Table, base: &[u8], content: &[u8]) -> Self {
        Self {
            steps: matches(table, base, content),
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        let mut head = Vec::new();
        let mut bytes = 0;
        for step in &self.steps {
            put_step(step, &mut head);
            bytes += (step.fresh + step.alike) as u64;
        }
        bytes + head.len() as u64
    }

    /// True if there is not one step.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many bytes of the content have something alike in the base.
    pub fn alike(&self) -> u64 {
        self.steps
            .iter()
            .map(|step| (step.alike + step.same) as u64)
            .sum()
    }

    /// Writes the patch, whose base and content are the ones that it was made of.
    pub fn write(&self, base: &[u8], content: &[u8], to: &mut impl FnMut(&[u8])) {
        let (mut at, mut from) = (0, 0usize);
        let mut head = Vec::new();
        let mut differences = Vec::new();
        for step in &self.steps {
            head.clear();
            put_step(step, &mut head);
            to(&head);
            to(&content[at..at + step.fresh]);
            at += step.fresh;
            // Within the base, as it was when the step was made.
            from = from.wrapping_add_signed(step.seek as isize);
            let alike = content[at..at + step.alike].chunks(PIECE);
            for (new, old) in alike.zip(base[from..].chunks(PIECE)) {
                differences.clear();
                differences.extend(new.iter().zip(old).map(|(new, old)| new.wrapping_sub(*old)));
                to(&differences);
            }
            at += step.alike + step.same;
            from += step.alike + step.same;
        }
    }
}
