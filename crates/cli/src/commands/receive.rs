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

and how much it takes. Sizes can end with K, M, G or T (powers of 1024), times with s, m or h:
  receive.max-object-size=64G    content of one file
  receive.max-bytes=1T           what comes over the wire in one push
  receive.max-unpacked-size=1T   what the objects of one push unpack to
  receive.max-ratio=0            how many times larger that may be than what came; 0 for no such
                                 bound: an empty disk image is packed a thousand times
  receive.max-objects=3M         objects that one push sends
  receive.max-ids=3M             objects that it offers
  receive.max-refs=10000         refs that it changes
  receive.max-memory=128M        memory, about: it bounds what is offered, 40 bytes each, and the
                                 size of a commit or folder, a quarter of it
  receive.max-frame-size=1M      of a piece of the protocol; 64K to 1M
  receive.idle-timeout=5m        a pusher that does nothing for so long is dropped; 0 for never
  receive.timeout=0              how long a push may take; 0 for ever

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
