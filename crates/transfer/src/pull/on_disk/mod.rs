// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pulls from a repository on this machine. The walk through the source ends at commits that are
//! complete here, and compares each new commit with the one before. Objects are staged first, then
//! commits; then all becomes public with the refs. If files become hard links, this takes a
//! moment, and an interrupted pull leaves nothing. Otherwise objects are staged in a quarantine,
//! which the next pull or push continues.

mod both;
pub(crate) mod deltas;
mod history;
mod part;
mod refs;

use std::sync::atomic::{AtomicU64, Ordering};

use oxtree_format::detached::Detached;
use oxtree_format::refs::{CollectionId, RefName, RemoteName};
use oxtree_format::{Commit, CommitId, ObjectId, ObjectKind};
use oxtree_repo::object::import::{Buffer, ImportOptions, Importer, Verify, links_files};
use oxtree_repo::sign::Verifier;
use oxtree_repo::traverse;
use oxtree_repo::{CommitState, Mode, Progress, Repo, Transaction};
use rayon::prelude::*;

use self::both::Both;
use self::history::History;
use self::refs::{look_up, wanted};
use crate::error::{Error, Result, invalid};
use crate::pull::policy::PullPolicy;
use crate::pull::subpath::Part;
use crate::pull::summary::of_repository;
use crate::pull::wanted::{Namespace, Step, Wanted, is_complete, publish};

/// What is taken from a repository of the user's own: nothing is read that only gets another name.
const OWN: ImportOptions = ImportOptions {
    verify: Verify::Copies,
    bareuseronly_files: false,
};

/// How to pull.
#[derive(Debug)]
pub struct LocalPullOptions {
    /// Refs and checksums of commits; none for all local refs of the source, or if it has none, for those of the
    /// collections that it mirrors.
    pub revs: Vec<String>,
    /// The refs are written as those of this remote.
    pub remote: Option<RemoteName>,
    /// How many parents of each commit come along; [`None`] for all.
    pub depth: Option<u64>,
    /// Only the commits themselves; they are noted to be partial.
    pub commit_metadata_only: bool,
    /// Each commit that is not here has to come by a static delta. What that leaves out comes as ever.
    pub require_deltas: bool,
    /// How objects are taken over.
    pub import: ImportOptions,
    /// Commits have to be bound to the refs (and to the source's collection) that they come with.
    pub verify_bindings: bool,
    /// Has to be content with each commit's signatures.
    pub commit_verifier: Option<Box<dyn Verifier>>,
    /// Has to be content with the signatures of the source's summary, which says then where refs are.
    pub summary_verifier: Option<Box<dyn Verifier>>,
}

impl Default for LocalPullOptions {
    fn default() -> Self {
        Self {
            revs: Vec::new(),
            remote: None,
            depth: Some(0),
            commit_metadata_only: false,
            require_deltas: false,
            import: OWN,
            verify_bindings: true,
            commit_verifier: None,
            summary_verifier: None,
        }
    }
}

/// What was pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalPullReport {
    /// Commits, dirtrees and dirmetas that were not there.
    pub metadata: u64,
    /// Files that were not there.
    pub content: u64,
    /// Bytes of content that were written: not of hard links, nor by static deltas.
    pub bytes: u64,
    /// What came by static deltas.
    pub deltas: crate::pull::estimate::DeltaReport,
}

/// What is copied, and as what.
pub(crate) struct Copy<'a> {
    pub(crate) wanted: &'a [Wanted],
    pub(crate) into: &'a Namespace,
    pub(crate) policy: PullPolicy<'a>,
    /// How many parents of each commit come along; [`None`] for all.
    pub(crate) depth: Option<u64>,
    pub(crate) commit_metadata_only: bool,
    pub(crate) require_deltas: bool,
    /// Has to be content with the signatures of each static delta.
    pub(crate) delta_verifier: Option<&'a dyn Verifier>,
    pub(crate) part: Part,
    pub(crate) import: ImportOptions,
}

