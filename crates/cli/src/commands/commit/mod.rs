// SPDX-License-Identifier: MIT OR Apache-2.0
//! `commit`: a new commit out of directories, tar files and other commits.

mod message;
mod metadata;
mod trees;

use std::num::IntErrorKind;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use jiff::Zoned;
use oxtree_format::commit::{content_checksum, keys};
use oxtree_format::{Commit, CommitId, DirId, RefName, Refspec};
use oxtree_repo::commit::{CommitBuilder, sizes_of};
use oxtree_repo::sign::Signer;
use oxtree_repo::{Error, RefUpdate, Repo, Stats, Transaction};

use crate::context::Context;
use crate::dates;
use crate::error::Usage;
use crate::options::boolean;
use crate::{signing, text};

/// Options of `commit`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Without --tree, PATH is committed, or else the current directory. Each --tree is laid over those
before it.

Examples:
  oxtree commit --repo=/srv/ostree --branch=debian/12 --subject='Debian 12.8' rootfs
  oxtree commit -b app --tree=ref=base --tree=tar=app.tar.gz --owner-uid=0 --owner-gid=0
  oxtree commit -b app --timestamp=@1700000000 --canonical-permissions --no-xattrs build")]
pub(crate) struct Args {
    /// The commit before this one, or `none` [default: the branch's]
    #[arg(long, value_name = "COMMIT")]
    parent: Option<String>,
    #[command(flatten)]
    message: message::Options,
    /// The ref that is to point at the commit
    #[arg(long, short, value_name = "BRANCH")]
    branch: Option<String>,
    /// Do not set a ref
    #[arg(long)]
    orphan: bool,
    #[command(flatten)]
    metadata: metadata::Options,
    #[command(flatten)]
    trees: trees::Options,
    /// Say in the commit that it can be booted, and which kernel is in it
    #[arg(long)]
    bootable: bool,
    /// Say in the commit how large all its objects are (in an archive repository only)
    #[arg(long)]
    generate_sizes: bool,
    /// Say in the commit which digest its composefs image has
    #[arg(long)]
    generate_composefs_metadata: bool,
    /// Do nothing if the branch's commit has the same content
    #[arg(long)]
    skip_if_unchanged: bool,
    /// Print KEY: VALUE lines with numbers of objects
    #[arg(long)]
    table_output: bool,
    /// Whether to wait until all is on disk: true or false
    #[arg(long, value_name = "POLICY")]
    fsync: Option<String>,
    /// The same as --fsync=false
    #[arg(long, hide = true)]
    disable_fsync: bool,
    /// The time of the commit, as date(1) reads it [default: $SOURCE_DATE_EPOCH, else now]
    #[arg(long, value_name = "TIMESTAMP")]
    timestamp: Option<String>,
    #[command(flatten)]
    signing: signing::Options,
    /// The directory to commit
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let mut repo = context.open_repo()?;
    repo.check_writable()?;
    let modifier = args.trees.modifier()?;
    if args.branch.is_none() && !args.orphan {
        return Err(
            Usage("A branch must be specified with --branch, or use --orphan".to_owned()).into(),
        );
    }
    args.check(context)?;
    if !args.fsync()? {
        repo.config_mut().fsync = false;
    }
    let parent = args.find_parent(&repo, context)?;
    let mut builder = CommitBuilder {
        parent,
        timestamp: args.time(context)?,
        metadata: args.metadata.before_bindings(&repo, parent)?,
        detached: args.metadata.detached()?,
        ..CommitBuilder::default()
    };
    args.metadata.check_refs()?;
    (builder.subject, builder.body) = args.message.read(args.branch.as_deref(), context)?;

    let signers = args.signing.signers(context)?;
    let signers: Vec<&dyn Signer> = signers.iter().map(|signer| &**signer).collect();

    let transaction = Transaction::begin(&repo)?;
    let root = args
        .trees
        .write(args.path.as_deref(), modifier, &transaction, context)?;
    if args.skip_if_unchanged
        && let Some(parent) = parent
        && is_unchanged(&repo, parent, &root)?
    {
        transaction.abort()?;
        return args.print(context, parent, Stats::default());
    }
    args.complete_metadata(&mut builder, root, &transaction)?;
    let commit = builder.write(root, &transaction)?;
    transaction.sign_commit(commit, &signers)?;
    let refs = match &args.branch {
        Some(branch) => vec![RefUpdate::set(parse_branch(branch)?, commit)],
        None => Vec::new(),
    };
    let stats = transaction.commit(&refs)?;
    args.trees.delete_consumed(args.path.as_deref())?;
    args.print(context, commit, stats)
}

impl Args {
    /// Adds the metadata that the tool makes, in libostree's order.
    fn complete_metadata(
        &self,
        builder: &mut CommitBuilder,
        root: DirId,
        transaction: &Transaction<'_>,
    ) -> Result<()> {
        let repo = transaction.repo();
        let collection = repo.config().collection_id.as_ref();
        self.metadata
            .bind(builder, self.branch.as_deref(), collection);
        if self.bootable {
            builder.mark_bootable(root, transaction)?;
        }
        if self.generate_composefs_metadata {
            builder.add_composefs_digest(root, transaction)?;
        }
        if self.generate_sizes && repo.mode().is_archive() {
            let sizes = sizes_of(root, transaction)?;
            builder.metadata.push((keys::SIZES.to_owned(), sizes));
        }
        Ok(())
    }

