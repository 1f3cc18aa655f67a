// SPDX-License-Identifier: MIT OR Apache-2.0
//! `static-delta verify`.

use std::path::Path;

use anyhow::{Result, bail};
use oxtree_format::DeltaName;
use oxtree_repo::delta::DeltaFiles;

use super::keys;
use crate::context::Context;
use crate::error::Usage;

/// Options of `static-delta verify`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Without KEY-ID, --keys-file and --keys-dir, the keys in trusted.TYPE and trusted.TYPE.d/ of
/etc/ostree and /usr/share/ostree are trusted, unless they are in revoked.TYPE or revoked.TYPE.d/
there.

Examples:
  oxtree static-delta verify --keys-file=trusted.ed25519 FROM-TO")]
pub(crate) struct Args {
    /// The delta, as `static-delta list` names it, or its superblock's file
    #[arg(value_name = "STATIC-DELTA-FILE")]
    delta: Option<String>,
    #[command(flatten)]
    keys: keys::Options,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let Some(delta) = &args.delta else {
        return Err(Usage("DELTA must be specified".to_owned()).into());
    };
    let repo = context.open_repo()?;
    let Some(trusted) = args.keys.trusted(context)? else {
        bail!("no keys to verify with: name some, or a file of them");
    };
    let verified = open(&repo, delta).and_then(|files| keys::verify(&files, &trusted));
    let word = if verified.is_ok() { "OK" } else { "fails" };
    context.out.line(&format!("Verification {word}"))?;
    verified.map(drop)
}

fn open(repo: &oxtree_repo::Repo, delta: &str) -> Result<DeltaFiles> {
    match delta.parse::<DeltaName>() {
        Ok(name) => match repo.open_static_delta(&name)? {
            Some(files) => Ok(files),
            None => bail!("Can't find delta {name}"),
        },
        Err(_) => Ok(DeltaFiles::open(Path::new(delta))?),
    }
}
