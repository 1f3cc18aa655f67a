// SPDX-License-Identifier: MIT OR Apache-2.0
//! One object on its way out: in which form it goes, and its bytes.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use oxtree_format::{CommitId, FileId, ObjectId, ObjectKind};
use oxtree_repo::memory::Buffer;
use oxtree_repo::similar::{Table, bases};
use oxtree_repo::{FileContent, FileObject, Repo};

use super::batches::{Arrived, Batches};
use super::jobs::Job;
use super::similar::{self, Similar, Sketch};
use crate::error::{Error, Result};
use crate::protocol::patch::{MAX_CONTENT, Patch};
use crate::protocol::stream::{Form, Record};

/// Smaller files are not worth a patch: its base's name alone is 32 bytes that do not pack.
const MIN_PATCHED: u64 = 256;

/// Takes the bytes of the stream.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// Where objects come from, and what the receiver has that they can be patches of.
#[derive(Debug)]
pub(super) struct Source<'r> {
    repo: &'r Repo,
    /// Commits that are sent, each with the one that the receiver has before it.
    steps: &'r [(CommitId, CommitId)],
    wanted: HashSet<FileId>,
    bases: OnceLock<HashMap<FileId, FileId>>,
    similar: Similar,
    order: Order<'r>,
}

/// What goes when, as far as patches have to know.
#[derive(Debug, Default)]
struct Order<'r> {
    batches: Option<(&'r Batches, &'r Arrived)>,
    /// The job of each file, where one that is sent may be another's base.
    jobs: HashMap<FileId, usize>,
}

impl Order<'_> {
    /// Whether the receiver has what the job `base` sends when it gets what the job `at` sends.
    fn has(&self, base: usize, at: usize) -> bool {
        let there = |(batches, arrived): (&Batches, &Arrived)| {
            let batch = batches.of_job(base);
            batch == batches.of_job(at) || arrived.has(batch)
        };
        base <= at && self.batches.is_none_or(there)
    }
}

impl<'r> Source<'r> {
    pub(super) fn new(
        repo: &'r Repo,
        steps: &'r [(CommitId, CommitId)],
        objects: &[(ObjectId, u64)],
    ) -> Self {
        let ids = objects.iter().map(|(id, _)| id);
        let files = ids.filter(|id| id.kind == ObjectKind::File);
        Self {
            repo,
            steps,
            wanted: files.map(|id| FileId(id.checksum)).collect(),
            bases: OnceLock::new(),
            similar: Similar::default(),
            order: Order::default(),
        }
    }

    /// Notes what goes when.
    pub(super) fn arrange(&mut self, jobs: &[Job], batches: &'r Batches, arrived: &'r Arrived) {
        self.order.batches = Some((batches, arrived));
        let sent: HashSet<&ObjectId> = (jobs.iter().flat_map(|job| &job.objects))
            .map(|(object, _)| object)
            .filter(|object| object.kind == ObjectKind::Commit)
            .collect();
        // Only of a commit that is sent, too, files are both sent and bases.
        if self
            .steps
            .iter()
            .any(|(_, base)| sent.contains(&base.object()))
        {
            let files = jobs.iter().enumerate().flat_map(|(at, job)| {
                let files = job
                    .objects
                    .iter()
                    .filter(|(id, _)| id.kind == ObjectKind::File);
                files.map(move |(id, _)| (FileId(id.checksum), at))
            });
            self.order.jobs = files.collect();
        }
    }

    /// Whether files are deflated as they are stored.
    pub(super) fn is_packed(&self) -> bool {
        self.repo.mode().is_archive()
    }

    /// Whether an object of `stored` bytes would be no smaller however it were packed. Only
    /// archives tell.
    pub(super) fn is_incompressible(&self, object: ObjectId, stored: u64) -> Result<bool> {
        if object.kind != ObjectKind::File || !self.repo.mode().is_archive() {
            return Ok(false);
        }
        let id = FileId(object.checksum);
        // What is in a parent repository may be stored in another way.
        Ok(
            self.repo.has_own_object(&object)?
                && packs_badly(stored, self.repo.open_file(id)?.size),
        )
    }

    /// The head of the record of an archive's file as it is stored, that file, and its size.
    pub(super) fn open_stored(&self, object: ObjectId) -> Result<(Vec<u8>, Arc<File>, u64)> {
        let Some((file, len)) = self.repo.open_filez(FileId(object.checksum))? else {
            return Err(oxtree_repo::Error::not_found(object).into());
        };
        let mut head = Vec::new();
        let form = Form::Filez;
        Record { object, form, len }.put(&mut head);
        Ok((head, Arc::new(file), len))
    }

    /// Puts an object into the stream as it is stored.
    pub(super) fn put_stored(&self, object: ObjectId, to: &mut Sink<'_>) -> Result<()> {
        if object.kind != ObjectKind::File {
            let bytes = self.repo.load_metadata(&object)?;
            put_head(object, Form::Metadata, bytes.len() as u64, to)?;
            return to(&bytes);
        }
        let id = FileId(object.checksum);
        if self.repo.mode().is_archive()
            && let Some((mut file, len)) = self.repo.open_filez(id)?
        {
            put_head(object, Form::Filez, len, to)?;
            return copy(object, &mut file, len, to);
        }
        let file = self.repo.open_file(id)?;
        put_plain(object, file, to)
    }

