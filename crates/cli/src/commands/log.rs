// SPDX-License-Identifier: MIT OR Apache-2.0
//! `log`: a commit and those before it.

use anyhow::Result;
use oxtree_format::Commit;
use oxtree_repo::Error;

use crate::context::Context;
use crate::text::{self, Dump};

/// Options of `log`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The log ends with a note where a parent was not fetched.

Examples:
  oxtree log debian/12
  oxtree log --repo=/srv/ostree 5f04ea9")]
pub(crate) struct Args {
    /// Print the commits as GVariant text
    #[arg(long)]
    raw: bool,
    /// Where to begin
    #[arg(value_name = "REV")]
    rev: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    let first = repo.resolve_rev(&args.rev)?;
    let dump = Dump {
        raw: args.raw,
        ..Dump::default()
    };
    let mut next = Some(first);
    while let Some(id) = next {
        let bytes = match repo.load_commit(id) {
            Err(error) if error.is_missing_object() && id != first => {
                return context
                    .out
                    .line("<< History beyond this commit not fetched >>");
            }
            bytes => bytes?,
        };
        context
            .out
            .text(&text::commit(id, &bytes, dump, context.out)?)?;
        let commit = Commit::parse(&bytes).map_err(|error| Error::corrupt(id, error))?;
        next = commit.parent;
    }
    Ok(())
}
