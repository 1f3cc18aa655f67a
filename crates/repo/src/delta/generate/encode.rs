// SPDX-License-Identifier: MIT OR Apache-2.0
//! How an object is written into a part: whole, as copies of runs of an old file, or as a patch of it.

use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use oxtree_format::delta::patch;
use oxtree_format::{FileHeader, FileId};

use super::Report;
use super::pack::Packer;
use super::part::Lists;
use super::plan::{Item, Plan, What};
use crate::similar::{Run, Step, Table, matches};
use crate::{Error, Repo, Result};

/// Places in the table of an old file, as a power of two: 4 MiB.
const TABLE_BITS: u32 = 20;

/// The same for a large one: 16 MiB.
const LARGE_TABLE_BITS: u32 = 22;

/// Files that have more bytes together are compared one after the other.
const LARGE: u64 = 16 << 20;

/// Up to this size a file is patched, not copied: what is the same packs to nothing, and copies have an
/// operation each.
const SMALL: usize = 64 << 10;

/// What a copy costs, in bytes: its operations, which hardly pack.
const COPY: u64 = 14;

/// Runs that are shorter are not copied.
const SHORTEST: usize = 64;

/// Differences that are written at a time.
const PIECE: usize = 64 << 10;

/// Writes objects into parts, one after the other.
pub(super) struct Encoder<'p> {
    repo: &'p Repo,
    plan: &'p Plan,
    large: &'p Large,
    table: Table,
}

/// What is needed to compare large files. Few are large; all of them at once could fill the memory.
#[derive(Debug, Default)]
pub(super) struct Large(Mutex<Option<Table>>);

/// How a file that is like an old one is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Whole,
    Copies,
    Patch,
}

impl<'p> Encoder<'p> {
    pub(super) fn new(repo: &'p Repo, plan: &'p Plan, large: &'p Large) -> Self {
        let table = Table::new(TABLE_BITS);
        Self {
            repo,
            plan,
            large,
            table,
        }
    }

    /// For `map_err`: what was being written when it failed.
    pub(super) fn io(&self) -> impl FnOnce(io::Error) -> Error + use<'p> {
        Error::io("making a static delta in", self.repo.path())
    }

    /// Writes an object, with its operations.
    pub(super) fn encode(
        &mut self,
        item: &Item,
        lists: &Lists,
        to: &mut Packer<'_>,
        report: &mut Report,
    ) -> Result<()> {
        let id = FileId(item.object.checksum);
        let start = to.blob();
        match &item.what {
            What::Metadata => {
                let bytes = self.repo.load_metadata(&item.object)?;
                to.write_all(&bytes).map_err(self.io())?;
                to.operations.metadata(start..to.blob());
                Ok(())
            }
            What::Whole(header) => self.whole(id, header, lists, to),
            What::Modified {
                header,
                base,
                together,
            } => {
                let large = &self.large.0;
                let mut large = (*together > LARGE)
                    .then(|| large.lock().unwrap_or_else(PoisonError::into_inner));
                let old = self.content(*base)?;
                let new = self.content(id)?;
                let table = match large.as_deref_mut() {
                    Some(table) => table.get_or_insert_with(|| Table::new(LARGE_TABLE_BITS)),
                    None => &mut self.table,
                };
                let steps = matches(table, &old, &new);
                let patch = self.plan.bsdiff && *together <= self.plan.max_bsdiff;
                let (mode, xattrs) = lists.places(header);
                match way(&steps, new.len(), patch) {
                    Way::Whole => {
                        to.write_all(&new).map_err(self.io())?;
                        to.operations.whole(mode, xattrs, start..to.blob());
                    }
                    way => {
                        to.write_all(base.as_bytes()).map_err(self.io())?;
                        if way == Way::Patch {
                            to.operations.source(start);
                            to.operations.open(mode, xattrs, item.size);
                            let begin = to.blob();
                            write_patch(&steps, &old, &new, to).map_err(self.io())?;
                            to.operations.patch(begin..to.blob());
                            report.patched += 1;
                        } else {
                            to.operations.open(mode, xattrs, item.size);
                            let runs = runs(&steps);
                            copies(&runs, start, &mut &new[..], to).map_err(self.io())?;
                            report.copied += 1;
                            report.copied_bytes += same(&runs);
                        }
                        to.operations.close();
                        to.operations.no_source();
                    }
                }
                drop(large);
                Ok(())
            }
            What::Chunks { header, base, runs } => {
                let (mode, xattrs) = lists.places(header);
                to.write_all(base.as_bytes()).map_err(self.io())?;
                to.operations.open(mode, xattrs, item.size);
                let mut new = self.repo.open_file(id)?.content;
                copies(runs, start, &mut new, to).map_err(self.io())?;
                to.operations.close();
                to.operations.no_source();
                report.copied += 1;
                report.copied_bytes += same(runs);
                Ok(())
            }
        }
    }

    fn whole(
        &self,
        id: FileId,
        header: &FileHeader,
        lists: &Lists,
        to: &mut Packer<'_>,
    ) -> Result<()> {
        let start = to.blob();
        match &header.symlink {
            Some(target) => to.write_all(target.as_bytes()).map_err(self.io())?,
            None => {
                let mut file = self.repo.open_file(id)?;
                let copied = io::copy(&mut file.content, to).map_err(self.io())?;
                if copied != file.size {
                    return Err(Error::corrupt(id, "content of another size than it says"));
                }
            }
        }
        let (mode, xattrs) = lists.places(header);
        to.operations.whole(mode, xattrs, start..to.blob());
        Ok(())
    }

    fn content(&self, id: FileId) -> Result<Vec<u8>> {
        let mut file = self.repo.open_file(id)?;
        let mut bytes = Vec::with_capacity(usize::try_from(file.size).unwrap_or(0) + 1);
        file.content.read_to_end(&mut bytes).map_err(self.io())?;
        Ok(bytes)
    }
}

