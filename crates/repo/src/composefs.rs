// SPDX-License-Identifier: MIT OR Apache-2.0
//! composefs images of commits, and their digests. What an image is: [`oxtree_format::composefs`].
//!
//! Besides what is in the commit, an image has the directories that a root file system needs for mounts.
//! Only its metadata is held in memory; content is read, on all cores, for its digests alone.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use oxtree_format::commit::keys;
use oxtree_format::composefs::{Image, Inode, InodeId, Kind};
use oxtree_format::{
    Checksum, Commit, CommitId, DirId, DirMeta, DirMetaId, FileHeader, FileId, FsVerity, Xattrs,
};
use rayon::prelude::*;
use rustix::fs::{CWD, Mode, OFlags};

use crate::fs::tmpfile::{IfExists, TmpFile};
use crate::object::verify::{BUFFER, check_checksum};
use crate::traverse::Objects;
use crate::tree::{Listing, list_dir};
use crate::{Error, FileObject, Repo, Result, Transaction};

/// Directories that are made where a commit has none.
const ROOT_DIRECTORIES: [&str; 5] = ["usr", "etc", "boot", "var", "sysroot"];

/// How to write an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The image says which fs-verity digest each file has to have.
    pub verity: bool,
    /// Make it durable.
    pub fsync: bool,
}

