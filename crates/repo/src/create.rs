// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making repositories.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use oxtree_format::refs::CollectionId;
use rustix::fs::{CWD, Mode as Perm, XattrFlags};

use crate::fs::tmpfile::TmpFile;
use crate::fs::{self, xattr};
use crate::repo::{NEW_FOLDER, write_file};
use crate::{Environment, Error, Mode, Repo, Result};

impl Repo {
    /// Makes a repository at `path`, with the folders that are missing. One that is there already
    /// is opened and left as it is.
    pub fn create(path: &Path, mode: Mode, collection: Option<&CollectionId>) -> Result<Self> {
        Self::create_in(path, mode, collection, &Environment::default())
    }

    /// [`Repo::create`] in a given environment.
    pub fn create_in(
        path: &Path,
        mode: Mode,
        collection: Option<&CollectionId>,
        environment: &Environment,
    ) -> Result<Self> {
        let io = || Error::io("creating", path);
        match rustix::fs::mkdirat(CWD, path, NEW_FOLDER) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(io()(error.into())),
        }
        let dir = fs::open_dir_follow(path).map_err(io())?;
        if fs::stat(&dir, "objects").map_err(io())?.is_some() {
            return Self::open_in(path, environment);
        }
        if mode == Mode::BareUser {
            prove_user_xattrs(dir.as_fd()).map_err(io())?;
        }
        if fs::stat(&dir, "config").map_err(io())?.is_none() {
            let mut config = format!("[core]\nrepo_version=1\nmode={mode}\n");
            if let Some(id) = collection {
                config.push_str(&format!("collection-id={id}\n"));
            }
            let mode = Perm::from_raw_mode(0o644);
            let dirs = (dir.as_fd(), dir.as_fd());
            write_file(dirs, "config", config.as_bytes(), mode, true).map_err(io())?;
        }
        // objects/ last: its presence says that all is there.
        for name in [
            "tmp",
            "extensions",
            "state",
            "refs",
            "refs/heads",
            "refs/mirrors",
            "refs/remotes",
            "objects",
        ] {
            match rustix::fs::mkdirat(&dir, name, NEW_FOLDER) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(io()(error.into())),
            }
        }
        Self::open_in(path, environment)
    }
}

/// `bare-user` is of no use on a file system without user attributes: find out before, not after.
fn prove_user_xattrs(dir: BorrowedFd<'_>) -> std::io::Result<()> {
    let file = TmpFile::new(dir)?;
    let name = crate::object::stored::OSTREEMETA;
    rustix::fs::fsetxattr(file.file(), name, b"x", XattrFlags::empty()).map_err(|error| {
        let error = std::io::Error::from(error);
        std::io::Error::new(
            error.kind(),
            format!("bare-user needs a file system with user extended attributes: {error}"),
        )
    })?;
    xattr::get(file.file(), name)?;
    Ok(())
}
