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
    /// How the repository stores files [default: bare]
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
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
    let mode: Mode = args.mode.as_deref().unwrap_or("bare").parse()?;
    let collection: Option<CollectionId> =
        args.collection_id.as_deref().map(str::parse).transpose()?;
    let Some(path) = context.named_repo() else {
        return Err(Usage("Command requires a --repo argument".to_owned()).into());
    };
    let repo = Repo::create_in(&path, mode, collection.as_ref(), &context.environment())?;
    // libostree says nothing either way.
    if context.face == Face::Oxtree {
        check(&repo, args.mode.as_ref().map(|_| mode), collection.as_ref())?;
    }
    Ok(())
}

/// Whether a repository, which may have been there before, is as the user wants it.
fn check(repo: &Repo, mode: Option<Mode>, collection: Option<&CollectionId>) -> Result<()> {
    let path = repo.path().display();
    if mode.is_some_and(|mode| mode != repo.mode()) {
        let text = format!(
            "{path} is there already, in mode {}; it stays so",
            repo.mode()
        );
        return Err(Usage(text).into());
    }
    if collection.is_some() && collection != repo.config().collection_id.as_ref() {
        let text = format!(
            "{path} is there already, with another collection id or none; `oxtree config set core.collection-id` sets it"
        );
        return Err(Usage(text).into());
    }
    Ok(())
}
