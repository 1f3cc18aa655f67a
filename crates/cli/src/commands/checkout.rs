// SPDX-License-Identifier: MIT OR Apache-2.0
//! `checkout`: a commit as files on disk.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use oxtree_format::CommitId;
use oxtree_repo::checkout::{self, Links, Options, Union};
use oxtree_repo::selinux::SePolicy;
use oxtree_repo::{Error, Repo, composefs};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::context::Context;
use crate::error::Usage;
use crate::options::boolean;

/// Options of `checkout`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
DESTINATION [default: the commit's name] must not exist, unless it is joined with what is there.
Files are hard links to the repository's objects where its mode allows it: as root from `bare`
without -U, with -U from `bare-user` and `bare-user-only`. Do not change such files in place.

Examples:
  oxtree checkout -U debian/12 rootfs
  oxtree checkout --subpath=/usr/share/doc debian/12 doc
  oxtree checkout -U --union app rootfs")]
pub(crate) struct Args {
    /// Leave owners and extended attributes alone, drop set-user-id bits
    #[arg(long, short = 'U')]
    user_mode: bool,
    /// Do not use the cache of inflated files of an archive repository
    #[arg(long)]
    disable_cache: bool,
    /// Check out only this directory or file
    #[arg(long, value_name = "PATH")]
    subpath: Option<String>,
    /// Join with what is there: files of the commit replace others
    #[arg(long)]
    union: bool,
    /// Join with what is there: files that are there stay
    #[arg(long)]
    union_add: bool,
    /// Join with what is there: a file that would be replaced by a different one is an error
    #[arg(long)]
    union_identical: bool,
    /// Let `.wh.NAME` delete NAME, as in OCI layers
    #[arg(long)]
    whiteouts: bool,
    /// Make `.ostree-wh.NAME` the character device 0:0 NAME, as in overlayfs
    #[arg(long)]
    process_passthrough_whiteouts: bool,
    /// Do nothing if the path of --subpath is not in the commit
    #[arg(long)]
    allow_noent: bool,
    /// Check out many: pairs of COMMIT and PATH on standard input, a zero byte after each
    #[arg(long)]
    from_stdin: bool,
    /// As --from-stdin, from a file
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Whether to wait until all is on disk: true or false [default: for the cache only]
    #[arg(long, value_name = "POLICY")]
    fsync: Option<String>,
    /// Fail where a file cannot be a hard link
    #[arg(long, short = 'H')]
    require_hardlinks: bool,
    /// Make no hard links; share the blocks where the file system can
    #[arg(long, short = 'C')]
    force_copy: bool,
    /// Copy empty files (they always are)
    #[arg(long, short = 'z', hide = true)]
    force_copy_zerosized: bool,
    /// Take mode bits outside of 0775 from directories
    #[arg(long, short = 'M')]
    bareuseronly_dirs: bool,
    /// A file with paths to leave out, one a line, those of directories with a slash at the end
    #[arg(long, value_name = "FILE")]
    skip_list: Option<PathBuf>,
    /// Label files by the SELinux policy in this root directory
    #[arg(long, value_name = "PATH")]
    selinux_policy: Option<PathBuf>,
    /// Look up labels with this in front of each path
    #[arg(long, value_name = "PREFIX")]
    selinux_prefix: Option<String>,
    /// Write a composefs image to the file DESTINATION, with the fs-verity digest of each file
    #[arg(long)]
    composefs: bool,
    /// The same, without digests
    #[arg(long)]
    composefs_noverity: bool,
    /// The commit, and where to
    #[arg(value_name = "COMMIT")]
    commit: Option<OsString>,
    /// Where to
    #[arg(value_name = "DESTINATION")]
    destination: Option<PathBuf>,
    /// libostree has no use for more words either, but takes them
    #[arg(hide = true)]
    ignored: Vec<OsString>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let mut repo = context.open_repo()?;
    let fsync = args.fsync.as_deref().map(boolean).transpose()?;
    if fsync == Some(false) {
        repo.config_mut().fsync = false;
    }
    let Some(commit) = &args.commit else {
        return Err(Usage("COMMIT must be specified".to_owned()).into());
    };
    let many = args.from_stdin || args.from_file.is_some();
    context.contradictions(&[
        (
            args.from_stdin && args.from_file.is_some(),
            "--from-stdin and --from-file exclude each other",
        ),
        (
            many && args.destination.is_some(),
            "with --from-stdin and --from-file, the only argument is DESTINATION",
        ),
        (
            many && args.subpath.is_some(),
            "--subpath has no effect with --from-stdin and --from-file, which name paths themselves",
        ),
    ])?;
    allow_many_files();
    if many {
        let destination = Path::new(commit);
        return all_or_nothing(destination, || {
            args.check_out_many(&repo, destination, fsync)
        });
    }
    let destination = args.destination.as_deref().unwrap_or(Path::new(commit));
    let commit = repo.resolve_rev(&commit.to_string_lossy())?;
    all_or_nothing(destination, || {
        args.check_out(&repo, commit, args.subpath.as_deref(), destination, fsync)
    })
}

/// Checks out. If that fails and the destination is new, it goes again: half a tree looks like a whole one.
fn all_or_nothing(destination: &Path, check_out: impl FnOnce() -> Result<()>) -> Result<()> {
    let is_new = destination
        .symlink_metadata()
        .is_err_and(|error| error.kind() == ErrorKind::NotFound);
    let Err(error) = check_out() else {
        return Ok(());
    };
    if !is_new || destination.symlink_metadata().is_err() {
        return Err(error);
    }
    match delete(destination) {
        Ok(()) => Err(error),
        Err(left) => {
            let path = destination.display();
            Err(error.context(format!(
                "{path} is incomplete and could not be deleted ({left})"
            )))
        }
    }
}

/// Deletes a tree, directories included that nobody may write to.
fn delete(path: &Path) -> std::io::Result<()> {
    if !path.symlink_metadata()?.is_dir() {
        return std::fs::remove_file(path);
    }
    let mut permissions = path.metadata()?.permissions();
    permissions.set_mode(permissions.mode() | 0o700);
    std::fs::set_permissions(path, permissions)?;
    for entry in std::fs::read_dir(path)? {
        delete(&entry?.path())?;
    }
    std::fs::remove_dir(path)
}

impl Args {
    fn check_out(
        &self,
        repo: &Repo,
        commit: CommitId,
        subpath: Option<&str>,
        destination: &Path,
        fsync: Option<bool>,
    ) -> Result<()> {
        if self.composefs || self.composefs_noverity {
            return self.write_image(repo, commit, subpath, destination, fsync);
        }
        let options = self.options(fsync.unwrap_or(false))?;
        let source = match repo.tree(commit)?.lookup(subpath.unwrap_or("/")) {
            Err(Error::PathNotFound(_)) if self.allow_noent => return Ok(()),
            found => found?,
        };
        checkout::checkout(repo, &source, destination, &options)?;
        Ok(())
    }

    fn write_image(
        &self,
        repo: &Repo,
        commit: CommitId,
        subpath: Option<&str>,
        destination: &Path,
        fsync: Option<bool>,
    ) -> Result<()> {
        let has_others = subpath.is_some_and(|path| path != "/")
            || self.disable_cache
            || self.whiteouts
            || self.process_passthrough_whiteouts
            || self.require_hardlinks
            || self.union_add
            || self.union_identical
            || self.force_copy
            || self.force_copy_zerosized
            || self.bareuseronly_dirs
            || self.skip_list.is_some()
            || self.selinux_policy.is_some()
            || self.selinux_prefix.is_some();
        if has_others {
            bail!("Specified options are incompatible with --composefs");
        }
        let options = composefs::Options {
            verity: !self.composefs_noverity,
            fsync: fsync.unwrap_or(false),
        };
        composefs::checkout(repo, commit, destination, &options)?;
        Ok(())
    }

    /// `COMMIT NUL PATH NUL`, again and again.
    fn check_out_many(&self, repo: &Repo, destination: &Path, fsync: Option<bool>) -> Result<()> {
        let mut pairs = Vec::new();
        match &self.from_file {
            Some(path) if !self.from_stdin => {
                pairs = std::fs::read(path).with_context(|| {
                    let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                    format!("Error opening file {}", path.display())
                })?;
            }
            _ => {
                std::io::stdin()
                    .read_to_end(&mut pairs)
                    .context("reading standard input")?;
            }
        }
        let mut words = pairs.split(|byte| *byte == 0).map(str::from_utf8);
        while let Some(rev) = words.next().transpose()?.filter(|rev| !rev.is_empty()) {
            let subpath = words.next().transpose()?;
            let commit = repo.resolve_rev(rev)?;
            self.check_out(repo, commit, subpath, destination, fsync)
                .with_context(|| format!("Processing tree {commit}"))?;
        }
        Ok(())
    }

    fn options(&self, fsync: bool) -> Result<Options> {
        let sepolicy = self.policy()?;
        // Where labels are asked for, files are copied even if there turns out to be no policy.
        let copy = self.force_copy || self.selinux_policy.is_some();
        let links = match (self.require_hardlinks, copy) {
            (true, true) => bail!(Usage(
                "Cannot specify both --require-hardlinks and --force-copy".to_owned()
            )),
            (true, false) => Links::Require,
            (false, true) => Links::Never,
            (false, false) => Links::Allow,
        };
        let skip = match &self.skip_list {
            Some(path) => read_lines(path)?,
            None => HashSet::new(),
        };
        let union = self.union()?;
        // libostree uses its cache only in the simple case.
        let is_simple = links == Links::Allow
            && matches!(union, Union::None | Union::Files)
            && self.skip_list.is_none();
        let is_plain = !(self.disable_cache
            || self.whiteouts
            || self.process_passthrough_whiteouts
            || self.force_copy_zerosized
            || self.bareuseronly_dirs);
        Ok(Options {
            user: self.user_mode,
            union,
            links,
            whiteouts: self.whiteouts,
            passthrough_whiteouts: self.process_passthrough_whiteouts,
            plain_dirs: self.bareuseronly_dirs,
            fsync,
            skip,
            sepolicy,
            sepolicy_prefix: self.selinux_prefix.clone().unwrap_or_default(),
            cache: is_simple && is_plain,
        })
    }

    fn union(&self) -> Result<Union> {
        let conflict = |a, b| {
            let text = format!("Cannot specify both {a} and {b}");
            Err(Usage(text).into())
        };
        match (self.union, self.union_add, self.union_identical) {
            (true, true, _) => conflict("--union", "--union-add"),
            (true, _, true) => conflict("--union", "--union-identical"),
            (_, true, true) => conflict("--union-add", "--union-identical"),
            (true, ..) => Ok(Union::Files),
            (_, true, _) => Ok(Union::Add),
            (_, _, true) => Ok(Union::Identical),
            (false, false, false) => Ok(Union::None),
        }
    }

    /// The policy to label by, if there is one in the root that the user names.
    fn policy(&self) -> Result<Option<Arc<SePolicy>>> {
        match (&self.selinux_policy, &self.selinux_prefix) {
            (None, Some(_)) => Err(Usage(
                "Cannot specify --selinux-prefix without --selinux-policy".to_owned(),
            )
            .into()),
            (None, None) => Ok(None),
            (Some(root), _) => Ok(SePolicy::from_dir(root)?.map(Arc::new)),
        }
    }
}

fn read_lines(path: &Path) -> Result<HashSet<String>> {
    let text = std::fs::read(path).with_context(|| format!("openat({})", path.display()))?;
    let text = String::from_utf8(text).with_context(|| format!("{}: not UTF-8", path.display()))?;
    Ok(text
        .split('\n')
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Each thread keeps the directories open that it is in: with many threads and a deep tree, that
/// is more than what a process may have open unless it asks.
fn allow_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If not, the limit may still be high enough.
    let _ = setrlimit(Resource::Nofile, limit);
}
