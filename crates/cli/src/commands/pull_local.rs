// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pull-local`: commits from another repository on this machine.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use oxtree_format::refs::RemoteName;
use oxtree_repo::Repo;
use oxtree_repo::object::import::{ImportOptions, Verify};
use oxtree_sign::{Wanted, commit_verifier, summary_verifier};
use oxtree_transfer::pull::on_disk::{LocalPullOptions, LocalPullReport, pull_local};

use crate::context::Context;
use crate::error::Usage;
use crate::options::boolean;
use crate::signing::trust;
use crate::text;

/// Options of `pull-local`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Files become hard links where both repositories are of one mode, on one file system and of one
owner; otherwise they share blocks where the file system can, or are copied, packed or unpacked.
Existing objects are not read again. Each object is verified, unless it becomes a hard link, since
the owner of a hard link can change it in both repositories. --untrusted, --gpg-verify and
--gpg-verify-summary verify hard links, too. As `ostree`, the command trusts the source, as
libostree does, and verifies nothing without these options.

Examples:
  oxtree pull-local build-repo os/stable --repo=/srv/ostree
  oxtree pull-local --depth=-1 /mnt/usb/repo
  oxtree pull-local --untrusted --remote=usb /mnt/usb/repo os/stable")]
pub(crate) struct Args {
    /// Take only the commits themselves; they are noted to be partial
    #[arg(long)]
    commit_metadata_only: bool,
    /// Write the refs as those of this remote
    #[arg(long, value_name = "REMOTE")]
    remote: Option<String>,
    /// Do not wait for the disk: after a power cut, the repository may be damaged
    #[arg(long)]
    disable_fsync: bool,
    /// Make each object durable as it is written, not all of them at the end
    #[arg(long)]
    per_object_fsync: bool,
    /// Verify each object, also where it becomes a hard link
    #[arg(long)]
    untrusted: bool,
    /// Refuse regular files with mode bits other than 0775
    #[arg(long)]
    bareuseronly_files: bool,
    /// Take static deltas, and fail where there is none (an archive cannot take any)
    #[arg(long)]
    require_static_deltas: bool,
    /// Do not use static deltas (they never are, unless they are required)
    #[arg(long)]
    disable_static_deltas: bool,
    /// Take only commits with a good GPG signature by a key of the remote's
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    gpg_verify: Option<String>,
    /// Take only refs that are in a summary with a good GPG signature by a key of the remote's
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    gpg_verify_summary: Option<String>,
    /// Do not check that commits are bound to the refs that they come with
    #[arg(long)]
    disable_verify_bindings: bool,
    /// How many parents of each commit come along, -1 for all
    #[arg(long, value_name = "DEPTH", default_value = "0")]
    depth: String,
    /// The repository to copy from
    #[arg(value_name = "SRC_REPO")]
    source: Option<PathBuf>,
    /// Refs, or checksums of commits [default: all refs; those of mirrored collections if there are no others]
    #[arg(value_name = "REF")]
    revs: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let Some(path) = &args.source else {
        return Err(Usage("DESTINATION must be specified".to_owned()).into());
    };
    if args.require_static_deltas && args.disable_static_deltas {
        let message = "--require-static-deltas and --disable-static-deltas exclude each other";
        return Err(Usage(message.to_owned()).into());
    }
    let mut repo = context.open_repo()?;
    if args.require_static_deltas && repo.mode().is_archive() {
        bail!("Can't use static deltas in an archive repo");
    }
    let config = repo.config_mut();
    config.fsync &= !args.disable_fsync;
    config.per_object_fsync |= args.per_object_fsync;
    let source = Repo::open_in(path, &context.environment()).context("opening repo")?;
    let options = args.options(&repo, context)?;
    let begun = Instant::now();
    let report = pull_local(&repo, &source, &options, context.progress())?;
    context.out.line(&match args.require_static_deltas {
        true => describe_deltas(&report, begun.elapsed()),
        false => describe(&report),
    })?;
    if !args.revs.is_empty() {
        return Ok(());
    }
    if (report.metadata, report.content) == (0, 0) && source.local_refs()?.is_empty() {
        let path = path.display();
        context
            .out
            .note(&format!("warning: {path} has no refs: nothing was pulled"));
    }
    let unusable = source.unusable_refs()?;
    let left_out: Vec<String> = unusable.iter().map(ToString::to_string).collect();
    all_pulled(context, &path.display().to_string(), &left_out)
}

