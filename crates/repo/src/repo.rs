// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repository that was opened.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oxtree_format::keyfile::KeyFile;
use rustix::fs::{Access, AtFlags, CWD, Mode as Perm};

use crate::fs;
use crate::fs::lock::{FileLock, LockKind};
use crate::fs::tmpfile::{IfExists, TmpFile};
use crate::{Config, Error, Mode, Result};

/// The largest `config` that is read.
const MAX_CONFIG: u64 = 1 << 20;

/// Repositories that name each other as parents must not go round in circles.
const MAX_PARENTS: usize = 16;

/// The folders of a new repository, less the umask: as with libostree, never writable by all users.
pub(crate) const NEW_FOLDER: Perm = Perm::from_raw_mode(0o775);

/// What the outside world tells a repository, so that the library asks nobody.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Identifies the time since the machine was started; [`None`] reads it from the kernel.
    /// (libostree: `$OSTREE_BOOTID`.)
    pub boot_id: Option<String>,
    /// Lets each transaction fail before its objects are published, for tests of what uses them.
    /// (libostree: `$OSTREE_REPO_TEST_ERROR=pre-commit`.)
    pub fail_before_commit: bool,
    /// Lets `bare-split-xattrs` repositories be written to, with neither owners, modes, attributes nor
    /// links, so that nothing is of use. (libostree: `$OSTREE_EXP_WRITE_BARE_SPLIT_XATTRS`.)
    pub write_split_xattrs: bool,
}

/// A repository on disk.
#[derive(Debug)]
pub struct Repo {
    path: PathBuf,
    dir: OwnedFd,
    objects: OwnedFd,
    tmp: Option<OwnedFd>,
    config: Config,
    parent: Option<Box<Repo>>,
    boot_id: String,
    fail_before_commit: bool,
    write_split_xattrs: bool,
}

