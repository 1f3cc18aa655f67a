// SPDX-License-Identifier: MIT OR Apache-2.0
//! Applies a part of a delta: turns it into objects of a transaction.
//!
//! All operations are read and checked first, and become one recipe per object. Recipes do not
//! depend on each other, so all cores carry them out, each as a stream into
//! `Transaction::write_file`.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use oxtree_format::delta::part::{self, Made, Piece, Recipe};
use oxtree_format::delta::{Part, Superblock};
use oxtree_format::{FileHeader, FileId, MAX_METADATA_SIZE, ObjectKind, file};
use rayon::prelude::*;

use super::content::Content;
use super::payload::{Payload, invalid};
use crate::object::stored::is_symlink;
use crate::{Error, Result, Transaction, traverse};

/// Parts that are unpacked at the same time: each needs its dictionary.
const UNPACKERS: usize = 2;

impl Transaction<'_> {
    /// Checks that the commit that a delta needs is there.
    pub fn check_delta_source(&self, delta: &Superblock<'_>) -> Result<()> {
        match delta.name.from {
            Some(from) if !traverse::Objects::has(self, &from.object())? => Err(Error::Invalid(
                format!("Commit {from}, which is the delta source, is not in repository"),
            )),
            _ => Ok(()),
        }
    }

    /// Writes the commit that a delta leads to, and its detached metadata if the commit is new. That all of
    /// it is there is for the caller to see to.
    pub fn write_delta_commit(&self, delta: &Superblock<'_>) -> Result<()> {
        let to = delta.name.to;
        if traverse::Objects::has(self, &to.object())? {
            return Ok(());
        }
        if let Some(detached) = delta.detached_metadata() {
            self.write_detached_metadata(to, detached)?;
        }
        self.write_metadata(ObjectKind::Commit, delta.commit, Some(to.0))?;
        Ok(())
    }

    /// Makes the objects of a part (counted from 0) of `packed`, the bytes of the part's file. All of them are
    /// read, and have to be what the superblock promises. Objects that are there already are not made
    /// again. Parts do not need each other.
    pub fn apply_delta_part(
        &self,
        delta: &Superblock<'_>,
        index: usize,
        packed: &mut dyn Read,
    ) -> Result<()> {
        let wrong = |reason: String| Error::Format {
            path: format!("{}/{index}", delta.name.folder()).into(),
            reason,
        };
        let part = delta
            .part(index)
            .ok_or_else(|| wrong("no such part".to_owned()))?;
        if part.version > 0 {
            let version = part.version;
            return Err(wrong(format!("Delta part has too new version {version}")));
        }
        let blame = |error: io::Error| match error.downcast::<Error>() {
            // Of the repository, not of the part.
            Ok(error) => error,
            Err(error) => wrong(error.to_string()),
        };
        let payload = Payload::unpack(self, &part, packed).map_err(blame)?;
        let recipes = part::recipes(&payload.operations, part.objects, payload.blob_len)
            .map_err(|error| wrong(error.to_string()))?;
        let needed = recipes
            .iter()
            .map(|recipe| size(recipe, &payload))
            .fold(0, u64::saturating_add);
        if needed > part.content_size {
            let promised = part.content_size;
            return Err(wrong(format!(
                "its objects have more than the {promised} bytes promised"
            )));
        }
        recipes.into_par_iter().try_for_each(|recipe| {
            let object = recipe.object;
            self.make(&payload, recipe).map_err(|error| {
                blame(match error.get_ref() {
                    Some(cause) if !cause.is::<Error>() => invalid(format!("{object}: {cause}")),
                    _ => error,
                })
            })
        })
    }

    fn make(&self, payload: &Payload<'_>, recipe: Recipe<'_>) -> io::Result<()> {
        let object = recipe.object;
        if self.has_staged(&object).map_err(io::Error::other)? {
            return Ok(());
        }
        let id = Some(FileId(object.checksum));
        let written = match recipe.made {
            Made::Metadata(range) => {
                if range.end - range.start > MAX_METADATA_SIZE {
                    return Err(invalid("too large for metadata"));
                }
                let bytes = payload.blob(range)?;
                self.write_metadata(object.kind, &bytes, Some(object.checksum))
            }
            Made::Whole {
                mode,
                xattrs,
                content,
            } => {
                let mut header = payload.header(mode, xattrs)?;
                let mut size = content.end - content.start;
                if is_symlink(header.mode) {
                    if size > file::MAX_HEADER_LEN as u64 {
                        return Err(invalid("too long for the target of a link"));
                    }
                    let target = payload.blob(content.clone())?;
                    header.symlink = Some(String::from_utf8(target).map_err(invalid)?);
                    size = 0;
                }
                let mut content = Content::new(self, payload, [Piece::Blob(content)].into_iter());
                self.write_file(&checked(header)?, size, &mut content, id)
                    .map(|id| id.0)
            }
            Made::Pieces {
                mode,
                xattrs,
                size,
                pieces,
            } => {
                let header = checked(payload.header(mode, xattrs)?)?;
                let mut content = Content::new(self, payload, pieces);
                self.write_file(&header, size, &mut content, id)
                    .map(|id| id.0)
            }
        };
        written.map(drop).map_err(io::Error::other)
    }
}

/// Whether all objects that a part makes are there: then it is of no use.
pub fn has_part(objects: &impl traverse::Objects, part: &Part<'_>) -> Result<bool> {
    for object in part.objects.iter() {
        if !objects.has(&object)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Lets `apply` turn each part (counted from 0) into objects of `transaction` that makes something new there, a
/// few at a time. Returns how many there were, and the size of their files in bytes.
pub fn each_part<E: From<Error> + Send>(
    superblock: &Superblock<'_>,
    transaction: &Transaction<'_>,
    apply: impl Fn(usize, &Part<'_>) -> Result<(), E> + Sync,
) -> Result<(u64, u64), E> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (count, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let one = |index: usize, part: &Part<'_>| {
        if has_part(transaction, part)? {
            return Ok(());
        }
        count.fetch_add(1, Ordering::Relaxed);
        bytes.fetch_add(part.size, Ordering::Relaxed);
        apply(index, part)
    };
    let work = || -> Result<(), E> {
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = superblock.part(index) else {
                break;
            };
            let done = one(index, &part);
            failed.fetch_or(done.is_err(), Ordering::Relaxed);
            done?;
        }
        Ok(())
    };
    let workers = UNPACKERS.min(superblock.part_count());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            let crashed = |_| Error::Invalid("a thread that applies a delta crashed".to_owned());
            worker.join().map_err(crashed)?
        })
    })?;
    Ok((count.into_inner(), bytes.into_inner()))
}

/// The size of the content of what a recipe makes, in bytes. A link has none.
fn size(recipe: &Recipe<'_>, payload: &Payload<'_>) -> u64 {
    match &recipe.made {
        Made::Metadata(range) => range.end - range.start,
        Made::Whole { mode, .. } if payload.mode(*mode).is_some_and(is_symlink) => 0,
        Made::Whole { content, .. } => content.end - content.start,
        Made::Pieces { size, .. } => *size,
    }
}

/// A header that a file can have.
fn checked(header: FileHeader) -> io::Result<FileHeader> {
    FileHeader::parse(&header.to_bytes()).map_err(invalid)
}
