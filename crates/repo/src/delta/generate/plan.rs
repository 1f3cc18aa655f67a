// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes into a delta, in which part, and of which old file a new one is made.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use oxtree_format::delta::{DeltaName, Fallback};
use oxtree_format::{FileHeader, FileId, ObjectId, ObjectKind};
use rayon::prelude::*;

use super::{Options, Report};
use crate::traverse::{self, Found, Walk};
use crate::{Error, Repo, Result, similar};

/// Old and new file are compared in memory if they have no more bytes together, without patches, too.
const IN_MEMORY: u64 = 64 << 20;

/// Parts are not made smaller than this to give every core one, in bytes.
const SMALLEST_PART: u64 = 4 << 20;

/// Files whose way into the delta is chosen at a time.
const CHOSEN_TOGETHER: usize = 4096;

/// An object that goes into the delta.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) object: ObjectId,
    /// The size of its content in bytes.
    pub(super) size: u64,
    pub(super) what: What,
}

/// How it goes into it.
#[derive(Clone, Debug)]
pub(super) enum What {
    Metadata,
    /// A file or link, whole.
    Whole(FileHeader),
    /// A file that is to be compared with an old one, in memory.
    Modified {
        header: FileHeader,
        base: FileId,
        /// The sizes of both in bytes.
        together: u64,
    },
    /// A file too large for that, which has these runs in common with an old one.
    Chunks {
        header: FileHeader,
        base: FileId,
        runs: Vec<similar::Run>,
    },
}

/// The kinds of items, in the order in which they go into parts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Metadata,
    Modified,
    Whole,
    Symlink,
}

impl What {
    fn kind(&self) -> Kind {
        match self {
            Self::Metadata => Kind::Metadata,
            Self::Whole(header) if header.is_symlink() => Kind::Symlink,
            Self::Whole(_) => Kind::Whole,
            Self::Modified { .. } | Self::Chunks { .. } => Kind::Modified,
        }
    }
}

/// A file with its path.
type Named = (FileId, String);

/// A whole delta, without any content.
#[derive(Debug)]
pub(super) struct Plan {
    items: Vec<Item>,
    parts: Vec<Range<usize>>,
    pub(super) fallbacks: Vec<Fallback>,
    pub(super) report: Report,
    pub(super) bsdiff: bool,
    pub(super) max_bsdiff: u64,
}

impl Plan {
    pub(super) fn new(repo: &Repo, name: &DeltaName, options: &Options) -> Result<Self> {
        let (metadata, mut files) = new_objects(repo, name)?;
        let bases = old_files(repo, name, &files)?;
        // What is alike packs best side by side, and packers remember a few megabytes only.
        files.par_sort_by(|(_, a), (_, b)| order(a).cmp(&order(b)));
        let mut plan = Self {
            items: Vec::new(),
            parts: Vec::new(),
            fallbacks: Vec::new(),
            report: Report::default(),
            bsdiff: options.bsdiff,
            max_bsdiff: options.max_bsdiff,
        };
        plan.report.metadata = metadata.len();
        let mut items = metadata;
        items.reserve_exact(files.len());
        for some in files.chunks(CHOSEN_TOGETHER) {
            let some = some.par_iter();
            let some = some.map(|(id, _)| choose(repo, options, *id, bases.get(id).copied()));
            for choice in some.collect::<Vec<_>>() {
                let (item, is_modified) = choice?;
                plan.report.modified += usize::from(is_modified);
                items.push(item);
            }
        }
        drop((files, bases));
        items.sort_by_key(|item| item.what.kind());
        let count = |kind| items.iter().filter(|item| item.what.kind() == kind).count();
        plan.report.symlinks = count(Kind::Symlink);
        plan.report.regular = count(Kind::Modified) + count(Kind::Whole);
        let most = options.min_fallback.unwrap_or(u64::MAX);
        let is_large = |item: &Item| item.what.kind() == Kind::Whole && item.size > most;
        for item in items.iter().filter(|item| is_large(item)) {
            let (object, content_size) = (item.object, item.size);
            let size = repo.stored_size(&object)?;
            plan.report
                .fallbacks
                .push((FileId(object.checksum), content_size));
            plan.fallbacks.push(Fallback {
                object,
                size,
                content_size,
            });
        }
        items.retain(|item| !is_large(item));
        let loose = items.par_iter().map(|item| repo.stored_size(&item.object));
        plan.report.loose = loose.sum::<Result<u64>>()?;
        plan.report.uncompressed = items.iter().map(|item| item.size).sum();
        plan.items = items;
        plan.split(options.max_chunk);
        Ok(plan)
    }

