// SPDX-License-Identifier: MIT OR Apache-2.0
//! Refs: names of commits, one small file each below `refs/`.
//!
//! `refs/heads/NAME` is local, `refs/remotes/REMOTE/NAME` came from a remote,
//! `refs/mirrors/COLLECTION/NAME` mirrors another collection. An alias is a relative symbolic link
//! within `refs/heads`.
//!
//! Several refs are changed all or none, each only if it is what it is expected to be:
//!
//! ```
//! use oxtree_format::CommitId;
//! use oxtree_repo::{Error, Expected, Mode, RefUpdate, Repo};
//!
//! let dir = tempfile::tempdir()?;
//! let repo = Repo::create(&dir.path().join("repo"), Mode::Archive, None)?;
//! let [old, new]: [CommitId; 2] = ["1".repeat(64).parse()?, "2".repeat(64).parse()?];
//! let third: CommitId = "3".repeat(64).parse()?;
//! repo.update_refs(&[RefUpdate::set("main".parse()?, old)])?;
//! let from_new_to_third = RefUpdate {
//!     refspec: "main".parse()?,
//!     expected: Expected::Exactly(Some(new)),
//!     new: Some(third),
//! };
//! let refused = repo.update_refs(&[RefUpdate::set("other".parse()?, new), from_new_to_third]);
//! assert!(matches!(refused, Err(Error::RefMoved { .. })));
//! assert_eq!(repo.list_refs(None)?.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod damaged;
mod journal;
mod list;
pub mod pattern;
mod stamp;
mod write;

pub(crate) use self::damaged::ReadRef;
pub use self::damaged::{DamagedRef, RefList, UNKNOWN_COMMIT};
pub use self::stamp::{RefsStamp, Touched};
use oxtree_format::CommitId;
use oxtree_format::refs::{Refspec, parse_ref_file};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::{Error, Repo, Result, fs};

/// A ref file has 65 bytes.
const MAX_REF_FILE: u64 = 4096;

/// The longest chain of aliases to a ref.
const MAX_ALIASES: usize = 8;

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

    /// The commit of a ref of which the file may be damaged: then nobody knows it.
    pub fn read_ref_if_sound(&self, refspec: &Refspec) -> Result<Option<CommitId>> {
        match self.read_ref(refspec) {
            Err(Error::DamagedRef(_)) => Ok(None),
            read => read,
        }
    }

    /// A file that cannot be read is [`Error::DamagedRef`].
    fn read_ref_file(&self, path: &str) -> Result<Option<CommitId>> {
        match rustix::fs::statat(self.dir(), path, AtFlags::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => {
                let target = self.alias_target(path)?;
                return target.map_or(Ok(None), |target| Err(dangling(path, &target)));
            }
            Err(Errno::LOOP) => return Err(too_many_aliases(path)),
            Err(error) => return Err(self.unreadable(path, error.into())),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {
                let target = self.alias_target(path)?;
                return target.map_or(Ok(None), |target| Err(dangling(path, &target)));
            }
            Ok(_) => {}
        }
        let target = self.follow_alias(path)?;
        match fs::read_file(self.dir(), &*target, MAX_REF_FILE) {
            Ok(Some(bytes)) => parse_file(path, &bytes).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(self.unreadable(path, error)),
        }
    }

    /// The error where a file or folder of refs cannot be read: the ref is damaged, unless it is the process
    /// that lacks something.
    fn unreadable(&self, path: &str, error: std::io::Error) -> Error {
        const LACKING: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR];
        let lacking = LACKING.map(|errno| Some(errno.raw_os_error()));
        match lacking.contains(&error.raw_os_error()) {
            true => Error::io("reading", self.path().join(path))(error),
            false => Error::DamagedRef(DamagedRef::new(path, format!("cannot be read: {error}"))),
        }
    }

    /// The path that an alias leads to, which must be within `refs/heads`; any other path as it is.
    fn follow_alias(&self, path: &str) -> Result<String> {
        let mut path = path.to_owned();
        for _ in 0..MAX_ALIASES {
            match self.alias_target(&path)? {
                Some(target) => path = target,
                None => return Ok(path),
            }
        }
        Err(too_many_aliases(&path))
    }

    /// The path that the alias at `path` names; [`None`] if that is no alias.
    fn alias_target(&self, path: &str) -> Result<Option<String>> {
        let target = match rustix::fs::readlinkat(self.dir(), path, Vec::new()) {
            Ok(target) => target,
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(self.unreadable(path, error.into())),
        };
        let target = target.to_string_lossy();
        let outside = || {
            let reason = format!("an alias that leads out of refs/heads: {target}");
            Error::DamagedRef(DamagedRef::new(path, reason))
        };
        join_relative(path, &target).map(Some).ok_or_else(outside)
    }
}

/// What a ref file says.
fn parse_file(path: &str, bytes: &[u8]) -> Result<CommitId> {
    parse_ref_file(bytes).map_err(|error| {
        let reason = match bytes.is_empty() {
            true => "the file is empty".to_owned(),
            false => error.to_string(),
        };
        Error::DamagedRef(DamagedRef::new(path, reason))
    })
}

fn dangling(path: &str, target: &str) -> Error {
    let name = target.strip_prefix("refs/heads/").unwrap_or(target);
    Error::DamagedRef(DamagedRef {
        is_dangling: true,
        ..DamagedRef::new(path, format!("an alias of {name}, which is no ref"))
    })
}

fn too_many_aliases(path: &str) -> Error {
    let reason = format!("more than {MAX_ALIASES} aliases, or a loop of them");
    Error::DamagedRef(DamagedRef::new(path, reason))
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
