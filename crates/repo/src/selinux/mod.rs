// SPDX-License-Identifier: MIT OR Apache-2.0
//! SELinux labels of files, by the policy that lies in a root directory or in a commit.
//!
//! Nothing is asked of the kernel: the labels are computed from the policy's `file_contexts`, in
//! their text form, as libselinux does it.

mod contexts;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use oxtree_format::{CommitId, Xattrs};

use self::contexts::Contexts;
use crate::tree::Tree;
use crate::{Error, Repo, Result};

/// The extended attribute that holds a label, with a zero byte at its end.
pub const SELINUX_XATTR: &str = "security.selinux";

/// A file of a policy may not be larger than this, in bytes. Those of today are below one million.
const MAX_FILE: u64 = 32 << 20;

/// The files of `contexts/files` that count, by what follows `file_contexts` in their names.
const SUFFIXES: [&str; 5] = ["", ".homedirs", ".local", ".subs_dist", ".subs"];

/// What labels files have.
#[derive(Debug)]
pub struct SePolicy {
    /// The policy's name, such as `targeted`.
    name: String,
    contexts: Contexts,
    /// Paths that are looked up as if they were others.
    subs: Vec<Substitution>,
    subs_dist: Vec<Substitution>,
}

#[derive(Debug)]
struct Substitution {
    from: String,
    to: String,
}

impl SePolicy {
    /// The policy of the root directory `root`, below `etc/selinux` or else `usr/etc/selinux`.
    /// [`None`] if there is none, or it is switched off.
    pub fn from_dir(root: &Path) -> Result<Option<Self>> {
        std::fs::read_dir(root).map_err(Error::io("opening", root))?;
        let etc = root.join("etc/selinux");
        let dir = match etc.is_dir() {
            true => etc,
            false => root.join("usr/etc/selinux"),
        };
        Self::load(&dir, &|path| read_limited(&dir.join(path)))
    }

    /// The policy of a commit, below `usr/etc/selinux`. [`None`] if there is none, or it is
    /// switched off.
    pub fn from_commit(repo: &Repo, commit: CommitId) -> Result<Option<Self>> {
        let tree = repo.tree(commit)?;
        let dir = Path::new("/usr/etc/selinux");
        Self::load(dir, &|path| read_in_tree(&tree, &dir.join(path)))
    }

    /// Reads a policy through `read`, which gives [`None`] for what does not exist.
    fn load(dir: &Path, read: &dyn Fn(&str) -> Result<Option<Vec<u8>>>) -> Result<Option<Self>> {
        let Some(config) = read("config")? else {
            return Ok(None);
        };
        let config = String::from_utf8_lossy(&config);
        let value = |key: &str| {
            let mut values = config.lines().filter_map(|line| line.strip_prefix(key));
            values.next_back().map(str::trim)
        };
        let enabled = value("SELINUX=").is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value.starts_with("enforcing") || value.starts_with("permissive")
        });
        if !enabled {
            return Ok(None);
        }
        let root = dir.display();
        let Some(name) = value("SELINUXTYPE=").filter(|name| is_name(name)) else {
            return Err(Error::Invalid(format!(
                "{root}/config: no SELINUXTYPE that names a policy"
            )));
        };
        Self::read(name, read)
            .map(Some)
            .map_err(|reason| Error::Invalid(format!("With policy root '{root}/{name}': {reason}")))
    }

    fn read(name: &str, read: &dyn Fn(&str) -> Result<Option<Vec<u8>>>) -> Result<Self, String> {
        let mut files = HashMap::new();
        for suffix in SUFFIXES {
            let path = format!("{name}/contexts/files/file_contexts{suffix}");
            if let Some(bytes) = read(&path).map_err(|error| error.to_string())? {
                files.insert(suffix, bytes);
            }
        }
        if !files.contains_key("") {
            return Err("there is no contexts/files/file_contexts in text form".to_owned());
        }
        let mut contexts = Contexts::default();
        for suffix in &SUFFIXES[..3] {
            if let Some(text) = files.get(suffix) {
                contexts
                    .add(text)
                    .map_err(|reason| format!("file_contexts{suffix}: {reason}"))?;
            }
        }
        contexts.finish()?;
        let subs = |suffix| {
            files
                .get(suffix)
                .map_or_else(Vec::new, |text| parse_subs(text))
        };
        let policy = Self {
            name: name.to_owned(),
            contexts,
            subs: subs(".subs"),
            subs_dist: subs(".subs_dist"),
        };
        match policy.find("/", 0o040_755)? {
            Some(_) => Ok(policy),
            None => Err("Failed to look up context of /".to_owned()),
        }
    }

    /// The policy's name, such as `targeted`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The label of something with this mode at the absolute `path`; [`None`] if the policy has
    /// none for it.
    pub fn label(&self, path: &str, mode: u32) -> Result<Option<&str>> {
        self.find(path, mode).map_err(|reason| {
            let name = &self.name;
            Error::Invalid(format!(
                "the label of {path} by the policy {name}: {reason}"
            ))
        })
    }

    fn find(&self, path: &str, mode: u32) -> Result<Option<&str>, String> {
        let ours = substitute(&self.subs, path);
        let path = ours.as_deref().unwrap_or(path);
        let theirs = substitute(&self.subs_dist, path);
        let path = theirs.as_deref().unwrap_or(path);
        self.contexts.lookup(path, mode)
    }
}

