// SPDX-License-Identifier: MIT OR Apache-2.0
//! `refs`: list, create, delete refs and aliases.

use anyhow::{Context as _, Result, bail};
use oxtree_format::refs::{CollectionId, RefName, Refspec};
use oxtree_repo::{DamagedRef, Error, Expected, RefUpdate, Repo};

use crate::context::Context;
use crate::error::Usage;
use crate::text;

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
    args.check()?;
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
    let mut damaged = Vec::new();
    for prefix in if some.is_empty() { &all[..] } else { &some } {
        match (args.collections, args.delete, args.alias) {
            (true, true, _) => delete_in_collections(&repo, *prefix)?,
            (false, true, alias) => delete(&repo, context, *prefix, alias)?,
            (true, false, _) => {
                damaged.extend(list_collections(&repo, context, *prefix, args.revision)?);
            }
            (false, false, true) => damaged.extend(list_aliases(&repo, context, *prefix)?),
            (false, false, false) => damaged.extend(list(&repo, context, *prefix, args)?),
        }
    }
    if context.is_ostree() && args.prefixes.is_empty() && !args.collections {
        let listed = tell_of_damaged(&damaged, context);
        return has_folders(&repo).and(listed);
    }
    tell_of_damaged(&damaged, context)
}

/// As libostree, `ostree` misses a folder of refs even where no ref can be in it.
fn has_folders(repo: &Repo) -> Result<()> {
    for folder in ["refs/heads", "refs/remotes"] {
        if !repo.path().join(folder).is_dir() {
            bail!("Listing refs: opendir({folder}): No such file or directory: create the folder");
        }
    }
    Ok(())
}

/// Names the refs that are not in a list; an error if a commit may be missing from it.
fn tell_of_damaged(damaged: &[DamagedRef], context: &Context<'_>) -> Result<()> {
    for one in damaged {
        context.out.note(&format!("warning: {one}"));
    }
    let count = damaged.iter().filter(|one| !one.is_dangling).count();
    if count == 0 {
        return Ok(());
    }
    bail!(
        "not listed: {} that cannot be read; `refs --delete NAME` deletes such a ref, `refs --force \
         --create=NAME COMMIT` sets it again",
        text::refs(count)
    )
}

impl Args {
    /// Refuses options that cannot be meant together. libostree follows one of them, which may delete or overwrite refs.
    fn check(&self) -> Result<()> {
        let changes = self.create.is_some() || self.delete;
        for (both, text) in [
            (
                self.create.is_some() && self.delete,
                "--create and --delete exclude each other",
            ),
            (
                changes && self.list,
                "--list cannot be given with --create or --delete",
            ),
            (
                changes && self.alias && self.collections,
                "--alias and --collections exclude each other: refs of collections have no aliases",
            ),
        ] {
            if both {
                return Err(usage(text));
            }
        }
        Ok(())
    }
}

fn usage(message: &str) -> anyhow::Error {
    Usage(message.to_owned()).into()
}

fn list(
    repo: &Repo,
    context: &Context<'_>,
    prefix: Option<&str>,
    args: &Args,
) -> Result<Vec<DamagedRef>> {
    let found = repo.survey_refs(prefix).context("Listing refs")?;
    for (refspec, commit) in found.refs {
        let name = match prefix {
            Some(prefix) if !args.list => below(prefix, &refspec),
            _ => refspec.to_string(),
        };
        match args.revision {
            true => context.out.line(&format!("{name}\t{commit}"))?,
            false => context.out.line(&name)?,
        }
    }
    Ok(found.damaged)
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

fn list_aliases(
    repo: &Repo,
    context: &Context<'_>,
    prefix: Option<&str>,
) -> Result<Vec<DamagedRef>> {
    let wanted = repo.survey_refs(prefix).context("Listing refs")?;
    for (alias, target) in repo.list_aliases().context("Listing refs")? {
        let line = format!("{alias} -> {target}");
        if wanted.refs.contains_key(&Refspec::from(alias)) {
            context.out.line(&line)?;
        }
    }
    Ok(wanted.damaged)
}

fn delete(
    repo: &Repo,
    context: &Context<'_>,
    prefix: Option<&str>,
    only_aliases: bool,
) -> Result<()> {
    let found = repo.survey_refs(prefix).context("Listing refs")?;
    // What cannot be read can be deleted.
    let damaged = found.damaged.iter().filter_map(DamagedRef::refspec);
    let refs = found.refs.into_keys().chain(damaged);
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
    // As libostree, which says nothing of it, `ostree` stays silent.
    if let (true, Some(prefix), false) = (updates.is_empty(), prefix, context.is_ostree()) {
        let nothing = format!("warning: no ref is {prefix} or below it: nothing was deleted");
        context.out.note(&nothing);
    }
    Ok(repo.update_refs(&updates)?)
}

fn create(repo: &Repo, args: &Args, new: &str, rev: &str) -> Result<()> {
    let refspec: Refspec = new.parse()?;
    check_new(repo, &refspec, new, args.force)?;
    let commit = repo.resolve_rev(rev)?;
    Ok(repo.update_refs(&[RefUpdate::set(refspec, commit)])?)
}

/// An error if there is such a ref, unless it may be replaced.
fn check_new(repo: &Repo, refspec: &Refspec, new: &str, replaces: bool) -> Result<()> {
    if replaces {
        return Ok(());
    }
    match repo.read_ref(refspec) {
        Err(Error::DamagedRef(one)) if one.is_dangling => Ok(()),
        Err(Error::DamagedRef(one)) => {
            bail!(
                "--create specified but ref {new} already exists and cannot be read ({one}); --force replaces it"
            )
        }
        Ok(Some(_)) => bail!("--create specified but ref {new} already exists"),
        Ok(None) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn create_alias(repo: &Repo, args: &Args, new: &str, target: &str) -> Result<()> {
    let alias: RefName = new.parse().with_context(|| match new.contains(':') {
        true => "Cannot create alias to remote ref".to_owned(),
        false => format!("Invalid refspec {new}"),
    })?;
    let replaces = args.force || repo.list_aliases()?.contains_key(&alias);
    check_new(repo, &alias.clone().into(), new, replaces)?;
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

fn delete_in_collections(repo: &Repo, prefix: Option<&str>) -> Result<()> {
    let wanted: Option<CollectionId> = prefix.map(str::parse).transpose()?;
    let found = repo.survey_collection_refs()?;
    let own = &repo.config().collection_id;
    let damaged = found.damaged.iter().filter_map(|one| {
        let local = || one.refspec().filter(|refspec| refspec.remote.is_none());
        one.mirror().or_else(|| Some((own.clone()?, local()?.name)))
    });
    for (collection, name) in found.refs.into_keys().chain(damaged) {
        if wanted.as_ref().is_none_or(|wanted| *wanted == collection) {
            repo.write_collection_ref(&collection, &name, None)?;
        }
    }
    Ok(())
}

fn list_collections(
    repo: &Repo,
    context: &Context<'_>,
    prefix: Option<&str>,
    with_commits: bool,
) -> Result<Vec<DamagedRef>> {
    let wanted: Option<CollectionId> = prefix.map(str::parse).transpose()?;
    let found = repo.survey_collection_refs()?;
    for ((collection, name), commit) in found.refs {
        let shown = format!("({collection}, {name})");
        match wanted.as_ref().is_none_or(|wanted| *wanted == collection) {
            true if with_commits => context.out.line(&format!("{shown}\t{commit}"))?,
            true => context.out.line(&shown)?,
            false => {}
        }
    }
    Ok(found.damaged)
}