/// Pulls from `source` into `repo`.
pub fn pull_local(
    repo: &Repo,
    source: &Repo,
    options: &LocalPullOptions,
    progress: &dyn Progress,
) -> Result<LocalPullReport> {
    if repo.mode() == Mode::BareSplitXattrs {
        let reason = "Not allowed due to repo mode: bare-split-xattrs is read only";
        return Err(invalid(reason));
    }
    let mut wanted = wanted(source, &options.revs)?;
    if let Some(verifier) = &options.summary_verifier {
        let summary = of_repository(source, Some(verifier.as_ref()))?;
        look_up(&mut wanted, &summary.bytes.unwrap_or_default())?;
    }
    let into = match &options.remote {
        Some(remote) => Namespace::Remote(remote.clone()),
        None => Namespace::Heads,
    };
    let collection = source.config().collection_id.as_ref();
    let copied = Copy {
        wanted: &wanted,
        into: &into,
        policy: PullPolicy {
            repo,
            into: &into,
            verify_bindings: options.verify_bindings,
            collection: collection.map(AsRef::as_ref),
            not_older: None,
            verifier: options.commit_verifier.as_deref(),
            show_time: |seconds| seconds.to_string(),
        },
        depth: options.depth,
        commit_metadata_only: options.commit_metadata_only,
        require_deltas: options.require_deltas,
        delta_verifier: None,
        part: Part::All,
        import: options.import,
    };
    copy(repo, source, &copied, progress)
}

/// Copies refs of a collection with their commits into `repo`, a mirror of it.
pub fn copy_collection(
    repo: &Repo,
    source: &Repo,
    collection: &CollectionId,
    refs: &[(RefName, CommitId)],
    progress: &dyn Progress,
) -> Result<LocalPullReport> {
    let wanted: Vec<Wanted> = refs
        .iter()
        .map(|(name, commit)| Wanted {
            name: Some(name.clone()),
            commit: *commit,
        })
        .collect();
    let into = Namespace::of_mirror(repo, collection);
    let copied = Copy {
        wanted: &wanted,
        into: &into,
        policy: PullPolicy {
            repo,
            into: &into,
            verify_bindings: true,
            collection: Some(collection.as_str()),
            not_older: None,
            verifier: None,
            show_time: |seconds| seconds.to_string(),
        },
        depth: Some(0),
        commit_metadata_only: false,
        require_deltas: false,
        delta_verifier: None,
        part: Part::All,
        import: OWN,
    };
    copy(repo, source, &copied, progress)
}

/// Copies what is wanted from `source` into `repo`, and sets refs there.
pub(crate) fn copy(
    repo: &Repo,
    source: &Repo,
    copy: &Copy<'_>,
    progress: &dyn Progress,
) -> Result<LocalPullReport> {
    let transaction = match links_files(source, repo)? || copy.commit_metadata_only {
        true => Transaction::begin(repo)?,
        false => Transaction::quarantine(repo)?,
    };
    let by_deltas = match copy.require_deltas {
        true => deltas::apply(
            source,
            &transaction,
            copy.wanted.iter().map(|wanted| wanted.commit),
            copy.delta_verifier,
        ),
        false => Ok(crate::pull::estimate::DeltaReport::default()),
    };
    let pull = Pull {
        repo,
        source,
        copy,
        transaction: &transaction,
        progress,
        counts: Counts::default(),
    };
    // What has come is found there already; what is left out of a delta is not.
    let pulled = by_deltas.and_then(|deltas| Ok((deltas, pull.fill()?)));
    match pulled {
        Ok((deltas, (report, steps))) => {
            let bytes = report.bytes - deltas.content;
            let report = LocalPullReport {
                bytes,
                deltas,
                ..report
            };
            let whole = !copy.commit_metadata_only && copy.part == Part::All;
            publish(repo, transaction, &steps, copy.wanted, copy.into, whole)?;
            Ok(report)
        }
        Err(error) => {
            transaction.abort()?;
            Err(error)
        }
    }
}

#[derive(Default)]
struct Counts {
    metadata: AtomicU64,
    content: AtomicU64,
}

/// A pull as it goes on.
struct Pull<'a> {
    repo: &'a Repo,
    source: &'a Repo,
    copy: &'a Copy<'a>,
    transaction: &'a Transaction<'a>,
    progress: &'a dyn Progress,
    counts: Counts,
}

