// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pull`: commits from a remote.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use oxtree_format::refs::RemoteName;
use oxtree_repo::Repo;
use oxtree_repo::sign::Verifier;
use oxtree_sign::{Wanted, commit_verifier, delta_verifier, summary_verifier};
use oxtree_transfer::http::Network;
use oxtree_transfer::pull::estimate::{DeltaUse, Estimate};
use oxtree_transfer::pull::{CacheOptions, NotOlder, PullOptions, PullReport, is_url, pull};

use super::pull_local;
use crate::context::Context;
use crate::error::Usage;
use crate::network::network;
use crate::signing::trust;
use crate::text;

/// Options of `pull`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
REMOTE is one of the repository's remotes (see `oxtree remote`), or a URL. A BRANCH is a ref of it,
REF@COMMIT to set the ref to another commit than the one that it is at, or the checksum of a commit.
Without any, those are pulled that the remote's section names, or with --mirror all.

Every object is verified before it is stored. A pull that was cut off goes on where it was.

Examples:
  oxtree pull origin os/stable
  oxtree pull origin:os/stable
  oxtree pull --mirror --depth=-1 origin
  oxtree pull --subpath=/usr/lib/modules origin os/stable
  oxtree pull https://example.org/ostree os/stable")]
pub(crate) struct Args {
    /// Take only the commits themselves; they are noted to be partial
    #[arg(long)]
    commit_metadata_only: bool,
    /// Keep summaries here, instead of in the repository
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Do not wait for the disk: after a power cut, the repository may be damaged
    #[arg(long)]
    disable_fsync: bool,
    /// Make each object durable as it is written, not all of them at the end
    #[arg(long)]
    per_object_fsync: bool,
    /// Do not use static deltas
    #[arg(long)]
    disable_static_deltas: bool,
    /// Fail unless a static delta can be used
    #[arg(long)]
    require_static_deltas: bool,
    /// Do not try again what failed for a reason that may pass
    #[arg(long)]
    disable_retry_on_network_errors: bool,
    /// Write refs as they are at the remote, all of them if none are named, and then the summary, too
    #[arg(long)]
    mirror: bool,
    /// Only this file or directory; the commit is noted to be partial
    #[arg(long, value_name = "PATH")]
    subpath: Vec<String>,
    /// Verify objects also of a remote on this machine (they always are)
    #[arg(long)]
    untrusted: bool,
    /// Do not verify files that an archive keeps as they come: only over a way that is trusted
    #[arg(long)]
    http_trusted: bool,
    /// Refuse regular files with mode bits other than 0775
    #[arg(long)]
    bareuseronly_files: bool,
    /// Only say what static deltas would bring
    #[arg(long)]
    dry_run: bool,
    /// How many parents of each commit come along, -1 for all
    #[arg(long, value_name = "DEPTH", default_value = "0")]
    depth: String,
    /// Where the remote is, instead of what is configured
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Send a header with each request
    #[arg(long, value_name = "NAME=VALUE")]
    http_header: Vec<String>,
    /// How often progress is shown, in milliseconds (not looked at: a terminal sees all of it)
    #[arg(long, value_name = "FREQUENCY")]
    update_frequency: Option<String>,
    /// How often a request is made again that failed for a reason that may pass
    #[arg(long, value_name = "N", default_value = "5")]
    network_retries: u32,
    /// Give up a transfer of fewer bytes a second than this
    #[arg(long, value_name = "N", default_value = "1000")]
    low_speed_limit_bytes: u64,
    /// For how many seconds a transfer may be slow
    #[arg(long, value_name = "N", default_value = "30")]
    low_speed_time_seconds: u64,
    /// How many requests are under way at once [default: as many as the server can take]
    #[arg(long, value_name = "N")]
    max_outstanding_fetcher_requests: Option<usize>,
    /// Take objects from this repository if it has them
    #[arg(long, short = 'L', value_name = "REPO")]
    localcache_repo: Vec<PathBuf>,
    /// Refuse a commit that is older than the one that its ref is at
    #[arg(long, short = 'T')]
    timestamp_check: bool,
    /// Refuse a commit that is older than this one
    #[arg(long, value_name = "REV")]
    timestamp_check_from_rev: Option<String>,
    /// Do not check that commits are bound to the refs that they come with
    #[arg(long)]
    disable_verify_bindings: bool,
    /// Say this to servers, too
    #[arg(long, value_name = "STRING", hide = true)]
    append_user_agent: Option<String>,
    /// The remote
    #[arg(value_name = "REMOTE")]
    remote: Option<String>,
    /// Refs, or checksums of commits
    #[arg(value_name = "BRANCH")]
    branches: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let Some(remote) = &args.remote else {
        return Err(Usage("REMOTE must be specified".to_owned()).into());
    };
    let (remote, refs) = match remote.split_once(':') {
        Some((name, branch)) if !is_url(remote) => {
            let mut refs = vec![branch.to_owned()];
            refs.extend_from_slice(&args.branches);
            (name, refs)
        }
        _ => (remote.as_str(), args.branches.clone()),
    };
    check_refs(&refs)?;
    let mut repo = context.open_repo()?;
    if args.dry_run && !args.require_static_deltas {
        let message = "--dry-run requires --require-static-deltas";
        return Err(Usage(message.to_owned()).into());
    }
    if args.require_static_deltas && args.disable_static_deltas {
        let message = "--require-static-deltas and --disable-static-deltas exclude each other";
        return Err(Usage(message.to_owned()).into());
    }
    let config = repo.config_mut();
    config.fsync &= !args.disable_fsync;
    config.per_object_fsync |= args.per_object_fsync;
    let options = PullOptions {
        refs,
        ..args.options(&repo, remote, context)?
    };
    let start = Instant::now();
    let report = pull(&repo, remote, &options, context.progress())?;
    context.out.line(&match &report.estimate {
        Some(estimate) => describe_estimate(estimate),
        None => describe(&report, start.elapsed()),
    })?;
    pull_local::all_pulled(context, remote, &report.left_out)
}

