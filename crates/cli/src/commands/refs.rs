// SPDX-License-Identifier: MIT OR Apache-2.0
//! `refs`: list, create, delete refs and aliases.

use anyhow::{Context as _, Result, bail};
use oxtree_format::refs::{CollectionId, RefName, Refspec};
use oxtree_repo::{Expected, RefUpdate, Repo};

use crate::context::Context;
use crate::error::Usage;

/// Options of `refs`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Without options the refs are listed. A PREFIX is a ref, or what stands before a slash in the names
of several; refs of a remote have the prefix REMOTE: before them.

Examples:
  oxtree refs
  oxtree refs -r --list debian
  oxtree refs --create=debian/stable debian/12
  oxtree refs --alias --create=debian/stable debian/12
  oxtree refs --delete debian/11")]
pub(crate) struct Args {
    /// Delete the refs that are PREFIX or below it
    #[arg(long)]
    delete: bool,
    /// Print whole names, also below a PREFIX
    #[arg(long)]
    list: bool,
    /// Print the commits too
    #[arg(long, short)]
    revision: bool,
    /// List aliases; with --create, make one that follows the ref PREFIX
    #[arg(long, short = 'A')]
    alias: bool,
    /// Make a new ref to the commit that the rev PREFIX means
    #[arg(long, value_name = "NEWREF")]
    create: Option<String>,
    /// List, make or delete refs of collections: PREFIX is a collection id, NEWREF is
    /// COLLECTION:REF
    #[arg(long, short)]
    collections: bool,
    /// Let --create replace a ref
    #[arg(long)]
    force: bool,
    /// Which refs
    #[arg(value_name = "PREFIX")]
    prefixes: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    if let Some(new) = &args.create {
        return match &args.prefixes[..] {
            [] => Err(usage("You must specify a revision when creating a new ref")),
            [rev] if args.collections => create_in_collection(&repo, new, rev),
            [target] if args.alias => create_alias(&repo, args, new, target),
            [rev] => create(&repo, args, new, rev),
            _ => Err(usage(
                "You must specify only 1 existing ref when creating a new ref",
            )),
        };
    }
    if args.delete && args.prefixes.is_empty() {
        return Err(usage("At least one PREFIX is required when deleting refs"));
    }
    let all = [None];
    let some: Vec<Option<&str>> = args.prefixes.iter().map(|p| Some(p.as_str())).collect();
    for prefix in if some.is_empty() { &all[..] } else { &some } {
        match (args.collections, args.delete, args.alias) {
            (true, delete, _) => in_collections(&repo, context, *prefix, delete)?,
            (false, true, alias) => delete(&repo, *prefix, alias)?,
            (false, false, true) => list_aliases(&repo, context, *prefix)?,
            (false, false, false) => list(&repo, context, *prefix, args)?,
        }
    }
    Ok(())
}

fn usage(message: &str) -> anyhow::Error {
    Usage(message.to_owned()).into()
}

fn list(repo: &Repo, context: &Context<'_>, prefix: Option<&str>, args: &Args) -> Result<()> {
    let refs = repo.list_refs(prefix).context("Listing refs")?;
    for (refspec, commit) in refs {
        let name = match prefix {
            Some(prefix) if !args.list => below(prefix, &refspec),
            _ => refspec.to_string(),
        };
        match args.revision {
            true => context.out.line(&format!("{name}\t{commit}"))?,
            false => context.out.line(&name)?,
        }
    }
    Ok(())
}

/// The name of a ref as seen from `prefix`.
fn below(prefix: &str, refspec: &Refspec) -> String {
    let prefix = prefix.split_once(':').map_or(prefix, |(_, name)| name);
    let name = refspec.name.as_str();
    let rest = name
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('/'));
    match &refspec.remote {
        Some(remote) => format!("{remote}:{}", rest.unwrap_or(name)),
        None => rest.unwrap_or(name).to_owned(),
    }
}

fn list_aliases(repo: &Repo, context: &Context<'_>, prefix: Option<&str>) -> Result<()> {
    let wanted = repo.list_refs(prefix).context("Listing refs")?;
    for (alias, target) in repo.list_aliases().context("Listing refs")? {
        let line = format!("{alias} -> {target}");
        if wanted.contains_key(&Refspec::from(alias)) {
            context.out.line(&line)?;
        }
    }
    Ok(())
}

fn delete(repo: &Repo, prefix: Option<&str>, only_aliases: bool) -> Result<()> {
    let refs = repo.list_refs(prefix).context("Listing refs")?.into_keys();
    let aliases = match only_aliases {
        true => Some(repo.list_aliases().context("Listing refs")?),
        false => None,
    };
    let wanted = |refspec: &Refspec| match &aliases {
        Some(aliases) => refspec.remote.is_none() && aliases.contains_key(&refspec.name),
        None => true,
    };
    let updates: Vec<RefUpdate> = refs
        .filter(wanted)
        .map(|refspec| RefUpdate {
            refspec,
            expected: Expected::Any,
            new: None,
        })
        .collect();
    Ok(repo.update_refs(&updates)?)
}

fn create(repo: &Repo, args: &Args, new: &str, rev: &str) -> Result<()> {
    let refspec: Refspec = new.parse()?;
    if !args.force && repo.read_ref(&refspec)?.is_some() {
        bail!("--create specified but ref {new} already exists");
    }
    let commit = repo.resolve_rev(rev)?;
    Ok(repo.update_refs(&[RefUpdate::set(refspec, commit)])?)
}

fn create_alias(repo: &Repo, args: &Args, new: &str, target: &str) -> Result<()> {
    let alias: RefName = new.parse().with_context(|| match new.contains(':') {
        true => "Cannot create alias to remote ref".to_owned(),
        false => format!("Invalid refspec {new}"),
    })?;
    let replaces = args.force || repo.list_aliases()?.contains_key(&alias);
    if !replaces && repo.read_ref(&alias.clone().into())?.is_some() {
        bail!("--create specified but ref {new} already exists");
    }
    let missing = || format!("Cannot create alias to non-existent ref: {target}");
    let name: RefName = target.parse().with_context(missing)?;
    if repo.read_ref(&name.clone().into())?.is_none() {
        bail!(missing());
    }
    Ok(repo.write_alias(&alias, &name)?)
}

/// libostree replaces a ref that is there already, with or without --force.
fn create_in_collection(repo: &Repo, new: &str, rev: &str) -> Result<()> {
    let (collection, name) = new.split_once(':').unwrap_or((new, ""));
    let collection: CollectionId = collection.parse()?;
    let name: RefName = name.parse()?;
    let commit = repo.resolve_rev(rev)?;
    Ok(repo.write_collection_ref(&collection, &name, Some(commit))?)
}

fn in_collections(
    repo: &Repo,
    context: &Context<'_>,
    prefix: Option<&str>,
    delete: bool,
) -> Result<()> {
    let wanted: Option<CollectionId> = prefix.map(str::parse).transpose()?;
    for (collection, name) in repo.collection_refs()?.into_keys() {
        if wanted.as_ref().is_some_and(|wanted| *wanted != collection) {
            continue;
        }
        match delete {
            true => repo.write_collection_ref(&collection, &name, None)?,
            false => context.out.line(&format!("({collection}, {name})"))?,
        }
    }
    Ok(())
}