    /// Finds arguments that contradict each other.
    fn check(&self, context: &Context<'_>) -> Result<()> {
        self.message.check(context)?;
        self.metadata.check(context)?;
        self.signing.check(context)?;
        context.contradictions(&[
            (
                self.orphan && self.branch.is_some(),
                "--orphan and --branch exclude each other: the branch would be set",
            ),
            (
                self.path.is_some() && self.trees.has_trees(),
                "PATH is not committed where there is a --tree: use --tree=dir=PATH",
            ),
            (
                self.disable_fsync && self.fsync.as_deref().map(boolean).transpose()? == Some(true),
                "--fsync and --disable-fsync exclude each other",
            ),
        ])
    }

    fn fsync(&self) -> Result<bool> {
        if self.disable_fsync {
            return Ok(false);
        }
        match &self.fsync {
            None => Ok(true),
            Some(policy) => boolean(policy),
        }
    }

    /// The commit before the new one.
    fn find_parent(&self, repo: &Repo, context: &Context<'_>) -> Result<Option<CommitId>> {
        match (self.parent.as_deref(), &self.branch) {
            (Some("none"), _) => Ok(None),
            (Some(parent), _) => match parent.parse() {
                Ok(parent) => Ok(Some(parent)),
                Err(_) => Err(Usage(format!("Invalid rev {parent}")).into()),
            },
            (None, Some(branch)) if !self.orphan => {
                parse_branch(branch)?;
                match repo.resolve_rev(branch) {
                    Err(Error::RefNotFound(_)) => Ok(None),
                    Err(Error::DamagedRef(one)) => {
                        context.out.note(&format!(
                            "warning: {one}; the new commit replaces this ref and has no parent (--parent sets one)"
                        ));
                        Ok(None)
                    }
                    found => Ok(Some(found?)),
                }
            }
            (None, _) => Ok(None),
        }
    }

    fn time(&self, context: &Context<'_>) -> Result<u64> {
        let now = Zoned::now();
        if let Some(text) = &self.timestamp {
            // Before 1970 the number wraps around; libostree writes and reads that.
            let time = dates::parse(text, &now)?.as_second().cast_unsigned();
            return printable(time, "--timestamp");
        }
        if let Some(epoch) = context.var("SOURCE_DATE_EPOCH") {
            return parse_epoch(&epoch.to_string_lossy());
        }
        u64::try_from(now.timestamp().as_second()).context(
            "the clock of this machine shows a time before 1970: set it, or use --timestamp",
        )
    }

    fn print(&self, context: &Context<'_>, commit: CommitId, stats: Stats) -> Result<()> {
        if !self.table_output {
            return context.out.line(&commit.to_string());
        }
        let Stats {
            metadata_total,
            metadata_written,
            content_total,
            content_written,
            content_bytes,
            ..
        } = stats;
        context.out.text(&format!(
            "Commit: {commit}\n\
             Metadata Total: {metadata_total}\n\
             Metadata Written: {metadata_written}\n\
             Content Total: {content_total}\n\
             Content Written: {content_written}\n\
             Content Cache Hits: {}\n\
             Content Bytes Written: {content_bytes}\n",
            stats.cache_hits
        ))
    }
}

/// Refuses a time that `log` and `show` could not print.
fn printable(time: u64, of: &str) -> Result<u64> {
    match text::timestamp(time) {
        Ok(_) => Ok(time),
        Err(_) => bail!(
            "{of} is {} seconds after 1970, not between the years 1 and 9999 (milliseconds?)",
            time.cast_signed()
        ),
    }
}

/// The seconds in `$SOURCE_DATE_EPOCH`, with libostree's words for what they cannot be.
fn parse_epoch(text: &str) -> Result<u64> {
    match text.parse::<i64>() {
        Ok(seconds) if seconds < 0 => {
            bail!(
                "SOURCE_DATE_EPOCH is {text}, before 1970: it has to be a number of seconds since then"
            )
        }
        Ok(seconds) => printable(seconds.cast_unsigned(), "SOURCE_DATE_EPOCH"),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => {
            bail!("Parsing SOURCE_DATE_EPOCH: Numerical result out of range")
        }
        Err(_) => bail!("Failed to convert SOURCE_DATE_EPOCH '{text}'"),
    }
}

fn parse_branch(branch: &str) -> Result<Refspec> {
    branch
        .parse()
        .map_err(|_| Usage(format!("Invalid refspec {branch}")).into())
}

fn parse_ref(name: &str) -> Result<RefName> {
    name.parse()
        .map_err(|_| Usage(format!("Invalid ref name {name}")).into())
}

fn is_unchanged(repo: &Repo, parent: CommitId, root: &DirId) -> Result<bool> {
    let bytes = repo.load_commit(parent)?;
    Ok(Commit::parse(&bytes)?.content_checksum() == content_checksum(root))
}
