// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ostree-receive.conf`: what a receiver may be asked to do, and what it does with what comes.
//!
//! The file is that of ostree-push 1.2.0, with keys of ours. [`Conf::load`] finds and checks it,
//! [`Conf::for_repo`] makes of it what holds for one repository.

mod config;
mod identity;
pub(crate) mod keys;
mod place;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::yaml::{self, Value};
use config::{Settings, apply_permissions, find_identity};
use keys::{KEYS, Setting};

pub(crate) use config::{CommandLine, Commits, LogLevel, ReceiveConfig, Urls};
pub(crate) use identity::Identity;
pub(crate) use place::{Places, is_still_at};

/// Files that are larger are no configuration.
const MAX_FILE: u64 = 1 << 20;

/// Why the configuration, or what is asked of it, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfError(String);

/// The merged configuration files.
#[derive(Debug, Default)]
pub(crate) struct Conf {
    settings: BTreeMap<&'static str, Setting>,
    /// The file that each came from.
    files: BTreeMap<&'static str, PathBuf>,
    /// What a server's own configuration says of a repository.
    over: BTreeMap<&'static str, Setting>,
    places: Places,
    notes: Vec<(LogLevel, String)>,
}

impl Conf {
    /// Reads the files: a key of a later one replaces that of an earlier one.
    pub(crate) fn load(places: Places) -> Result<Self, ConfError> {
        let mut conf = Self::default();
        let mut values: BTreeMap<&'static str, Value> = BTreeMap::new();
        for path in places.files() {
            for (key, value) in conf.read(&path, &places)? {
                values.insert(key, value);
                conf.files.insert(key, path.clone());
            }
        }
        for key in &KEYS {
            let Some(value) = values.get(key.name) else {
                continue;
            };
            let setting = keys::check(key, value);
            let setting = setting.map_err(|error| conf.wrong(key.name, &error))?;
            conf.settings.insert(key.name, setting);
        }
        conf.places = places;
        Ok(conf)
    }

    /// The known keys of one file with their values.
    fn read(
        &mut self,
        path: &Path,
        places: &Places,
    ) -> Result<Vec<(&'static str, Value)>, ConfError> {
        let shut = std::io::ErrorKind::PermissionDenied;
        let shown = path.display();
        let wrong = |error: String| ConfError(format!("Config file {shown}: {error}"));
        let read = match read_file(path) {
            Err(error) if error.kind() == shut && places.is_of_another_user(path) => {
                let text = format!(
                    "Skipping config file {shown}: it is in the home directory of another user \
                     ($HOME or $XDG_CONFIG_HOME), and cannot be read: {error}"
                );
                self.note(LogLevel::Warning, text);
                return Ok(Vec::new());
            }
            read => read.map_err(|error| wrong(error.to_string()))?,
        };
        let Some(text) = read else {
            self.note(
                LogLevel::Debug,
                format!("Skipping missing config file {shown}"),
            );
            return Ok(Vec::new());
        };
        self.note(LogLevel::Debug, format!("Loading config file {shown}"));
        let entries = match yaml::parse(&text).map_err(wrong)? {
            Value::Null => {
                self.note(
                    LogLevel::Debug,
                    format!("Ignoring empty config file {shown}"),
                );
                return Ok(Vec::new());
            }
            Value::Map(entries) => entries,
            _ => {
                return Err(ConfError(format!(
                    "Config file {shown} is not a YAML mapping"
                )));
            }
        };
        let mut known = Vec::new();
        for (name, value) in entries {
            match name.as_word().and_then(keys::find) {
                Some(key) => known.push((key.name, value)),
                None => self.unrecognized(&name.shown(), "", path)?,
            }
        }
        Ok(known)
    }

    /// A key that is not known there is ignored, with a warning, as ostree-push does; but not one that was
    /// likely meant to restrict something.
    fn unrecognized(&mut self, option: &str, place: &str, path: &Path) -> Result<(), ConfError> {
        let path = path.display();
        let text = format!("Unrecognized option {option}{place} in config file {path}");
        match keys::meant(option) {
            Some(key) if key == option => {
                let reason = "it would have restricted what is received, and cannot stand there";
                Err(ConfError(format!("{text}: {reason}")))
            }
            Some(key) => Err(ConfError(format!("{text}: is {key} meant?"))),
            None => {
                self.note(LogLevel::Warning, text);
                Ok(())
            }
        }
    }

    fn note(&mut self, level: LogLevel, text: String) {
        self.notes.push((level, text));
    }

    /// What there is to be logged since this was asked last.
    pub(crate) fn notes(&mut self) -> Vec<(LogLevel, String)> {
        std::mem::take(&mut self.notes)
    }

