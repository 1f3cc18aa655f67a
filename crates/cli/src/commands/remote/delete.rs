// SPDX-License-Identifier: MIT OR Apache-2.0
//! `remote delete`.

use anyhow::Result;
use oxtree_format::refs::RemoteName;

use crate::context::Context;
use crate::error::Usage;

/// Options of `remote delete`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Its section of the config goes, and the keys of its signatures. What was pulled from it stays.

Examples:
  oxtree remote delete origin")]
pub(crate) struct Args {
    /// That there is no such remote is no error
    #[arg(long)]
    if_exists: bool,
    /// The remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let Some(name) = &args.name else {
        return Err(Usage("NAME must be specified".to_owned()).into());
    };
    let name: RemoteName = name.parse()?;
    let repo = context.open_repo()?;
    if args.if_exists && !repo.remotes().contains(&name) {
        return Ok(());
    }
    Ok(repo.delete_remote(&name)?)
}