impl Pull<'_> {
    /// Stages all that is wanted and not there. Returns every commit that was looked at, too.
    fn fill(&self) -> Result<(LocalPullReport, Vec<Step>)> {
        let both = Both {
            source: self.source,
            repo: self.repo,
            // Signatures are of what the names say, not of what happens to be in the files.
            verify: self.copy.import.verify != Verify::Nothing
                || self.copy.policy.verifier.is_some(),
        };
        let importer = Importer::new(self.transaction, self.source, self.copy.import)?;
        let mut history = History::new(self.repo, &both, self.copy.depth);
        let mut steps = Vec::new();
        for Wanted { name, commit } in self.copy.wanted {
            let check = |id: CommitId, bytes: &[u8], parsed: &Commit<'_>| {
                let name = name.as_ref().filter(|_| id == *commit);
                self.check(id, bytes, parsed, name)
            };
            let new = history.follow(*commit, &check)?;
            let old = match name {
                Some(name) => self.copy.into.current(self.repo, name)?,
                None => None,
            };
            let old = match old {
                Some(old) if is_complete(self.repo, old)? => Some(old),
                _ => None,
            };
            for step in &new {
                self.commit(step, old, &both, &importer)?;
            }
            steps.extend(new);
        }
        // Nobody is to find a commit before all of its objects.
        for step in steps.iter().filter(|step| !step.is_there) {
            self.import(&importer, &step.commit.object(), &mut Buffer::default())?;
        }
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let report = LocalPullReport {
            metadata: load(&self.counts.metadata),
            content: load(&self.counts.content),
            bytes: self.transaction.stats().content_bytes,
            deltas: crate::pull::estimate::DeltaReport::default(),
        };
        Ok((report, steps))
    }

    fn check(
        &self,
        id: CommitId,
        bytes: &[u8],
        commit: &Commit<'_>,
        name: Option<&RefName>,
    ) -> Result<()> {
        let mut detached = None;
        if self.copy.policy.verifier.is_some() {
            detached = self.source.load_detached_metadata(id)?;
        }
        self.copy
            .policy
            .check(id, bytes, commit, detached.as_deref(), name)
    }

    /// Stages what a commit is made of, but not the commit itself, and its detached metadata.
    fn commit(
        &self,
        step: &Step,
        old: Option<CommitId>,
        both: &Both<'_>,
        importer: &Importer<'_>,
    ) -> Result<()> {
        self.detached(step.commit)?;
        let is_part = self.copy.commit_metadata_only || self.copy.part != Part::All;
        if is_part && !step.is_there {
            // Known before the commit can be found.
            self.repo
                .set_commit_state(step.commit, CommitState::Partial)?;
        }
        if step.is_complete || self.copy.commit_metadata_only {
            return Ok(());
        }
        let bases: Vec<CommitId> = step.base.into_iter().chain(old).collect();
        let outcome = self.objects(step.commit, &bases, both, importer);
        match outcome {
            Err(Error::Repo(error)) if error.is_missing_object() && self.copy.part == Part::All => {
                // Says where it belongs, which is worth a slow walk now.
                traverse::check_complete(both, step.commit, None)?;
                Err(error.into())
            }
            outcome => outcome,
        }
    }

    fn objects(
        &self,
        commit: CommitId,
        bases: &[CommitId],
        both: &Both<'_>,
        importer: &Importer<'_>,
    ) -> Result<()> {
        let mut objects = match self.copy.part {
            Part::All => traverse::new_objects(both, commit, bases)?,
            Part::Paths(_) => part::objects(both, commit, &self.copy.part)?,
        };
        objects.retain(|object| object.kind != ObjectKind::Commit);
        // In the order of the folders that they are in.
        objects.par_sort_unstable();
        let total = objects.len() as u64;
        self.progress.start("Importing objects", Some(total));
        let imported = objects
            .par_iter()
            .try_for_each_init(Buffer::default, |buffer, object| {
                self.import(importer, object, buffer)
            });
        self.progress.finish();
        imported
    }

    fn import(
        &self,
        importer: &Importer<'_>,
        object: &ObjectId,
        buffer: &mut Buffer,
    ) -> Result<()> {
        if importer.import(object, buffer)? {
            let counter = match object.kind {
                ObjectKind::File => &self.counts.content,
                _ => &self.counts.metadata,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.progress.advance(1);
        Ok(())
    }

    /// Signatures may come later than the commit.
    fn detached(&self, commit: CommitId) -> Result<()> {
        let Some(theirs) = self.source.load_detached_metadata(commit)? else {
            return Ok(());
        };
        if self.repo.load_detached_metadata(commit)?.as_ref() == Some(&theirs) {
            return Ok(());
        }
        if Detached::parse(&theirs).is_err() {
            tracing::warn!("the detached metadata of commit {commit} cannot be read: left out");
            return Ok(());
        }
        Ok(self.transaction.write_detached_metadata(commit, &theirs)?)
    }
}
