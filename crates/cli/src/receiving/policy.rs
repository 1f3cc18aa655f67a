// SPDX-License-Identifier: MIT OR Apache-2.0
//! From `ostree-receive.conf` to what the road of a push enforces: keys are read, programs named,
//! the log opened.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use oxtree_format::refs::RefName;
use oxtree_repo::commit::is_flatpak_ref;
use oxtree_repo::sign::{Signer, Verifier};
use oxtree_repo::{Repo, SummaryUpdate};
use oxtree_sign::gpg::Gpg;
use oxtree_sign::{Engine, PublicKeys, SecretKey, remote};
use oxtree_transfer::limits::Caps;
use oxtree_transfer::receive::audit::Audit;
use oxtree_transfer::receive::hook::{self, Hook};
use oxtree_transfer::receive::policy::{
    self, Commits, Derive, Derived, Deriver, Force, Future, Policy, Stale,
};

use crate::context::Context;
use crate::receiving::conf::{self, ReceiveConfig};
use crate::secrets::log_if_open;
use crate::signing::{dummy, trust};

/// Whose manners a receiver has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Its own: what is no step forward refuses the push, commits stay what they are.
    Oxtree,
    /// ostree-push's: what is no step forward is left out, commits are made anew.
    Original,
    /// Those of ostree-push before version 0.1.1: as its own, but no metadata commit goes with a summary.
    Legacy,
}

/// What the configuration asks for; `auto_update`: what the repository's own says of its summary.
pub(crate) fn policy(
    config: &ReceiveConfig,
    manners: Manners,
    auto_update: Option<bool>,
    context: &Context<'_>,
) -> Result<Policy> {
    let original = manners == Manners::Original;
    let commits = match (config.commits, original) {
        (Some(conf::Commits::Keep), _) | (None, false) => Commits::Keep,
        (Some(conf::Commits::Copy), _) | (None, true) => Commits::Copy,
    };
    if !context.is_request {
        for path in &config.sign_keyfiles {
            log_if_open("secret key", path, context);
        }
    }
    let signers = signers(config, context)?;
    let derive = match updates(config, auto_update) {
        true => derive(config, manners, context)?,
        false => Derive::Nothing,
    };
    Ok(Policy {
        verifiers: verifiers(config, context)?,
        signers,
        commits,
        stale: if original { Stale::Skip } else { Stale::Refuse },
        force: match (config.allow_force, config.force) {
            (Some(false), _) => Force::Never,
            (_, true) => Force::Always,
            (_, false) => Force::Asked,
        },
        future: (config.max_future > 0).then(|| Future {
            now: SystemTime::now(),
            bound: Duration::from_secs(config.max_future),
        }),
        no_deletes: !config.deletes(),
        no_generated_refs: original,
        pusher: config.identity.as_ref().map(|known| known.name.clone()),
        // A process of ours has one.
        client: String::new(),
        identity: identity(config),
        visibility: None,
        caps: config.identity.as_ref().map_or(Caps::default(), caps),
        hook: hook(&config.receive_hook, config),
        derive,
        outbox: None,
        audit: audit(config, context)?,
    })
}

fn identity(config: &ReceiveConfig) -> Option<policy::Identity> {
    let known = config.identity.as_ref().map(|identity| policy::Identity {
        name: identity.name.clone(),
        refs: identity.refs.as_ref().map(|refs| {
            let patterns = refs.iter().map(|pattern| pattern.as_str().to_owned());
            patterns.collect()
        }),
        read_only: !identity.may_promote(),
        dry_run_only: identity.dry_run_only,
        no_deletes: !config.deletes(),
        promote_only: !identity.may_push(),
    });
    let dry_run = || policy::Identity {
        name: "everybody".to_owned(),
        dry_run_only: true,
        ..policy::Identity::default()
    };
    match config.dry_run {
        true => Some(policy::Identity {
            dry_run_only: true,
            ..known.unwrap_or_else(dry_run)
        }),
        false => known,
    }
}