/// `xattrs` with this label in place of any other.
pub(crate) fn labelled(xattrs: &Xattrs, label: &str) -> Xattrs {
    let label = (
        SELINUX_XATTR.as_bytes().to_vec(),
        [label.as_bytes(), &[0]].concat(),
    );
    others(xattrs, Some(label))
}

/// `xattrs` without a label.
pub(crate) fn unlabelled(xattrs: &Xattrs) -> Xattrs {
    others(xattrs, None)
}

fn others(xattrs: &Xattrs, more: Option<(Vec<u8>, Vec<u8>)>) -> Xattrs {
    let others = xattrs
        .iter()
        .filter(|(name, _)| *name != SELINUX_XATTR.as_bytes());
    let list = others.map(|(name, value)| (name.to_vec(), value.to_vec()));
    // What is added to a valid list, and was not in it, leaves it one.
    Xattrs::new(list.chain(more).collect()).unwrap_or_default()
}

/// Whether this can be the name of a directory.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}

/// Lines of `FROM TO`. Later ones come first.
fn parse_subs(text: &[u8]) -> Vec<Substitution> {
    let text = String::from_utf8_lossy(text);
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let mut subs: Vec<Substitution> = lines
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            Some(Substitution {
                from: words.next()?.to_owned(),
                to: words.next()?.to_owned(),
            })
        })
        .collect();
    subs.reverse();
    subs
}

/// `path` with its beginning replaced; [`None`] if nothing is said about it.
fn substitute(subs: &[Substitution], path: &str) -> Option<String> {
    subs.iter().find_map(|Substitution { from, to }| {
        let rest = path.strip_prefix(from.as_str())?;
        match (rest, to.as_str()) {
            ("", to) => Some(to.to_owned()),
            (rest, "/") if rest.starts_with('/') => Some(rest.to_owned()),
            (rest, to) => rest.starts_with('/').then(|| format!("{to}{rest}")),
        }
    })
}

fn read_limited(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(Error::io("opening", path))?,
    };
    read_all(file, path).map(Some)
}

fn read_in_tree(tree: &Tree<'_>, path: &Path) -> Result<Option<Vec<u8>>> {
    match tree.open(&path.to_string_lossy()) {
        Err(Error::PathNotFound(_) | Error::NotADirectory(_)) => Ok(None),
        file => read_all(file?.content, path).map(Some),
    }
}

fn read_all(from: impl Read, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io("reading", path))?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(Error::io("reading", path)(io::Error::from(
            io::ErrorKind::FileTooLarge,
        ))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    const FILES: &str = "etc/selinux/test/contexts/files/file_contexts";

    #[test]
    fn a_policy_with_substitutions() {
        let root = root(&[
            (
                "etc/selinux/config",
                "# x\nSELINUX=Permissive\nSELINUXTYPE= test \n",
            ),
            (
                FILES,
                "/.* default\n/usr/.* usr\n/opt/.* opt\n/home/.* home\n",
            ),
            (&format!("{FILES}.homedirs"), "/home/.* user\n"),
            (&format!("{FILES}.local"), "/opt/l local\n"),
            (
                &format!("{FILES}.subs_dist"),
                "/mnt/usr /usr\n/mnt /opt\n/root/x /\n",
            ),
            (
                &format!("{FILES}.subs"),
                "/foo /mnt\n# /opt /usr\n/foo/usr /usr\n",
            ),
        ]);
        let policy = SePolicy::from_dir(root.path()).unwrap().unwrap();
        assert_eq!(policy.name(), "test");
        for (path, label) in [
            ("/", "default"),
            ("/usr/x", "usr"),
            ("/opt/l", "local"),
            ("/home/x", "user"),
            ("/mnt/usr", "opt"),
            ("/mntx/usr", "default"),
            ("/foo/x", "opt"),
            ("/foo/usr/x", "usr"),
            ("/root/x/usr/y", "usr"),
            ("/root/x", "default"),
        ] {
            assert_eq!(policy.label(path, 0).unwrap(), Some(label), "{path}");
        }
    }

    #[test]
    fn no_policy() {
        let none =
            |files: &[(&str, &str)]| SePolicy::from_dir(root(files).path()).unwrap().is_none();
        assert!(none(&[]));
        assert!(none(&[(
            "etc/selinux/config",
            "SELINUX=disabled\nSELINUXTYPE=test\n"
        )]));
        assert!(none(&[("etc/selinux/config", " SELINUX=enforcing\n")]));
        assert!(SePolicy::from_dir(Path::new("/nonexistent")).is_err());
        for files in [
            &[("etc/selinux/config", "SELINUX=enforcing\n")][..],
            &[(
                "etc/selinux/config",
                "SELINUX=enforcing\nSELINUXTYPE=../x\n",
            )],
            &[(
                "etc/selinux/config",
                "SELINUX=enforcing\nSELINUXTYPE=test\n",
            )],
            &[
                (
                    "etc/selinux/config",
                    "SELINUX=enforcing\nSELINUXTYPE=test\n",
                ),
                (FILES, "/x a:b\n"),
            ],
        ] {
            assert!(SePolicy::from_dir(root(files).path()).is_err(), "{files:?}");
        }
    }
}
