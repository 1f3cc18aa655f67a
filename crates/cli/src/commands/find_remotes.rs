// SPDX-License-Identifier: MIT OR Apache-2.0
//! `find-remotes`: which remotes have refs of collections.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use oxtree_format::gvariant::Be;
use oxtree_format::refs::{CollectionId, RefName, RemoteName};
use oxtree_format::summary::keys;
use oxtree_format::{CommitId, Summary};
use oxtree_repo::Repo;
use oxtree_transfer::pull::{CacheOptions, PullOptions, pull, refs_of, remote_summary};

use super::pull::options_for;
use crate::context::Context;
use crate::error::Usage;
use crate::text;

type CollectionRef = (CollectionId, RefName);

/// Options of `find-remotes`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Looked at are the repository's remotes that have the collection's id (the finder `config`). Of a ref that
several have, the newest commit counts.

Examples:
  oxtree find-remotes org.example.Os os/stable
  oxtree find-remotes --pull org.example.Os os/stable org.example.Apps editor")]
pub(crate) struct Args {
    /// Keep summaries here, instead of in the repository
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Do not wait for the disk: after a power cut, the repository may be damaged
    #[arg(long)]
    disable_fsync: bool,
    /// Where to look: config
    #[arg(long, value_name = "FINDERS", default_value = "config")]
    finders: String,
    /// Pull what was found
    #[arg(long)]
    pull: bool,
    /// Pull as a mirror does
    #[arg(long)]
    mirror: bool,
    /// COLLECTION-ID REF [COLLECTION-ID REF...]
    #[arg(value_name = "COLLECTION-ID REF", num_args = 0..)]
    words: Vec<String>,
}

/// What a remote has of what is looked for.
struct Found {
    remote: RemoteName,
    url: String,
    modified: Option<u64>,
    refs: BTreeMap<CollectionRef, Option<CommitId>>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let wanted = pairs(&args.words)?;
    for finder in args.finders.split([',', ';']) {
        match finder {
            "config" => {}
            "lan" | "mount" => bail!("The finder ‘{finder}’ is not there, only ‘config’"),
            other => bail!("Unknown finder ‘{other}’"),
        }
    }
    if args.mirror && !args.pull {
        let message = "When specifying --mirror, --pull must also be specified";
        return Err(Usage(message.to_owned()).into());
    }
    let mut repo = context.open_repo()?;
    repo.config_mut().fsync &= !args.disable_fsync;
    let found = find(&repo, &wanted, args, context)?;
    print(&found, &wanted, context)?;
    if args.pull {
        if found.is_empty() {
            bail!("no remote has any of these refs: nothing was pulled");
        }
        pull_all(&repo, &found, args, context)?;
    }
    Ok(())
}

/// The pairs of a collection and a ref that the words are.
pub(super) fn pairs(words: &[String]) -> Result<Vec<CollectionRef>> {
    if words.is_empty() || !words.len().is_multiple_of(2) {
        let message = "At least one COLLECTION-ID REF pair must be specified";
        return Err(Usage(message.to_owned()).into());
    }
    let pair = |pair: &[String]| Ok((pair[0].parse()?, pair[1].parse()?));
    words.chunks(2).map(pair).collect()
}

/// What the remotes have of what is wanted. Only where the newest commit is, a remote counts.
fn find(
    repo: &Repo,
    wanted: &[CollectionRef],
    args: &Args,
    context: &Context<'_>,
) -> Result<Vec<Found>> {
    let collections: BTreeSet<&CollectionId> = wanted.iter().map(|(id, _)| id).collect();
    let mut times: BTreeMap<CollectionRef, u64> = BTreeMap::new();
    let mut all = Vec::new();
    for collection in collections {
        for remote in repo.remotes_of_collection(collection)? {
            let refs = wanted.iter().filter(|(id, _)| id == collection);
            match look(repo, &remote, collection, refs, args, context) {
                Ok(found) => all.push(found),
                Err(error) => context.out.note(&format!("Remote {remote}: {error:#}")),
            }
        }
    }
    for (_, refs) in &all {
        for (name, (_, time)) in refs {
            let newest = times.entry(name.clone()).or_default();
            *newest = (*newest).max(*time);
        }
    }
    let mut found = Vec::new();
    for (mut one, refs) in all {
        for (name, commit) in &mut one.refs {
            let newest = refs
                .get(name)
                .filter(|(_, time)| times.get(name) == Some(time));
            *commit = newest.map(|(commit, _)| *commit);
        }
        if one.refs.values().any(Option::is_some) {
            found.push(one);
        }
    }
    Ok(found)
}

type WithTime = BTreeMap<CollectionRef, (CommitId, u64)>;

