// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ostree-receive.conf`: what a receiver may be asked to do, and what it does with what comes.
//!
//! The file is that of ostree-push 1.2.0, with keys of ours. [`Conf::load`] finds and checks it,
//! [`Conf::for_repo`] makes of it what holds for one repository.

mod identity;
mod keys;
mod place;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use keys::{KEYS, Setting};
use yaml::Value;

pub(crate) use identity::Identity;
pub(crate) use place::Places;

/// Files that are larger are no configuration.
const MAX_FILE: u64 = 1 << 20;

/// Why the configuration, or what is asked of it, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfError(String);

/// How much is logged, by Python's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LogLevel {
    Debug,
    #[default]
    Info,
    Warning,
    Error,
    Critical,
}

impl LogLevel {
    fn parse(name: &str) -> Self {
        match name {
            "NOTSET" | "DEBUG" => Self::Debug,
            "WARN" | "WARNING" => Self::Warning,
            "ERROR" => Self::Error,
            "CRITICAL" | "FATAL" => Self::Critical,
            _ => Self::Info,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        })
    }
}

/// Which commit becomes public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    /// The one that was pushed.
    Keep,
    /// A new one with its content, on top of the receiver's.
    Copy,
}

/// Where the receiver may be told to pull from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urls {
    /// HTTP on this machine's loopback interface: the end of the pusher's tunnel.
    Loopback,
    /// Anywhere.
    Any,
}

/// The options of the command line that override the file. What was not given overrides nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandLine {
    pub(crate) no_update: bool,
    pub(crate) dry_run: bool,
    pub(crate) force: bool,
    pub(crate) log_level: Option<LogLevel>,
}

/// What holds for one repository. The fields are explained in `docs/receive.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceiveConfig {
    /// The repository's directory. With `root` it is resolved: no part of it is a link.
    pub(crate) repo: PathBuf,
    pub(crate) gpg_sign: Vec<String>,
    pub(crate) gpg_homedir: Option<PathBuf>,
    pub(crate) gpg_verify: bool,
    /// What was named, else what is there by default; [`None`] without `gpg_verify`.
    pub(crate) gpg_trustedkeys: Option<PathBuf>,
    pub(crate) sign_type: String,
    pub(crate) sign_keyfiles: Vec<PathBuf>,
    pub(crate) sign_verify: bool,
    /// What was named, else what is there by default; [`None`] without `sign_verify`.
    pub(crate) sign_trustedkeyfile: Option<PathBuf>,
    pub(crate) update: bool,
    /// The program and its arguments; empty for none.
    pub(crate) update_hook: Vec<String>,
    pub(crate) log_level: LogLevel,
    pub(crate) force: bool,
    pub(crate) dry_run: bool,
    /// [`None`]: as the name by which the receiver was called says.
    pub(crate) commits: Option<Commits>,
    pub(crate) legacy_protocol: bool,
    pub(crate) urls: Urls,
    /// Seconds by which a commit may be ahead of the clock; 0 for any.
    pub(crate) max_future: u64,
    /// Whether a pusher may force; [`None`]: as always.
    pub(crate) allow_force: Option<bool>,
    /// The program and its arguments; empty for none.
    pub(crate) receive_hook: Vec<String>,
    pub(crate) audit_log: Option<PathBuf>,
    /// Who pushes, where that was said.
    pub(crate) identity: Option<Identity>,
}

/// The merged configuration files.
#[derive(Debug, Default)]
pub(crate) struct Conf {
    settings: BTreeMap<&'static str, Setting>,
    /// The file that each came from.
    files: BTreeMap<&'static str, PathBuf>,
    places: Places,
    notes: Vec<(LogLevel, String)>,
}

