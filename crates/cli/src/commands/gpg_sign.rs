// SPDX-License-Identifier: MIT OR Apache-2.0
//! `gpg-sign`: GPG signatures on a commit that is there, made and deleted.

use std::path::PathBuf;

use anyhow::Result;
use oxtree_repo::Repo;
use oxtree_repo::sign::Signer;
use oxtree_sign::gpg::{self, Gpg, GpgSigner};

use crate::context::Context;
use crate::error::Usage;
use crate::signing;

/// Options of `gpg-sign`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A KEY-ID is whatever gpg takes for one: the end of a fingerprint, or a mail address. gpg makes the
signature, so the key may be in its agent or on a card.

Examples:
  oxtree gpg-sign main 7FCA23D8472CDAFA
  oxtree gpg-sign --gpg-homedir=/etc/keys --delete main release@example.org")]
pub(crate) struct Args {
    /// Delete the signatures by these keys
    #[arg(long, short)]
    delete: bool,
    /// Where gpg has its keys
    #[arg(long, value_name = "HOMEDIR")]
    gpg_homedir: Option<PathBuf>,
    /// The commit
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
    /// Keys
    #[arg(value_name = "KEY-ID")]
    keys: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    let Some(commit) = &args.commit else {
        return Err(Usage("Need a COMMIT to sign".to_owned()).into());
    };
    if args.keys.is_empty() {
        return Err(Usage("Need at least one GPG KEY-ID to sign with".to_owned()).into());
    }
    let commit = repo.resolve_rev(commit)?;
    let gpg = Gpg::new(args.gpg_homedir.as_deref())?;
    if args.delete {
        let made_by = makers(args, &repo, &gpg, context)?;
        let count = repo.edit_detached_metadata(commit, |_, detached| {
            gpg::delete_signatures(detached, &made_by)
        })?;
        return context.out.line(&format!("Signatures deleted: {count}"));
    }
    let signers: Vec<GpgSigner> = args
        .keys
        .iter()
        .map(|id| gpg.signer(id))
        .collect::<Result<_, _>>()?;
    let signers: Vec<&dyn Signer> = signers.iter().map(|signer| signer as &dyn Signer).collect();
    Ok(repo.sign_commit(commit, &signers)?)
}

/// What the keys' signatures say of their makers: what the user wrote, if it is a key's id, and
/// the fingerprints that gpg and the keyrings know by it.
fn makers(args: &Args, repo: &Repo, gpg: &Gpg, context: &Context<'_>) -> Result<Vec<String>> {
    let keyring = signing::trust(context).any_keyring(repo)?;
    let mut makers = Vec::new();
    for id in &args.keys {
        makers.extend(gpg::key_id(id));
        let known = keyring.certificates().iter().filter(|key| key.is_meant(id));
        makers.extend(known.flat_map(gpg::Certificate::fingerprints));
        makers.extend(gpg.fingerprints(id)?);
    }
    Ok(makers)
}
