// SPDX-License-Identifier: MIT OR Apache-2.0
//! `static-delta`: files that make one commit of another, or of nothing.

mod apply_offline;
mod delete;
mod generate;
mod indexes;
mod keys;
mod list;
mod reindex;
mod show;
mod verify;

use std::ffi::OsString;

use anyhow::{Result, anyhow};
use oxtree_format::DeltaName;

use crate::command_line;
use crate::context::Context;
use crate::error::Usage;

/// The commands of `static-delta`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A static delta has all that is new in a commit since another: a client that has the one gets the
other in a few requests. A delta is named FROM-TO, or TO if it needs nothing. After new ones,
`oxtree summary -u` tells clients of them. `oxtree static-delta COMMAND --help` has the options of
a command.

Examples:
  oxtree static-delta generate os/stable
  oxtree static-delta list
  oxtree static-delta apply-offline update.delta")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the static deltas
    List(list::Args),
    /// Print what is in a static delta
    Show(show::Args),
    /// Delete a static delta
    Delete(delete::Args),
    /// Make a static delta
    Generate(generate::Args),
    /// Make a commit of a static delta that lies in a file or folder
    ApplyOffline(apply_offline::Args),
    /// Check that a static delta is signed by a key
    Verify(verify::Args),
    /// List the commits that have an index of static deltas
    Indexes(indexes::Args),
    /// Write the indexes of static deltas anew
    Reindex(reindex::Args),
    /// What is no command
    #[command(external_subcommand)]
    Unknown(Vec<OsString>),
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    match &args.command {
        Some(Command::List(args)) => list::run(args, context),
        Some(Command::Show(args)) => show::run(args, context),
        Some(Command::Delete(args)) => delete::run(args, context),
        Some(Command::Generate(args)) => generate::run(args, context),
        Some(Command::ApplyOffline(args)) => apply_offline::run(args, context),
        Some(Command::Verify(args)) => verify::run(args, context),
        Some(Command::Indexes(args)) => indexes::run(args, context),
        Some(Command::Reindex(args)) => reindex::run(args, context),
        Some(Command::Unknown(words)) => unknown(words.first(), context),
        None => unknown(None, context),
    }
}

fn unknown(name: Option<&OsString>, context: &Context<'_>) -> Result<()> {
    let (face, out) = (context.face, context.out);
    Err(command_line::no_subcommand(face, "static-delta", name, out))
}

/// The delta that a command is about.
fn name(text: Option<&String>) -> Result<DeltaName> {
    let Some(text) = text else {
        return Err(Usage("DELTA must be specified".to_owned()).into());
    };
    // libostree names the half that is none.
    let halves = text.split('-').filter(|half| !half.is_empty());
    let wrong = halves
        .clone()
        .find(|half| half.parse::<oxtree_format::CommitId>().is_err());
    text.parse()
        .map_err(|_| anyhow!("Invalid rev {}", wrong.unwrap_or(text)))
}
