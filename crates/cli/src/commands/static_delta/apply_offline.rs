// SPDX-License-Identifier: MIT OR Apache-2.0
//! `static-delta apply-offline`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use oxtree_repo::delta::DeltaFiles;

use super::keys;
use crate::context::Context;
use crate::error::Usage;

/// Options of `static-delta apply-offline`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The commit that the delta is made of has to be there. No ref is written: `oxtree refs --create` or
`oxtree reset` does that. A delta that is signed has to be signed by one of the keys, if there are
any; with core.sign-verify-deltas in the repository's config, it has to be signed.

Examples:
  oxtree static-delta apply-offline update.delta
  oxtree static-delta apply-offline --keys-file=trusted.ed25519 /mnt/usb/delta")]
pub(crate) struct Args {
    /// The delta's folder, or the file of its superblock
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    #[command(flatten)]
    keys: keys::Options,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let Some(path) = &args.path else {
        return Err(Usage("PATH must be specified".to_owned()).into());
    };
    let repo = context.open_repo()?;
    let trusted = args.keys.trusted(context)?;
    let files = DeltaFiles::open(path)?;
    let has_to_be = repo.config().sign_verify_deltas;
    match trusted {
        None if has_to_be => bail!("Key is mandatory to check delta signature"),
        Some(trusted) if has_to_be || files.signed()?.is_some() => {
            keys::verify(&files, &trusted)?;
        }
        _ => {}
    }
    files.apply(&repo)?;
    Ok(())
}
