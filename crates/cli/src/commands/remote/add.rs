// SPDX-License-Identifier: MIT OR Apache-2.0
//! `remote add`.

use anyhow::{Result, bail};
use oxtree_format::refs::RemoteName;
use oxtree_repo::remotes::{IfRemoteExists, Setting, Settings};

use oxtree_sign::gpg::Keyring;

use super::gpg_import::{import_all, read_file};
use crate::context::Context;
use crate::error::Usage;

/// Options of `remote add`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  oxtree remote add origin https://example.org/ostree
  oxtree remote add --if-not-exists --no-gpg-verify build file:///srv/build os/stable")]
pub(crate) struct Args {
    /// Set an option of the remote
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Do not ask for GPG signatures
    #[arg(long)]
    no_gpg_verify: bool,
    /// Do not ask for signatures of any kind
    #[arg(long)]
    no_sign_verify: bool,
    /// Ask for signatures of this kind, by this key or by one in this file
    #[arg(long, value_name = "KEYTYPE=[inline|file]:PUBKEY")]
    sign_verify: Vec<String>,
    /// Leave a remote as it is that is there already
    #[arg(long)]
    if_not_exists: bool,
    /// Replace a remote that is there already
    #[arg(long)]
    force: bool,
    /// Trust the keys in this file (- is standard input)
    #[arg(long, value_name = "FILE")]
    gpg_import: Vec<String>,
    /// What is there is not fetched by OSTree, but by this program
    #[arg(long, value_name = "NAME")]
    custom_backend: Option<String>,
    /// Another place, for files' contents
    #[arg(long, value_name = "URL")]
    contenturl: Option<String>,
    /// The globally unique id of the collection that the remote's refs are in
    #[arg(long, value_name = "COLLECTION-ID")]
    collection_id: Option<String>,
    /// What the remote is to be called
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Where it is; after `metalink=` or `mirrorlist=`, where that is written
    #[arg(value_name = "[metalink=|mirrorlist=]URL")]
    url: Option<String>,
    /// The refs that are pulled where none are named
    #[arg(value_name = "BRANCH")]
    branches: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let if_exists = match (args.if_not_exists, args.force) {
        (true, true) => {
            let message = "Can only specify one of --if-not-exists and --force";
            return Err(Usage(message.to_owned()).into());
        }
        (true, false) => IfRemoteExists::Keep,
        (false, true) => IfRemoteExists::Replace,
        (false, false) => IfRemoteExists::Fail,
    };
    let (Some(name), true) = (
        &args.name,
        args.url.is_some() || args.custom_backend.is_some(),
    ) else {
        return Err(Usage("NAME and URL must be specified".to_owned()).into());
    };
    let name: RemoteName = name.parse()?;
    let settings = settings(args)?;
    check_settings(&settings)?;
    let repo = context.open_repo()?;
    if args.if_not_exists && repo.remotes().contains(&name) {
        return Ok(());
    }
    // All keys are read before anything is written: without its keys, the remote is not as it was asked for.
    let files = args.gpg_import.iter();
    let keys: Vec<Keyring> = files.map(|file| read_file(file)).collect::<Result<_>>()?;
    let before = repo.config().file.clone();
    if !repo.add_remote(&name, &settings, if_exists)? {
        return Ok(());
    }
    let imported = keys.iter().map(|keys| import_all(&repo, &name, keys));
    match imported.collect::<Result<Vec<String>>>() {
        Ok(lines) => lines.iter().try_for_each(|line| context.out.line(line)),
        Err(error) => {
            repo.write_config(&before)?;
            Err(error)
        }
    }
}

/// Refuses a key that is set to two values, of which one would be lost: it may be the one that verifies.
fn check_settings(settings: &Settings) -> Result<()> {
    for (at, (key, setting)) in settings.iter().enumerate() {
        let before = settings[..at].iter().filter(|(other, _)| other == key);
        if before
            .clone()
            .any(|(_, other)| text_of(other) != text_of(setting))
        {
            let message = format!("{key} is set to two values: name it only once");
            return Err(Usage(message).into());
        }
    }
    Ok(())
}

fn text_of(setting: &Setting) -> String {
    match setting {
        Setting::Text(text) => text.clone(),
        Setting::List(items) => items.join(";"),
        Setting::Flag(flag) => flag.to_string(),
    }
}

/// The remote's section, in libostree's order.
fn settings(args: &Args) -> Result<Settings> {
    let mut settings = Settings::new();
    let mut text = |key: &str, value: &str| {
        settings.push((key.to_owned(), Setting::Text(value.to_owned())));
    };
    if let Some(url) = &args.url {
        match url.strip_prefix("metalink=") {
            Some(metalink) => text("metalink", metalink),
            None => text("url", url),
        }
    }
    if !args.branches.is_empty() {
        let branches = Setting::List(args.branches.clone());
        settings.push(("branches".to_owned(), branches));
    }
    let mut text = |key: &str, value: &str| {
        settings.push((key.to_owned(), Setting::Text(value.to_owned())));
    };
    if let Some(url) = &args.contenturl {
        text("contenturl", url);
    }
    for pair in &args.set {
        match pair.split_once('=') {
            Some((key, value)) => text(key, value),
            None => bail!("Missing '=' in KEY=VALUE for --set"),
        }
    }
    let mut engines = Vec::new();
    for key in &args.sign_verify {
        let (engine, kind, value) = verification_key(key)?;
        text(&format!("verification-{engine}-{kind}"), value);
        engines.push(engine);
    }
    if !engines.is_empty() {
        text("sign-verify", &engines.join(","));
    }
    if args.no_gpg_verify || args.no_sign_verify {
        settings.push(("gpg-verify".to_owned(), Setting::Flag(false)));
    }
    if args.no_sign_verify {
        settings.push(("sign-verify".to_owned(), Setting::Flag(false)));
    }
    for (key, value) in [
        ("collection-id", &args.collection_id),
        ("custom-backend", &args.custom_backend),
    ] {
        if let Some(value) = value {
            settings.push((key.to_owned(), Setting::Text(value.clone())));
        }
    }
    Ok(settings)
}

/// The parts of `ENGINE=inline:KEY` and `ENGINE=file:PATH`.
fn verification_key(text: &str) -> Result<(&str, &'static str, &str)> {
    let Some((engine, key)) = text.split_once('=') else {
        bail!("Failed to parse KEYTYPE=[inline|file]:DATA in {text}");
    };
    if !["ed25519", "spki", "dummy"].contains(&engine) {
        bail!("Requested signature type is not implemented");
    }
    match key.split_once(':') {
        Some(("inline", key)) => Ok((engine, "key", key)),
        Some(("file", path)) => Ok((engine, "file", path)),
        _ => bail!("Invalid key reference {key}, expected inline|file"),
    }
}
