// SPDX-License-Identifier: MIT OR Apache-2.0
//! Remotes: the repositories that this one knows by a name. Each is a section `remote "NAME"` of
//! the config; `NAME.trustedkeys.gpg` beside it has the keys that its commits are signed with.

use std::collections::BTreeSet;

use oxtree_format::keyfile::{self, KeyFile};
use oxtree_format::refs::RemoteName;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::{Error, Repo, Result};

/// What is to be written down of a remote, in this order. Of a key that is there twice the last value
/// counts.
pub type Settings = Vec<(String, Setting)>;

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A text.
    Text(String),
    /// Several texts.
    List(Vec<String>),
    /// Yes or no.
    Flag(bool),
}

/// What to do where there is a remote of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfRemoteExists {
    /// It is an error.
    Fail,
    /// Leave it as it is.
    Keep,
    /// Put the new one in its place.
    Replace,
}

/// The section of the config that is about a remote.
pub fn section(name: &RemoteName) -> String {
    format!("remote \"{name}\"")
}

/// The name in the title of a section, if that is one of a remote.
fn named_in(section: &str) -> Option<RemoteName> {
    section
        .strip_prefix("remote \"")?
        .strip_suffix('"')?
        .parse()
        .ok()
}

impl Repo {
    /// The remotes of this repository and of its parents, sorted.
    pub fn remotes(&self) -> BTreeSet<RemoteName> {
        let mut names = self.parent().map(Self::remotes).unwrap_or_default();
        names.extend(self.config().file.groups().filter_map(named_in));
        names
    }

    /// A text that is set for a remote, here or in a parent; [`None`] if it is not set there.
    pub fn remote_setting(&self, name: &RemoteName, key: &str) -> Result<Option<String>> {
        let file = self.config_of_remote(name)?;
        file.string(&section(name), key)
            .map_err(Error::invalid::<keyfile::Error>)
    }

    /// A boolean that is set for a remote.
    pub fn remote_flag(&self, name: &RemoteName, key: &str) -> Result<Option<bool>> {
        let file = self.config_of_remote(name)?;
        file.boolean(&section(name), key)
            .map_err(Error::invalid::<keyfile::Error>)
    }

    /// Where a remote is.
    pub fn remote_url(&self, name: &RemoteName) -> Result<String> {
        self.remote_setting(name, "url")?
            .ok_or_else(|| Error::Invalid(format!("No \"url\" option in remote \"{name}\"")))
    }

    fn config_of_remote(&self, name: &RemoteName) -> Result<&KeyFile> {
        let mut next = Some(self);
        while let Some(repo) = next {
            if repo.config().file.has_group(&section(name)) {
                return Ok(&repo.config().file);
            }
            next = repo.parent();
        }
        Err(no_such(name))
    }

    /// Writes down a remote. False if there was one, which stays.
    pub fn add_remote(
        &self,
        name: &RemoteName,
        settings: &Settings,
        if_exists: IfRemoteExists,
    ) -> Result<bool> {
        let section = section(name);
        let mut file = self.config().file.clone();
        if file.has_group(&section) {
            match if_exists {
                IfRemoteExists::Keep => return Ok(false),
                IfRemoteExists::Replace => file.remove_group(&section),
                IfRemoteExists::Fail => {
                    return Err(Error::Invalid(format!(
                        "Remote configuration for \"{name}\" already exists: (in config)"
                    )));
                }
            };
        }
        for (key, setting) in settings {
            match setting {
                Setting::Text(text) => file.set_string(&section, key, text),
                Setting::List(items) => file.set_string_list(&section, key, items),
                Setting::Flag(flag) => file.set_boolean(&section, key, *flag),
            }
            .map_err(Error::invalid::<keyfile::Error>)?;
        }
        self.write_config(&file)?;
        Ok(true)
    }

    /// Forgets a remote, and the keys that its commits are signed with. Its refs stay.
    pub fn delete_remote(&self, name: &RemoteName) -> Result<()> {
        let mut file = self.config().file.clone();
        if !file.remove_group(&section(name)) {
            return Err(no_such(name));
        }
        self.write_config(&file)?;
        let keys = format!("{name}.trustedkeys.gpg");
        match rustix::fs::unlinkat(self.dir(), &*keys, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::io("deleting", self.path().join(keys))(error)),
        }
    }
}

fn no_such(name: &RemoteName) -> Error {
    Error::Invalid(format!("Remote \"{name}\" not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_of_sections() {
        let name: RemoteName = "origin".parse().unwrap();
        assert_eq!(named_in(&section(&name)), Some(name));
        for other in [
            "core",
            "remote",
            "remote \"a/b\"",
            "remote \"x",
            "remote \"\"",
        ] {
            assert_eq!(named_in(other), None, "{other}");
        }
    }
}
