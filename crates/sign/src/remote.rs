// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which signatures the commits and the summary of a remote have to have, as the repository's
//! configuration says in `[remote "NAME"]`:
//!
//! | key | default | meaning |
//! | --- | --- | --- |
//! | `gpg-verify` | true | each commit has a good GPG signature |
//! | `gpg-verify-summary` | false | so has the summary |
//! | `gpgkeypath` | – | files and directories of keys (a list by `;` or by `,`) besides the keyring |
//! | `sign-verify` | false | each commit has a good signature by one of these engines (`true`: any) |
//! | `sign-verify-summary` | false | so has the summary |
//! | `verification-ENGINE-key` | – | the public key of an engine |
//! | `verification-ENGINE-file` | – | a file of public keys |
//!
//! The GPG keyring is `NAME.trustedkeys.gpg` in the repository, or where there is none, the one
//! that all remotes trust. An engine that is named has to have keys; with `true`, engines without
//! `verification-…` look in the directories of [`Trust`]. Where GPG and `sign-verify` are both
//! asked for, both have to be content.

use std::path::{Path, PathBuf};

use oxtree_format::detached::{Detached, keys};
use oxtree_format::refs::RemoteName;
use oxtree_repo::Repo;
use oxtree_repo::sign::{SignError, Subject, Verifier};

use crate::gpg::{self, Keyring, Report, ShowTime, Verdict};
use crate::{Engine, Error, PublicKeys, Result};

/// The facts about the system that decisions about signatures need.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The time, in seconds since 1970.
    pub now: u64,
    /// How times are written in messages.
    pub show_time: ShowTime,
    /// Where the GPG keyrings are that all remotes trust ([`gpg::TRUSTED_DIR`], or
    /// `$OSTREE_GPG_HOME`).
    pub gpg_dir: PathBuf,
    /// Where plain keys are looked for ([`crate::keys::DIRS`]).
    pub key_dirs: Vec<PathBuf>,
    /// Whether the dummy engine is switched on.
    pub dummy: bool,
}

/// The caller's choices, which override the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whether a GPG signature is needed.
    pub gpg: Option<bool>,
    /// Whether a signature by an engine is needed.
    pub sign: Option<bool>,
}

impl Trust {
    /// The keyring that all remotes trust. It need not exist.
    pub fn global_keyring(&self) -> Result<Keyring> {
        let mut keyring = Keyring::new();
        if self.gpg_dir.is_dir() {
            keyring.add_dir(&self.gpg_dir)?;
        }
        Ok(keyring)
    }

    /// The keys that a remote trusts.
    pub fn remote_keyring(&self, repo: &Repo, remote: &RemoteName) -> Result<Keyring> {
        let config = |error: oxtree_repo::Error| Error::Config(error.to_string());
        let mut keyring = match repo.remote_keyring(remote).map_err(config)? {
            Some(bytes) => {
                let mut keyring = Keyring::new();
                keyring.add_bytes(&bytes)?;
                keyring
            }
            None => self.global_keyring()?,
        };
        let paths = setting(repo, remote, "gpgkeypath")?;
        for path in split(paths.as_deref().unwrap_or_default())? {
            keyring.add_path(Path::new(&path))?;
        }
        Ok(keyring)
    }

    /// The keys that any of the repository's remotes trusts.
    pub fn any_keyring(&self, repo: &Repo) -> Result<Keyring> {
        let config = |error: oxtree_repo::Error| Error::Config(error.to_string());
        let mut keyring = self.global_keyring()?;
        for bytes in repo.remote_keyrings().map_err(config)? {
            keyring.add_bytes(&bytes)?;
        }
        Ok(keyring)
    }
}

/// The verifier of a remote's commits; [`None`] if they are not verified.
pub fn commit_verifier(
    repo: &Repo,
    remote: &RemoteName,
    trust: &Trust,
    wanted: Wanted,
) -> Result<Option<Box<dyn Verifier>>> {
    verifier(repo, remote, trust, wanted, &Keys::COMMIT)
}

/// The verifier of a remote's summary; [`None`] if it is not verified.
pub fn summary_verifier(
    repo: &Repo,
    remote: &RemoteName,
    trust: &Trust,
    wanted: Wanted,
) -> Result<Option<Box<dyn Verifier>>> {
    verifier(repo, remote, trust, wanted, &Keys::SUMMARY)
}

/// A verifier with keys from elsewhere: a signature by one of `keyring` is needed, if there is one, and
/// one by one of `engines`, if there are any.
pub fn keys_verifier(
    keyring: Option<Keyring>,
    engines: Vec<PublicKeys>,
    trust: &Trust,
) -> Box<dyn Verifier> {
    Box::new(RemoteVerifier {
        keyring,
        engines,
        now: trust.now,
        show_time: trust.show_time,
    })
}

