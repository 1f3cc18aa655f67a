// SPDX-License-Identifier: MIT OR Apache-2.0
//! `uncompressed-objects-cache`: inflated files of an archive repository, for checkouts to link to.
//!
//! What a checkout inflates waits in `tmp/` until all of it is durable, with one sync for all of
//! it: a file in the cache is never looked at again, so it must not be there half after a crash.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use oxtree_format::FileId;
use rustix::fs::Mode as Perm;

use super::link::{Source, is_readable};
use super::step;
use super::walk::Checkout;
use crate::fs;
use crate::fs::tmpfile::{IfExists, TmpFile};
use crate::transaction::{STAGED_CACHE, Staging, move_objects, staged_objects};
use crate::{Error, Repo, Result};

const NAME: &str = "uncompressed-objects-cache";

/// The cache of one repository, and what is going to be put into it.
#[derive(Debug)]
pub(super) struct Cache<'a> {
    repo: &'a Repo,
    dir: OwnedFd,
    staging: Option<Staging>,
}

impl<'a> Cache<'a> {
    /// The repository's cache, made if there is none. [`None`] if its config has it switched off,
    /// or it cannot be written.
    pub(super) fn open(repo: &'a Repo) -> Result<Option<Self>> {
        if !repo.config().uncompressed_cache || repo.check_writable().is_err() {
            return Ok(None);
        }
        let io = || Error::io("opening", repo.path().join(NAME));
        fs::ensure_dir(repo.dir(), NAME).map_err(io())?;
        let dir = fs::open_dir(repo.dir(), NAME).map_err(io())?;
        let staging = Some(Staging::create(repo, STAGED_CACHE, false)?);
        Ok(Some(Self { repo, dir, staging }))
    }

    /// The inflated file, which is put into the cache if it is not there; [`None`] if it is none
    /// that is linked.
    pub(super) fn source(&self, checkout: &Checkout<'_>, id: FileId) -> Result<Option<Source<'_>>> {
        // The layout is that of a bare repository.
        let path = id.object().loose_path(false);
        let staging = self.staging.as_ref().map(|staging| staging.dir.as_fd());
        for dir in [Some(self.dir.as_fd()), staging].into_iter().flatten() {
            if fs::stat(dir, &path).map_err(self.io(&path))?.is_some() {
                return Ok(Some(Source { dir, path }));
            }
        }
        let file = self.repo.open_file(id)?;
        let mode = file.header.mode & 0o7777 & !0o6000;
        if file.header.is_symlink() || file.size == 0 || !is_readable(mode) {
            return Ok(None);
        }
        let Some(dir) = staging else {
            return Ok(None);
        };
        let tmp = TmpFile::new(self.repo.tmp()).map_err(self.io(&path))?;
        checkout.write_content(tmp.file(), id, file.size, file.content)?;
        rustix::fs::fchmod(tmp.file(), Perm::from_raw_mode(mode)).map_err(step("fchmod"))?;
        fs::ensure_dir(dir, &path[..2])
            .and_then(|()| tmp.link(dir, &path, IfExists::Keep))
            .map_err(self.io(&path))?;
        Ok(Some(Source { dir, path }))
    }

    /// Keeps what was inflated.
    pub(super) fn publish(mut self) -> Result<()> {
        let Some(staging) = self.staging.take() else {
            return Ok(());
        };
        let io = || Error::io("keeping inflated files in", self.repo.path().join(NAME));
        let sync = self.repo.config().fsync;
        let files = staged_objects(staging.dir.as_fd()).map_err(io())?;
        let moved = match files.is_empty() {
            true => Ok(()),
            false => match sync {
                true => rustix::fs::syncfs(self.repo.dir()).map_err(io::Error::from),
                false => Ok(()),
            }
            .and_then(|()| move_objects(staging.dir.as_fd(), self.dir.as_fd(), sync, &files))
            .map_err(io()),
        };
        staging.remove(self.repo)?;
        moved
    }

    fn io<E: Into<io::Error>>(&self, path: &str) -> impl FnOnce(E) -> Error {
        let path: PathBuf = self.repo.path().join(NAME).join(path);
        Error::io("caching", path)
    }
}

impl Drop for Cache<'_> {
    fn drop(&mut self) {
        if let Some(staging) = self.staging.take()
            && let Err(error) = staging.remove(self.repo)
        {
            tracing::warn!("{error}");
        }
    }
}
