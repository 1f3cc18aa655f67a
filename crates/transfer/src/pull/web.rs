// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pull from a web server.

use oxtree_format::delta::DeltaName;
use oxtree_format::keyfile::KeyFile;
use oxtree_format::refs::RefName;
use oxtree_format::summary::keys;
use oxtree_format::{Checksum, CommitId};
use oxtree_repo::{Config, Mode, Repo, Transaction};

use super::deltas::{Announced, Deltas, Outcome};
use super::fetch::{Fetcher, Mirrors};
use super::mirrors::Found;
use super::objects::{Source, What};
use super::remote::Remote;
use super::request::RefRequest;
use super::subpath::Part;
use super::wanted::{Wanted, publish};
use super::{Job, PullOptions, PullReport, Summary, in_collection, look_up, summary};
use crate::error::{Error, Result, invalid};
use crate::http::runtime;
use crate::pull::estimate::DeltaUse;

/// The largest `config` that is fetched, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// The largest file of a ref that is fetched, in bytes. It has 65; what is more is shown in part.
const MAX_REF: u64 = 64 << 10;

/// What of a file that is no ref is shown, in characters.
const SHOWN: usize = 64;

/// What is known before the first object is fetched.
struct Plan {
    signatures: Mirrors,
    objects: Mirrors,
    tombstones: bool,
    /// The remote's mode, where it is none that can be pulled from.
    odd_mode: Option<Mode>,
    deltas: Announced,
    summary: Summary,
    wanted: Vec<Wanted>,
}

pub(super) fn pull(job: &Job<'_>) -> Result<PullReport> {
    let options = job.options;
    let runtime = runtime()?;
    let fetcher = job.remote.fetcher(&options.network)?;
    let plan = runtime.block_on(plan(job, &fetcher))?;
    let what = what(job, plan.tombstones);
    let whole = what.part == Part::All && !what.commits_only;
    let policy = job.policy();
    let deltas = takes_deltas(job, &what).then(|| Deltas {
        fetcher: &fetcher,
        signatures: &plan.signatures,
        objects: &plan.objects,
        announced: &plan.deltas,
        policy: &policy,
        verifier: options.delta_verifier.as_deref(),
        required: options.deltas == DeltaUse::Required,
    });
    if options.dry_run {
        let estimate = deltas.map(|deltas| deltas.estimate(&runtime, &plan.wanted));
        return Ok(PullReport {
            estimate: Some(estimate.transpose()?.unwrap_or_default()),
            ..PullReport::default()
        });
    }
    let transaction = Transaction::quarantine(job.repo)?;
    let by_deltas = match deltas {
        Some(deltas) => deltas.apply(&runtime, &plan.wanted, &transaction, job.progress),
        None => Ok(Outcome::default()),
    };
    let filled = by_deltas.and_then(|Outcome { report, detached }| {
        let (signatures, objects) = (plan.signatures.clone(), plan.objects.clone());
        let caches = &options.local_caches;
        let source = Source::new(
            fetcher.clone(),
            signatures,
            objects,
            &transaction,
            caches,
            what,
            detached,
        )?;
        let filled = source.fill(&runtime, &plan.wanted, &policy, job.progress)?;
        Ok((report, filled))
    });
    let (deltas, (fetched, steps)) = match filled {
        Ok(filled) => filled,
        // An archive has files, others have them by other names.
        Err(error) if error.is_missing_file() && plan.odd_mode.is_some() => {
            transaction.abort()?;
            return Err(plan.odd_mode.map_or(error, wrong_mode));
        }
        // What has come so far need not come again.
        Err(error @ Error::Fetch { .. }) => return Err(error),
        Err(error) => {
            transaction.abort()?;
            return Err(error);
        }
    };
    let written = transaction.stats().content_bytes - deltas.content;
    publish(job.repo, transaction, &steps, &plan.wanted, job.into, whole)?;
    if let (true, Some(summary)) = (job.is_of_all(), &plan.summary.bytes) {
        let signatures = plan.summary.signatures.as_deref();
        job.repo.write_mirrored_summary(summary, signatures)?;
    }
    Ok(PullReport {
        metadata: fetched.metadata,
        content: fetched.content,
        local_metadata: fetched.local_metadata,
        local_content: fetched.local_content,
        transferred: fetcher.received(),
        written,
        deltas,
        ..PullReport::default()
    })
}

