// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rev-parse`: what a rev means.

use anyhow::Result;

use crate::context::Context;
use crate::error::Usage;

/// Options of `rev-parse`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A REV is a commit's checksum, a unique beginning of one, REF, or REMOTE:REF; each `^` after it
means the parent.

Examples:
  oxtree rev-parse debian/12
  oxtree rev-parse debian/12^^
  oxtree rev-parse --single --repo=exported")]
pub(crate) struct Args {
    /// Print the only commit of the repository; an error if it has none or several
    #[arg(long, short = 'S')]
    single: bool,
    /// The revs
    #[arg(value_name = "REV")]
    revs: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    if args.single {
        if !args.revs.is_empty() {
            return Err(Usage("Cannot specify arguments with --single".to_owned()).into());
        }
        return context.out.line(&repo.single_commit()?.to_string());
    }
    if args.revs.is_empty() {
        return Err(Usage("REV must be specified".to_owned()).into());
    }
    for rev in &args.revs {
        context.out.line(&repo.resolve_rev(rev)?.to_string())?;
    }
    Ok(())
}
