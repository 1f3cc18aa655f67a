// SPDX-License-Identifier: MIT OR Apache-2.0
//! Summaries of remotes that are kept until they change: `tmp/cache/summaries/REMOTE` and
//! `REMOTE.sig`. The server's `ETag` is kept in the attribute `user.etag`, its `Last-Modified` as
//! the file's time of change.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oxtree_format::refs::RemoteName;
use rustix::fs::{CWD, Timespec, Timestamps, XattrFlags};

use crate::fs::tmpfile::{IfExists, TmpFile};
use crate::{Error, Repo, Result, fs};

const ETAG: &str = "user.etag";

/// The largest file that is kept, in bytes.
const MAX: u64 = 128 << 20;

/// Where summaries are kept.
#[derive(Debug)]
pub struct SummaryCache {
    dir: OwnedFd,
    path: PathBuf,
}

/// Which of a summary's two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The summary itself.
    Summary,
    /// Its signatures.
    Signatures,
}

/// A file that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// What the server called this version of it.
    pub etag: Option<String>,
    /// When it was changed at the server, in seconds since 1970; 0 if that is not known.
    pub modified: u64,
}

impl Repo {
    /// Where summaries of remotes are kept: in this repository, or below `dir`. [`None`] if nothing
    /// can be written there.
    pub fn summary_cache(&self, dir: Option<&Path>) -> Option<SummaryCache> {
        let open = |base: &OwnedFd, below: &str| {
            fs::ensure_dirs(base.as_fd(), below)?;
            fs::open_dir(base, below)
        };
        let (opened, path) = match dir {
            None => {
                let below = "tmp/cache/summaries";
                let base = self.dir().try_clone_to_owned();
                (
                    base.and_then(|base| open(&base, below)),
                    self.path().join(below),
                )
            }
            Some(dir) => {
                let made = rustix::fs::mkdirat(CWD, dir, rustix::fs::Mode::from_raw_mode(0o777));
                tracing::trace!("making {}: {made:?}", dir.display());
                let base = fs::open_dir_follow(dir);
                (
                    base.and_then(|base| open(&base, "summaries")),
                    dir.join("summaries"),
                )
            }
        };
        match opened {
            Ok(dir) => Some(SummaryCache { dir, path }),
            Err(error) => {
                tracing::debug!("no cache for summaries at {}: {error}", path.display());
                None
            }
        }
    }
}

impl SummaryCache {
    /// What is kept; [`None`] if nothing is.
    pub fn load(&self, remote: &RemoteName, part: Part) -> Result<Option<Kept>> {
        let name = name(remote, part);
        let io = || Error::io("reading", self.path.join(&name));
        let Some(bytes) = fs::read_file(&self.dir, &*name, MAX).map_err(io())? else {
            return Ok(None);
        };
        let file = fs::open_file(&self.dir, &*name).map_err(io())?;
        let mut etag = [0; 512];
        let etag = match rustix::fs::fgetxattr(&file, ETAG, &mut etag) {
            Ok(len) => std::str::from_utf8(&etag[..len]).ok().map(str::to_owned),
            Err(_) => None,
        };
        let stat = fs::fstat(&file).map_err(io())?;
        Ok(Some(Kept {
            bytes,
            etag,
            modified: u64::try_from(stat.st_mtime).unwrap_or(0),
        }))
    }

    /// Keeps a file instead of the one that is kept.
    pub fn store(&self, remote: &RemoteName, part: Part, kept: &Kept) -> Result<()> {
        let name = name(remote, part);
        self.write(&name, kept)
            .map_err(Error::io("writing", self.path.join(&name)))
    }

    fn write(&self, name: &str, kept: &Kept) -> std::io::Result<()> {
        use std::io::Write;
        let tmp = TmpFile::new(self.dir.as_fd())?;
        tmp.file().write_all(&kept.bytes)?;
        rustix::fs::fchmod(tmp.file(), rustix::fs::Mode::from_raw_mode(0o644))?;
        if let Some(etag) = &kept.etag {
            // A file system without attributes costs a download more, now and then.
            let set = rustix::fs::fsetxattr(tmp.file(), ETAG, etag.as_bytes(), XattrFlags::empty());
            tracing::trace!("{ETAG} of {name}: {set:?}");
        }
        if kept.modified > 0 {
            let time = Timespec {
                tv_sec: i64::try_from(kept.modified).unwrap_or(0),
                tv_nsec: 0,
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            rustix::fs::futimens(tmp.file(), &times)?;
        }
        tmp.link(self.dir.as_fd(), name, IfExists::Replace)?;
        Ok(())
    }
}

fn name(remote: &RemoteName, part: Part) -> String {
    match part {
        Part::Summary => remote.to_string(),
        Part::Signatures => format!("{remote}.sig"),
    }
}