/// The verifier of a remote's static deltas, whether its commits are verified or not. It trusts the
/// remote's keys, or else those that the system trusts.
pub fn delta_verifier(
    repo: &Repo,
    remote: &RemoteName,
    trust: &Trust,
) -> Result<Box<dyn Verifier>> {
    // GPG does not sign them.
    Ok(Box::new(RemoteVerifier {
        keyring: None,
        engines: engines(repo, remote, trust, "true")?,
        now: trust.now,
        show_time: trust.show_time,
    }))
}

/// Which keys of the configuration speak of a thing, and what holds where they are not there.
struct Keys {
    gpg: &'static str,
    gpg_default: bool,
    sign: &'static str,
}

impl Keys {
    const COMMIT: Self = Self {
        gpg: "gpg-verify",
        gpg_default: true,
        sign: "sign-verify",
    };
    const SUMMARY: Self = Self {
        gpg: "gpg-verify-summary",
        gpg_default: false,
        sign: "sign-verify-summary",
    };
}

fn verifier(
    repo: &Repo,
    remote: &RemoteName,
    trust: &Trust,
    wanted: Wanted,
    keys: &Keys,
) -> Result<Option<Box<dyn Verifier>>> {
    let gpg = match wanted.gpg {
        Some(gpg) => gpg,
        None => match setting(repo, remote, keys.gpg)? {
            Some(text) => boolean(&text)
                .ok_or_else(|| Error::Config(format!("{}: invalid boolean '{text}'", keys.gpg)))?,
            None => keys.gpg_default,
        },
    };
    let engines = match wanted.sign {
        Some(false) => Vec::new(),
        Some(true) => engines(repo, remote, trust, "true")?,
        None => {
            let value = setting(repo, remote, keys.sign)?;
            engines(repo, remote, trust, value.as_deref().unwrap_or("false"))?
        }
    };
    if !gpg && engines.is_empty() {
        return Ok(None);
    }
    // A keyring that cannot be read is found out before anything else is done.
    let keyring = gpg
        .then(|| trust.remote_keyring(repo, remote))
        .transpose()?;
    Ok(Some(Box::new(RemoteVerifier {
        keyring,
        engines,
        now: trust.now,
        show_time: trust.show_time,
    })))
}

/// The public keys of the engines that `sign-verify` names.
fn engines(
    repo: &Repo,
    remote: &RemoteName,
    trust: &Trust,
    value: &str,
) -> Result<Vec<PublicKeys>> {
    let named: Vec<Engine> = match boolean(value) {
        Some(false) => return Ok(Vec::new()),
        Some(true) => Vec::new(),
        None => split(value)?
            .iter()
            .map(|name| Engine::from_name(name))
            .collect::<Result<_>>()?,
    };
    if !named.is_empty() {
        return named
            .into_iter()
            .map(|engine| {
                configured(repo, remote, engine, trust)?.ok_or_else(|| {
                    Error::Config(format!(
                        "No keys found for required signapi type {}",
                        engine.name()
                    ))
                })
            })
            .collect();
    }
    let mut all = Vec::new();
    for engine in Engine::ALL {
        if engine == Engine::Dummy && !trust.dummy {
            continue;
        }
        if let Some(keys) = configured(repo, remote, engine, trust)? {
            all.push(keys);
        } else if engine != Engine::Dummy {
            let mut keys = PublicKeys::new(engine, trust.dummy)?;
            // None here is no fault, if another engine has some.
            let _ = keys.add_dirs(&trust.key_dirs);
            all.push(keys);
        }
    }
    all.retain(|keys| !keys.is_empty());
    match all.is_empty() {
        true => Err(Error::NoKeys(Engine::Ed25519.name())),
        false => Ok(all),
    }
}

/// The keys of an engine that are configured for a remote; [`None`] if none are.
fn configured(
    repo: &Repo,
    remote: &RemoteName,
    engine: Engine,
    trust: &Trust,
) -> Result<Option<PublicKeys>> {
    let name = engine.name();
    let key = setting(repo, remote, &format!("verification-{name}-key"))?;
    let file = setting(repo, remote, &format!("verification-{name}-file"))?;
    if key.is_none() && file.is_none() {
        return Ok(None);
    }
    let mut keys = PublicKeys::new(engine, trust.dummy)?;
    if let Some(file) = file {
        keys.add_file(Path::new(&file)).map_err(|error| {
            Error::Config(format!(
                "Failed loading '{name}' keys from '{file}': {error}"
            ))
        })?;
    }
    if let Some(key) = key {
        keys.add(&key).map_err(|error| {
            Error::Config(format!(
                "Failed loading '{name}' keys from inline `verification-key`: {error}"
            ))
        })?;
    }
    Ok(Some(keys))
}