impl Repo {
    /// Opens the repository at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_in(path.as_ref(), &Environment::default())
    }

    /// Opens the repository at `path` in a given environment.
    pub fn open_in(path: &Path, environment: &Environment) -> Result<Self> {
        Self::open_child(path, environment, MAX_PARENTS)
    }

    fn open_child(path: &Path, environment: &Environment, parents: usize) -> Result<Self> {
        let not_a_repo = |what: &str, error: std::io::Error| Error::NotARepo {
            path: path.to_owned(),
            reason: format!("opening {what}: {error}"),
        };
        let dir = fs::open_dir_follow(path).map_err(|error| not_a_repo("it", error))?;
        let objects =
            fs::open_dir(&dir, "objects").map_err(|error| not_a_repo("objects/", error))?;
        let config = Self::read_config(&dir, path)?;
        let tmp = open_tmp(&dir).map_err(|error| not_a_repo("tmp/", error))?;
        let parent = match &config.parent {
            None => None,
            Some(_) if parents == 0 => {
                return Err(Error::Invalid(format!(
                    "{}: more than {MAX_PARENTS} parent repositories",
                    path.display()
                )));
            }
            Some(parent) => Some(Box::new(Self::open_child(
                &path.join(parent),
                environment,
                parents - 1,
            )?)),
        };
        let boot_id = environment.boot_id.clone().unwrap_or_else(read_boot_id);
        Ok(Self {
            path: path.to_owned(),
            dir,
            objects,
            tmp,
            config,
            parent,
            boot_id,
            fail_before_commit: environment.fail_before_commit,
            write_split_xattrs: environment.write_split_xattrs,
        })
    }

    fn read_config(dir: &OwnedFd, path: &Path) -> Result<Config> {
        let path = path.join("config");
        let bytes = fs::read_file(dir, "config", MAX_CONFIG)
            .map_err(Error::io("reading", &path))?
            .ok_or_else(|| Error::NotARepo {
                path: path.clone(),
                reason: "there is no config".to_owned(),
            })?;
        KeyFile::parse(&bytes)
            .map_err(|error| error.to_string())
            .and_then(Config::new)
            .map_err(|reason| Error::Config { path, reason })
    }

    /// Where the repository is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it stores file objects.
    pub fn mode(&self) -> Mode {
        self.config.mode
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// For commands that override a setting for one run.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The repository in which objects and refs are looked up that are not here.
    pub fn parent(&self) -> Option<&Repo> {
        self.parent.as_deref()
    }

    /// Writes `file` as the new `config`.
    pub fn write_config(&self, file: &KeyFile) -> Result<()> {
        self.check_writable()?;
        let path = self.path.join("config");
        Config::new(file.clone()).map_err(|reason| Error::Config {
            path: path.clone(),
            reason,
        })?;
        self.write_file("config", file.to_string().as_bytes())
            .map_err(Error::io("writing", path))
    }

    /// Makes a boolean of the section `core` true in the config file as it stands.
    pub(crate) fn set_core_flag(&self, key: &str) -> Result<()> {
        let mut file = Self::read_config(&self.dir, &self.path)?.file;
        let wrong = |error: oxtree_format::keyfile::Error| Error::Config {
            path: self.path.join("config"),
            reason: error.to_string(),
        };
        if file.boolean("core", key).map_err(wrong)? == Some(true) {
            return Ok(());
        }
        file.set_boolean("core", key, true).map_err(wrong)?;
        self.write_config(&file)
    }

    /// Takes the repository's lock; [`None`] where locking is switched off.
    pub fn lock(&self, kind: LockKind) -> Result<Option<FileLock>> {
        self.check_writable()?;
        if !self.config.locking {
            return Ok(None);
        }
        self.take_lock(".lock", kind).map(Some)
    }

    /// Takes a lock on a file of the repository, waiting as long as the config says.
    pub(crate) fn take_lock(&self, name: &'static str, kind: LockKind) -> Result<FileLock> {
        let path = || self.path.join(name);
        let timeout = self.config.lock_timeout;
        FileLock::take(self.dir(), name, kind, timeout)
            .map_err(Error::io("locking", path()))?
            .ok_or_else(|| Error::Locked {
                kind: kind.name(),
                path: path(),
                seconds: timeout.unwrap_or_default().as_secs(),
            })
    }

    /// The device and the number of the directory that was opened, whatever is at its path now.
    pub fn opened(&self) -> Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.dir).map_err(Error::io("reading", &self.path))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// An error that says why, if nothing can be written here.
    pub fn check_writable(&self) -> Result<()> {
        rustix::fs::accessat(&self.objects, ".", Access::WRITE_OK, AtFlags::EACCESS)
            .map_err(Error::io("writing to the repository at", &self.path))?;
        match self.tmp {
            Some(_) => Ok(()),
            None => Err(Error::NotARepo {
                path: self.path.clone(),
                reason: "there is no tmp/ that can be written to".to_owned(),
            }),
        }
    }

    /// The same repository with its objects somewhere else, and without a parent.
    pub(crate) fn with_objects_in(&self, dir: BorrowedFd<'_>) -> std::io::Result<Self> {
        Ok(Self {
            path: self.path.clone(),
            dir: self.dir.try_clone()?,
            objects: dir.try_clone_to_owned()?,
            tmp: None,
            config: self.config.clone(),
            parent: None,
            boot_id: self.boot_id.clone(),
            fail_before_commit: self.fail_before_commit,
            write_split_xattrs: self.write_split_xattrs,
        })
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(crate) fn objects(&self) -> BorrowedFd<'_> {
        self.objects.as_fd()
    }

    /// `tmp/`; only of use after [`Repo::check_writable`].
    pub(crate) fn tmp(&self) -> BorrowedFd<'_> {
        self.tmp.as_ref().unwrap_or(&self.dir).as_fd()
    }

    /// See [`Environment::fail_before_commit`].
    pub(crate) fn check_may_commit(&self) -> Result<()> {
        match self.fail_before_commit {
            true => Err(Error::Invalid(
                "OSTREE_REPO_TEST_ERROR_PRE_COMMIT specified".to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// See [`Environment::write_split_xattrs`].
    pub(crate) fn writes_split_xattrs(&self) -> bool {
        self.write_split_xattrs
    }

    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// The names in a folder below the repository, which need not exist. What is not UTF-8 is none
    /// of ours.
    pub(crate) fn names_in(&self, path: &str) -> Result<Vec<String>> {
        let io = || Error::io("reading", self.path().join(path));
        let dir = match fs::open_dir(self.dir(), path) {
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Vec::new());
            }
            dir => dir.map_err(io())?,
        };
        let entries = fs::entries(dir.as_fd()).map_err(io())?;
        Ok(entries
            .into_iter()
            .filter_map(|(name, _)| String::from_utf8(name).ok())
            .collect())
    }

    /// Writes a small file below the repository: complete and durable before it is seen.
    pub(crate) fn write_file(&self, path: &str, bytes: &[u8]) -> std::io::Result<()> {
        let mode = Perm::from_raw_mode(0o644);
        write_file(
            (self.tmp(), self.dir()),
            path,
            bytes,
            mode,
            self.config.fsync,
        )
    }

    /// The same for one that only its owner may read.
    pub(crate) fn write_private_file(&self, path: &str, bytes: &[u8]) -> std::io::Result<()> {
        let mode = Perm::from_raw_mode(0o600);
        write_file(
            (self.tmp(), self.dir()),
            path,
            bytes,
            mode,
            self.config.fsync,
        )
    }

    /// The same for one of many, which the caller makes durable together.
    pub(crate) fn write_file_unsynced(&self, path: &str, bytes: &[u8]) -> std::io::Result<()> {
        let mode = Perm::from_raw_mode(0o644);
        write_file((self.tmp(), self.dir()), path, bytes, mode, false)
    }
}

/// Opens `tmp/`, with `tmp/cache/` in it, making both if they were deleted, as libostree
/// does. [`None`] where `tmp/` cannot be made or opened; reading needs neither.
fn open_tmp(dir: &OwnedFd) -> std::io::Result<Option<OwnedFd>> {
    let make = |at: &OwnedFd, name| rustix::fs::mkdirat(at, name, NEW_FOLDER);
    let tmp = match fs::open_dir(dir, "tmp") {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match make(dir, "tmp") {
            Ok(()) | Err(rustix::io::Errno::EXIST) => fs::open_dir(dir, "tmp")?,
            Err(_) => return Ok(None),
        },
        // Another user's.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
        tmp => tmp?,
    };
    // Who cannot make it keeps no summaries there.
    let _ = make(&tmp, "cache");
    Ok(Some(tmp))
}

pub(crate) fn write_file(
    (tmp, dir): (BorrowedFd<'_>, BorrowedFd<'_>),
    path: &str,
    bytes: &[u8],
    mode: Perm,
    sync: bool,
) -> std::io::Result<()> {
    let file = TmpFile::new(tmp)?;
    file.file().write_all(bytes)?;
    rustix::fs::fchmod(file.file(), mode)?;
    if sync {
        rustix::fs::fdatasync(file.file())?;
    }
    file.link(dir, path, IfExists::Replace)?;
    Ok(())
}

fn read_boot_id() -> String {
    match fs::read_file(CWD, "/proc/sys/kernel/random/boot_id", 64) {
        Ok(Some(id)) => String::from_utf8_lossy(&id).trim().to_owned(),
        // Without /proc nothing is ever resumed.
        _ => fs::random_name("unknown-"),
    }
}
