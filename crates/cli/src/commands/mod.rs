// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands, a file each. The order here is that of the help.

mod cat;
mod checkout;
mod checksum;
mod commit;
mod config;
mod create_usb;
mod diff;
mod export;
mod external;
mod find_remotes;
mod fsck;
mod generate;
mod gpg_sign;
mod init;
mod install_links;
mod log;
mod ls;
mod prune;
mod pull;
mod pull_local;
pub(crate) mod push;
pub(crate) mod receive;
mod refs;
mod remote;
mod reset;
mod rev_parse;
mod rofiles_fuse;
pub(crate) mod serve;
mod show;
mod sign;
mod static_delta;
mod summary;
mod token;

use std::ffi::OsString;

use anyhow::Result;

use crate::context::Context;

/// Every command with its options.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a new, empty repository
    Init(init::Args),
    /// Make a commit of a directory, a tar file or another commit
    Commit(Box<commit::Args>),
    /// Check out a commit into a directory
    Checkout(Box<checkout::Args>),
    /// Publish commits to another repository, over ssh, to a server, or on this machine
    Push(Box<push::Args>),
    /// Bring commits from a remote
    Pull(Box<pull::Args>),
    /// Copy commits from another repository on this machine
    PullLocal(Box<pull_local::Args>),
    /// Find out which remotes have refs of collections
    FindRemotes(find_remotes::Args),
    /// Copy refs of collections to a medium, from where others can pull them
    CreateUsb(create_usb::Args),
    /// The far side of a push
    Receive(receive::Args),
    /// Serve repositories over HTTP, to clients and to those who push
    Serve(serve::Args),
    /// Make, list and revoke tokens: what those show who push to a server
    Token(Box<token::Args>),
    /// Read and change the repository's settings
    Config(config::Args),
    /// Add, list and delete remotes: repositories that this one knows by a name
    Remote(remote::Args),
    /// List, create and delete refs
    Refs(refs::Args),
    /// Point a ref at another commit
    Reset(reset::Args),
    /// Print the checksum of the commit that a rev means
    RevParse(rev_parse::Args),
    /// Print a commit and those before it
    Log(log::Args),
    /// Print an object
    Show(show::Args),
    /// List what is in a commit
    Ls(ls::Args),
    /// Print files of a commit
    Cat(cat::Args),
    /// Print what is different between two commits or directories
    Diff(diff::Args),
    /// Write a commit as a tar file
    Export(export::Args),
    /// Print the checksum that a file would have as an object
    Checksum(checksum::Args),
    /// Mount a directory so that hard-linked files in it cannot be written to
    RofilesFuse(rofiles_fuse::Args),
    /// Make links to this binary by the other names that it answers to
    InstallLinks(install_links::Args),
    /// Write the manual pages
    #[command(hide = true)]
    Man(generate::Man),
    /// Print a completion script for a shell
    #[command(hide = true)]
    Completions(generate::Completions),
    /// Check that everything is there and undamaged
    Fsck(fsck::Args),
    /// Delete what nobody needs
    Prune(Box<prune::Args>),
    /// Sign a commit with gpg
    GpgSign(gpg_sign::Args),
    /// Sign a commit with a plain key, or verify that it is signed
    Sign(sign::Args),
    /// Write or print the summary, which clients read first
    Summary(summary::Args),
    /// Make, apply and look at static deltas: files that make one commit of another
    StaticDelta(Box<static_delta::Args>),
    /// A program on PATH
    #[command(external_subcommand)]
    External(Vec<OsString>),
}

impl Command {
    /// Runs the command.
    pub(crate) fn run(self, context: &Context<'_>) -> Result<()> {
        match self {
            Self::Init(args) => init::run(&args, context),
            Self::Commit(args) => commit::run(&args, context),
            Self::Checkout(args) => checkout::run(&args, context),
            Self::Push(args) => push::run(*args, context),
            Self::Pull(args) => pull::run(&args, context),
            Self::PullLocal(args) => pull_local::run(&args, context),
            Self::FindRemotes(args) => find_remotes::run(&args, context),
            Self::CreateUsb(args) => create_usb::run(&args, context),
            Self::Receive(args) => receive::run(&args, context),
            Self::Serve(args) => serve::run(&args, context),
            Self::Token(args) => token::run(&args, context),
            Self::Config(args) => config::run(&args, context),
            Self::Remote(args) => remote::run(&args, context),
            Self::Refs(args) => refs::run(&args, context),
            Self::Reset(args) => reset::run(&args, context),
            Self::RevParse(args) => rev_parse::run(&args, context),
            Self::Log(args) => log::run(&args, context),
            Self::Show(args) => show::run(&args, context),
            Self::Ls(args) => ls::run(&args, context),
            Self::Cat(args) => cat::run(&args, context),
            Self::Diff(args) => diff::run(&args, context),
            Self::Export(args) => export::run(&args, context),
            Self::Checksum(args) => checksum::run(&args, context),
            Self::RofilesFuse(args) => rofiles_fuse::run(&args, context),
            Self::InstallLinks(args) => install_links::run(&args, context),
            Self::Man(args) => generate::man(&args, context),
            Self::Completions(args) => generate::completions(&args, context),
            Self::Fsck(args) => fsck::run(&args, context),
            Self::Prune(args) => prune::run(&args, context),
            Self::GpgSign(args) => gpg_sign::run(&args, context),
            Self::Sign(args) => sign::run(&args, context),
            Self::Summary(args) => summary::run(&args, context),
            Self::StaticDelta(args) => static_delta::run(&args, context),
            Self::External(words) => external::run(&words, context),
        }
    }
}
