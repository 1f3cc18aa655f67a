// SPDX-License-Identifier: MIT OR Apache-2.0
//! The static deltas that lie in the repository, and the indexes of them.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use oxtree_format::delta::{DeltaName, index};
use oxtree_format::{Checksum, CommitId, Hasher, Summary};
use rustix::fs::AtFlags;

use super::DeltaFiles;
use crate::{Error, LockKind, Repo, Result, fs};

const DELTAS: &str = "deltas";
const INDEXES: &str = "delta-indexes";

/// The largest index that is read, in bytes.
const MAX_INDEX: u64 = 16 << 20;

/// In the folder of a delta.
pub(super) const SUPERBLOCK: &str = "superblock";

impl Repo {
    /// The static deltas of this repository with the checksums of their superblocks.
    pub fn static_deltas(&self) -> Result<BTreeMap<DeltaName, Checksum>> {
        let mut deltas = BTreeMap::new();
        for (first, rest) in self.two_levels(DELTAS)? {
            let Some(name) = DeltaName::from_folder(&first, &rest) else {
                continue;
            };
            let path = format!("{}/{SUPERBLOCK}", name.folder());
            if let Some(checksum) = self.checksum_of(&path)? {
                deltas.insert(name, checksum);
            }
        }
        Ok(deltas)
    }

    /// The names of the static deltas of this repository, whole or not.
    pub(crate) fn static_delta_names(&self) -> Result<Vec<DeltaName>> {
        let names = self.two_levels(DELTAS)?.into_iter();
        Ok(names
            .filter_map(|(first, rest)| DeltaName::from_folder(&first, &rest))
            .collect())
    }

    /// Whether there is such a static delta.
    pub fn has_static_delta(&self, name: &DeltaName) -> Result<bool> {
        let path = format!("{}/{SUPERBLOCK}", name.folder());
        let stat = fs::stat(self.dir(), &*path)
            .map_err(Error::io("looking for", self.path().join(&path)))?;
        Ok(stat.is_some())
    }

    /// Opens a static delta of this repository; [`None`] if there is none of this name.
    pub fn open_static_delta(&self, name: &DeltaName) -> Result<Option<DeltaFiles>> {
        match self.has_static_delta(name)? {
            true => DeltaFiles::open(&self.path().join(name.folder())).map(Some),
            false => Ok(None),
        }
    }

    /// The static deltas that lead to a commit, as clients of this repository are told of them: by its index or, if
    /// it has none, by the summary.
    pub fn announced_deltas(&self, to: CommitId) -> Result<Vec<(DeltaName, Checksum)>> {
        let path = index::path(to);
        let wrong = |error: oxtree_format::Error, path: &str| Error::Format {
            path: self.path().join(path),
            reason: error.to_string(),
        };
        let index = fs::read_file(self.dir(), &*path, MAX_INDEX)
            .map_err(Error::io("reading", self.path().join(&path)))?;
        let deltas = match (index, self.read_summary()?) {
            (Some(index), _) => index::parse(&index).map_err(|error| wrong(error, &path))?,
            (None, Some(summary)) => Summary::parse(&summary)
                .and_then(|summary| summary.static_deltas())
                .map_err(|error| wrong(error, "summary"))?
                .unwrap_or_default(),
            (None, None) => Vec::new(),
        };
        Ok(deltas
            .into_iter()
            .filter(|(name, _)| name.to == to)
            .collect())
    }

    /// Deletes a static delta; false if there is none of this name, whole or not.
    pub fn delete_static_delta(&self, name: &DeltaName) -> Result<bool> {
        let lock = self.lock(LockKind::Shared)?;
        let path = name.folder();
        let stat = fs::stat(self.dir(), &*path)
            .map_err(Error::io("looking for", self.path().join(&path)))?;
        if stat.is_none() {
            return Ok(false);
        }
        self.delete_delta(name)?;
        drop(lock);
        Ok(true)
    }

    /// The commits that have an index of the deltas that lead to them.
    pub fn delta_indexes(&self) -> Result<Vec<CommitId>> {
        let files = self.two_levels(INDEXES)?.into_iter();
        let mut commits: Vec<CommitId> = files
            .filter_map(|(first, rest)| index::from_path(&first, &rest))
            .collect();
        commits.sort_unstable();
        Ok(commits)
    }