impl Conf {
    /// Reads the files: a key of a later one replaces that of an earlier one.
    pub(crate) fn load(places: Places) -> Result<Self, ConfError> {
        let mut conf = Self::default();
        let mut values: BTreeMap<&'static str, Value> = BTreeMap::new();
        for path in places.files() {
            for (key, value) in conf.read(&path)? {
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
    fn read(&mut self, path: &Path) -> Result<Vec<(&'static str, Value)>, ConfError> {
        let shown = path.display();
        let wrong = |error: String| ConfError(format!("Config file {shown}: {error}"));
        let Some(text) = read_file(path).map_err(|error| wrong(error.to_string()))? else {
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
                None => {
                    let name = name.shown();
                    self.unrecognized(&name, path);
                }
            }
        }
        Ok(known)
    }

    fn unrecognized(&mut self, option: &str, path: &Path) {
        let path = path.display();
        let text = format!("Unrecognized option {option} in config file {path}");
        self.note(LogLevel::Warning, text);
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
            identity: find_identity(identities, identity)?,
            ..config
        };
        apply_permissions(config, command_line)
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
                None => self.unrecognized(&format!("{key} of repos {name}"), &file),
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

/// A repository's own settings before those for all.
struct Settings<'s> {
    own: &'s BTreeMap<&'static str, Setting>,
    global: &'s BTreeMap<&'static str, Setting>,
}

impl<'s> Settings<'s> {
    fn get(&self, key: &str) -> Option<&'s Setting> {
        self.own.get(key).or_else(|| self.global.get(key))
    }

    fn text(&self, key: &str) -> Option<&'s str> {
        match self.get(key) {
            Some(Setting::Text(text)) => text.as_deref(),
            _ => None,
        }
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key) {
            Some(Setting::Flag(flag)) => *flag,
            _ => None,
        }
    }

    fn list(&self, key: &str) -> Vec<String> {
        match self.get(key) {
            Some(Setting::List(words)) => words.clone(),
            _ => Vec::new(),
        }
    }

    /// The command line stands between the file and what the file says for this repository.
    fn config(
        &self,
        repo: PathBuf,
        command_line: CommandLine,
        places: &Places,
    ) -> Result<ReceiveConfig, ConfError> {
        let gpg_verify = self.flag("gpg_verify").unwrap_or(false);
        let sign_verify = self.flag("sign_verify").unwrap_or(false);
        let sign_type = self.text("sign_type").unwrap_or("ed25519").to_owned();
        let keyfiles: Vec<_> = self
            .list("sign_keyfiles")
            .into_iter()
            .map(PathBuf::from)
            .collect();
        for path in &keyfiles {
            place::check_exists(path, "sign_keyfiles keyfile")?;
        }
        let own_update = match self.own.get("update") {
            Some(Setting::Flag(flag)) => *flag,
            _ => None,
        };
        let update = || !command_line.no_update && self.flag("update").unwrap_or(true);
        let level = || self.text("log_level").map(LogLevel::parse);
        Ok(ReceiveConfig {
            repo,
            gpg_sign: self.list("gpg_sign"),
            gpg_homedir: self.path("gpg_homedir"),
            gpg_verify,
            gpg_trustedkeys: match gpg_verify {
                false => None,
                true => places.keys(
                    self.path("gpg_trustedkeys"),
                    "gpg_trustedkeys keyring",
                    "ostree-receive-trustedkeys.gpg",
                )?,
            },
            sign_keyfiles: keyfiles,
            sign_verify,
            sign_trustedkeyfile: match sign_verify {
                false => None,
                true => places.keys(
                    self.path("sign_trustedkeyfile"),
                    "sign_trustedkeyfile keyfile",
                    &format!("ostree-receive-trustedkeyfile.{sign_type}"),
                )?,
            },
            sign_type,
            update: own_update.unwrap_or_else(update),
            update_hook: self.list("update_hook"),
            log_level: command_line.log_level.or_else(level).unwrap_or_default(),
            force: command_line.force || self.flag("force").unwrap_or(false),
            dry_run: command_line.dry_run || self.flag("dry_run").unwrap_or(false),
            commits: self.text("commits").map(|which| match which {
                "keep" => Commits::Keep,
                _ => Commits::Copy,
            }),
            legacy_protocol: self.flag("legacy_protocol").unwrap_or(true),
            urls: match self.text("urls") {
                Some("any") => Urls::Any,
                _ => Urls::Loopback,
            },
            max_future: match self.get("max_future") {
                Some(Setting::Seconds(seconds)) => *seconds,
                _ => 24 * 3600,
            },
            allow_force: self.flag("allow_force"),
            receive_hook: self.list("receive_hook"),
            audit_log: self.path("audit_log"),
            identity: None,
        })
    }
}

/// Where there are identities, each pusher has to have one: else leaving it out would be a way
/// around them.
fn find_identity(all: &[Identity], name: Option<&str>) -> Result<Option<Identity>, ConfError> {
    let Some(name) = name else {
        return match all {
            [] => Ok(None),
            _ => Err(ConfError(
                "this receiver takes pushes only from those it knows: put \
                 command=\"oxtree receive --identity NAME\" before the key in authorized_keys"
                    .to_owned(),
            )),
        };
    };
    let found = all.iter().find(|identity| identity.name == name);
    let found = found.ok_or_else(|| {
        ConfError(format!(
            "identity {name} is not in the receiver's configuration"
        ))
    })?;
    Ok(Some(found.clone()))
}

/// What the pusher's identity changes, and whether it may force if it wants to.
fn apply_permissions(
    mut config: ReceiveConfig,
    command_line: CommandLine,
) -> Result<ReceiveConfig, ConfError> {
    if let Some(identity) = &config.identity {
        config.dry_run |= identity.dry_run_only;
        config.allow_force = identity.allow_force.or(config.allow_force);
    }
    match config.allow_force == Some(false) && command_line.force {
        true => Err(ConfError(
            "the receiver does not allow --force (allow_force in its configuration)".to_owned(),
        )),
        false => Ok(config),
    }
}

impl ReceiveConfig {
    /// What the file asks for, and the road of the push does not do yet. Better no push than one
    /// past the owner's rules.
    pub(crate) fn check_enforced(&self) -> Result<(), ConfError> {
        let asked = [
            ("gpg_sign", !self.gpg_sign.is_empty()),
            ("gpg_verify", self.gpg_verify),
            ("sign_keyfiles", !self.sign_keyfiles.is_empty()),
            ("sign_verify", self.sign_verify),
            ("update: no", !self.update),
            ("update_hook", !self.update_hook.is_empty()),
            ("force", self.force),
            ("dry_run", self.dry_run),
            ("commits: copy", self.commits == Some(Commits::Copy)),
            ("allow_force", self.allow_force.is_some()),
            ("receive_hook", !self.receive_hook.is_empty()),
            ("audit_log", self.audit_log.is_some()),
            ("identities", self.identity.is_some()),
        ];
        match asked.iter().find(|(_, asked)| *asked) {
            None => Ok(()),
            Some((key, _)) => Err(ConfError(format!(
                "the receiver's configuration asks for {key}, which this version cannot do"
            ))),
        }
    }
}
