// SPDX-License-Identifier: MIT OR Apache-2.0
//! `init`: a new repository.

use anyhow::Result;
use oxtree_format::CollectionId;
use oxtree_repo::{Mode, Repo};

use crate::context::Context;
use crate::error::Usage;
use crate::names::Face;

/// Options of `init`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Modes:
  archive         compressed files; what a web server publishes
  bare            files as they are, with owners and attributes; needs root
  bare-user       as bare, with owners and attributes kept beside the files; needs no root
  bare-user-only  without owners and attributes

A repository that is there already is left as it is.

Examples:
  oxtree init --repo=/srv/ostree --mode=archive
  oxtree init --repo=build --mode=bare-user")]
pub(crate) struct Args {
    /// How the repository stores files
    #[arg(long, value_name = "MODE", default_value = "bare")]
    mode: String,
    /// The globally unique id of the collection that the repository's refs are in, such as
    /// org.example.Os
    #[arg(long, value_name = "COLLECTION-ID")]
    collection_id: Option<String>,
    /// libostree does not look at further arguments
    #[arg(hide = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    if context.face == Face::Oxtree && !args.rest.is_empty() {
        return Err(Usage("Too many arguments given".to_owned()).into());
    }
    let mode: Mode = args.mode.parse()?;
    let collection: Option<CollectionId> =
        args.collection_id.as_deref().map(str::parse).transpose()?;
    let Some(path) = context.named_repo() else {
        return Err(Usage("Command requires a --repo argument".to_owned()).into());
    };
    Repo::create_in(&path, mode, collection.as_ref(), &context.environment())?;
    Ok(())
}