fn what(job: &Job<'_>, tombstones: bool) -> What {
    let options = job.options;
    What {
        depth: options.depth,
        commits_only: options.commit_metadata_only,
        part: Part::of_root(&options.subpaths),
        trusted: options.http_trusted,
        bareuseronly_files: options.bareuseronly_files,
        tombstones,
    }
}

/// Whether static deltas can be taken at all.
fn takes_deltas(job: &Job<'_>, what: &What) -> bool {
    let mode = job.repo.mode();
    // Nobody looks at the modes of what a delta makes, but those of this kind.
    let as_they_are = !what.bareuseronly_files || mode == Mode::BareUserOnly;
    match job.options.deltas {
        _ if mode.is_archive() || what.commits_only => false,
        DeltaUse::Never => false,
        DeltaUse::Possible => as_they_are && what.part == Part::All,
        DeltaUse::Required => true,
    }
}

/// The summary of a remote at a web server.
pub(super) fn summary(repo: &Repo, remote: &Remote, options: &PullOptions) -> Result<Summary> {
    let runtime = runtime()?;
    let fetcher = remote.fetcher(&options.network)?;
    runtime.block_on(async {
        let place = remote.place.find(&fetcher).await?;
        fetch_summary(repo, remote, options, &fetcher, place).await
    })
}

async fn fetch_summary(
    repo: &Repo,
    remote: &Remote,
    options: &PullOptions,
    fetcher: &Fetcher,
    place: Found,
) -> Result<Summary> {
    let cache = match &remote.name {
        Some(name) if !options.summary_cache.off => {
            let cache = repo.summary_cache(options.summary_cache.dir.as_deref());
            cache.map(|cache| (cache, name.clone()))
        }
        _ => None,
    };
    let source = summary::Source {
        fetcher,
        mirrors: &place.mirrors,
        cache,
        trust_cache: options.summary_cache.fail_if_invalid,
    };
    let verifier = options.summary_verifier.as_deref();
    source.fetch(verifier, place.summary).await
}

async fn plan(job: &Job<'_>, fetcher: &Fetcher) -> Result<Plan> {
    let (remote, options) = (job.remote, job.options);
    let place = remote.place.find(fetcher).await?;
    let signatures = place.mirrors.clone();
    let objects = match &remote.content {
        Some(content) => content.find(fetcher).await?.mirrors,
        None => signatures.clone(),
    };
    let needs_summary = job.is_of_all()
        || options.summary_verifier.is_some()
        || job.requests.iter().any(RefRequest::is_open);
    let (config, summary) = tokio::join!(fetcher.find(&signatures, "config", MAX_CONFIG), async {
        match needs_summary {
            true => fetch_summary(job.repo, remote, options, fetcher, place).await,
            false => Ok(Summary::default()),
        }
    });
    let summary = summary?;
    let told = Told::new(config?.as_deref(), summary.bytes.as_deref())?;
    let deltas = match (told.indexed_deltas, &summary.bytes) {
        (true, _) => Announced::Indexed,
        (false, Some(summary)) => Announced::Listed(listed_deltas(summary)?),
        (false, None) => Announced::Unknown,
    };
    let collection = remote.collection.as_ref();
    let wanted = match &summary.bytes {
        Some(bytes) => look_up(job.requests, bytes, collection)?,
        None if job.is_of_all() => {
            return Err(invalid(
                "Fetching all refs was requested in mirror mode, but remote repository does not \
                 have a summary",
            ));
        }
        None => {
            let mut wanted = Vec::new();
            for request in job.requests {
                let commit = match request {
                    RefRequest::Ref(name, None) => {
                        Some(find_ref(job, fetcher, &signatures, name).await?)
                    }
                    _ => None,
                };
                let found = |_: &RefName| commit.ok_or_else(|| invalid("a ref was not asked for"));
                wanted.push(request.resolve(found)?);
            }
            wanted
        }
    };
    Ok(Plan {
        signatures,
        objects,
        tombstones: told.tombstones,
        odd_mode: told.odd_mode,
        deltas,
        summary,
        wanted,
    })
}

