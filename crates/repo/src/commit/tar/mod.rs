// SPDX-License-Identifier: MIT OR Apache-2.0
//! Laying a tar stream over a tree.
//!
//! One thread reads the stream; small files are handed to the threads of the pool, which hash,
//! deflate and write them, never more than a few megabytes ahead. What each member does to the
//! tree is noted, and done in the order of the stream once all files have their ids. Hard links
//! come last, since a link may stand before what it links to.

mod apply;
mod budget;
mod cpio;
mod entry;
mod rename;
mod sparse;
mod stream;
mod unpack;

use std::io::{BufReader, Cursor, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use oxtree_format::{DirMetaId, FileHeader, FileId};
use rayon::Scope;

use self::budget::Budget;
use self::entry::{Kind, Member};
use self::stream::Stream;
use super::modifier::{CommitModifier, Verdict};
use super::walk::store_dirmeta;
use crate::mtree::MutableTree;
use crate::object::write::in_memory;
use crate::{Error, Result, Transaction};

/// Bytes of files that are in memory at a time.
const IN_FLIGHT: u64 = 16 << 20;

pub use self::rename::PathFilter;

/// How a tar stream is read.
#[derive(Clone, Debug, Default)]
pub struct TarOptions {
    /// Directories that a member needs and that are not there are made, with the member's owner
    /// and mode 0755. libostree also gives this to those on the way that are there already.
    pub autocreate_parents: bool,
    /// Names of members, and what hard links lead to, are rewritten by this before anything else
    /// is done with them.
    pub filter: Option<PathFilter>,
}

/// Lays the tar `stream` (or cpio; plain, or packed by gzip, bzip2, xz, lzma, lzip or zstd) over `tree`, and
/// reads it to its end. `path` is what messages call it. Gives what is worth a warning.
pub fn add_tar(
    stream: &mut dyn Read,
    path: &Path,
    options: &TarOptions,
    modifier: &CommitModifier,
    tree: &mut MutableTree,
    transaction: &Transaction<'_>,
) -> Result<Vec<String>> {
    let stream = BufReader::with_capacity(128 << 10, Uninterrupted(stream));
    let stream = unpack::unpack(stream).map_err(Error::io("reading", path))?;
    let importer = Importer {
        path,
        filter: options.filter.as_ref(),
        modifier,
        transaction,
        budget: Budget::new(IN_FLIGHT),
        stored: Mutex::default(),
        failed: AtomicBool::new(false),
    };
    let (steps, notes) = rayon::in_place_scope(|scope| importer.read(stream, scope))?;
    let stored = importer
        .stored
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    // Each has its outcome once the scope has ended.
    let stored: Vec<FileId> = stored.into_iter().flatten().collect::<Result<_>>()?;
    apply::apply(steps, &stored, options, tree, transaction)?;
    Ok(notes)
}

/// Tries again when a signal interrupts: not every decoder would.
struct Uninterrupted<'r>(&'r mut dyn Read);

impl Read for Uninterrupted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

/// Reads all members of an archive and what they hold, for tests with damaged ones.
#[doc(hidden)]
pub fn read_archive(bytes: &[u8]) -> std::io::Result<Vec<String>> {
    let stream = unpack::unpack(bytes)?;
    let mut stream = open(stream.take(64 << 20))?;
    while let Some(raw) = stream.next()? {
        let size = raw.size;
        let member = Member::new(raw, None).map_err(std::io::Error::other)?;
        let mut content = stream.content(size);
        if let Kind::File(sparse) = member.kind {
            let content = sparse.reader(&mut content).map_err(std::io::Error::other)?;
            std::io::copy(&mut content.take(64 << 20), &mut std::io::sink())?;
        }
    }
    stream.finish()
}

/// The members of `stream`, in whichever of the formats it is.
fn open<R: Read>(mut stream: R) -> std::io::Result<Stream<std::io::Chain<Cursor<Vec<u8>>, R>>> {
    let mut start = Vec::new();
    (&mut stream)
        .take(cpio::MAGIC as u64)
        .read_to_end(&mut start)?;
    let is_cpio = cpio::is_cpio(&start);
    let stream = Cursor::new(start).chain(stream);
    Ok(match is_cpio {
        true => Stream::cpio(stream),
        false => Stream::new(stream),
    })
}

