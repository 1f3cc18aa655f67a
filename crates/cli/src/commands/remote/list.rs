// SPDX-License-Identifier: MIT OR Apache-2.0
//! `remote list`.

use anyhow::Result;

use crate::context::Context;

/// Options of `remote list`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  oxtree remote list
  oxtree remote list --show-urls")]
pub(crate) struct Args {
    /// Print where each is, too
    #[arg(long, short = 'u')]
    show_urls: bool,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    let names = repo.remotes();
    let width = names.iter().map(|name| name.as_str().len()).max();
    for name in &names {
        match args.show_urls {
            true => {
                let width = width.unwrap_or(0);
                let url = repo.remote_url(name)?;
                context
                    .out
                    .line(&format!("{name:width$}  {}", one_line(&url)))?;
            }
            false => context.out.line(name.as_str())?,
        }
    }
    Ok(())
}

/// One line per remote: a line break in a URL must not look like another remote.
fn one_line(url: &str) -> String {
    let mut shown = String::with_capacity(url.len());
    for c in url.chars() {
        match matches!(c, '\n' | '\r') {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}