/// The static deltas that a summary lists.
fn listed_deltas(summary: &[u8]) -> Result<Vec<(DeltaName, Checksum)>> {
    let deltas = oxtree_format::Summary::parse(summary).and_then(|summary| summary.static_deltas());
    let deltas = deltas.map_err(|error| invalid(format!("Parsing the summary: {error}")))?;
    Ok(deltas.unwrap_or_default())
}

/// What a remote says of itself.
struct Told {
    tombstones: bool,
    indexed_deltas: bool,
    odd_mode: Option<Mode>,
}

impl Told {
    /// By its config and its summary, neither of which it need have: objects and refs are enough. What is no
    /// archive cannot be pulled from a web server, but for commits and folders.
    fn new(config: Option<&[u8]>, summary: Option<&[u8]>) -> Result<Self> {
        let config = config.and_then(read_config);
        let summary = summary.map(oxtree_format::Summary::parse).transpose();
        let summary = summary.map_err(|error| invalid(format!("Parsing the summary: {error}")))?;
        let flag = |key: &str| {
            let summary = summary.as_ref();
            summary.is_some_and(|summary| summary.value(key) == Some(true))
        };
        let mode = summary.as_ref().and_then(oxtree_format::Summary::mode);
        let mode: Option<Mode> = mode.and_then(|mode| mode.parse().ok());
        let says_mode = mode.is_some();
        // A server that packs files for its clients says so in the config; the summary is that of the repository.
        let own = config.as_ref().map(|config| config.mode).or(mode);
        let odd_mode = own.filter(|mode| !mode.is_archive());
        match odd_mode {
            Some(mode) if says_mode => Err(wrong_mode(mode)),
            odd_mode => Ok(Self {
                tombstones: config
                    .as_ref()
                    .is_some_and(|config| config.tombstone_commits)
                    || flag(keys::TOMBSTONE_COMMITS),
                indexed_deltas: config.as_ref().is_some_and(|config| config.indexed_deltas)
                    || flag(keys::INDEXED_DELTAS),
                odd_mode,
            }),
        }
    }
}

/// The remote's config, if that is what it is.
fn read_config(bytes: &[u8]) -> Option<Config> {
    // A file that says nothing of a repository is no config.
    bytes.windows(6).find(|word| word == b"[core]")?;
    let file = KeyFile::parse(bytes).map_err(|error| error.to_string());
    let config = file.and_then(Config::new);
    config
        .inspect_err(|reason| tracing::debug!("the remote's config cannot be read: {reason}"))
        .ok()
}

fn wrong_mode(mode: Mode) -> Error {
    invalid(format!("Can't pull from archives with mode \"{mode}\""))
}

/// Where a ref is that no summary tells of.
async fn find_ref(
    job: &Job<'_>,
    fetcher: &Fetcher,
    mirrors: &Mirrors,
    name: &RefName,
) -> Result<CommitId> {
    let bytes = fetcher
        .get(mirrors, &format!("refs/heads/{name}"), MAX_REF)
        .await?;
    Checksum::from_hex(bytes.trim_ascii_end())
        .map(CommitId)
        .ok_or_else(|| {
            let text = String::from_utf8_lossy(&bytes);
            let shown: String = text.trim_end().chars().take(SHOWN).collect();
            let name = in_collection(job.remote.collection.as_ref(), name);
            invalid(format!(
                "Fetching checksum for ref {name}: Invalid rev {shown}"
            ))
        })
}
