// SPDX-License-Identifier: MIT OR Apache-2.0
//! `static-delta list`.

use anyhow::Result;

use crate::context::Context;

/// Options of `static-delta list`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  oxtree static-delta list")]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, context: &Context<'_>) -> Result<()> {
    let deltas = context.open_repo()?.static_deltas()?;
    if deltas.is_empty() {
        return context.out.line("(No static deltas)");
    }
    for name in deltas.keys() {
        context.out.line(&name.to_string())?;
    }
    Ok(())
}
