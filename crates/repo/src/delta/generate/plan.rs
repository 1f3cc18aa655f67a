// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes into a delta, in which part, and of which old file a new one is made.

use std::collections::{HashMap, HashSet};

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

/// A file with its path.
type Named = (FileId, String);

/// A file that is new.
struct New {
    id: FileId,
    path: String,
    header: FileHeader,
    size: u64,
    base: Option<(FileId, u64)>,
}

/// A whole delta, without any content.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) parts: Vec<Vec<Item>>,
    pub(super) fallbacks: Vec<Fallback>,
    pub(super) report: Report,
    pub(super) bsdiff: bool,
    pub(super) max_bsdiff: u64,
}

impl Plan {
    pub(super) fn new(repo: &Repo, name: &DeltaName, options: &Options) -> Result<Self> {
        let (metadata, files) = new_objects(repo, name)?;
        let mut files = look_at(repo, name, files)?;
        // What is alike packs best side by side, and packers remember a few megabytes only.
        files.par_sort_by(|a, b| order(&a.path).cmp(&order(&b.path)));
        let mut plan = Self {
            parts: Vec::new(),
            fallbacks: Vec::new(),
            report: Report::default(),
            bsdiff: options.bsdiff,
            max_bsdiff: options.max_bsdiff,
        };
        let [mut modified, mut whole, mut links] = [const { Vec::new() }; 3];
        let choices: Vec<(Item, bool)> = files
            .into_par_iter()
            .map(|file| choose(repo, options, file))
            .collect::<Result<_>>()?;
        for (item, is_modified) in choices {
            plan.report.modified += usize::from(is_modified);
            let list = match &item.what {
                What::Whole(header) if header.is_symlink() => &mut links,
                What::Whole(_) => &mut whole,
                _ => &mut modified,
            };
            list.push(item);
        }
        plan.report.metadata = metadata.len();
        plan.report.regular = modified.len() + whole.len();
        plan.report.symlinks = links.len();
        let most = options.min_fallback.unwrap_or(u64::MAX);
        let (large, whole): (Vec<_>, Vec<_>) = whole.into_iter().partition(|item| item.size > most);
        for item in large {
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
        let items = [metadata, modified, whole, links].concat();
        let loose = items.par_iter().map(|item| repo.stored_size(&item.object));
        plan.report.loose = loose.sum::<Result<u64>>()?;
        plan.report.uncompressed = items.iter().map(|item| item.size).sum();
        plan.split(items, options.max_chunk);
        Ok(plan)
    }

    /// Cuts the list into parts, as many as there are cores if that is sensible.
    fn split(&mut self, items: Vec<Item>, max_chunk: u64) {
        let cores = rayon::current_num_threads() as u64;
        let share = self.report.uncompressed.div_ceil(cores.max(1));
        let most = share.max(SMALLEST_PART).min(max_chunk);
        // libostree expects a part even if there is nothing in it.
        let mut part = Vec::new();
        let mut size = 0;
        for item in items {
            if size + item.size > most && !part.is_empty() {
                self.parts.push(std::mem::take(&mut part));
                size = 0;
            }
            size += item.size;
            part.push(item);
        }
        self.parts.push(part);
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

/// Finds out about new files, and which old ones they may be like.
fn look_at(repo: &Repo, name: &DeltaName, files: Vec<Named>) -> Result<Vec<New>> {
    let wanted: HashSet<FileId> = files.iter().map(|(id, _)| *id).collect();
    let bases: HashMap<FileId, FileId> = match name.from {
        Some(from) => similar::bases(repo, &[(name.to, from)], &wanted)?,
        None => HashMap::new(),
    };
    files
        .into_par_iter()
        .map(|(id, path)| {
            let (header, size) = repo.file_info(id)?;
            let base = bases.get(&id).filter(|_| size > 0 && !header.is_symlink());
            let base = base.map(|base| usable(repo, *base)).transpose()?.flatten();
            Ok(New {
                id,
                path,
                header,
                size,
                base,
            })
        })
        .collect()
}

/// An old file with its size, if whoever applies the delta can read it: where objects have their owners, that
/// may be anybody.
fn usable(repo: &Repo, base: FileId) -> Result<Option<(FileId, u64)>> {
    let (header, size) = repo.file_info(base)?;
    let readable = header.mode & 0o004 != 0 && !header.is_symlink() && size > 0;
    Ok(readable.then_some((base, size)))
}

/// How a file goes into the delta, and whether it is like an old one.
fn choose(repo: &Repo, options: &Options, file: New) -> Result<(Item, bool)> {
    let (id, header) = (file.id, file.header);
    let item = |what| Item {
        object: id.object(),
        size: file.size,
        what,
    };
    let Some((base, base_size)) = file.base else {
        return Ok((item(What::Whole(header)), false));
    };
    let together = file.size.saturating_add(base_size);
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
    let what = match same.sum::<u64>() * 2 > file.size {
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
