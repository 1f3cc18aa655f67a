// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a new commit is made of.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use oxtree_format::DirId;
use oxtree_repo::commit::{
    CommitModifier, DevInoCache, PathFilter, PathSet, StatOverrides, TarOptions, add_tar,
    tree_from_commit, tree_from_dir,
};
use oxtree_repo::selinux::SePolicy;
use oxtree_repo::{MutableTree, Repo, Transaction};

use crate::context::Context;
use crate::error::Usage;

/// Options about the tree.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Begin with the tree of this commit as it is
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// Lay this over what is there already: dir=PATH, tar=FILE (- for standard input) or ref=REV
    #[arg(long, value_name = "dir=PATH or tar=FILE or ref=REV")]
    tree: Vec<String>,
    /// Everything belongs to this user
    #[arg(long, value_name = "UID")]
    owner_uid: Option<i32>,
    /// Everything belongs to this group
    #[arg(long, value_name = "GID")]
    owner_gid: Option<i32>,
    /// Owner root, modes cut down to 0755, no extended attributes
    #[arg(long)]
    canonical_permissions: bool,
    /// Take away everybody's right to write to executable files
    #[arg(long)]
    mode_ro_executables: bool,
    /// Leave out extended attributes
    #[arg(long)]
    no_xattrs: bool,
    /// Label everything by the SELinux policy in this root directory
    #[arg(long, value_name = "PATH")]
    selinux_policy: Option<PathBuf>,
    /// Label by the policy in --base, else in the first --tree
    #[arg(long, short = 'P')]
    selinux_policy_from_base: bool,
    /// 1: label what is below /usr/etc as if it were below /etc
    #[arg(long, value_name = "EPOCH", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1))]
    selinux_labeling_epoch: u32,
    /// Recognise hard links into the repository, and do not read them
    #[arg(long)]
    link_checkout_speedup: bool,
    /// Take hard links into the repository as they are there, whatever the other options say
    #[arg(long, short = 'I')]
    devino_canonical: bool,
    /// Make the directories that members of a tar file need and that it does not hold
    #[arg(long)]
    tar_autocreate_parents: bool,
    /// Rewrite names in tar files: each match of the regular expression by the replacement, in which
    /// \\1 is what the first group has matched
    #[arg(long, value_name = "REGEX,REPLACEMENT")]
    tar_pathname_filter: Option<String>,
    /// A file of lines MODE PATH (bits to be added) or =MODE PATH, MODE in decimal
    #[arg(long, value_name = "PATH")]
    statoverride: Option<PathBuf>,
    /// A file of paths to be left out, one a line
    #[arg(long, value_name = "PATH")]
    skip_list: Option<PathBuf>,
    /// Delete the directories once they are committed; their files become objects without being
    /// copied where that is possible
    #[arg(long)]
    consume: bool,
}