/// What a member does to the tree.
struct Step {
    /// Where, the names of all directories on the way first; empty for the root.
    path: Vec<String>,
    /// Whom directories belong to that have to be made.
    owner: (u32, u32),
    what: What,
}

enum What {
    Dir(DirMetaId),
    /// The number of a stored file.
    File(usize),
    Link(Vec<String>),
}

struct Importer<'a> {
    path: &'a Path,
    filter: Option<&'a PathFilter>,
    modifier: &'a CommitModifier,
    transaction: &'a Transaction<'a>,
    budget: Budget,
    /// The outcome for each file, in the order of the stream.
    stored: Mutex<Vec<Option<Result<FileId>>>>,
    /// One of them is an error: no need to read on.
    failed: AtomicBool,
}

impl Importer<'_> {
    /// Reads the whole stream. Also gives what is worth a warning.
    fn read<'s>(
        &'s self,
        stream: Box<dyn Read + '_>,
        scope: &Scope<'s>,
    ) -> Result<(Vec<Step>, Vec<String>)> {
        let mut stream = open(stream).map_err(Error::io("reading", self.path))?;
        let mut steps = Vec::new();
        while let Some(raw) = stream.next().map_err(Error::io("reading", self.path))? {
            let size = raw.size;
            let member = Member::new(raw, self.filter).map_err(|reason| self.bad(reason))?;
            steps.extend(self.step(member, &mut stream.content(size), scope)?);
            if self.failed.load(Ordering::Relaxed) {
                return Ok((steps, Vec::new()));
            }
        }
        let notes = stream.finish().map_err(Error::io("reading", self.path))?;
        Ok((steps, notes))
    }

    /// Stores what a member holds; [`None`] if it is skipped.
    fn step<'s>(
        &'s self,
        member: Member,
        content: &mut dyn Read,
        scope: &Scope<'s>,
    ) -> Result<Option<Step>> {
        let Member {
            path,
            mut attributes,
            kind,
        } = member;
        let owner = (attributes.uid, attributes.gid);
        let inside = format!("/{}", path.join("/"));
        let mode = self.transaction.repo().mode();
        if self.modifier.apply(&inside, &mut attributes, mode)? == Verdict::Skip {
            return Ok(None);
        }
        let what = match kind {
            Kind::Dir => What::Dir(store_dirmeta(self.transaction, &attributes.into())?),
            Kind::Link(target) => What::Link(target),
            _ if path.is_empty() => {
                return Err(self.bad("Can't import file as root".to_owned()));
            }
            Kind::Symlink(target) => {
                let header = attributes.into_header(Some(target));
                let id = self.transaction.write_file_bytes(&header, &[], None)?;
                What::File(self.push(Some(Ok(id))))
            }
            Kind::File(sparse) => {
                let header = attributes.into_header(None);
                let mut content = sparse
                    .reader(content)
                    .map_err(|reason| self.bad(format!("{inside}: {reason}")))?;
                let size = content.size();
                What::File(self.store(header, &mut content, size, scope)?)
            }
        };
        Ok(Some(Step { path, owner, what }))
    }

    /// Stores a regular file, here and now if it is big, else in another thread.
    fn store<'s>(
        &'s self,
        header: FileHeader,
        content: &mut dyn Read,
        size: u64,
        scope: &Scope<'s>,
    ) -> Result<usize> {
        if size > in_memory() {
            let id = self
                .transaction
                .write_file_stream(&header, content, size, self.path)?;
            return Ok(self.push(Some(Ok(id))));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        content
            .read_to_end(&mut bytes)
            .map_err(Error::io("reading", self.path))?;
        if bytes.len() as u64 != size {
            return Err(self.bad("the stream ends within a file".to_owned()));
        }
        let number = self.push(None);
        // Even the empty file takes some memory while it waits.
        let share = self.budget.take(size + 1024);
        scope.spawn(move |_| {
            let id = self.transaction.write_file_bytes(&header, &bytes, None);
            if id.is_err() {
                self.failed.store(true, Ordering::Relaxed);
            }
            self.lock()[number] = Some(id);
            drop((bytes, share));
        });
        Ok(number)
    }

    fn push(&self, outcome: Option<Result<FileId>>) -> usize {
        let mut stored = self.lock();
        stored.push(outcome);
        stored.len() - 1
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Result<FileId>>>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bad(&self, reason: String) -> Error {
        Error::Format {
            path: self.path.to_owned(),
            reason,
        }
    }
}
