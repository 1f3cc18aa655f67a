// SPDX-License-Identifier: MIT OR Apache-2.0
//! `remote refs`.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use oxtree_format::Summary;
use oxtree_format::refs::RemoteName;
use oxtree_transfer::pull::{CacheOptions, PullOptions, is_url, remote_summary};

use crate::commands::pull::options_for;
use crate::context::Context;
use crate::error::Usage;

/// Options of `remote refs`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The refs are those of the remote's summary.

Examples:
  oxtree remote refs origin
  oxtree remote refs -r origin")]
pub(crate) struct Args {
    /// Print the commits, too
    #[arg(long, short)]
    revision: bool,
    /// Keep the summary here, instead of in the repository
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// The remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let Some(name) = &args.name else {
        return Err(Usage("NAME must be specified".to_owned()).into());
    };
    let repo = context.open_repo()?;
    if !is_url(name) {
        let name: RemoteName = name.parse()?;
        if repo.remote_setting(&name, "metalink")?.is_none() {
            repo.remote_url(&name)?;
        }
    }
    let options = options_for(&repo, name, context)?;
    let options = PullOptions {
        summary_cache: CacheOptions {
            dir: args.cache_dir.clone(),
            ..options.summary_cache
        },
        ..options
    };
    let Some(bytes) = remote_summary(&repo, name, &options)?.bytes else {
        bail!("Remote refs not available; server has no summary file");
    };
    let summary = Summary::parse(&bytes)
        .map_err(|error| anyhow!("Parsing the summary of {name}: {error}"))?;
    for entry in summary.refs.iter() {
        context.out.line(&match args.revision {
            true => format!("{name}:{}\t{}", entry.name, entry.commit),
            false => format!("{name}:{}", entry.name),
        })?;
    }
    Ok(())
}
