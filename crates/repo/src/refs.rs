// SPDX-License-Identifier: MIT OR Apache-2.0
//! Refs: names of commits, one small file each below `refs/`.
//!
//! `refs/heads/NAME` is local, `refs/remotes/REMOTE/NAME` came from a remote,
//! `refs/mirrors/COLLECTION/NAME` mirrors another collection. An alias is a relative symbolic link
//! within `refs/heads`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::time::SystemTime;

use oxtree_format::CommitId;
use oxtree_format::refs::{
    CollectionId, RefName, Refspec, RemoteName, parse_ref_file, write_ref_file,
};
use rustix::fs::{AtFlags, FileType, Timespec, Timestamps};
use rustix::io::Errno;

use crate::fs::lock::{FileLock, LockKind};
use crate::fs::{self, tmpfile};
use crate::{Error, Repo, Result};

/// A ref file has 65 bytes.
const MAX_REF_FILE: u64 = 4096;

/// Deeper folders of refs are not looked into.
const MAX_DEPTH: usize = 128;

/// One ref to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    /// Which ref.
    pub refspec: Refspec,
    /// What it has to be for the change to be made.
    pub expected: Expected,
    /// The new commit; [`None`] deletes the ref.
    pub new: Option<CommitId>,
}

/// What a ref has to be before it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything.
    Any,
    /// Exactly this; [`None`]: it must not exist.
    Exactly(Option<CommitId>),
}

impl RefUpdate {
    /// Sets `refspec` to `commit`, whatever it is now.
    pub fn set(refspec: Refspec, commit: CommitId) -> Self {
        Self {
            refspec,
            expected: Expected::Any,
            new: Some(commit),
        }
    }
}

/// The path of a ref below the repository.
fn ref_path(refspec: &Refspec) -> String {
    match &refspec.remote {
        None => format!("refs/heads/{}", refspec.name),
        Some(remote) => format!("refs/remotes/{remote}/{}", refspec.name),
    }
}

impl Repo {
    /// The commit of a ref, which an alias may stand for; [`None`] if there is no such ref here or
    /// in a parent repository.
    pub fn read_ref(&self, refspec: &Refspec) -> Result<Option<CommitId>> {
        match self.read_ref_file(&ref_path(refspec))? {
            Some(commit) => Ok(Some(commit)),
            None => self
                .parent()
                .map_or(Ok(None), |parent| parent.read_ref(refspec)),
        }
    }

    fn read_ref_file(&self, path: &str) -> Result<Option<CommitId>> {
        let full = || self.path().join(path);
        match rustix::fs::statat(self.dir(), path, AtFlags::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(Error::io("reading", full())(error)),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => return Ok(None),
            Ok(_) => {}
        }
        let target = self.follow_alias(path)?;
        let Some(bytes) = fs::read_file(self.dir(), &*target, MAX_REF_FILE)
            .map_err(Error::io("reading", full()))?
        else {
            return Ok(None);
        };
        parse_ref_file(&bytes)
            .map(Some)
            .map_err(|error| Error::Format {
                path: full(),
                reason: error.to_string(),
            })
    }

    /// The path that an alias leads to, which must be within `refs/heads`; any other path as it is.
    fn follow_alias(&self, path: &str) -> Result<String> {
        let mut path = path.to_owned();
        for _ in 0..8 {
            let target = match rustix::fs::readlinkat(self.dir(), &*path, Vec::new()) {
                Ok(target) => target,
                Err(Errno::INVAL | Errno::NOENT) => return Ok(path),
                Err(error) => return Err(Error::io("reading", self.path().join(&path))(error)),
            };
            let target = target.to_string_lossy();
            path = join_relative(&path, &target).ok_or_else(|| Error::Format {
                path: self.path().join(&path),
                reason: format!("alias leads out of refs/heads: {target}"),
            })?;
        }
        Err(Error::Format {
            path: self.path().join(&path),
            reason: "too many aliases".to_owned(),
        })
    }

    /// All refs that are `prefix` or below it, sorted by name. Without a prefix local and remote
    /// refs. A prefix may begin with `REMOTE:`.
    pub fn list_refs(&self, prefix: Option<&str>) -> Result<BTreeMap<Refspec, CommitId>> {
        let mut refs = BTreeMap::new();
        if let Some(parent) = self.parent() {
            refs = parent.list_refs(prefix)?;
        }
        let (remote, name) = match prefix.map(|p| p.split_once(':').ok_or(p)) {
            None => {
                self.collect_refs("refs/heads", None, &mut refs)?;
                for remote in self.remotes_with_refs()? {
                    self.collect_refs(&format!("refs/remotes/{remote}"), Some(&remote), &mut refs)?;
                }
                return Ok(refs);
            }
            Some(Ok((remote, name))) => (Some(remote.parse().map_err(invalid)?), name),
            Some(Err(name)) => (None, name),
        };
        let base = match &remote {
            Some(remote) => format!("refs/remotes/{remote}"),
            None => "refs/heads".to_owned(),
        };
        if name.is_empty() {
            self.collect_refs(&base, remote.as_ref(), &mut refs)?;
            return Ok(refs);
        }
        let name: RefName = name.trim_end_matches('/').parse().map_err(invalid)?;
        let path = format!("{base}/{name}");
        if let Some(commit) = self.read_ref_file(&path)? {
            refs.insert(Refspec { remote, name }, commit);
        } else {
            self.collect_below(&path, remote.as_ref(), name.as_str(), &mut refs, 0)?;
        }
        Ok(refs)
    }

