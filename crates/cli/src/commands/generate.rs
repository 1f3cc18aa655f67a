// SPDX-License-Identifier: MIT OR Apache-2.0
//! `man` and `completions`: what `make install` puts beside the binary. Hidden from the help.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::command_line;
use crate::context::Context;

/// Options of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Where to write the pages, one for each command
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// For which shell
    #[arg(value_name = "SHELL")]
    shell: clap_complete::Shell,
}

/// Writes the manual pages.
pub(crate) fn man(args: &Man, context: &Context<'_>) -> Result<()> {
    std::fs::create_dir_all(&args.dir)
        .and_then(|()| clap_mangen::generate_to(command_line::command(context.face), &args.dir))
        .with_context(|| format!("writing manual pages to {}", args.dir.display()))
}

/// Prints a completion script.
pub(crate) fn completions(args: &Completions, context: &Context<'_>) -> Result<()> {
    let mut script = Vec::new();
    let name = context.face.name();
    clap_complete::generate(
        args.shell,
        &mut command_line::command(context.face),
        name,
        &mut script,
    );
    context.out.contents(&script)
}
