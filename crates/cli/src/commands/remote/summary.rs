// SPDX-License-Identifier: MIT OR Apache-2.0
//! `remote summary`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use oxtree_transfer::pull::{CacheOptions, PullOptions, remote_summary};

use crate::commands::pull::options_for;
use crate::commands::show::describe_signatures;
use crate::commands::summary::Look;
use crate::context::Context;
use crate::error::Usage;
use crate::signing;

/// Options of `remote summary`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  oxtree remote summary origin
  oxtree remote summary --print-metadata-key=ostree.summary.last-modified origin")]
pub(crate) struct Args {
    /// Print the names of the metadata keys
    #[arg(long)]
    list_metadata_keys: bool,
    /// Print the value of a metadata key
    #[arg(long, value_name = "KEY")]
    print_metadata_key: Option<String>,
    /// Keep the summary here, instead of in the repository
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Print the summary as GVariant text
    #[arg(long)]
    raw: bool,
    /// The remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// libostree's words, which its tests look for.
const FOUND: (&str, &str) = ("GPG: Verification enabled, found", "");

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let Some(name) = &args.name else {
        return Err(Usage("NAME must be specified".to_owned()).into());
    };
    let repo = context.open_repo()?;
    let options = options_for(&repo, name, context)?;
    let options = PullOptions {
        summary_cache: CacheOptions {
            dir: args.cache_dir.clone(),
            ..options.summary_cache
        },
        ..options
    };
    let summary = remote_summary(&repo, name, &options)?;
    let Some(bytes) = summary.bytes else {
        bail!("Remote server has no summary file");
    };
    let look = Look {
        raw: args.raw,
        list_keys: args.list_metadata_keys,
        key: args.print_metadata_key.as_deref(),
    };
    look.print(&bytes, context)
        .with_context(|| format!("Printing the summary of {name}"))?;
    if look != Look::default() {
        return Ok(());
    }
    let Some(signatures) = summary.signatures else {
        return Ok(());
    };
    let keyring = signing::trust(context).remote_keyring(&repo, &name.parse()?)?;
    let described = describe_signatures(FOUND, &keyring, &bytes, &signatures, context)?;
    if described.is_empty() {
        return Ok(());
    }
    context.out.text(&format!("\n{described}"))
}
