// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands, a file each. The order here is that of the help.

mod external;
mod init;
pub(crate) mod push;
mod receive;
mod rev_parse;

use std::ffi::OsString;

use anyhow::Result;

use crate::context::Context;

/// Every command with its options.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a new, empty repository
    Init(init::Args),
    /// Publish commits to another repository, over ssh or on this machine
    Push(Box<push::Args>),
    /// The far side of a push
    Receive(receive::Args),
    /// Print the checksum of the commit that a rev means
    RevParse(rev_parse::Args),
    /// A program on PATH
    #[command(external_subcommand)]
    External(Vec<OsString>),
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self, context: &Context<'_>) -> Result<()> {
        match self {
            Self::Init(args) => init::run(&args, context),
            Self::Push(args) => push::run(*args, context),
            Self::Receive(args) => receive::run(&args, context),
            Self::RevParse(args) => rev_parse::run(&args, context),
            Self::External(words) => external::run(&words, context),
        }
    }
}
