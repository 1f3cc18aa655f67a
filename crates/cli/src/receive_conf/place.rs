// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where things are: configuration files, default keys, and repositories below `root`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ConfError;

/// The name of the configuration file.
const NAME: &str = "ostree-receive.conf";

/// Where configuration and default keys are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// The one file, instead of those in the directories.
    pub(crate) file: Option<PathBuf>,
    /// The directories: the system's, then the user's.
    pub(crate) dirs: Vec<PathBuf>,
}

impl Places {
    /// `file` is `$OSTREE_RECEIVE_CONF`, `config_home` is `$XDG_CONFIG_HOME`.
    pub(crate) fn new(
        file: Option<PathBuf>,
        config_home: Option<PathBuf>,
        home: Option<PathBuf>,
    ) -> Self {
        let user = config_home.map(|path| expand(&path, home.as_deref()));
        let user = user.or_else(|| home.as_ref().map(|home| home.join(".config")));
        let dirs = ["/etc".into()].into_iter().chain(user);
        Self {
            file: file.map(|path| expand(&path, home.as_deref())),
            dirs: dirs.map(|dir: PathBuf| dir.join("ostree")).collect(),
        }
    }

    /// The configuration files, whether they are there or not.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        match &self.file {
            Some(file) => vec![file.clone()],
            None => self.dirs.iter().map(|dir| dir.join(NAME)).collect(),
        }
    }

    /// The keys that were `named`, which then have to be there, or else the first file called
    /// `default` in the directories.
    pub(super) fn keys(
        &self,
        named: Option<PathBuf>,
        what: &str,
        default: &str,
    ) -> Result<Option<PathBuf>, ConfError> {
        if let Some(path) = named {
            check_exists(&path, what)?;
            return Ok(Some(path));
        }
        let mut all = self.dirs.iter().map(|dir| dir.join(default));
        Ok(all.find(|path| path.exists()))
    }
}

/// `~/x` in the home directory.
fn expand(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

pub(super) fn check_exists(path: &Path, what: &str) -> Result<(), ConfError> {
    match path.exists() {
        true => Ok(()),
        false => {
            let path = path.display();
            Err(ConfError(format!("{what} \"{path}\" does not exist")))
        }
    }
}

/// Finds the repository that a pusher has named. With a root it is there that a relative path
/// begins, and what the path leads to, all links followed, has to be below the root's own true
/// path; the result has no links left. That something is outside and that it is not there are
/// told in the same words.
pub(super) fn resolve(root: Option<&Path>, repo: &Path) -> Result<PathBuf, ConfError> {
    let not_found = || ConfError(format!("repo {} not found", repo.display()));
    let Some(root) = root else {
        return match repo.exists() {
            true => Ok(repo.to_owned()),
            false => Err(not_found()),
        };
    };
    let root = root.canonicalize().map_err(|_| not_found())?;
    // An absolute path takes the place of the root.
    let path = root.join(repo).canonicalize().map_err(|_| not_found())?;
    match path.starts_with(&root) {
        true => Ok(path),
        false => Err(not_found()),
    }
}

/// Whether the directory with this device and number is still at `path`, to which no link leads:
/// what [`resolve`] has found could be another one by the time that it is opened.
pub(crate) fn is_still_at(path: &Path, opened: (u64, u64)) -> bool {
    let here = path.canonicalize().is_ok_and(|found| found == path);
    let same = |found: std::fs::Metadata| (found.dev(), found.ino()) == opened;
    here && path.symlink_metadata().is_ok_and(same)
}

/// Whether a key of `repos` means the repository at `path`: both are the same directory.
pub(super) fn is_same(root: Option<&Path>, path: &Path, key: &Path) -> bool {
    let root = root.and_then(|root| root.canonicalize().ok());
    let key = root.map_or(key.to_owned(), |root| root.join(key));
    match (path.metadata(), key.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