/// Something to make a tree of.
enum Source<'a> {
    Dir(&'a Path),
    Tar(&'a Path),
    Commit(&'a str),
}

impl Options {
    /// Whether there is a `--tree`.
    pub(super) fn has_trees(&self) -> bool {
        !self.tree.is_empty()
    }

    /// The rules for what is changed or left out.
    pub(super) fn modifier(&self) -> Result<CommitModifier> {
        for (id, option) in [
            (self.owner_uid, "--owner-uid"),
            (self.owner_gid, "--owner-gid"),
        ] {
            if self.canonical_permissions && id.is_some_and(|id| id > 0) {
                return Err(Usage(format!(
                    "Cannot specify both --canonical-permissions and non-zero {option}"
                ))
                .into());
            }
        }
        let mut modifier = CommitModifier {
            // A negative number changes nothing.
            owner_uid: self.owner_uid.and_then(|id| id.try_into().ok()),
            owner_gid: self.owner_gid.and_then(|id| id.try_into().ok()),
            canonical_permissions: self.canonical_permissions,
            no_xattrs: self.no_xattrs,
            read_only_executables: self.mode_ro_executables,
            devino_canonical: self.devino_canonical,
            consume: self.consume,
            label_usr_etc_as_etc: self.selinux_labeling_epoch == 1,
            ..CommitModifier::default()
        };
        if self.selinux_policy.is_some() && self.selinux_policy_from_base {
            let both = "Cannot specify both --selinux-policy and --selinux-policy-from-base";
            return Err(Usage(both.to_owned()).into());
        }
        if let Some(root) = &self.selinux_policy {
            modifier.sepolicy = SePolicy::from_dir(root)?;
        }
        if let Some(path) = &self.statoverride {
            modifier.stat_overrides = StatOverrides::parse(&read(path)?)?;
        }
        if let Some(path) = &self.skip_list {
            modifier.skip_list = PathSet::parse(&read(path)?);
        }
        Ok(modifier)
    }

    /// Writes the tree.
    pub(super) fn write(
        &self,
        path: Option<&Path>,
        mut modifier: CommitModifier,
        transaction: &Transaction<'_>,
        context: &Context<'_>,
    ) -> Result<DirId> {
        let repo = transaction.repo();
        if self.link_checkout_speedup || self.devino_canonical {
            modifier.devino = Some(DevInoCache::scan(repo)?);
        }
        let mut tree = match &self.base {
            Some(rev) => {
                let commit = repo.resolve_rev(rev)?;
                tree_from_commit(commit, &CommitModifier::default(), transaction)?
            }
            None => MutableTree::new(),
        };
        let sources = self.sources(path)?;
        if self.selinux_policy_from_base {
            modifier.sepolicy = self.policy_from_base(&sources, repo)?;
        }
        for source in sources {
            let over = match source {
                Source::Tar(path) => {
                    self.add_tar(path, &modifier, &mut tree, transaction, context)?;
                    continue;
                }
                Source::Dir(path) => tree_from_dir(path, &modifier, transaction)?,
                Source::Commit(rev) => {
                    tree_from_commit(repo.resolve_rev(rev)?, &modifier, transaction)?
                }
            };
            tree.overlay(over, transaction)?;
        }
        report_unmatched(&modifier, context)?;
        Ok(tree.write(transaction)?)
    }

    /// The policy in what everything else is laid over.
    fn policy_from_base(&self, sources: &[Source<'_>], repo: &Repo) -> Result<Option<SePolicy>> {
        let rev = match (&self.base, sources.first()) {
            (Some(rev), _) => rev,
            (None, Some(Source::Commit(rev))) => *rev,
            (None, Some(Source::Dir(path))) => return Ok(SePolicy::from_dir(path)?),
            (None, _) => {
                let tar = "Cannot use --selinux-policy-from-base with tar";
                return Err(Usage(tar.to_owned()).into());
            }
        };
        Ok(SePolicy::from_commit(repo, repo.resolve_rev(rev)?)?)
    }

    fn add_tar(
        &self,
        path: &Path,
        modifier: &CommitModifier,
        tree: &mut MutableTree,
        transaction: &Transaction<'_>,
        context: &Context<'_>,
    ) -> Result<()> {
        let filter = self.tar_pathname_filter.as_deref();
        let options = TarOptions {
            autocreate_parents: self.tar_autocreate_parents,
            filter: filter.map(PathFilter::parse).transpose()?,
        };
        let (mut stream, path): (Box<dyn Read>, _) = match path == Path::new("-") {
            true => (Box::new(std::io::stdin()), Path::new("standard input")),
            false => {
                let file =
                    File::open(path).with_context(|| format!("opening {}", path.display()))?;
                (Box::new(file), path)
            }
        };
        for note in add_tar(&mut stream, path, &options, modifier, tree, transaction)? {
            let path = path.display();
            context.out.note(&format!("warning: {path}: {note}"));
        }
        Ok(())
    }

    fn sources<'a>(&'a self, path: Option<&'a Path>) -> Result<Vec<Source<'a>>> {
        if self.tree.is_empty() {
            return Ok(vec![Source::Dir(path.unwrap_or(Path::new(".")))]);
        }
        self.tree.iter().map(|tree| Source::parse(tree)).collect()
    }

    /// Deletes what was committed, if the user wants that. The current directory itself stays.
    pub(super) fn delete_consumed(&self, path: Option<&Path>) -> Result<()> {
        if !self.consume {
            return Ok(());
        }
        for source in self.sources(path)? {
            if let Source::Dir(path) = source {
                delete(path).with_context(|| format!("deleting {}", path.display()))?;
            }
        }
        Ok(())
    }
}

impl<'a> Source<'a> {
    fn parse(tree: &'a str) -> Result<Self> {
        match tree.split_once('=') {
            None => Err(Usage(format!("Missing type in tree specification '{tree}'")).into()),
            Some(("dir", path)) => Ok(Self::Dir(Path::new(path))),
            Some(("tar", path)) => Ok(Self::Tar(Path::new(path))),
            Some(("ref", rev)) => Ok(Self::Commit(rev)),
            Some((kind, _)) => {
                Err(Usage(format!("Invalid tree type specification '{kind}'")).into())
            }
        }
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn report_unmatched(modifier: &CommitModifier, context: &Context<'_>) -> Result<()> {
    for (what, paths) in [
        ("statoverride", modifier.stat_overrides.unmatched()),
        ("skip-list", modifier.skip_list.unmatched()),
    ] {
        for path in &paths {
            context.out.note(&format!("Unmatched {what} path: {path}"));
        }
        if !paths.is_empty() {
            return Err(Usage(format!("Unmatched {what} paths")).into());
        }
    }
    Ok(())
}

fn delete(path: &Path) -> std::io::Result<()> {
    if path != Path::new(".") {
        return std::fs::remove_dir_all(path);
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}