/// Refuses a ref that should be set to two commits. `main` beside `main@COMMIT` is accepted, as by libostree.
fn check_refs(refs: &[String]) -> Result<()> {
    for (at, text) in refs.iter().enumerate() {
        let Some((name, commit)) = text.split_once('@') else {
            continue;
        };
        let contradicts = |other: &&String| {
            let other = other.split_once('@');
            other.is_some_and(|(same, differs)| same == name && differs != commit)
        };
        if let Some(other) = refs[..at].iter().find(contradicts) {
            let message = format!("{other} and {text} are one ref: name it only once");
            return Err(Usage(message).into());
        }
    }
    Ok(())
}

impl Args {
    fn options(&self, repo: &Repo, remote: &str, context: &Context<'_>) -> Result<PullOptions> {
        let not_older = match (&self.timestamp_check_from_rev, self.timestamp_check) {
            (Some(rev), _) => Some(NotOlder::Than(repo.resolve_rev(rev)?)),
            (None, true) => Some(NotOlder::ThanCurrent),
            (None, false) => None,
        };
        let local_caches = self.localcache_repo.iter().map(|path| {
            Repo::open_in(path, &context.environment()).with_context(|| path.display().to_string())
        });
        let retries = match self.disable_retry_on_network_errors {
            true => 0,
            false => self.network_retries,
        };
        let mut options = options_for(repo, remote, context)?;
        let (deltas, delta_verifier) = self.deltas(repo, remote, context)?;
        let network = &mut options.network;
        if let Some(more) = &self.append_user_agent {
            network.user_agent = format!("{} {more}", network.user_agent);
        }
        Ok(PullOptions {
            refs: Vec::new(),
            url: self.url.clone(),
            mirror: self.mirror,
            depth: pull_local::depth(&self.depth)?,
            commit_metadata_only: self.commit_metadata_only,
            subpaths: self.subpath.clone(),
            http_trusted: self.http_trusted,
            bareuseronly_files: self.bareuseronly_files,
            deltas,
            delta_verifier,
            dry_run: self.dry_run,
            verify_bindings: !self.disable_verify_bindings,
            not_older,
            local_caches: local_caches.collect::<Result<_>>()?,
            summary_cache: CacheOptions {
                dir: self.cache_dir.clone(),
                ..options.summary_cache
            },
            network: Network {
                headers: self.headers()?,
                retries,
                low_speed_bytes: self.low_speed_limit_bytes,
                low_speed_time: Duration::from_secs(self.low_speed_time_seconds),
                parallel: self.max_outstanding_fetcher_requests,
                ..options.network
            },
            ..options
        })
    }