fn caps(identity: &conf::Identity) -> Caps {
    let limits = identity.limits;
    Caps {
        object: limits.max_object_size,
        bytes: limits.max_bytes,
        unpacked: limits.max_unpacked_size,
        objects: limits.max_objects,
        refs: limits.max_refs,
    }
}

fn verifiers(config: &ReceiveConfig, context: &Context<'_>) -> Result<Vec<Box<dyn Verifier>>> {
    let trust = trust(context);
    let mut verifiers = Vec::new();
    if config.gpg_verify {
        let mut keyring = trust.global_keyring()?;
        if let Some(path) = &config.gpg_trustedkeys {
            keyring.add_path(path)?;
        }
        verifiers.push(remote::keys_verifier(Some(keyring), Vec::new(), &trust));
    }
    if config.sign_verify {
        let engine = Engine::from_name(&config.sign_type)?;
        let mut keys = PublicKeys::new(engine, trust.dummy)?;
        let of_the_system = keys.add_dirs(&trust.key_dirs);
        match &config.sign_trustedkeyfile {
            // There may be none but these.
            Some(path) => keys.add_file(path)?,
            None => of_the_system?,
        }
        verifiers.push(remote::keys_verifier(None, vec![keys], &trust));
    }
    Ok(verifiers)
}

type Signers = Vec<Box<dyn Signer + Send + Sync>>;

fn signers(config: &ReceiveConfig, context: &Context<'_>) -> Result<Signers> {
    let mut signers: Signers = Vec::new();
    if !config.gpg_sign.is_empty() {
        let gpg = Gpg::new(config.gpg_homedir.as_deref())?;
        for id in &config.gpg_sign {
            // Anybody can send requests, and most of them sign nothing.
            signers.push(match context.is_request {
                true => Box::new(gpg.signer_later(id)),
                false => Box::new(gpg.signer(id)?),
            });
        }
    }
    if !config.sign_keyfiles.is_empty() {
        let engine = Engine::from_name(&config.sign_type)?;
        for path in &config.sign_keyfiles {
            for key in SecretKey::read(engine, path, dummy(context))? {
                signers.push(Box::new(key));
            }
        }
    }
    Ok(signers)
}

fn absolute(repo: &Path) -> PathBuf {
    std::path::absolute(repo).unwrap_or_else(|_| repo.to_owned())
}

const ENV_REPO: &str = "OSTREE_RECEIVE_REPO";

/// A hook of these words, if there are any. It knows which repository it is for.
fn hook(words: &[String], config: &ReceiveConfig) -> Option<Hook> {
    let env = vec![(ENV_REPO.to_owned(), absolute(&config.repo).into_os_string())];
    let command = words.to_vec();
    (!command.is_empty()).then_some(Hook { command, env })
}

/// Whether a push brings the summary up to date: what is said of this repository counts most, then what its own
/// config says, and then what is said of all. A hook is the owner's own way to do it.
fn updates(config: &ReceiveConfig, auto_update: Option<bool>) -> bool {
    let own = match config.update_is_own || !config.update_hook.is_empty() {
        true => None,
        false => auto_update,
    };
    own.unwrap_or(config.update)
}

fn derive(config: &ReceiveConfig, manners: Manners, context: &Context<'_>) -> Result<Derive> {
    if let Some(hook) = hook(&config.update_hook, config) {
        return Ok(Derive::By(Box::new(move |_, changed, said| {
            let command = hook.to_command(changed.pusher);
            let mut command = command.map_err(|error| error.to_string())?;
            command.env(hook::ENV_REFS, names(changed.refs).join(" "));
            run(command, said).map(|()| Derived::Done)
        })));
    }
    let signers = signers(config, context)?;
    let flatpak = flatpak_words(config);
    let update = SummaryUpdate {
        metadata_commit: manners != Manners::Legacy,
        ..SummaryUpdate::default()
    };
    let deriver: Box<Deriver> = Box::new(move |store, _, said| {
        let repo = store.local().ok_or("it is not a local repository")?;
        match &flatpak {
            Some(words) if is_flatpak_repo(repo)? => {
                update_flatpak_repo(repo, words, &signers, said)
            }
            _ => update_summary(repo, &update, &signers),
        }
    });
    Ok(Derive::By(deriver))
}

