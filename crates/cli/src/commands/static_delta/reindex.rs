// SPDX-License-Identifier: MIT OR Apache-2.0
//! `static-delta reindex`.

use anyhow::Result;

use crate::context::Context;

/// Options of `static-delta reindex`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
`oxtree summary -u` does it, too.

Examples:
  oxtree static-delta reindex
  oxtree static-delta reindex --to=os/stable")]
pub(crate) struct Args {
    /// Only the index of this commit
    #[arg(long, value_name = "REV")]
    to: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    let to = args.to.as_deref().map(|rev| repo.resolve_rev(rev));
    Ok(repo.update_delta_indexes(to.transpose()?)?)
}
