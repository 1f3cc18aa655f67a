// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pulls from a remote: a web server, or a repository on this machine.
//!
//! What is asked for, and in which order: `summary.sig` and `config`, `summary` if a ref has to be looked
//! up (without one, `refs/heads/REF`), then of each commit its detached metadata with the commit, and
//! then its trees and files. `policy` says which commits are taken, `objects` fetches what they
//! need into a transaction and knows nothing of refs, `wanted::publish` makes it public. Objects are
//! staged in a quarantine, so a pull that was cut off goes on where it was. Where the server has a static
//! delta of use, `deltas` brings most of a commit before that.

mod deltas;
pub mod estimate;
pub mod fetch;
mod local;
mod metalink;
mod mirrors;
pub(crate) mod objects;
pub mod on_disk;
pub(crate) mod policy;
mod remote;
pub(crate) mod request;
pub(crate) mod subpath;
pub(crate) mod summary;
pub(crate) mod wanted;
pub(crate) mod web;
mod xml;

use std::path::PathBuf;

use oxtree_format::CommitId;
use oxtree_format::refs::{CollectionId, RefName};
use oxtree_repo::sign::Verifier;
use oxtree_repo::{Environment, Mode, Progress, Repo};

pub use self::policy::NotOlder;
use self::remote::Remote;
pub use self::remote::is_url;
use self::request::RefRequest;
pub use self::summary::Summary;
use self::wanted::Namespace;
use crate::error::{Result, invalid};
use crate::http::Network;
use crate::pull::estimate::{DeltaUse, Estimate};

/// How to pull.
#[derive(Debug)]
pub struct PullOptions {
    /// Refs, `REF@COMMIT`, and checksums of commits; none for what is configured, or in a mirror for
    /// all.
    pub refs: Vec<String>,
    /// Takes the place of the remote's URL.
    pub url: Option<String>,
    /// Refs are written as they are at the remote, and with all of them the summary.
    pub mirror: bool,
    /// How many parents of each commit come along; [`None`] for all.
    pub depth: Option<u64>,
    /// Only the commits themselves; they are noted to be partial.
    pub commit_metadata_only: bool,
    /// Only these files and directories; the commits are noted to be partial.
    pub subpaths: Vec<String>,
    /// Do not verify files from a web server, where they are kept as they come.
    pub http_trusted: bool,
    /// Regular files with mode bits other than 0775 are an error.
    pub bareuseronly_files: bool,
    /// Commits have to be bound to the refs (and to the remote's collection) that they come with.
    pub verify_bindings: bool,
    /// Refuse commits that are older.
    pub not_older: Option<NotOlder>,
    /// Repositories on this machine that may have objects, which are then not fetched.
    pub local_caches: Vec<Repo>,
    /// Whether static deltas are taken. Never into an archive, nor where only commits come.
    pub deltas: DeltaUse,
    /// Nothing is pulled: the report says what static deltas would bring.
    pub dry_run: bool,
    /// Where summaries are kept.
    pub summary_cache: CacheOptions,
    /// How to use the network.
    pub network: Network,
    /// Has to be content with each commit's signatures.
    pub commit_verifier: Option<Box<dyn Verifier>>,
    /// Has to be content with the signatures of the summary.
    pub summary_verifier: Option<Box<dyn Verifier>>,
    /// Has to be content with the signatures of each static delta.
    pub delta_verifier: Option<Box<dyn Verifier>>,
    /// For a remote on this machine.
    pub environment: Environment,
    /// How times are written in messages.
    pub show_time: fn(u64) -> String,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            refs: Vec::new(),
            url: None,
            mirror: false,
            depth: Some(0),
            commit_metadata_only: false,
            subpaths: Vec::new(),
            http_trusted: false,
            bareuseronly_files: false,
            verify_bindings: true,
            not_older: None,
            local_caches: Vec::new(),
            deltas: DeltaUse::default(),
            dry_run: false,
            summary_cache: CacheOptions::default(),
            network: Network::default(),
            commit_verifier: None,
            summary_verifier: None,
            delta_verifier: None,
            environment: Environment::default(),
            show_time: |seconds| format!("@{seconds}"),
        }
    }
}

/// Where summaries are kept until they change.
#[derive(Clone, Debug, Default)]
pub struct CacheOptions {
    /// Nowhere.
    pub off: bool,
    /// Below this directory, and not in the repository.
    pub dir: Option<PathBuf>,
    /// That what is kept has wrong signatures is an error, for tests of what uses them. (libostree:
    /// `$OSTREE_REPO_TEST_ERROR=invalid-cache`.)
    pub fail_if_invalid: bool,
}

/// What was pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullReport {
    /// Commits, dirtrees and dirmetas that were fetched.
    pub metadata: u64,
    /// Files that were fetched.
    pub content: u64,
    /// The same from local caches, and all that is from a remote on this machine.
    pub local_metadata: u64,
    /// Files of these.
    pub local_content: u64,
    /// Bytes that came over the network, without headers.
    pub transferred: u64,
    /// Bytes of content that were written: not of hard links, nor by static deltas.
    pub written: u64,
    /// What came by static deltas.
    pub deltas: estimate::DeltaReport,
    /// What they would bring, of a dry run.
    pub estimate: Option<Estimate>,
    /// The remote is on this machine.
    pub is_local: bool,
    /// Its refs that cannot be read or whose commits are missing, where all refs were asked for.
    pub left_out: Vec<String>,
}