fn update_summary(
    repo: &Repo,
    update: &SummaryUpdate,
    signers: &[Box<dyn Signer + Send + Sync>],
) -> Result<Derived, String> {
    let signers: Vec<&dyn Signer> = signers
        .iter()
        .map(|signer| &**signer as &dyn Signer)
        .collect();
    let lost = repo.refresh_summary(update, &signers);
    let lost = lost.map_err(|error| format!("the summary could not be updated: {error}"))?;
    if lost.is_none() && repo.path().join(INDEX).exists() {
        return Ok(Derived::Skipped(format!(
            "{INDEX} stays as it was, and flatpak's clients read it first: run flatpak build-update-repo"
        )));
    }
    Ok(lost.into())
}

/// flatpak's index of summaries.
const INDEX: &str = "summary.idx";

/// Has flatpak make the summary, its index and the commits that it generates, unless signatures would be lost.
fn update_flatpak_repo(
    repo: &Repo,
    words: &[String],
    signers: &[Box<dyn Signer + Send + Sync>],
    said: &mut String,
) -> Result<Derived, String> {
    let refs = repo.local_refs().map_err(|error| error.to_string())?;
    let generated: Vec<RefName> = refs.into_keys().filter(policy::is_generated).collect();
    let keys: Vec<&str> = signers.iter().map(|signer| signer.metadata_key()).collect();
    let lost = repo.signatures_to_lose(&keys, &generated);
    if let Some(lost) = lost.map_err(|error| error.to_string())? {
        return Ok(Some(lost).into());
    }
    let mut command = Command::new("flatpak");
    command
        .arg("build-update-repo")
        .args(words)
        .arg(repo.path());
    run(command, said).map(|()| Derived::Done)
}

/// What `flatpak build-update-repo` is told about keys; [`None`] where there is no flatpak, or where
/// it could not sign as it would have to.
fn flatpak_words(config: &ReceiveConfig) -> Option<Vec<String>> {
    let there =
        std::env::split_paths(&std::env::var_os("PATH")?).any(|dir| dir.join("flatpak").is_file());
    if !there || !config.sign_keyfiles.is_empty() {
        return None;
    }
    let signs = config
        .gpg_sign
        .iter()
        .map(|key| format!("--gpg-sign={key}"));
    let home = config.gpg_homedir.as_ref();
    let home = home.map(|home| format!("--gpg-homedir={}", home.display()));
    Some(signs.chain(home).collect())
}

fn is_flatpak_repo(repo: &Repo) -> Result<bool, String> {
    let refs = repo.local_refs().map_err(|error| error.to_string())?;
    Ok(refs.keys().any(is_flatpak_ref))
}

fn names(refs: &[RefName]) -> Vec<&str> {
    let mut names: Vec<&str> = refs.iter().map(RefName::as_str).collect();
    names.sort_unstable();
    names
}

/// Runs a program. What it prints must not get between the words of the protocol, and is `said`.
fn run(command: Command, said: &mut String) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let ran = hook::run(command, String::new());
    let (status, text) = ran.map_err(|error| format!("{program} could not be run: {error}"))?;
    *said += &text;
    if status.success() {
        return Ok(());
    }
    let last = text.trim_end().lines().last().unwrap_or_default();
    Err(format!("{program} failed with {status}: {last}"))
}

fn audit(config: &ReceiveConfig, context: &Context<'_>) -> Result<Option<Audit>> {
    let Some(path) = &config.audit_log else {
        return Ok(None);
    };
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(path);
    Ok(Some(Audit {
        file: file.with_context(|| format!("opening the audit log {}", path.display()))?,
        identity: config
            .identity
            .as_ref()
            .map(|identity| identity.name.clone()),
        client: context
            .var("SSH_CLIENT")
            .map(|client| client.to_string_lossy().into_owned()),
        now: SystemTime::now,
    }))
}
