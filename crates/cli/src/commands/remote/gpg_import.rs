// SPDX-License-Identifier: MIT OR Apache-2.0
//! `remote gpg-import`: whose GPG signatures a remote's commits may have.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use oxtree_format::refs::RemoteName;
use oxtree_repo::Repo;
use oxtree_sign::gpg::{Gpg, Keyring};

use crate::context::Context;
use crate::error::Usage;

/// The most bytes that are read from standard input.
const MAX_INPUT: u64 = 64 << 20;

/// Options of `remote gpg-import`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The keys go into REMOTE.trustedkeys.gpg in the repository. A KEY-ID picks some of them: the end of a
fingerprint, or words of a user id. Without --keyring and --stdin, they come from the user's own gpg.

Examples:
  oxtree remote gpg-import --keyring=release.asc origin
  oxtree remote gpg-import origin release@example.org")]
pub(crate) struct Args {
    /// A file with the keys, in armor or not
    #[arg(long, short, value_name = "FILE")]
    keyring: Vec<PathBuf>,
    /// Read the keys from standard input
    #[arg(long)]
    stdin: bool,
    /// The remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Keys
    #[arg(value_name = "KEY-ID")]
    keys: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    let Some(name) = &args.name else {
        return Err(Usage("NAME must be specified".to_owned()).into());
    };
    if args.stdin && !args.keyring.is_empty() {
        return Err(Usage("--keyring and --stdin are mutually exclusive".to_owned()).into());
    }
    let name: RemoteName = name.parse()?;
    repo.remote_setting(&name, "url")
        .map_err(|error| anyhow::anyhow!("GPG: {error}"))?;
    let mut source = Keyring::new();
    for file in &args.keyring {
        source.add_file(file)?;
    }
    if args.stdin {
        source.add_bytes(&stdin()?)?;
    } else if args.keyring.is_empty() {
        source.add_bytes(&Gpg::default().export(&args.keys)?)?;
    }
    let count = import(&repo, &name, &source, &args.keys)?;
    context.out.line(&imported(count, &name))
}

/// The keys in a file (`-` is standard input), for `remote add --gpg-import`.
pub(super) fn read_file(file: &str) -> Result<Keyring> {
    let mut source = Keyring::new();
    match file {
        "-" => source.add_bytes(&stdin()?)?,
        file => source.add_file(file.as_ref())?,
    }
    check(&source)?;
    Ok(source)
}

/// Such keys become those of a remote.
pub(super) fn import_all(repo: &Repo, name: &RemoteName, source: &Keyring) -> Result<String> {
    Ok(imported(import(repo, name, source, &[])?, name))
}

fn check(source: &Keyring) -> Result<()> {
    match source.certificates().is_empty() {
        true => bail!("GPG: Unable to export keys: there is no public key"),
        false => Ok(()),
    }
}

fn stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().take(MAX_INPUT).read_to_end(&mut bytes);
    read.context("reading standard input")?;
    Ok(bytes)
}

fn import(repo: &Repo, name: &RemoteName, source: &Keyring, ids: &[String]) -> Result<usize> {
    check(source)?;
    let mut keyring = Keyring::new();
    if let Some(old) = repo.remote_keyring(name)? {
        keyring.add_bytes(&old)?;
    }
    let count = keyring.import(source, ids)?;
    repo.write_remote_keyring(name, &keyring.to_bytes())?;
    Ok(count)
}

fn imported(count: usize, name: &RemoteName) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("Imported {count} GPG key{plural} to remote \"{name}\"")
}
