// SPDX-License-Identifier: MIT OR Apache-2.0
//! `static-delta indexes`.

use anyhow::Result;

use crate::context::Context;

/// Options of `static-delta indexes`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The index of a commit lists the static deltas that lead to it, so that clients need not read about
those to all other commits in the summary.

Examples:
  oxtree static-delta indexes")]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, context: &Context<'_>) -> Result<()> {
    let commits = context.open_repo()?.delta_indexes()?;
    if commits.is_empty() {
        return context.out.line("(No static deltas indexes)");
    }
    for commit in commits {
        context.out.line(&commit.to_string())?;
    }
    Ok(())
}
