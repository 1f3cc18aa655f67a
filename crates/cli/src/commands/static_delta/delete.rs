// SPDX-License-Identifier: MIT OR Apache-2.0
//! `static-delta delete`.

use anyhow::{Result, bail};

use crate::context::Context;

/// Options of `static-delta delete`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Clients that have read the summary before may still ask for it, and get the objects one by one then.

Examples:
  oxtree static-delta delete FROM-TO")]
pub(crate) struct Args {
    /// The delta, as `static-delta list` names it
    #[arg(value_name = "DELTA")]
    delta: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let name = super::name(args.delta.as_ref())?;
    match context.open_repo()?.delete_static_delta(&name)? {
        true => Ok(()),
        false => bail!("Can't find delta {name}"),
    }
}
