// SPDX-License-Identifier: MIT OR Apache-2.0
//! `remote show-url`.

use anyhow::Result;
use oxtree_format::refs::RemoteName;

use crate::context::Context;
use crate::error::Usage;

/// Options of `remote show-url`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  oxtree remote show-url origin")]
pub(crate) struct Args {
    /// The remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let Some(name) = &args.name else {
        return Err(Usage("NAME must be specified".to_owned()).into());
    };
    let name: RemoteName = name.parse()?;
    let url = context.open_repo()?.remote_url(&name)?;
    context.out.line(&url)
}
