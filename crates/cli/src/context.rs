// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every command is given: the repository, the environment, where to print.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use oxtree_repo::{Environment, Progress, Repo};

use crate::error::Usage;
use crate::names::Face;
use crate::options::Global;
use crate::output::Output;

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// By which name the binary was called.
    pub(crate) face: Face,
    /// Where to print.
    pub(crate) out: &'a Output,
    /// The option `--repo`.
    pub(crate) repo: Option<PathBuf>,
    /// The option `--verbose`.
    pub(crate) verbose: bool,
    /// Whether this is one of many requests to a server: what is only needed for some of them waits
    /// until then.
    pub(crate) is_request: bool,
    env: BTreeMap<OsString, OsString>,
}

/// The environment alone. Nobody is there to be printed to.
#[derive(Debug)]
pub(crate) struct Kept {
    face: Face,
    verbose: bool,
    env: BTreeMap<OsString, OsString>,
}

impl Kept {
    /// Does something in that environment.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Context<'_>) -> T) -> T {
        let out = Output::without_bar();
        work(&Context {
            face: self.face,
            out: &out,
            repo: None,
            verbose: self.verbose,
            is_request: true,
            env: self.env.clone(),
        })
    }
}

impl<'a> Context<'a> {
    /// Reads the environment, which nothing else does.
    pub(crate) fn new(face: Face, global: Global, out: &'a Output) -> Self {
        Self {
            face,
            out,
            repo: global.repo,
            verbose: global.verbose,
            is_request: false,
            env: std::env::vars_os().collect(),
        }
    }

    /// What is left of it where the call that it came with has ended: in a server's threads.
    pub(crate) fn keep(&self) -> Kept {
        Kept {
            face: self.face,
            verbose: self.verbose,
            env: self.env.clone(),
        }
    }

    /// Whether this answers as `ostree`.
    pub(crate) fn is_ostree(&self) -> bool {
        matches!(self.face, Face::Ostree)
    }

    /// Says that arguments contradict each other, or that one of them has no effect. That is an error, except for
    /// callers of `ostree`: libostree takes it, so they are warned.
    pub(crate) fn contradiction(&self, text: &str) -> Result<()> {
        match self.face {
            Face::Oxtree => Err(Usage(text.to_owned()).into()),
            Face::Ostree => {
                self.out.note(&format!("warning: {text}"));
                Ok(())
            }
        }
    }

    /// The same for each that is so.
    pub(crate) fn contradictions(&self, all: &[(bool, &str)]) -> Result<()> {
        all.iter()
            .filter(|(is_so, _)| *is_so)
            .try_for_each(|(_, text)| self.contradiction(text))
    }

    /// An environment variable; an empty one is none.
    pub(crate) fn var(&self, name: &str) -> Option<&OsStr> {
        let value = self.env.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value)
    }

    /// What a repository has to know about the environment.
    pub(crate) fn environment(&self) -> Environment {
        Environment {
            boot_id: self
                .var("OSTREE_BOOTID")
                .and_then(OsStr::to_str)
                .map(str::to_owned),
            fail_before_commit: self.var("OSTREE_REPO_TEST_ERROR") == Some("pre-commit".as_ref()),
            write_split_xattrs: self.var("OSTREE_EXP_WRITE_BARE_SPLIT_XATTRS").is_some(),
        }
    }

    /// Hears how far a long operation is.
    pub(crate) fn progress(&self) -> &'a dyn Progress {
        self.out.progress()
    }

    /// Opens the repository: that of `--repo`, the current directory, `$OSTREE_REPO`, the
    /// system's.
    pub(crate) fn open_repo(&self) -> Result<Repo> {
        let (path, named) = match self.named_repo() {
            Some(path) => (path, true),
            None => (self.system_repo(), false),
        };
        match Repo::open_in(&path, &self.environment()) {
            Err(oxtree_repo::Error::NotARepo { .. }) if !named => {
                Err(Usage("Command requires a --repo argument".to_owned()).into())
            }
            repo => repo.context("opening repo"),
        }
    }

    /// The repository that the user meant, if any: not yet the system's.
    pub(crate) fn named_repo(&self) -> Option<PathBuf> {
        let here = Path::new(".");
        let is_repo = || here.join("objects").exists() && here.join("config").exists();
        self.repo
            .clone()
            .or_else(|| is_repo().then(|| here.to_owned()))
            .or_else(|| self.var("OSTREE_REPO").map(PathBuf::from))
    }

    fn system_repo(&self) -> PathBuf {
        let root = self.var("OSTREE_SYSROOT").unwrap_or(OsStr::new("/"));
        Path::new(root).join("ostree/repo")
    }
}