    /// Puts an object, the one at `place` of the stream, into it in as few bytes as can be once
    /// they are packed.
    pub(super) fn put_small(
        &self,
        place: usize,
        object: ObjectId,
        stored: u64,
        most: u64,
        table: &mut Table,
        to: &mut Sink<'_>,
    ) -> Result<()> {
        if object.kind != ObjectKind::File {
            return self.put_stored(object, to);
        }
        let id = FileId(object.checksum);
        let mut file = self.repo.open_file(id)?;
        if self.repo.mode().is_archive() && packs_badly(stored, file.size) {
            return self.put_stored(object, to);
        }
        if file.header.is_symlink() || !(MIN_PATCHED..=most).contains(&file.size) {
            return put_plain(object, file, to);
        }
        let content = read(object, &mut file.content, file.size)?;
        let head = file.header.hashed_bytes();
        if let Some(base) = self.base(place, id, &content)?
            && let Some((patch, old)) = self.patch(base, &content, most, table)?
        {
            let len = 32 + head.len() as u64 + 8 + patch.len();
            put_head(object, Form::Patch, len, to)?;
            to(base.as_bytes())?;
            to(&head)?;
            to(&file.size.to_be_bytes())?;
            let mut written = Ok(());
            patch.write(&old, &content, &mut |bytes: &[u8]| {
                if written.is_ok() {
                    written = to(bytes);
                }
            });
            return written;
        }
        put_head(object, Form::Plain, head.len() as u64 + file.size, to)?;
        to(&head)?;
        to(&content)
    }

    /// The file that this one may be a patch of.
    fn base(&self, place: usize, id: FileId, content: &[u8]) -> Result<Option<FileId>> {
        let bases = match self.bases.get() {
            Some(bases) => bases,
            None => {
                let found = bases(self.repo, self.steps, &self.wanted)?;
                self.bases.get_or_init(|| found)
            }
        };
        if let Some(base) = bases.get(&id)
            && (self.order.jobs.get(base)).is_none_or(|job| self.order.has(*job, place))
        {
            return Ok(Some(*base));
        }
        if (content.len() as u64) < similar::MIN_SIZE {
            return Ok(None);
        }
        let has = |job| self.order.has(job, place);
        Ok(self.similar.find(place, id, &Sketch::of(content), &has))
    }

    /// A patch and the content of its base, if enough of it is alike.
    fn patch(
        &self,
        base: FileId,
        content: &[u8],
        most: u64,
        table: &mut Table,
    ) -> Result<Option<(Patch, Buffer)>> {
        let mut file = match self.repo.open_file(base) {
            Ok(file) => file,
            // A commit that is not whole here is no base, but no hindrance either.
            Err(error) if error.is_missing_object() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if file.header.is_symlink() || file.size > most {
            return Ok(None);
        }
        let old = read(base.object(), &mut file.content, file.size)?;
        let patch = Patch::with(table, &old, content);
        let worth_it = patch.alike() * 2 >= content.len() as u64;
        Ok(worth_it.then_some((patch, old)))
    }
}

/// The largest content that is patched while others are, too.
pub(super) const MOST_TOGETHER: u64 = 5 << 19;

/// The largest content that is patched.
pub(super) const MOST_ALONE: u64 = MAX_CONTENT;

fn packs_badly(stored: u64, size: u64) -> bool {
    size > 4096 && stored * 10 >= size * 9
}

fn put_head(object: ObjectId, form: Form, len: u64, to: &mut Sink<'_>) -> Result<()> {
    let mut head = Vec::new();
    Record { object, form, len }.put(&mut head);
    to(&head)
}

fn put_plain(object: ObjectId, file: FileObject, to: &mut Sink<'_>) -> Result<()> {
    let head = file.header.hashed_bytes();
    put_head(object, Form::Plain, head.len() as u64 + file.size, to)?;
    to(&head)?;
    let mut content = file.content;
    match content {
        FileContent::None => Ok(()),
        _ => copy(object, &mut content, file.size, to),
    }
}

fn read(object: ObjectId, from: &mut impl Read, size: u64) -> Result<Buffer> {
    let read = Buffer::read(from, size);
    let read = read.map_err(|error| oxtree_repo::Error::corrupt(object, error))?;
    read.ok_or_else(|| changed(object))
}

/// Reads all of it. An object that is shorter or longer than it was is an error.
fn copy(object: ObjectId, from: &mut impl Read, size: u64, to: &mut Sink<'_>) -> Result<()> {
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(256 << 10) + 1];
    let mut left = size;
    loop {
        let len = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(oxtree_repo::Error::corrupt(object, error).into()),
            Ok(len) => len,
        };
        if len == 0 && left == 0 {
            return Ok(());
        }
        left = match left.checked_sub(len as u64) {
            Some(left) if len > 0 => left,
            _ => return Err(changed(object)),
        };
        to(&buffer[..len])?;
    }
}

fn changed(object: ObjectId) -> Error {
    oxtree_repo::Error::corrupt(object, "it has changed while it was sent").into()
}