/// An error if refs of `from` were left out.
pub(super) fn all_pulled(context: &Context<'_>, from: &str, left_out: &[String]) -> Result<()> {
    for one in left_out {
        context.out.note(&format!("warning: {from}: {one}"));
    }
    match left_out.len() {
        0 => Ok(()),
        count => bail!(
            "not pulled from {from}: {} that cannot be read or whose commits are missing",
            text::refs(count)
        ),
    }
}

impl Args {
    fn options(&self, repo: &Repo, context: &Context<'_>) -> Result<LocalPullOptions> {
        let remote: Option<RemoteName> = self.remote.as_deref().map(str::parse).transpose()?;
        let wanted = |option: &Option<String>| -> Result<Option<&RemoteName>> {
            match option.as_deref().map(boolean).transpose()? {
                Some(true) => Ok(Some(remote.as_ref().context(NO_REMOTE)?)),
                _ => Ok(None),
            }
        };
        let commit_verifier = match wanted(&self.gpg_verify)? {
            Some(remote) => commit_verifier(repo, remote, &trust(context), GPG)?,
            None => None,
        };
        let summary_verifier = match wanted(&self.gpg_verify_summary)? {
            Some(remote) => summary_verifier(repo, remote, &trust(context), GPG)?,
            None => None,
        };
        let is_signed = commit_verifier.is_some() || summary_verifier.is_some();
        Ok(LocalPullOptions {
            commit_verifier,
            summary_verifier,
            revs: self.revs.clone(),
            remote: remote.clone(),
            depth: depth(&self.depth)?,
            commit_metadata_only: self.commit_metadata_only,
            require_deltas: self.require_static_deltas,
            import: ImportOptions {
                verify: match self.untrusted || is_signed {
                    // A signature is of what the objects should be.
                    true => Verify::All,
                    false if context.is_ostree() => Verify::Nothing,
                    false => Verify::Copies,
                },
                bareuseronly_files: self.bareuseronly_files,
            },
            verify_bindings: !self.disable_verify_bindings,
        })
    }
}

const NO_REMOTE: &str = "Must specify remote name to enable gpg verification";

/// Only GPG signatures can be asked for.
const GPG: Wanted = Wanted {
    gpg: Some(true),
    sign: Some(false),
};

/// Parents to follow; [`None`] for all.
pub(super) fn depth(text: &str) -> Result<Option<u64>> {
    let wrong = || Usage(format!("Cannot parse integer value ‘{text}’ for --depth"));
    match text.parse::<i64>().map_err(|_| wrong())? {
        -1 => Ok(None),
        depth => match u64::try_from(depth) {
            Ok(depth) => Ok(Some(depth)),
            Err(_) => Err(Usage(format!("--depth is {depth}: it has to be -1 or more")).into()),
        },
    }
}

/// The line that libostree's scripts look for.
fn describe(report: &LocalPullReport) -> String {
    let LocalPullReport {
        metadata,
        content,
        bytes,
        ..
    } = report;
    let written = text::size(*bytes);
    format!("{metadata} metadata, {content} content objects imported; {written} content written")
}

/// The same where static deltas were taken.
fn describe_deltas(report: &LocalPullReport, took: Duration) -> String {
    let LocalPullReport { deltas, bytes, .. } = report;
    deltas_line(deltas.parts, deltas.loose, deltas.bytes, took, *bytes)
}

/// The line about static deltas that libostree's scripts look for.
pub(super) fn deltas_line(
    parts: u64,
    loose: u64,
    transferred: u64,
    took: Duration,
    written: u64,
) -> String {
    format!(
        "{parts} delta parts, {loose} loose fetched; {} transferred in {} seconds; {} content written",
        text::size(transferred),
        took.as_secs(),
        text::size(written),
    )
}
