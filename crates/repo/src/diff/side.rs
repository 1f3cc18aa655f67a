// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two sides of a comparison: directories in commits and on disks, listed alike.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxtree_format::{Checksum, DirId, FileId};
use rustix::fs::FileType;

use super::Source;
use crate::disk::{DiskView, checksum_at};
use crate::tree::Node;
use crate::{Error, Repo, Result, fs};

/// A directory that may be listed.
#[derive(Clone, Debug)]
pub(super) enum Folder {
    /// Of a commit.
    Stored(DirId),
    /// On a disk: a name in an open directory.
    OnDisk(OnDisk),
}

/// Something else than a directory.
#[derive(Clone, Debug)]
pub(super) enum Leaf {
    Stored(FileId),
    OnDisk(OnDisk),
}

#[derive(Clone, Debug)]
pub(super) struct OnDisk {
    dir: Arc<OwnedFd>,
    name: Vec<u8>,
}

/// What is in a folder, each sorted by the bytes of the names.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) files: Vec<(Vec<u8>, Leaf)>,
    pub(super) dirs: Vec<(Vec<u8>, Folder)>,
}

/// What a name in a folder stands for.
pub(super) enum Found<'a> {
    Leaf(&'a Leaf),
    Folder(&'a Folder),
}

impl Entries {
    pub(super) fn get(&self, name: &[u8]) -> Option<Found<'_>> {
        let files = self.files.binary_search_by(|(n, _)| n.as_slice().cmp(name));
        if let Ok(at) = files {
            return Some(Found::Leaf(&self.files[at].1));
        }
        let dirs = self.dirs.binary_search_by(|(n, _)| n.as_slice().cmp(name));
        dirs.ok().map(|at| Found::Folder(&self.dirs[at].1))
    }
}

/// One side that is being read.
#[derive(Debug)]
pub(super) enum Side<'r> {
    Stored(&'r Repo),
    OnDisk { root: PathBuf, view: DiskView },
}

impl<'r> Side<'r> {
    /// The side, and its root.
    pub(super) fn open(source: &Source<'r>, view: DiskView) -> Result<(Self, Folder)> {
        match source {
            Source::Tree(tree) => match tree.root().node {
                Node::Dir(dir) => Ok((Self::Stored(tree.repo()), Folder::Stored(dir))),
                Node::File(_) => Err(Error::NotADirectory(tree.root().path)),
            },
            Source::Disk(path) => {
                let dir = fs::open_dir_follow(*path).map_err(Error::io("opening", *path))?;
                let root = OnDisk {
                    dir: Arc::new(dir),
                    name: b".".to_vec(),
                };
                let side = Self::OnDisk {
                    root: path.to_path_buf(),
                    view,
                };
                Ok((side, Folder::OnDisk(root)))
            }
        }
    }

    /// What is in the folder at `path` below the root.
    pub(super) fn list(&self, folder: &Folder, path: &Path) -> Result<Entries> {
        match (self, folder) {
            (Self::Stored(repo), Folder::Stored(id)) => {
                let listing = repo.list_dir(id.tree)?;
                let files = listing.files.into_iter();
                let dirs = listing.dirs.into_iter();
                Ok(Entries {
                    files: files
                        .map(|(name, id)| (name.into_bytes(), Leaf::Stored(id)))
                        .collect(),
                    dirs: dirs
                        .map(|(name, id)| (name.into_bytes(), Folder::Stored(id)))
                        .collect(),
                })
            }
            (_, Folder::OnDisk(place)) => place.list(&self.shown(path)),
            (Self::OnDisk { .. }, Folder::Stored(id)) => Err(Error::not_found(id.tree)),
        }
    }

    /// The checksum of a folder's own metadata.
    pub(super) fn meta(&self, folder: &Folder, path: &Path) -> Result<Checksum> {
        match folder {
            Folder::Stored(id) => Ok(id.meta.0),
            Folder::OnDisk(place) => place.checksum(&self.shown(path), self.view()),
        }
    }

    /// The checksum of a file or link.
    pub(super) fn checksum(&self, leaf: &Leaf, path: &Path) -> Result<Checksum> {
        match leaf {
            Leaf::Stored(id) => Ok(id.0),
            Leaf::OnDisk(place) => place.checksum(&self.shown(path), self.view()),
        }
    }

    fn view(&self) -> DiskView {
        match self {
            Self::Stored(_) => DiskView::default(),
            Self::OnDisk { view, .. } => *view,
        }
    }

    fn shown(&self, path: &Path) -> PathBuf {
        match self {
            Self::Stored(_) => path.to_owned(),
            Self::OnDisk { root, .. } => root.join(path),
        }
    }
}

impl OnDisk {
    fn checksum(&self, path: &Path, view: DiskView) -> Result<Checksum> {
        checksum_at(self.dir.as_fd(), &self.name, path, &view)
    }

    fn list(&self, path: &Path) -> Result<Entries> {
        let io = |action| Error::io(action, path);
        let dir = Arc::new(fs::open_dir(&self.dir, self.name.as_slice()).map_err(io("opening"))?);
        let mut entries = Entries::default();
        for (name, kind) in fs::entries_once(&dir).map_err(io("reading"))? {
            let kind = match kind {
                FileType::Unknown => {
                    match fs::stat(&dir, name.as_slice()).map_err(io("reading"))? {
                        Some(stat) => FileType::from_raw_mode(stat.st_mode),
                        None => continue,
                    }
                }
                kind => kind,
            };
            let place = Self {
                dir: dir.clone(),
                name: name.clone(),
            };
            match kind.is_dir() {
                true => entries.dirs.push((name, Folder::OnDisk(place))),
                false => entries.files.push((name, Leaf::OnDisk(place))),
            }
        }
        entries.files.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dirs.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }
}
