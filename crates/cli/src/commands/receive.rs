// SPDX-License-Identifier: MIT OR Apache-2.0
//! `receive`: the far side of a push.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use oxtree_repo::Repo;
use oxtree_transfer::limits::parse_seconds;
use oxtree_transfer::local::{LocalDestination, unfinished};
use oxtree_transfer::protocol::message::UnfinishedPush;
use oxtree_transfer::receive;

use crate::commands::push::{agent, size, unfinished_line};
use crate::context::Context;
use crate::error::Usage;

/// Options of `receive`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
This is what `oxtree push` runs on the far side, through ssh; it is of no use on a terminal. Every
object is verified before it is stored, the refs move only when all is complete, and an
interrupted push is continued by the next one. What it has left is deleted when it is older than
core.tmp-expiry-secs, or with --cleanup:
  oxtree receive --cleanup /srv/repo
  oxtree receive --cleanup --older-than 1h --json /srv/repo

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
  receive.max-ids=2M             objects that it offers
  receive.max-refs=10000         refs that it changes
  receive.max-memory=80M         memory, about: it bounds what is offered, 40 bytes each, and the
                                 size of a commit or folder, a quarter of it
  receive.max-frame-size=1M      of a piece of the protocol; 64K to 1M
  receive.idle-timeout=5m        a pusher that does nothing for so long is dropped; 0 for never
  receive.timeout=0              how long a push may take to come in; 0 for ever

To let a key do nothing else, put this before it in ~/.ssh/authorized_keys:
  command=\"oxtree receive /srv/repo\",restrict ssh-ed25519 AAAA…")]
pub(crate) struct Args {
    /// Delete what interrupted pushes have left in the repository, but not that of running ones
    #[arg(long)]
    cleanup: bool,
    /// Of that, only what nothing was added to for so long, such as 90s, 5m or 1h
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time, requires = "cleanup")]
    older_than: Duration,
    /// Print what was deleted as one JSON object
    #[arg(long, requires = "cleanup")]
    json: bool,
    /// The repository to receive into
    #[arg(value_name = "REPO")]
    path: PathBuf,
}

fn time(text: &str) -> Result<Duration, String> {
    let seconds = parse_seconds(text).ok_or("expected a time such as 90s, 5m or 1h")?;
    Ok(Duration::from_secs(seconds))
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    if args.cleanup {
        return cleanup(args, context);
    }
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let reason = "receive is what `oxtree push` runs on the far side, not for a terminal";
        return Err(Usage(reason.to_owned()).into());
    }
    let open = || Ok(LocalDestination::new(open_repo(args, context)?));
    // Past the buffers of the standard library: what is in there would not be seen by whoever waits
    // for more.
    let from = File::from(stdin.as_fd().try_clone_to_owned()?);
    let to = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    receive::receive_in_time(open, from, to, &agent())?;
    Ok(())
}

fn open_repo(args: &Args, context: &Context<'_>) -> oxtree_repo::Result<Repo> {
    let repo = Repo::open_in(&args.path, &context.environment())?;
    repo.check_writable()?;
    Ok(repo)
}

fn cleanup(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = open_repo(args, context)?;
    let deleted = repo.delete_unfinished(args.older_than)?;
    let left = repo.unfinished()?;
    let [deleted, left] =
        [deleted, left].map(|all| -> Vec<UnfinishedPush> { all.iter().map(unfinished).collect() });
    if args.json {
        let report = serde_json::json!({"deleted": deleted, "left": left});
        return context.out.line(&report.to_string());
    }
    let bytes = deleted.iter().map(|push| push.bytes).sum();
    let objects: u64 = deleted.iter().map(|push| push.objects).sum();
    context.out.line(&format!(
        "Deleted what {} interrupted pushes had left: {objects} objects, {}",
        deleted.len(),
        size(bytes)
    ))?;
    if !left.is_empty() {
        context.out.line("Left alone:")?;
    }
    for push in &left {
        context.out.line(&unfinished_line(push))?;
    }
    Ok(())
}
