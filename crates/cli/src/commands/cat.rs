// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cat`: the contents of files in a commit.

use std::io::Read;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::error::Usage;

/// Options of `cat`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A symbolic link at the end of a path is followed within the commit.

Examples:
  oxtree cat debian/12 /usr/lib/os-release
  oxtree cat debian/12^ /etc/hostname /etc/hosts")]
pub(crate) struct Args {
    /// The commit
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
    /// The files
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    let Some(commit) = args.commit.as_ref().filter(|_| !args.paths.is_empty()) else {
        let text = "A COMMIT and at least one PATH argument are required";
        return Err(Usage(text.to_owned()).into());
    };
    let tree = repo.tree(repo.resolve_rev(commit)?)?;
    let mut buffer = vec![0; 64 << 10];
    for path in &args.paths {
        let mut file = tree.open(path)?;
        loop {
            match file.content.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => context.out.contents(&buffer[..len])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("reading {path}")),
            }
        }
    }
    Ok(())
}
