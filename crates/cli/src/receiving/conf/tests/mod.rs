// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration beside what ostree-push 1.2.0 makes of the same files. Its messages were
//! recorded from it; its own tests of the same things are named.

use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::config::Commits;
use super::*;

mod files;
mod repos;
mod trust;
mod values;

/// A system's and a user's directory, and a root with a repository in it.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        for dir in [
            "etc/ostree",
            "home/ostree",
            "root/path/repo",
            "outside/repo",
        ] {
            fs::create_dir_all(site.at(dir)).unwrap();
        }
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        // The temporary directory may itself be behind a link.
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn places(&self) -> Places {
        Places {
            file: None,
            dirs: vec![self.at("etc/ostree"), self.at("home/ostree")],
            user: Some(self.at("home")),
        }
    }

    fn system(&self, text: &str) -> &Self {
        fs::write(self.at("etc/ostree/ostree-receive.conf"), text).unwrap();
        self
    }

    fn user(&self, text: &str) -> &Self {
        fs::write(self.at("home/ostree/ostree-receive.conf"), text).unwrap();
        self
    }

    fn load(&self) -> Result<Conf, ConfError> {
        Conf::load(self.places())
    }

    /// What holds for the repository in the root, which is named absolutely.
    fn config(&self, command_line: CommandLine) -> Result<ReceiveConfig, ConfError> {
        self.load()?
            .for_repo(&self.at("root/path/repo"), None, command_line)
    }

    fn error(&self) -> String {
        self.config(CommandLine::default()).unwrap_err().to_string()
    }
}

fn level(conf: &mut Conf, level: LogLevel) -> Vec<String> {
    let notes = conf.notes().into_iter();
    notes
        .filter(|(at, _)| *at == level)
        .map(|(_, text)| text)
        .collect()
}