fn look<'a>(
    repo: &Repo,
    remote: &RemoteName,
    collection: &CollectionId,
    refs: impl Iterator<Item = &'a CollectionRef>,
    args: &Args,
    context: &Context<'_>,
) -> Result<(Found, WithTime)> {
    let bytes = remote_summary(
        repo,
        remote.as_str(),
        &options(repo, remote, args, context)?,
    )?;
    let bytes = bytes.bytes.ok_or_else(|| anyhow!("it has no summary"))?;
    let summary = Summary::parse(&bytes).map_err(|error| anyhow!("{error}"))?;
    let there = refs_of(&summary, Some(collection))?;
    let mut times = WithTime::new();
    let mut names = BTreeMap::new();
    for name in refs {
        names.insert(name.clone(), None);
        if let Some(entry) = there.and_then(|refs| refs.get(name.1.as_str())) {
            let time = entry.metadata.lookup(keys::COMMIT_TIMESTAMP);
            let time = time.and_then(|time| time.as_::<Be<u64>>().ok());
            times.insert(name.clone(), (entry.commit, time.map_or(0, |time| time.0)));
        }
    }
    let found = Found {
        url: repo.remote_url(remote)?,
        remote: remote.clone(),
        modified: summary.last_modified(),
        refs: names,
    };
    Ok((found, times))
}

fn options(
    repo: &Repo,
    remote: &RemoteName,
    args: &Args,
    context: &Context<'_>,
) -> Result<PullOptions> {
    let options = options_for(repo, remote.as_str(), context)?;
    Ok(PullOptions {
        summary_cache: CacheOptions {
            dir: args.cache_dir.clone(),
            ..options.summary_cache
        },
        mirror: args.mirror,
        ..options
    })
}

fn print(found: &[Found], wanted: &[CollectionRef], context: &Context<'_>) -> Result<()> {
    let out = context.out;
    if found.is_empty() {
        return out.line("No results.");
    }
    for (number, one) in found.iter().enumerate() {
        out.line(&format!("Result {number}: {}", one.url))?;
        out.line(" - Finder: config")?;
        out.line(&format!(" - Keyring: {}.trustedkeys.gpg", one.remote))?;
        let modified = one.modified.map_or("unknown".to_owned(), text::local_time);
        out.line(&format!(" - Summary last modified: {modified}"))?;
        out.line(" - Refs:")?;
        for ((collection, name), commit) in &one.refs {
            let commit = commit.map_or("(not found)".to_owned(), |commit| commit.to_string());
            out.line(&format!("    - ({collection}, {name}) = {commit}"))?;
        }
        out.line("")?;
    }
    let is_found = |name: &&CollectionRef| {
        let has = |one: &Found| one.refs.get(name).is_some_and(Option::is_some);
        found.iter().any(has)
    };
    let missing: Vec<&CollectionRef> = wanted.iter().filter(|name| !is_found(name)).collect();
    if !missing.is_empty() {
        out.line("Refs not found in any remote:")?;
        for (collection, name) in &missing {
            out.line(&format!(" - ({collection}, {name})"))?;
        }
        out.line("")?;
    }
    let count = wanted.len() - missing.len();
    out.line(&format!("{count}/{} refs were found.", wanted.len()))
}

/// Pulls each ref from the first remote that has it, or from the next one.
fn pull_all(repo: &Repo, found: &[Found], args: &Args, context: &Context<'_>) -> Result<()> {
    let mut done: BTreeSet<&CollectionRef> = BTreeSet::new();
    let mut all: BTreeSet<&CollectionRef> = BTreeSet::new();
    let mut last = None;
    for one in found {
        let there = one
            .refs
            .iter()
            .filter_map(|(name, commit)| Some((name, (*commit)?)));
        let open: Vec<_> = there.filter(|(name, _)| !done.contains(name)).collect();
        all.extend(open.iter().map(|(name, _)| *name));
        if open.is_empty() {
            continue;
        }
        let pinned = open
            .iter()
            .map(|((_, name), commit)| format!("{name}@{commit}"));
        let options = PullOptions {
            refs: pinned.collect(),
            ..options(repo, &one.remote, args, context)?
        };
        match pull(repo, one.remote.as_str(), &options, context.progress()) {
            Ok(_) => done.extend(open.iter().map(|(name, _)| *name)),
            Err(error) => {
                context.out.note(&format!("Remote {}: {error}", one.remote));
                last = Some(error);
            }
        }
    }
    if done.len() < all.len()
        && let Some(error) = last
    {
        return Err(anyhow!(error).context("Failed to pull some refs from the remotes"));
    }
    context.out.line(&format!(
        "Pulled {}/{} refs successfully.",
        done.len(),
        all.len()
    ))
}
