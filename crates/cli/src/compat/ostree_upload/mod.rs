// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Go program ostree-upload, by its own name: its arguments and files in front of what `oxtree push`
//! and `oxtree serve` do.

mod gentoken;
mod push;
mod receive;
mod tokens;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::context::Context;
use crate::error;
use crate::error::Usage;
use crate::names::Face;
use crate::options::Global;
use crate::output::{self, Output};

/// The name, for messages.
const NAME: &str = "ostree-upload";

/// Transfer local OSTree objects to a remote repository
#[derive(Debug, Parser)]
#[command(name = NAME, disable_version_flag = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a new token that gives access to the server
    Gentoken(gentoken::Args),
    /// Start the server
    Receive(receive::Args),
    /// Push objects to the remote OSTree repository
    // As the original's README calls it.
    #[command(alias = "upload")]
    Push(push::Args),
}

/// Runs it with the arguments `words`. Whatever fails, the code is 1.
pub(crate) fn run(words: Vec<OsString>, out: &Output) -> ExitCode {
    match run_command(words, out).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error, Face::Ostree, out),
    }
}

fn run_command(words: Vec<OsString>, out: &Output) -> Result<()> {
    let words = std::iter::once(NAME.into()).chain(words);
    let command = match Args::try_parse_from(words) {
        Ok(args) => args.command,
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                    out.help(&error.render())
                }
                _ => Err(Usage(crate::command_line::describe(&error)).into()),
            };
        }
    };
    match command {
        Command::Gentoken(args) => gentoken::run(&args, &context(args.verbose, out)),
        Command::Receive(args) => receive::run(&args, &context(args.verbose, out)),
        Command::Push(args) => push::run(&args, &context(args.verbose, out)),
    }
}

/// What the commands are given.
fn context(verbose: bool, out: &Output) -> Context<'_> {
    output::start_tracing(verbose);
    Context::new(Face::Oxtree, Global::new(None, verbose), out)
}