    /// Whether static deltas are taken, and who has to be content with them.
    fn deltas(
        &self,
        repo: &Repo,
        remote: &str,
        context: &Context<'_>,
    ) -> Result<(DeltaUse, Option<Box<dyn Verifier>>)> {
        let wanted = match (self.disable_static_deltas, self.require_static_deltas) {
            (true, _) => return Ok((DeltaUse::Never, None)),
            (false, true) => DeltaUse::Required,
            (false, false) => DeltaUse::Possible,
        };
        if !repo.config().sign_verify_deltas {
            return Ok((wanted, None));
        }
        let verifier = match is_url(remote) {
            true => Err(anyhow!("Key is mandatory to check delta signature")),
            false => delta_verifier(repo, &remote.parse()?, &trust(context)).map_err(Into::into),
        };
        match verifier {
            // Without keys, no delta can be taken.
            Err(_) if wanted == DeltaUse::Possible => Ok((DeltaUse::Never, None)),
            verifier => Ok((wanted, Some(verifier?))),
        }
    }

    fn headers(&self) -> Result<Vec<(String, String)>> {
        let pair = |text: &String| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => bail!("Missing '=' in NAME=VALUE header '{text}'"),
        };
        self.http_header.iter().map(pair).collect()
    }
}

/// What the remote's section and the environment say of how to pull.
pub(super) fn options_for(repo: &Repo, remote: &str, context: &Context<'_>) -> Result<PullOptions> {
    let mut options = PullOptions {
        network: network(context),
        summary_cache: CacheOptions {
            off: context.var("OSTREE_SKIP_CACHE").is_some(),
            dir: None,
            fail_if_invalid: context.var("OSTREE_REPO_TEST_ERROR")
                == Some("invalid-cache".as_ref()),
        },
        environment: context.environment(),
        show_time: text::local_time,
        // Their signatures need somebody who knows the keys.
        deltas: match repo.config().sign_verify_deltas {
            true => DeltaUse::Never,
            false => DeltaUse::Possible,
        },
        ..PullOptions::default()
    };
    // What is only a URL has no keys.
    if !is_url(remote) {
        let remote: RemoteName = remote.parse()?;
        let trust = trust(context);
        let as_configured = Wanted::default();
        options.commit_verifier = commit_verifier(repo, &remote, &trust, as_configured)?;
        options.summary_verifier = summary_verifier(repo, &remote, &trust, as_configured)?;
    }
    Ok(options)
}

/// What a dry run found out, in the words that libostree's scripts look for.
fn describe_estimate(estimate: &Estimate) -> String {
    format!(
        "Delta update: {}/{} parts, {}/{}, {} total uncompressed",
        estimate.parts_here,
        estimate.parts,
        text::size(estimate.size_here),
        text::size(estimate.size),
        text::size(estimate.content),
    )
}

/// The line that libostree's scripts look for.
fn describe(report: &PullReport, took: Duration) -> String {
    let PullReport {
        metadata,
        content,
        local_metadata,
        local_content,
        ..
    } = report;
    let written = text::size(report.written);
    if report.deltas.parts > 0 {
        let loose = report.deltas.loose + metadata + content;
        let bytes = match report.is_local {
            true => report.deltas.bytes,
            false => report.transferred,
        };
        return pull_local::deltas_line(report.deltas.parts, loose, bytes, took, report.written);
    }
    if report.is_local {
        return format!(
            "{local_metadata} metadata, {local_content} content objects imported; {written} content \
             written"
        );
    }
    let local = match (local_metadata, local_content) {
        (0, 0) => String::new(),
        _ => format!(" ({local_metadata} meta, {local_content} content local)"),
    };
    format!(
        "{metadata} metadata, {content} content objects fetched{local}; {} transferred in {} \
         seconds; {written} content written",
        text::size(report.transferred),
        took.as_secs(),
    )
}