    fn wrong(&self, key: &str, error: &str) -> ConfError {
        match self.files.get(key) {
            Some(path) => ConfError(format!("{error} in config file {}", path.display())),
            None => ConfError(error.to_owned()),
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        match self.settings.get(key) {
            Some(Setting::Text(text)) => text.as_deref(),
            _ => None,
        }
    }

    /// The log level, without anything that could be wrong with the repository.
    pub(crate) fn log_level(&self, command_line: CommandLine) -> LogLevel {
        let level = || self.text("log_level").map(LogLevel::parse);
        command_line.log_level.or_else(level).unwrap_or_default()
    }

    /// Where refusals are noted that have no repository.
    pub(crate) fn audit_log(&self) -> Option<&Path> {
        self.text("audit_log").map(Path::new)
    }

    /// What holds for the repository that was asked for as `repo`, by the pusher called `identity`.
    pub(crate) fn for_repo(
        &mut self,
        repo: &Path,
        identity: Option<&str>,
        command_line: CommandLine,
    ) -> Result<ReceiveConfig, ConfError> {
        let root = self.text("root").map(PathBuf::from);
        let path = place::resolve(root.as_deref(), repo)?;
        let own = self.own_settings(root.as_deref(), &path)?;
        let settings = Settings {
            own: &own,
            global: &self.settings,
        };
        let config = settings.config(path, command_line, &self.places)?;
        let identities = match settings.get("identities") {
            Some(Setting::Identities(all)) => all.as_slice(),
            _ => &[],
        };
        let config = ReceiveConfig {
            confined: root.is_some().then(|| repo.to_owned()),
            identity: find_identity(identities, identity)?,
            ..config
        };
        apply_permissions(config, command_line)
    }

    /// Lays over it what a server's configuration says of a repository. Here, a key that is not
    /// known is an error.
    pub(crate) fn lay_over(&mut self, entries: &[(String, Value)]) -> Result<(), ConfError> {
        for (name, value) in entries {
            let key = keys::find(name).filter(|key| key.per_repo && key.name != "identities");
            let key = key.ok_or_else(|| ConfError(format!("{name} is not a known key")))?;
            let setting = keys::check(key, value).map_err(ConfError)?;
            self.over.insert(key.name, setting);
        }
        Ok(())
    }

    /// What holds for a repository that is served over HTTP: where it is, and who may do what there,
    /// the server knows.
    pub(crate) fn for_server(&mut self, path: &Path) -> Result<ReceiveConfig, ConfError> {
        let mut own = self.own_settings(None, path)?;
        own.extend(self.over.clone());
        let settings = Settings {
            own: &own,
            global: &self.settings,
        };
        settings.config(path.to_owned(), CommandLine::default(), &self.places)
    }

    /// What stands below `repos` for the repository at `path`; it even overrides the command line.
    fn own_settings(
        &mut self,
        root: Option<&Path>,
        path: &Path,
    ) -> Result<BTreeMap<&'static str, Setting>, ConfError> {
        let mut own = BTreeMap::new();
        let Some(Setting::Map(repos)) = self.settings.get("repos").cloned() else {
            return Ok(own);
        };
        let same = |(name, _): &&(String, Value)| place::is_same(root, path, Path::new(name));
        let Some((name, values)) = repos.iter().find(same) else {
            return Ok(own);
        };
        self.note(
            LogLevel::Debug,
            format!("Applying repos {name} configuration"),
        );
        let entries = match values {
            Value::Null => return Ok(own),
            Value::Map(entries) => keys::texts(&format!("repos {name}"), entries)
                .map_err(|error| self.wrong("repos", &error))?,
            other => {
                let error = format!(
                    "repos {name} must be an instance of <class 'dict'>, but found <class '{}'>",
                    other.python_type()
                );
                return Err(self.wrong("repos", &error));
            }
        };
        let file = self.files.get("repos").cloned().unwrap_or_default();
        for (key, value) in &entries {
            match keys::find(key).filter(|key| key.per_repo) {
                Some(key) => {
                    let setting = keys::check(key, value)
                        .map_err(|error| self.wrong("repos", &format!("repos {name}: {error}")))?;
                    own.insert(key.name, setting);
                }
                None => self.unrecognized(key, &format!(" of repos {name}"), &file)?,
            }
        }
        Ok(own)
    }
}

/// The file's text; [`None`] if there is none.
fn read_file(path: &Path) -> std::io::Result<Option<String>> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MAX_FILE {
        true => Err(std::io::Error::other("larger than 1 MiB")),
        false => Ok(Some(text)),
    }
}
