// SPDX-License-Identifier: MIT OR Apache-2.0
//! Remotes: the repositories that this one knows by a name. Each is a section `remote "NAME"` of
//! the config; `NAME.trustedkeys.gpg` beside it has the keys that its commits are signed with.

use std::collections::BTreeSet;

use oxtree_format::keyfile::{self, KeyFile};
use oxtree_format::refs::{CollectionId, RemoteName};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::{Error, Repo, Result, fs};

/// The largest file of cookies that is read, in bytes.
const MAX_COOKIES: u64 = 1 << 20;

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

    /// Texts that are set for a remote; none if nothing is set.
    pub fn remote_list(&self, name: &RemoteName, key: &str) -> Result<Vec<String>> {
        let file = self.config_of_remote(name)?;
        let list = file.string_list(&section(name), key);
        Ok(list
            .map_err(Error::invalid::<keyfile::Error>)?
            .unwrap_or_default())
    }

    /// The remotes whose refs are in a collection.
    pub fn remotes_of_collection(&self, collection: &CollectionId) -> Result<Vec<RemoteName>> {
        let mut found = Vec::new();
        for name in self.remotes() {
            if self.remote_setting(&name, "collection-id")?.as_deref() == Some(collection.as_str())
            {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// The cookies that are sent to a remote, as they stand in the file; [`None`] if there are none.
    pub fn remote_cookies(&self, name: &RemoteName) -> Result<Option<Vec<u8>>> {
        let file = cookies_name(name);
        fs::read_file(self.dir(), &*file, MAX_COOKIES)
            .map_err(Error::io("reading", self.path().join(&file)))
    }

    /// Writes the cookies that are sent to a remote. They are secrets: only the owner can read them.
    pub fn write_remote_cookies(&self, name: &RemoteName, cookies: &[u8]) -> Result<()> {
        self.check_writable()?;
        let file = cookies_name(name);
        self.write_private_file(&file, cookies)
            .map_err(Error::io("writing", self.path().join(&file)))
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

fn cookies_name(name: &RemoteName) -> String {
    format!("{name}.cookies.txt")
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
