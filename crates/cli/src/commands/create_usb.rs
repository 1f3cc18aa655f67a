// SPDX-License-Identifier: MIT OR Apache-2.0
//! `create-usb`: refs of collections on a medium.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use oxtree_format::CommitId;
use oxtree_format::refs::{CollectionId, RefName};
use oxtree_repo::{Mode, Repo, SummaryUpdate};
use oxtree_transfer::pull::on_disk::copy_collection;

use super::find_remotes::pairs;
use crate::context::Context;
use crate::error::Usage;

/// Where a repository is looked for on every medium.
const KNOWN: [&str; 2] = [".ostree/repo", "ostree/repo"];

/// Options of `create-usb`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
MOUNT-PATH is where the medium is mounted. The repository on it is made if it is not there; one that
is not at .ostree/repo or ostree/repo gets a link in .ostree/repos.d, by which it is found.

Examples:
  oxtree create-usb /media/usb org.example.Os os/stable
  oxtree create-usb --destination-repo=repo /media/usb org.example.Os os/stable")]
pub(crate) struct Args {
    /// Do not wait for the disk: whoever takes the medium away too early has a damaged repository
    #[arg(long)]
    disable_fsync: bool,
    /// Where the repository is on the medium
    #[arg(long, value_name = "DEST", default_value = ".ostree/repo")]
    destination_repo: PathBuf,
    /// Copy this commit, and not the one that the ref is at (of one ref only)
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// MOUNT-PATH COLLECTION-ID REF [COLLECTION-ID REF...]: the medium, and what is copied
    #[arg(value_name = "MOUNT-PATH COLLECTION-ID REF", num_args = 0..)]
    words: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let Some((mount, words)) = args.words.split_first() else {
        let message = "A MOUNT-PATH must be specified";
        return Err(Usage(message.to_owned()).into());
    };
    let wanted = pairs(words)?;
    if args.commit.is_some() && wanted.len() > 1 {
        let message = "When specifying --commit, only one COLLECTION-ID REF pair is allowed";
        return Err(Usage(message.to_owned()).into());
    }
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !args.destination_repo.components().all(inside) {
        bail!("--destination-repo has to be a path below the medium");
    }
    // A mistake in its name would make a repository that nobody looks for.
    let medium = Path::new(mount);
    let is_dir = medium
        .metadata()
        .with_context(|| format!("opening {mount}"))?
        .is_dir();
    if !is_dir {
        bail!("{mount} is not a directory: MOUNT-PATH is where the medium is mounted");
    }
    let source = context.open_repo()?;
    let known = source.collection_refs()?;
    let mut refs: BTreeMap<CollectionId, Vec<(RefName, CommitId)>> = BTreeMap::new();
    for (collection, name) in wanted {
        let key = (collection, name);
        let commit = match &args.commit {
            Some(rev) => source.resolve_rev(rev)?,
            None => known.get(&key).copied().ok_or_else(|| {
                anyhow!(
                    "Failed to find the ref ({}, {}) in the repository",
                    key.0,
                    key.1
                )
            })?,
        };
        refs.entry(key.0).or_default().push((key.1, commit));
    }
    let count: usize = refs.values().map(Vec::len).sum();
    let path = Path::new(mount).join(&args.destination_repo);
    let mut repo = open(&path, context)?;
    repo.config_mut().fsync &= !args.disable_fsync;
    for (collection, refs) in &refs {
        copy_collection(&repo, &source, collection, refs, context.progress())?;
    }
    repo.update_summary(&SummaryUpdate::default())?;
    if !KNOWN
        .iter()
        .any(|known| args.destination_repo == Path::new(known))
    {
        link(Path::new(mount), &args.destination_repo)?;
    }
    let copied = if count == 1 { "ref" } else { "refs" };
    context.out.line(&format!(
        "Copied {count}/{count} {copied} successfully from ‘{}’ repository to ‘{}’.",
        source.path().display(),
        path.display()
    ))
}

fn open(path: &Path, context: &Context<'_>) -> Result<Repo> {
    std::fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
    Ok(Repo::create_in(
        path,
        Mode::Archive,
        None,
        &context.environment(),
    )?)
}

/// Makes a link in `.ostree/repos.d` to a repository, unless there is one.
fn link(mount: &Path, repo: &Path) -> Result<()> {
    let dir = mount.join(".ostree/repos.d");
    std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let target = Path::new("../..").join(repo);
    for number in 0..100 {
        let link = dir.join(format!("{number:02}-generated"));
        match symlink(&target, &link) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                if std::fs::read_link(&link).is_ok_and(|there| there == target) {
                    return Ok(());
                }
            }
            Err(error) => return Err(error).with_context(|| format!("linking {}", link.display())),
        }
    }
    bail!("{} is full of links", dir.display())
}
