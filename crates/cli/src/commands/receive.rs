// SPDX-License-Identifier: MIT OR Apache-2.0
//! `receive`: the far side of a push.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Result;
use oxtree_repo::Repo;
use oxtree_transfer::local::LocalDestination;
use oxtree_transfer::receive;

use crate::commands::push::agent;
use crate::context::Context;
use crate::error::Usage;

/// Options of `receive`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
This is what `oxtree push` runs on the far side, through ssh; it is of no use on a terminal. Every
object is verified before it is stored, the refs move only when all is complete, and an
interrupted push is continued by the next one.

The repository's config can say:
  receive.deny-non-fast-forward=true   not even --force moves a ref back or sideways
  receive.deny-deletes=true            no ref is deleted

To let a key do nothing else, put this before it in ~/.ssh/authorized_keys:
  command=\"oxtree receive /srv/repo\",restrict ssh-ed25519 AAAA…")]
pub(crate) struct Args {
    /// The repository to receive into
    #[arg(value_name = "REPO")]
    path: PathBuf,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let reason = "receive is what `oxtree push` runs on the far side, not for a terminal";
        return Err(Usage(reason.to_owned()).into());
    }
    let open = || {
        let repo = Repo::open_in(&args.path, &context.environment())?;
        repo.check_writable()?;
        Ok(LocalDestination::new(repo))
    };
    receive::receive(open, stdin.lock(), std::io::stdout().lock(), &agent())?;
    Ok(())
}