    /// What goes into each part.
    pub(super) fn parts(&self) -> impl ExactSizeIterator<Item = &[Item]> {
        self.parts.iter().map(|part| &self.items[part.clone()])
    }

    /// Cuts the list into parts, as many as there are cores if that is sensible.
    fn split(&mut self, max_chunk: u64) {
        let cores = rayon::current_num_threads() as u64;
        let share = self.report.uncompressed.div_ceil(cores.max(1));
        let most = share.max(SMALLEST_PART).min(max_chunk);
        let (mut start, mut size) = (0, 0);
        for (at, item) in self.items.iter().enumerate() {
            if size + item.size > most && at > start {
                self.parts.push(start..at);
                (start, size) = (at, 0);
            }
            size += item.size;
        }
        // libostree expects a part even if there is nothing in it.
        self.parts.push(start..self.items.len());
    }
}

/// The objects of the new commit that the old one has not, without the commit: metadata, and files
/// with the places where they are.
fn new_objects(repo: &Repo, name: &DeltaName) -> Result<(Vec<Item>, Vec<Named>)> {
    let old: HashSet<ObjectId> = match name.from {
        Some(from) => traverse::all_objects(repo, from)?.into_iter().collect(),
        None => HashSet::new(),
    };
    let (mut metadata, mut files) = (Vec::new(), Vec::new());
    let bases: Vec<_> = name.from.into_iter().collect();
    Walk::new(repo).commit(name.to, &bases, &mut |found: &Found<'_>| {
        let object = found.object;
        match object.kind {
            _ if old.contains(&object) => {}
            ObjectKind::Commit => {}
            ObjectKind::File => files.push((FileId(object.checksum), found.path())),
            _ => metadata.push(object),
        }
        Ok(())
    })?;
    let item = |object: ObjectId| {
        let what = What::Metadata;
        let size = repo.stored_size(&object)?;
        Ok(Item { object, size, what })
    };
    let metadata = metadata.into_par_iter().map(item).collect::<Result<_>>()?;
    Ok((metadata, files))
}

/// Of the new files, those that may be like an old one, with it.
fn old_files(repo: &Repo, name: &DeltaName, files: &[Named]) -> Result<HashMap<FileId, FileId>> {
    let Some(from) = name.from else {
        return Ok(HashMap::new());
    };
    let wanted: HashSet<FileId> = files.iter().map(|(id, _)| *id).collect();
    similar::bases(repo, &[(name.to, from)], &wanted)
}

/// An old file with its size, if whoever applies the delta can read it: where objects have their owners, that
/// may be anybody.
fn usable(repo: &Repo, base: FileId) -> Result<Option<(FileId, u64)>> {
    let (header, size) = repo.file_info(base)?;
    let readable = header.mode & 0o004 != 0 && !header.is_symlink() && size > 0;
    Ok(readable.then_some((base, size)))
}

/// How a file goes into the delta, and whether it is like an old one.
fn choose(
    repo: &Repo,
    options: &Options,
    id: FileId,
    base: Option<FileId>,
) -> Result<(Item, bool)> {
    let (header, size) = repo.file_info(id)?;
    let item = |what| Item {
        object: id.object(),
        size,
        what,
    };
    let base = base.filter(|_| size > 0 && !header.is_symlink());
    let base = base.map(|base| usable(repo, base)).transpose()?.flatten();
    let Some((base, base_size)) = base else {
        return Ok((item(What::Whole(header)), false));
    };
    let together = size.saturating_add(base_size);
    let most = match options.bsdiff {
        true => options.max_bsdiff.max(IN_MEMORY),
        false => IN_MEMORY,
    };
    // Tables of places have 4 bytes each.
    if together <= most.min(u64::from(u32::MAX)) {
        let what = What::Modified {
            header,
            base,
            together,
        };
        return Ok((item(what), true));
    }
    let mut contents = [repo.open_file(base)?.content, repo.open_file(id)?.content];
    let [old, new] = &mut contents;
    let runs = similar::runs(old, new).map_err(Error::io("comparing files in", repo.path()))?;
    let same = runs.iter().map(|run| match run {
        similar::Run::Same { len, .. } => *len,
        similar::Run::Fresh(_) => 0,
    });
    let what = match same.sum::<u64>() * 2 > size {
        true => What::Chunks { header, base, runs },
        false => What::Whole(header),
    };
    Ok((item(what), true))
}

/// Files of one kind stand together: by the ending of their names, then by their names.
fn order(path: &str) -> (&str, &str, &str) {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => (ending, folder, name),
        _ => ("", folder, name),
    }
}
