// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changing refs.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use oxtree_format::CommitId;
use oxtree_format::refs::{CollectionId, RefName, write_ref_file};
use rustix::fs::{AtFlags, FileType, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;

use super::{Expected, ReadRef, RefUpdate, UNKNOWN_COMMIT, ref_path};
use crate::fs::lock::{FileLock, LockKind};
use crate::fs::{self, tmpfile};
use crate::{Error, Repo, Result, SummaryUpdate};

/// Serializes changes of refs. Not `.lock`, which other pushes hold while they last.
const REFS_LOCK: &str = ".refs-lock";

impl Repo {
    /// Makes `alias` stand for the local ref `target`.
    pub fn write_alias(&self, alias: &RefName, target: &RefName) -> Result<()> {
        let lock = self.lock_refs()?;
        let path = format!("refs/heads/{alias}");
        self.make_room(&path, alias.as_str())?;
        let up = "../".repeat(alias.components().count() - 1);
        let link = format!("{up}{target}");
        let name = fs::random_name(".tmp-");
        let io = || Error::io("writing", self.path().join(&path));
        rustix::fs::symlinkat(&*link, self.tmp(), &*name)
            .map_err(io::Error::from)
            .map_err(io())?;
        tmpfile::rename(
            self.tmp(),
            &name,
            self.dir(),
            &path,
            tmpfile::IfExists::Replace,
        )
        .map_err(io())?;
        self.touch()?;
        drop(lock);
        Ok(())
    }

    /// Changes refs: all of them, or none if one is not what its update expects. Held against each
    /// other by a lock of their own, so that no change of another oxtree process is lost.
    pub fn update_refs(&self, updates: &[RefUpdate]) -> Result<()> {
        if updates.is_empty() {
            return Ok(());
        }
        self.update_refs_only(updates)?;
        self.summarize()
    }

    /// The same for a caller that sees to the summary.
    pub(crate) fn update_refs_only(&self, updates: &[RefUpdate]) -> Result<()> {
        let lock = self.lock_refs()?;
        for update in updates {
            self.check_expected(update)?;
        }
        // What can be known to fail is found before the first ref is written.
        self.check_aliases(updates)?;
        for update in updates.iter().filter(|update| update.new.is_some()) {
            let path = ref_path(&update.refspec);
            self.make_room(&path, &update.refspec.to_string())?;
        }
        self.change_together(updates)?;
        self.touch()?;
        drop(lock);
        Ok(())
    }

    /// Brings the summary up to date, if the config says that this happens by itself. A signed one stays, since
    /// there is no key to sign a new one with.
    pub(crate) fn summarize(&self) -> Result<()> {
        if self.config().auto_update_summary != Some(true) {
            return Ok(());
        }
        if let Some(lost) = self.refresh_summary(&SummaryUpdate::default(), &[])? {
            let path = self.path().display();
            tracing::warn!(
                "core.auto-update-summary: the summary in {path} stays as it was: {lost}"
            );
        }
        Ok(())
    }

    /// Sets a ref of a collection, or deletes it with [`None`]. Those of the repository's own
    /// collection are its local refs.
    pub fn write_collection_ref(
        &self,
        collection: &CollectionId,
        name: &RefName,
        new: Option<CommitId>,
    ) -> Result<()> {
        if self.config().collection_id.as_ref() == Some(collection) {
            let update = RefUpdate {
                refspec: name.clone().into(),
                expected: Expected::Any,
                new,
            };
            return self.update_refs(&[update]);
        }
        let lock = self.lock_refs()?;
        let path = format!("refs/mirrors/{collection}/{name}");
        if new.is_some() {
            self.make_room(&path, name.as_str())?;
        }
        self.write_ref(&path, new)?;
        self.touch()?;
        drop(lock);
        self.summarize()
    }

    /// A ref that an alias stands for is not deleted, unless the alias goes with it.
    fn check_aliases(&self, updates: &[RefUpdate]) -> Result<()> {
        let deleted: BTreeSet<&RefName> = updates
            .iter()
            .filter(|update| update.new.is_none() && update.refspec.remote.is_none())
            .map(|update| &update.refspec.name)
            .collect();
        if deleted.is_empty() {
            return Ok(());
        }
        for (alias, target) in self.list_aliases()? {
            if deleted.contains(&target) && !deleted.contains(&alias) {
                return Err(Error::HasAlias {
                    name: target.into(),
                    alias: alias.into(),
                });
            }
        }
        Ok(())
    }

    fn check_expected(&self, update: &RefUpdate) -> Result<()> {
        let Expected::Exactly(expected) = update.expected else {
            return Ok(());
        };
        let actual = match ReadRef::of(self.read_ref_file(&ref_path(&update.refspec)))? {
            ReadRef::At(commit) => Some(commit),
            // Nobody knows where it is, so it is as good as not there.
            ReadRef::Damaged(_) if expected == Some(UNKNOWN_COMMIT) => expected,
            ReadRef::Missing | ReadRef::Damaged(_) => None,
        };
        // It may be there already: what a crash had left undone was done a moment ago.
        if actual == expected || actual == update.new {
            return Ok(());
        }
        Err(Error::RefMoved {
            name: update.refspec.to_string(),
            expected,
            actual,
        })
    }

    /// An alias at `path` is replaced, not followed: so does libostree.
    pub(super) fn write_ref(&self, path: &str, new: Option<CommitId>) -> Result<()> {
        let io = |action| Error::io(action, self.path().join(path));
        if let Some(commit) = new {
            return self
                .write_file(path, write_ref_file(commit).as_bytes())
                .map_err(io("writing"));
        }
        match rustix::fs::unlinkat(self.dir(), path, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(io("deleting")(error.into())),
        }
        self.remove_empty_parents(path);
        Ok(())
    }

    /// Makes the folders that a ref needs. A folder in its place goes if it holds no refs.
    pub(super) fn make_room(&self, path: &str, name: &str) -> Result<()> {
        let io = || Error::io("writing", self.path().join(path));
        if let Some((folder, _)) = path.rsplit_once('/') {
            let in_the_way = || Error::RefInTheWay(name.to_owned());
            match fs::ensure_dirs(self.dir(), folder) {
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                    return Err(in_the_way());
                }
                made => made.map_err(io())?,
            }
            if !self.is_folder(folder)? {
                return Err(in_the_way());
            }
        }
        if !self.is_folder(path)? {
            return Ok(());
        }
        match self.remove_if_empty(path).map_err(io())? {
            None => Ok(()),
            Some(found) => Err(Error::RefsBelow {
                name: name.to_owned(),
                found,
            }),
        }
    }

    fn is_folder(&self, path: &str) -> Result<bool> {
        let stat = fs::stat(self.dir(), path);
        let stat = stat.map_err(Error::io("looking at", self.path().join(path)))?;
        Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()))
    }

    /// Removes a folder of refs with all the empty folders in it. If there is a ref, its path
    /// below the folder is returned.
    fn remove_if_empty(&self, path: &str) -> io::Result<Option<String>> {
        let dir = fs::open_dir(self.dir(), path)?;
        for (name, kind) in fs::entries(dir.as_fd())? {
            let name = String::from_utf8_lossy(&name).into_owned();
            if !kind.is_dir() {
                return Ok(Some(name));
            }
            if let Some(found) = self.remove_if_empty(&format!("{path}/{name}"))? {
                return Ok(Some(format!("{name}/{found}")));
            }
        }
        match rustix::fs::unlinkat(self.dir(), path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// After a ref was deleted: the folders it leaves empty, up to `refs/heads` or the remote.
    fn remove_empty_parents(&self, path: &str) {
        let keep = if path.starts_with("refs/heads/") {
            2
        } else {
            3
        };
        let mut folder = path;
        while let Some((above, _)) = folder.rsplit_once('/') {
            folder = above;
            // Not empty, or gone already: both are the end of it.
            if folder.split('/').count() <= keep
                || rustix::fs::unlinkat(self.dir(), folder, AtFlags::REMOVEDIR).is_err()
            {
                return;
            }
        }
    }

    /// Keeps refs as they are; what a crash had left undone is done.
    pub(crate) fn lock_refs(&self) -> Result<FileLock> {
        self.check_writable()?;
        let lock = self.take_lock(REFS_LOCK, LockKind::Exclusive)?;
        self.finish_journal()?;
        Ok(lock)
    }

    /// Does what a crash had left undone of a change of several refs.
    pub fn finish_refs(&self) -> Result<()> {
        self.lock_refs().map(drop)
    }

    /// Programs that watch a repository look at the time stamp of its directory.
    fn touch(&self) -> Result<()> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        match rustix::fs::futimens(self.dir(), &times) {
            // Somebody else's directory that we may write to.
            Ok(()) | Err(Errno::PERM | Errno::ACCESS) => Ok(()),
            Err(error) => Err(Error::io("touching", self.path())(error)),
        }
    }
}