    /// The local refs of this very repository, sorted by name.
    pub fn local_refs(&self) -> Result<BTreeMap<RefName, CommitId>> {
        let mut refs = BTreeMap::new();
        self.collect_refs("refs/heads", None, &mut refs)?;
        Ok(refs
            .into_iter()
            .map(|(refspec, commit)| (refspec.name, commit))
            .collect())
    }

    /// The refs that mirror other collections: collection, name, commit.
    pub fn mirror_refs(&self) -> Result<BTreeMap<(CollectionId, RefName), CommitId>> {
        let mut found = BTreeMap::new();
        for name in self.dir_names("refs/mirrors")? {
            let Ok(collection) = name.parse::<CollectionId>() else {
                continue;
            };
            let mut refs = BTreeMap::new();
            self.collect_refs(&format!("refs/mirrors/{collection}"), None, &mut refs)?;
            found.extend(
                refs.into_iter()
                    .map(|(refspec, id)| ((collection.clone(), refspec.name), id)),
            );
        }
        Ok(found)
    }

    /// The remotes that have refs here.
    pub fn remotes_with_refs(&self) -> Result<Vec<RemoteName>> {
        let names = self.dir_names("refs/remotes")?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn dir_names(&self, path: &str) -> Result<Vec<String>> {
        let io = || Error::io("reading", self.path().join(path));
        let dir = match fs::open_dir(self.dir(), path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            dir => dir.map_err(io())?,
        };
        let entries = fs::entries(dir.as_fd()).map_err(io())?;
        Ok(entries
            .into_iter()
            .filter_map(|(name, _)| String::from_utf8(name).ok())
            .collect())
    }

    fn collect_refs(
        &self,
        base: &str,
        remote: Option<&RemoteName>,
        refs: &mut BTreeMap<Refspec, CommitId>,
    ) -> Result<()> {
        self.collect_below(base, remote, "", refs, 0)
    }

    fn collect_below(
        &self,
        path: &str,
        remote: Option<&RemoteName>,
        prefix: &str,
        refs: &mut BTreeMap<Refspec, CommitId>,
        depth: usize,
    ) -> Result<()> {
        let io = |path: &str| Error::io("reading", self.path().join(path));
        let dir = match fs::open_dir(self.dir(), path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(());
            }
            dir => dir.map_err(io(path))?,
        };
        if depth > MAX_DEPTH {
            return Ok(());
        }
        for (name, kind) in fs::entries(dir.as_fd()).map_err(io(path))? {
            // Temporary files and what cannot be a ref are passed over, as libostree does.
            let Ok(name) = String::from_utf8(name) else {
                continue;
            };
            let below = format!("{path}/{name}");
            let full = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}/{name}")
            };
            let Ok(full) = full.parse::<RefName>() else {
                continue;
            };
            let kind = match kind {
                FileType::Unknown => fs::stat(dir.as_fd(), below.rsplit('/').next().unwrap_or(""))
                    .map_err(io(&below))?
                    .map_or(FileType::Unknown, |stat| {
                        FileType::from_raw_mode(stat.st_mode)
                    }),
                kind => kind,
            };
            if kind.is_dir() {
                self.collect_below(&below, remote, full.as_str(), refs, depth + 1)?;
            } else if let Some(commit) = self.read_ref_file(&below)? {
                refs.insert(
                    Refspec {
                        remote: remote.cloned(),
                        name: full,
                    },
                    commit,
                );
            }
        }
        Ok(())
    }

    /// The aliases among the local refs, with the ref each stands for.
    pub fn list_aliases(&self) -> Result<BTreeMap<RefName, RefName>> {
        let mut aliases = BTreeMap::new();
        for name in self.local_refs()?.into_keys() {
            let path = format!("refs/heads/{name}");
            let target = self.follow_alias(&path)?;
            if target != path {
                let target = target
                    .strip_prefix("refs/heads/")
                    .and_then(|t| t.parse().ok());
                aliases.extend(target.map(|target| (name, target)));
            }
        }
        Ok(aliases)
    }

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
        let lock = self.lock_refs()?;
        for update in updates {
            self.check_expected(update)?;
        }
        // What can be known to fail is found before the first ref is written.
        for update in updates.iter().filter(|update| update.new.is_some()) {
            let path = ref_path(&update.refspec);
            self.make_room(&path, &update.refspec.to_string())?;
        }
        for update in updates {
            self.write_ref(update)?;
        }
        self.touch()?;
        drop(lock);
        Ok(())
    }

    fn check_expected(&self, update: &RefUpdate) -> Result<()> {
        let Expected::Exactly(expected) = update.expected else {
            return Ok(());
        };
        let actual = self.read_ref_file(&ref_path(&update.refspec))?;
        if actual == expected {
            return Ok(());
        }
        Err(Error::RefMoved {
            name: update.refspec.to_string(),
            expected,
            actual,
        })
    }

    fn write_ref(&self, update: &RefUpdate) -> Result<()> {
        let path = ref_path(&update.refspec);
        let io = |action| Error::io(action, self.path().join(&path));
        match update.new {
            Some(commit) => {
                let target = self.follow_alias(&path)?;
                self.write_file(&target, write_ref_file(commit).as_bytes())
                    .map_err(io("writing"))
            }
            None => {
                match rustix::fs::unlinkat(self.dir(), &*path, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(io("deleting")(error.into())),
                }
                self.remove_empty_parents(&path);
                Ok(())
            }
        }
    }

    /// Makes the folders that a ref needs. A folder in its place goes if it holds no refs.
    fn make_room(&self, path: &str, name: &str) -> Result<()> {
        let io = || Error::io("writing", self.path().join(path));
        let conflict = |other: &str| Error::RefInTheWay {
            name: name.to_owned(),
            other: other.to_owned(),
        };
        if let Some((folder, _)) = path.rsplit_once('/') {
            match fs::ensure_dirs(self.dir(), folder) {
                Err(error) if error.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => {
                    return Err(conflict("a ref that is one of its folders"));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(conflict("a ref that is one of its folders"));
                }
                done => done.map_err(io())?,
            }
        }
        let stat = fs::stat(self.dir(), path).map_err(io())?;
        let folder = stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
        if folder && !self.remove_if_empty(path).map_err(io())? {
            return Err(conflict("refs below it"));
        }
        Ok(())
    }

    /// Removes a folder of refs with all the empty folders in it; false if there is a ref.
    fn remove_if_empty(&self, path: &str) -> io::Result<bool> {
        let dir = fs::open_dir(self.dir(), path)?;
        for (name, kind) in fs::entries(dir.as_fd())? {
            let below = format!("{path}/{}", String::from_utf8_lossy(&name));
            if !kind.is_dir() || !self.remove_if_empty(&below)? {
                return Ok(false);
            }
        }
        match rustix::fs::unlinkat(self.dir(), path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY) => Ok(false),
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

    fn lock_refs(&self) -> Result<FileLock> {
        self.check_writable()?;
        let path = self.path().join(REFS_LOCK);
        let timeout = self.config().lock_timeout;
        match FileLock::take(self.dir(), REFS_LOCK, LockKind::Exclusive, timeout) {
            Ok(Some(lock)) => Ok(lock),
            Ok(None) => Err(Error::Locked {
                kind: LockKind::Exclusive.name(),
                path,
                seconds: timeout.unwrap_or_default().as_secs(),
            }),
            Err(error) => Err(Error::io("locking", path)(error)),
        }
    }

    /// Programs that watch a repository look at the time stamp of its directory.
    fn touch(&self) -> Result<()> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let now = Timespec {
            tv_sec: i64::try_from(now.as_secs()).unwrap_or(0),
            tv_nsec: i64::from(now.subsec_nanos()),
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

/// Serializes changes of refs. Not `.lock`, which other pushes hold while they last.
const REFS_LOCK: &str = ".refs-lock";

fn invalid(error: oxtree_format::refs::Error) -> Error {
    Error::Invalid(error.to_string())
}

/// `target` as seen from the folder of `path`; [`None`] if that is not below `refs/heads`.
fn join_relative(path: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    match parts[..] {
        ["refs", "heads", _, ..] => Some(parts.join("/")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_stay_within_heads() {
        let join = |path, target| join_relative(path, target);
        assert_eq!(
            join("refs/heads/x/y/alias", "../../main").as_deref(),
            Some("refs/heads/main")
        );
        assert_eq!(
            join("refs/heads/a", "b/c").as_deref(),
            Some("refs/heads/b/c")
        );
        for target in [
            "../remotes/o/x",
            "../../config",
            "/etc/passwd",
            "../../../../x",
            ".",
        ] {
            assert_eq!(join("refs/heads/a", target), None, "{target}");
        }
    }
}