    /// An error if the index of the deltas that lead to a commit cannot be used.
    pub(crate) fn check_delta_index(&self, to: CommitId) -> Result<()> {
        let path = index::path(to);
        let bytes = fs::read_file(self.dir(), &*path, MAX_INDEX)
            .map_err(Error::io("reading", self.path().join(&path)))?;
        let parsed = bytes.map(|bytes| index::parse(&bytes)).transpose();
        parsed.map(drop).map_err(|error| Error::Format {
            path: self.path().join(&path),
            reason: error.to_string(),
        })
    }

    /// Brings the indexes of deltas up to date: all of them, or that of one commit.
    pub fn update_delta_indexes(&self, to: Option<CommitId>) -> Result<()> {
        let lock = self.lock(LockKind::Shared)?;
        let deltas = self.static_deltas()?;
        match to {
            None => self.reindex_deltas(&deltas)?,
            Some(to) => {
                let of_commit = deltas.into_iter().filter(|(name, _)| name.to == to);
                self.write_delta_index(to, &of_commit.collect())?;
                self.set_core_flag("indexed-deltas")?;
            }
        }
        drop(lock);
        Ok(())
    }

    /// Deletes a static delta. The superblock goes first: without it, the rest is none.
    pub(crate) fn delete_delta(&self, name: &DeltaName) -> Result<()> {
        let path = name.folder();
        for path in [format!("{path}/{SUPERBLOCK}"), path.clone()] {
            fs::remove_all(self.dir(), path.as_bytes())
                .map_err(Error::io("deleting", self.path().join(&path)))?;
        }
        if let Some(above) = Path::new(&path).parent() {
            // Others may be in it.
            let _ = rustix::fs::unlinkat(self.dir(), above, AtFlags::REMOVEDIR);
        }
        Ok(())
    }

    /// Whether the deltas are indexed.
    pub(crate) fn has_delta_indexes(&self) -> Result<bool> {
        Ok(!self.names_in(INDEXES)?.is_empty())
    }

    /// Brings `delta-indexes/` up to date with `deltas` (which are those of
    /// [`Repo::static_deltas`]), and says so in the config.
    pub(crate) fn reindex_deltas(&self, deltas: &BTreeMap<DeltaName, Checksum>) -> Result<()> {
        let mut by_target: BTreeMap<CommitId, BTreeMap<DeltaName, Checksum>> = BTreeMap::new();
        for (name, checksum) in deltas {
            let of_target = by_target.entry(name.to).or_default();
            of_target.insert(*name, *checksum);
        }
        for (to, deltas) in &by_target {
            self.write_delta_index(*to, deltas)?;
        }
        let stale = self.delta_indexes()?;
        for to in stale.into_iter().filter(|to| !by_target.contains_key(to)) {
            self.write_delta_index(to, &BTreeMap::new())?;
        }
        self.set_core_flag("indexed-deltas")
    }

    /// Writes the index of the deltas that lead to a commit, or deletes it if there are none.
    fn write_delta_index(
        &self,
        to: CommitId,
        deltas: &BTreeMap<DeltaName, Checksum>,
    ) -> Result<()> {
        let path = index::path(to);
        let full = self.path().join(&path);
        if deltas.is_empty() {
            return fs::remove_all(self.dir(), path.as_bytes())
                .map_err(Error::io("deleting", full));
        }
        let index = index::to_vec(deltas);
        let old = fs::read_file(self.dir(), &*path, index.len() as u64);
        if matches!(old, Ok(Some(old)) if old == index) {
            return Ok(());
        }
        if let Some(folder) = Path::new(&path).parent().and_then(Path::to_str) {
            fs::ensure_dirs(self.dir(), folder).map_err(Error::io("creating", &full))?;
        }
        self.write_file(&path, &index)
            .map_err(Error::io("writing", full))
    }

    /// The names in the folders of a folder, which need not exist.
    fn two_levels(&self, base: &str) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for first in self.names_in(base)? {
            let below = self.names_in(&format!("{base}/{first}"))?;
            found.extend(below.into_iter().map(|rest| (first.clone(), rest)));
        }
        Ok(found)
    }

    /// Superblocks hold small files and can be large: they are read piecewise.
    fn checksum_of(&self, path: &str) -> Result<Option<Checksum>> {
        let io = || Error::io("reading", self.path().join(path));
        let mut file = match fs::open_file(self.dir(), path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(io())?,
        };
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer).map_err(io())? {
                0 => return Ok(Some(hasher.finish())),
                len => hasher.update(&buffer[..len]),
            }
        }
    }
}