/// Writes the image of a commit to `destination`, in the place of a file that may be there, and
/// returns its fs-verity digest. If the commit says which digest an image with digests has to have,
/// a different one is an error, and nothing is written.
pub fn checkout(
    repo: &Repo,
    commit: CommitId,
    destination: &Path,
    options: &Options,
) -> Result<Checksum> {
    let bytes = repo.load_commit(commit)?;
    let parsed = Commit::parse(&bytes).map_err(|error| Error::corrupt(commit, error))?;
    let image = match options.verity {
        true => image_of(repo, parsed.root, |id, buffer| {
            measured(repo, id, repo.open_file(id)?, buffer)
        }),
        false => image_of(repo, parsed.root, |id, _| {
            let (header, size) = repo.file_info(id)?;
            Ok(file(header, size, id, None))
        }),
    }?;
    let (dir, name) = (destination.parent(), destination.file_name());
    let dir = dir
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir_fd =
        rustix::fs::openat(CWD, dir, flags, Mode::empty()).map_err(Error::io("opening", dir))?;
    let failed = || Error::io("writing", destination);
    let tmp = TmpFile::new(dir_fd.as_fd()).map_err(failed())?;
    let digest = write(image, tmp.file())?;
    if options.verity
        && let Some(expected) = expected_digest(&parsed)?
        && expected != digest
    {
        return Err(Error::Invalid(format!(
            "Generated composefs image digest ({digest}) doesn't match expected digest ({expected})"
        )));
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    tmp.file().set_permissions(mode).map_err(failed())?;
    if options.fsync {
        tmp.file().sync_all().map_err(failed())?;
    }
    let name = name.unwrap_or_default();
    tmp.link(dir_fd.as_fd(), name, IfExists::Replace)
        .map_err(failed())?;
    Ok(digest)
}

/// The digest that the image of this tree, whose objects are in the transaction or the repository, has.
pub fn digest_of(root: DirId, transaction: &Transaction<'_>) -> Result<Checksum> {
    let image = image_of(transaction, root, |id, buffer| {
        measured(transaction.repo(), id, transaction.open_file(id)?, buffer)
    })?;
    write(image, io::sink())
}

/// The digest that the commit says its image has.
fn expected_digest(commit: &Commit<'_>) -> Result<Option<Checksum>> {
    let value = commit.metadata_value(keys::COMPOSEFS_DIGEST);
    let Some(bytes) = value.and_then(|value| value.as_::<&[u8]>().ok()) else {
        return Ok(None);
    };
    Checksum::from_bytes(bytes).map(Some).map_err(|_| {
        let reason = "Expected composefs fs-verity in metadata has the wrong size";
        Error::Invalid(reason.to_owned())
    })
}

/// Writes an image, and returns its digest.
fn write(image: Image, out: impl Write) -> Result<Checksum> {
    let layout = image.layout().map_err(Error::invalid)?;
    let both = Both {
        out,
        verity: FsVerity::new(),
    };
    let mut both = BufWriter::with_capacity(BUFFER, both);
    layout.write(&mut both).map_err(Error::Output)?;
    let both = both
        .into_inner()
        .map_err(|error| Error::Output(error.into_error()))?;
    Ok(both.verity.finish())
}

/// Where an image goes to, and what is made of it on the way.
struct Both<W> {
    out: W,
    verity: FsVerity,
}

impl<W: Write> Write for Both<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.out.write(bytes)?;
        self.verity.update(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The image of a tree. Each file object is looked at once, with a buffer that `look` may use.
fn image_of(
    objects: &impl Objects,
    root: DirId,
    look: impl Fn(FileId, &mut [u8]) -> Result<Inode> + Sync,
) -> Result<Image> {
    let mut interner = Interner::default();
    let mut image = Image::new(interner.directory(objects, root.meta)?);
    let mut files = Vec::new();
    // A level of the tree at a time.
    let mut level = vec![(InodeId::ROOT, root)];
    while !level.is_empty() {
        let listings: Vec<Listing> = level
            .par_iter()
            .map(|(_, dir)| list_dir(objects, dir.tree))
            .collect::<Result<_>>()?;
        let mut next = Vec::new();
        for ((parent, _), listing) in level.into_iter().zip(listings) {
            for (name, id) in listing.dirs {
                let dir = interner.directory(objects, id.meta)?;
                let inode = image.add(parent, name, dir).map_err(Error::invalid)?;
                next.push((inode, id));
            }
            files.extend(
                listing
                    .files
                    .into_iter()
                    .map(|(name, id)| (parent, name, id)),
            );
        }
        level = next;
    }

    let mut ids: Vec<FileId> = files.iter().map(|(_, _, id)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    let looked_at: Vec<Inode> = ids
        .par_iter()
        .map_init(
            || vec![0; BUFFER],
            |buffer, id| Ok(interner.share(look(*id, buffer)?)),
        )
        .collect::<Result<_>>()?;
    for (parent, name, id) in files {
        if let Ok(at) = ids.binary_search(&id) {
            let inode = looked_at[at].clone();
            image.add(parent, name, inode).map_err(Error::invalid)?;
        }
    }
    for name in ROOT_DIRECTORIES {
        image.ensure_root_directory(name).map_err(Error::invalid)?;
    }
    Ok(image)
}

/// Keeps what many inodes have in common once.
#[derive(Default)]
struct Interner {
    dirs: HashMap<DirMetaId, Inode>,
    xattrs: Mutex<HashSet<Arc<Xattrs>>>,
}

impl Interner {
    fn directory(&mut self, objects: &impl Objects, id: DirMetaId) -> Result<Inode> {
        if let Some(dir) = self.dirs.get(&id) {
            return Ok(dir.clone());
        }
        let bytes = objects.load(&id.object())?;
        check_checksum(&id.object(), &bytes)?;
        let meta = DirMeta::parse(&bytes).map_err(|error| Error::corrupt(id, error))?;
        let dir = self.share(Inode {
            uid: meta.uid,
            gid: meta.gid,
            mode: meta.mode,
            xattrs: Arc::new(meta.xattrs),
            kind: Kind::Directory,
        });
        self.dirs.insert(id, dir.clone());
        Ok(dir)
    }

    fn share(&self, mut inode: Inode) -> Inode {
        let mut known = self.xattrs.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&inode.xattrs) {
            Some(xattrs) => inode.xattrs = Arc::clone(xattrs),
            None => {
                known.insert(Arc::clone(&inode.xattrs));
            }
        }
        inode
    }
}

/// A file with the digest of its content, which is read for that.
fn measured(repo: &Repo, id: FileId, object: FileObject, buffer: &mut [u8]) -> Result<Inode> {
    let FileObject {
        header,
        size,
        mut content,
    } = object;
    let mut verity = FsVerity::new();
    let mut read = 0;
    while read <= size {
        match content.read(buffer) {
            Ok(0) => break,
            Ok(len) => {
                read += len as u64;
                verity.update(&buffer[..len]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(repo.read_error(&id.object(), error)),
        }
    }
    if read != size {
        let reason = format!("content is not as long as it should be, {size} bytes");
        return Err(Error::corrupt(id, reason));
    }
    Ok(file(header, size, id, Some(verity.finish())))
}

fn file(header: FileHeader, size: u64, object: FileId, digest: Option<Checksum>) -> Inode {
    Inode {
        uid: header.uid,
        gid: header.gid,
        mode: header.mode,
        xattrs: Arc::new(header.xattrs),
        kind: match header.symlink {
            Some(target) => Kind::Symlink { target },
            None => Kind::File {
                size,
                object,
                digest,
            },
        },
    }
}