/// What costs least. Packed, new bytes become less than half, and differences an eighth.
fn way(steps: &[Step], size: usize, patch: bool) -> Way {
    let sum = |of: fn(&Step) -> usize| steps.iter().map(of).sum::<usize>() as u64;
    let (fresh, alike) = (sum(|step| step.fresh), sum(|step| step.alike));
    let size_packed = size as u64 * 2 / 5;
    let patched = fresh * 2 / 5 + alike / 8 + steps.len() as u64 * 8 + size as u64 / 2000;
    let runs = runs(steps);
    let copied = (size as u64 - same(&runs)) * 2 / 5 + runs.len() as u64 * COPY;
    let worth_it = |cost: u64| cost < size_packed * 9 / 10;
    if patch && (size <= SMALL || patched < copied) && worth_it(patched) {
        Way::Patch
    } else if worth_it(copied) {
        Way::Copies
    } else {
        Way::Whole
    }
}

/// The steps as runs to copy and new ones between them.
fn runs(steps: &[Step]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut at = 0_u64;
    for step in steps {
        at = at.saturating_add_signed(step.seek) + step.alike as u64;
        let (fresh, same) = (step.fresh + step.alike, step.same);
        let copy = same >= SHORTEST;
        let fresh = if copy { fresh } else { fresh + same } as u64;
        match runs.last_mut() {
            _ if fresh == 0 => {}
            Some(Run::Fresh(len)) => *len += fresh,
            _ => runs.push(Run::Fresh(fresh)),
        }
        let len = same as u64;
        match runs.last_mut() {
            _ if !copy => {}
            Some(Run::Same {
                offset,
                len: before,
            }) if *offset + *before == at => *before += len,
            _ => runs.push(Run::Same { offset: at, len }),
        }
        at += len;
    }
    runs
}

/// How many bytes are copied.
fn same(runs: &[Run]) -> u64 {
    let len = |run: &Run| match run {
        Run::Fresh(_) => 0,
        Run::Same { len, .. } => *len,
    };
    runs.iter().map(len).sum()
}

/// Writes the new runs of a content to the blob, and the operations for all of them. `source` is where
/// the old file's checksum is in the blob.
fn copies(
    runs: &[Run],
    source: u64,
    content: &mut dyn Read,
    to: &mut Packer<'_>,
) -> io::Result<()> {
    let mut from_source = false;
    for run in runs {
        match *run {
            Run::Fresh(len) => {
                if std::mem::replace(&mut from_source, false) {
                    to.operations.no_source();
                }
                let start = to.blob();
                if io::copy(&mut content.take(len), to)? != len {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                to.operations.write(start, len);
            }
            Run::Same { offset, len } => {
                if !std::mem::replace(&mut from_source, true) {
                    to.operations.source(source);
                }
                io::copy(&mut content.take(len), &mut io::sink())?;
                to.operations.write(offset, len);
            }
        }
    }
    Ok(())
}

/// Writes a patch to the blob.
fn write_patch(steps: &[Step], old: &[u8], new: &[u8], to: &mut Packer<'_>) -> io::Result<()> {
    let (mut at, mut from) = (0_usize, 0_usize);
    let mut differences = Vec::with_capacity(PIECE);
    for step in patch_steps(steps) {
        to.write_all(&step.to_bytes())?;
        let (alike, fresh) = (step.alike as usize, step.fresh as usize);
        let pieces = new[at..at + alike].chunks(PIECE);
        for (new, old) in pieces.zip(old[from..].chunks(PIECE)) {
            differences.clear();
            let pairs = new.iter().zip(old);
            differences.extend(pairs.map(|(new, old)| new.wrapping_sub(*old)));
            to.write_all(&differences)?;
        }
        at += alike;
        to.write_all(&new[at..at + fresh])?;
        at += fresh;
        // Within the old file, as it was when the step was made.
        from = (from + alike).saturating_add_signed(step.seek as isize);
    }
    Ok(())
}

/// The steps as bsdiff has them: what is new comes after what is alike, and the seek last.
fn patch_steps(steps: &[Step]) -> Vec<patch::Step> {
    let mut patch: Vec<patch::Step> = vec![patch::Step::default()];
    for step in steps {
        let alike = (step.alike + step.same) as u64;
        if let Some(last) = patch.last_mut() {
            if step.fresh == 0 && step.seek == 0 && last.fresh == 0 {
                last.alike += alike;
                continue;
            }
            last.fresh += step.fresh as u64;
            last.seek += step.seek;
        }
        patch.push(patch::Step {
            alike,
            ..patch::Step::default()
        });
    }
    patch.retain(|step| *step != patch::Step::default());
    patch
}
