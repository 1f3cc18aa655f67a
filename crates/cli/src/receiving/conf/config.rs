// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for one repository, made of its own settings, the command line and those for all.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::keys::Setting;
use super::place::{self, Places};
use super::{ConfError, Identity};

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
    pub(super) fn parse(name: &str) -> Self {
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
    /// What the pusher calls the repository, where there is a `root`: it is not told where that is.
    pub(crate) confined: Option<PathBuf>,
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
    /// `update` was said of this repository or on the command line, which counts for more than
    /// `core.auto-update-summary` in its config.
    pub(crate) update_is_own: bool,
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
    /// Whether a pusher may delete refs; [`None`]: if `allow_force` is not `no`, since a ref that is deleted
    /// and pushed again can move anywhere.
    pub(crate) allow_delete: Option<bool>,
    /// The program and its arguments; empty for none.
    pub(crate) receive_hook: Vec<String>,
    pub(crate) audit_log: Option<PathBuf>,
    /// Who pushes, where that was said.
    pub(crate) identity: Option<Identity>,
}

/// A repository's own settings before those for all.
pub(super) struct Settings<'s> {
    pub(super) own: &'s BTreeMap<&'static str, Setting>,
    pub(super) global: &'s BTreeMap<&'static str, Setting>,
}

impl<'s> Settings<'s> {
    pub(super) fn get(&self, key: &str) -> Option<&'s Setting> {
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
    pub(super) fn config(
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
            confined: None,
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
            update_is_own: own_update.is_some() || command_line.no_update,
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
            allow_delete: self.flag("allow_delete"),
            receive_hook: self.list("receive_hook"),
            audit_log: self.path("audit_log"),
            identity: None,
        })
    }
}

/// Where there are identities, each pusher has to have one: else leaving it out would be a way
/// around them.
pub(super) fn find_identity(
    all: &[Identity],
    name: Option<&str>,
) -> Result<Option<Identity>, ConfError> {
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
pub(super) fn apply_permissions(
    mut config: ReceiveConfig,
    command_line: CommandLine,
) -> Result<ReceiveConfig, ConfError> {
    if let Some(identity) = &config.identity {
        config.dry_run |= identity.dry_run_only;
        config.allow_delete = Some(identity.may_delete() && config.deletes());
        config.allow_force = Some(identity.may_force(config.allow_force));
    }
    match (config.allow_force, command_line.force, &config.identity) {
        (Some(false), true, Some(identity)) => Err(ConfError(format!(
            "the receiver does not allow --force for {} (it has `allow: [push, force]` for identities \
             that may)",
            identity.name
        ))),
        (Some(false), true, None) => Err(ConfError(
            "the receiver does not allow --force (allow_force in its configuration)".to_owned(),
        )),
        _ => Ok(config),
    }
}

impl ReceiveConfig {
    /// Whether refs may be deleted. Where they may not be forced back, that has to be said: else deleting and
    /// pushing again would be a way around it.
    pub(crate) fn deletes(&self) -> bool {
        let deletes = self.allow_delete.or(self.allow_force);
        deletes.unwrap_or(true)
    }
}
