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
    /// Where the user's is said to be: `$XDG_CONFIG_HOME`, or the home directory.
    pub(crate) user: Option<PathBuf>,
}

impl Places {
    /// `file` is `$OSTREE_RECEIVE_CONF`, `config_home` is `$XDG_CONFIG_HOME`.
    pub(crate) fn new(
        file: Option<PathBuf>,
        config_home: Option<PathBuf>,
        home: Option<PathBuf>,
    ) -> Self {
        let config_home = config_home.map(|path| expand(&path, home.as_deref()));
        let base = config_home.clone().or_else(|| home.clone());
        let user = config_home.or_else(|| home.as_ref().map(|home| home.join(".config")));
        let dirs = ["/etc".into()].into_iter().chain(user);
        Self {
            file: file.map(|path| expand(&path, home.as_deref())),
            dirs: dirs.map(|dir: PathBuf| dir.join("ostree")).collect(),
            user: base,
        }
    }

    /// Whether this file would be in the home directory of another user: the environment of a process that was
    /// started by `setpriv` or `su` may still name that. It says nothing of this account.
    pub(super) fn is_of_another_user(&self, file: &Path) -> bool {
        let is_ours = |base: &Path| {
            let me = rustix::process::geteuid().as_raw();
            let owner = base.ancestors().find_map(|dir| dir.metadata().ok());
            let in_home = |home: PathBuf| base == home || is_below(base, &home);
            home_of(me).is_some_and(in_home) || owner.is_some_and(|owner| owner.uid() == me)
        };
        let mut of_users = self.dirs.iter().skip(1);
        let is_users = self.file.is_none() && of_users.any(|dir| file.starts_with(dir));
        is_users && self.user.as_deref().is_some_and(|base| !is_ours(base))
    }

    /// Whether configuration that counts may not be read, unless it was named by itself.
    pub(crate) fn are_unreadable(&self) -> bool {
        let is_shut = |path: &PathBuf| {
            let shut = std::io::ErrorKind::PermissionDenied;
            let opened = std::fs::File::open(path);
            opened.is_err_and(|error| error.kind() == shut) && !self.is_of_another_user(path)
        };
        self.file.is_none() && self.files().iter().any(is_shut)
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

/// The home directory of an account, as far as `/etc/passwd` knows it.
fn home_of(account: u32) -> Option<PathBuf> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut homes = text.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        let id: u32 = fields.next()?.parse().ok()?;
        let home = fields.nth(2)?;
        (id == account).then(|| PathBuf::from(home))
    });
    homes.next()
}

/// Whether a directory is below another one that is not the root of all.
fn is_below(dir: &Path, other: &Path) -> bool {
    other.parent().is_some() && dir.starts_with(other)
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