/// Pulls from `remote`, the name of one or a URL.
pub fn pull(
    repo: &Repo,
    remote: &str,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<PullReport> {
    if repo.mode() == Mode::BareSplitXattrs {
        let reason = "Not allowed due to repo mode: bare-split-xattrs is read only";
        return Err(invalid(reason));
    }
    if repo.mode().is_archive() && options.deltas == DeltaUse::Required {
        return Err(invalid("Can't use static deltas in an archive repo"));
    }
    if options.bareuseronly_files && options.deltas == DeltaUse::Required {
        let reason = "Static deltas cannot be required where files' modes are to be looked at";
        return Err(invalid(reason));
    }
    let remote = Remote::open(repo, remote, options.url.as_deref())?;
    let refs = match (&options.refs[..], options.mirror) {
        ([], false) if remote.branches.is_empty() => {
            let name = remote.name.as_ref().map_or("", |name| name.as_str());
            return Err(invalid(format!("No configured branches for remote {name}")));
        }
        ([], false) => &remote.branches[..],
        (refs, _) => refs,
    };
    let requests = refs
        .iter()
        .map(|text| RefRequest::parse(text))
        .collect::<Result<Vec<_>>>()?;
    let into = match (&remote.name, &remote.collection) {
        (_, Some(collection)) if options.mirror => Namespace::of_mirror(repo, collection),
        (Some(name), _) if !options.mirror => Namespace::Remote(name.clone()),
        _ => Namespace::Heads,
    };
    let job = Job {
        repo,
        remote: &remote,
        requests: &requests,
        into: &into,
        options,
        progress,
    };
    match &remote.place {
        mirrors::Place::Local(path) => local::pull(&job, path),
        _ => web::pull(&job),
    }
}

/// The summary of a remote, the name of one or a URL.
pub fn remote_summary(repo: &Repo, remote: &str, options: &PullOptions) -> Result<Summary> {
    let remote = Remote::open(repo, remote, options.url.as_deref())?;
    match &remote.place {
        mirrors::Place::Local(path) => {
            let source = Repo::open_in(path, &options.environment)?;
            summary::of_repository(&source, options.summary_verifier.as_deref())
        }
        _ => web::summary(repo, &remote, options),
    }
}

/// What is to be done, by whatever way.
struct Job<'a> {
    repo: &'a Repo,
    remote: &'a Remote,
    requests: &'a [RefRequest],
    into: &'a Namespace,
    options: &'a PullOptions,
    progress: &'a dyn Progress,
}

impl Job<'_> {
    fn policy(&self) -> policy::PullPolicy<'_> {
        policy::PullPolicy {
            repo: self.repo,
            into: self.into,
            verify_bindings: self.options.verify_bindings,
            collection: self.remote.collection.as_ref().map(CollectionId::as_str),
            not_older: self.options.not_older,
            verifier: self.options.commit_verifier.as_deref(),
            show_time: self.options.show_time,
        }
    }

    /// Everything that there is, with the summary.
    fn is_of_all(&self) -> bool {
        self.requests.is_empty()
    }
}

/// What a ref is called in messages, with its collection.
fn in_collection(collection: Option<&CollectionId>, name: &RefName) -> String {
    let collection = collection.map_or("(empty)", CollectionId::as_str);
    format!("({collection}, {name})")
}

/// The refs of a summary that are in a collection, or its main list; [`None`] if it has none of that
/// collection.
pub fn refs_of<'s>(
    summary: &oxtree_format::Summary<'s>,
    collection: Option<&CollectionId>,
) -> Result<Option<oxtree_format::summary::Refs<'s>>> {
    let Some(collection) = collection.map(CollectionId::as_str) else {
        return Ok(Some(summary.refs));
    };
    if summary.collection_id() == Some(collection) {
        return Ok(Some(summary.refs));
    }
    let others = summary
        .collections()
        .map_err(|error| invalid(format!("Parsing the summary: {error}")))?;
    let found = others.into_iter().find(|(id, _)| *id == collection);
    let found = found.map(|(_, refs)| refs);
    // A summary that says nothing of collections: what commits are bound to decides.
    Ok(found.or_else(|| summary.collection_id().is_none().then_some(summary.refs)))
}

/// The commits that are wanted, as a summary has them.
fn look_up(
    requests: &[RefRequest],
    summary: &[u8],
    collection: Option<&CollectionId>,
) -> Result<Vec<wanted::Wanted>> {
    let summary = oxtree_format::Summary::parse(summary)
        .map_err(|error| invalid(format!("Parsing the summary: {error}")))?;
    let refs = refs_of(&summary, collection)?.ok_or_else(|| {
        let collection = collection.map_or("", CollectionId::as_str);
        invalid(format!(
            "No such collection '{collection}' in repository summary"
        ))
    })?;
    if requests.is_empty() {
        return refs
            .iter()
            .map(|entry| {
                let name: RefName = entry.name.parse().map_err(oxtree_repo::Error::invalid)?;
                Ok(wanted::Wanted {
                    name: Some(name),
                    commit: entry.commit,
                })
            })
            .collect();
    }
    let find = |name: &RefName| -> Result<CommitId> {
        let found = refs.get(name.as_str());
        found
            .map(|entry| entry.commit)
            .ok_or_else(|| invalid(format!("No such branch '{name}' in repository summary")))
    };
    requests
        .iter()
        .map(|request| request.resolve(find))
        .collect()
}
