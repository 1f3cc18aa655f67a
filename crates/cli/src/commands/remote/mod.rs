// SPDX-License-Identifier: MIT OR Apache-2.0
//! `remote`: repositories elsewhere that this one knows by a name.

mod add;
mod cookies;
mod delete;
mod gpg_import;
mod gpg_list_keys;
mod list;
mod refs;
mod show_url;
mod summary;

use std::ffi::OsString;

use anyhow::Result;

use crate::command_line;
use crate::context::Context;

/// The commands of `remote`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A remote is a section of the repository's config. `oxtree remote COMMAND --help` has the options
of a command.

Examples:
  oxtree remote add origin https://example.org/ostree
  oxtree remote list --show-urls
  oxtree remote delete origin")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Add a remote
    Add(add::Args),
    /// Forget a remote
    Delete(delete::Args),
    /// Print where a remote is
    ShowUrl(show_url::Args),
    /// List the remotes
    List(list::Args),
    /// List the refs of a remote
    Refs(refs::Args),
    /// Print the summary of a remote
    Summary(summary::Args),
    /// Send a cookie with each request to a remote
    AddCookie(cookies::Add),
    /// Send a cookie no more
    DeleteCookie(cookies::Delete),
    /// List the cookies that are sent to a remote
    ListCookies(cookies::List),
    /// Add keys by which a remote's commits may be signed
    GpgImport(gpg_import::Args),
    /// List the keys by which a remote's commits may be signed
    GpgListKeys(gpg_list_keys::Args),
    /// What is no command
    #[command(external_subcommand)]
    Unknown(Vec<OsString>),
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    match &args.command {
        Some(Command::Add(args)) => add::run(args, context),
        Some(Command::Delete(args)) => delete::run(args, context),
        Some(Command::ShowUrl(args)) => show_url::run(args, context),
        Some(Command::List(args)) => list::run(args, context),
        Some(Command::Refs(args)) => refs::run(args, context),
        Some(Command::Summary(args)) => summary::run(args, context),
        Some(Command::AddCookie(args)) => cookies::add(args, context),
        Some(Command::DeleteCookie(args)) => cookies::delete(args, context),
        Some(Command::ListCookies(args)) => cookies::list(args, context),
        Some(Command::GpgImport(args)) => gpg_import::run(args, context),
        Some(Command::GpgListKeys(args)) => gpg_list_keys::run(args, context),
        Some(Command::Unknown(words)) => unknown(words.first(), context),
        None => unknown(None, context),
    }
}

fn unknown(name: Option<&OsString>, context: &Context<'_>) -> Result<()> {
    Err(command_line::no_subcommand(
        context.face,
        "remote",
        name,
        context.out,
    ))
}