/// The setting of a remote.
fn setting(repo: &Repo, remote: &RemoteName, key: &str) -> Result<Option<String>> {
    repo.remote_setting(remote, key)
        .map_err(|error| Error::Config(error.to_string()))
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A list by `;` or by `,`, but not by both; each may end the list, too.
fn split(list: &str) -> Result<Vec<String>> {
    let separator = match (list.contains(';'), list.contains(',')) {
        (true, true) => {
            return Err(Error::Config(format!(
                "key value list contains more than one separator: '{list}'"
            )));
        }
        (true, false) => ';',
        _ => ',',
    };
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let list = list.strip_suffix(separator).unwrap_or(list);
    Ok(list.split(separator).map(str::to_owned).collect())
}

#[derive(Debug)]
struct RemoteVerifier {
    keyring: Option<Keyring>,
    engines: Vec<PublicKeys>,
    now: u64,
    show_time: ShowTime,
}

impl Verifier for RemoteVerifier {
    fn verify(
        &self,
        subject: Subject,
        data: &[u8],
        detached: Option<&[u8]>,
    ) -> Result<(), SignError> {
        // Unreadable metadata has no signatures, as with libostree.
        let detached = Detached::parse(detached.unwrap_or_default())
            .or_else(|_| Detached::parse(&[]))
            .map_err(Error::Detached)?;
        if let Some(keyring) = &self.keyring {
            self.verify_gpg(keyring, subject, data, &detached)
                .map_err(|error| match subject {
                    Subject::Commit(commit) | Subject::Delta(commit) => {
                        Error::Config(format!("Commit {commit}: {error}"))
                    }
                    Subject::Summary => error,
                })?;
        }
        if !self.engines.is_empty() {
            self.verify_engines(data, &detached)
                .map_err(|reason| match subject {
                    Subject::Commit(_) => Error::Config(format!("Can't verify commit: {reason}")),
                    Subject::Delta(commit) => Error::Config(format!(
                        "Can't verify the static delta to {commit}: {reason}"
                    )),
                    Subject::Summary => Error::Config(reason),
                })?;
        }
        Ok(())
    }
}

impl RemoteVerifier {
    fn verify_gpg(
        &self,
        keyring: &Keyring,
        subject: Subject,
        data: &[u8],
        detached: &Detached<'_>,
    ) -> Result<()> {
        let signatures = detached.signatures(keys::GPG)?;
        if signatures.is_empty() {
            return Err(match subject {
                Subject::Commit(_) | Subject::Delta(_) => Error::NoGpgSignatures,
                Subject::Summary => Error::NoGpgSummarySignatures,
            });
        }
        let reports = gpg::verify(keyring.certificates(), data, &signatures, self.now)?;
        require_good(&reports, self.now, self.show_time)
    }

    /// One engine is enough. The error is the last one's that has something to say.
    fn verify_engines(&self, data: &[u8], detached: &Detached<'_>) -> Result<(), String> {
        let mut why = None;
        for keys in &self.engines {
            let key = keys.engine().metadata_key();
            if detached.value(key).is_none() {
                continue;
            }
            let verified = detached
                .signatures(key)
                .map_err(Error::Detached)
                .and_then(|signatures| keys.verify(data, &signatures));
            match verified {
                Ok(_) => return Ok(()),
                Err(error) => why = Some(error.to_string()),
            }
        }
        Err(why.unwrap_or_else(|| "No signatures found".to_owned()))
    }
}

/// An error that describes the signatures, the last one first, unless one is good.
fn require_good(reports: &[Report], now: u64, time: ShowTime) -> Result<()> {
    if reports.iter().any(|report| report.verdict == Verdict::Good) {
        return Ok(());
    }
    if reports.is_empty() {
        return Err(Error::GpgNotVerified("No GPG signatures found".to_owned()));
    }
    let text: String = reports
        .iter()
        .rev()
        .map(|report| gpg::describe(report, "", now, time))
        .collect();
    Err(Error::GpgNotVerified(text.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let list = |text| split(text).ok();
        let owned = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect());
        assert_eq!(list(""), owned(&[]));
        assert_eq!(list("a"), owned(&["a"]));
        assert_eq!(list("a;b;"), owned(&["a", "b"]));
        assert_eq!(list("a,b"), owned(&["a", "b"]));
        // An empty item is an item: a path that does not exist.
        assert_eq!(list(",b"), owned(&["", "b"]));
        assert_eq!(list("a,b;c"), None);
    }
}
