// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pulls from a repository on this machine.
//!
//! All objects that are new are staged, then the commits, and then all of it becomes public with the
//! refs: the same road as that of a push, in one process. Where files become hard links this takes a
//! moment, and nothing is left of it if it is cut off; where they have to be packed or unpacked, they
//! are staged in a quarantine, which the next pull or push takes up again.

pub mod deltas;
mod history;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use oxtree_format::refs::{RefName, Refspec, RemoteName};
use oxtree_format::{Checksum, Commit, CommitId, ObjectId, ObjectKind, Summary};
use oxtree_repo::object::import::{Buffer, ImportOptions, Importer, links_files};
use oxtree_repo::object::verify::check_checksum;
use oxtree_repo::sign::{Subject, Verifier};
use oxtree_repo::traverse::{self, Found, Objects, Walk};
use oxtree_repo::{CommitState, Expected, Mode, Progress, RefUpdate, Repo, Transaction, bindings};
use rayon::prelude::*;

use self::history::{History, Step};
use crate::{Error, Result};

/// How to pull.
#[derive(Debug)]
pub struct Options {
    /// Refs and checksums of commits; none for all local refs of the source.
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

impl Default for Options {
    fn default() -> Self {
        Self {
            revs: Vec::new(),
            remote: None,
            depth: Some(0),
            commit_metadata_only: false,
            require_deltas: false,
            import: ImportOptions::default(),
            verify_bindings: true,
            commit_verifier: None,
            summary_verifier: None,
        }
    }
}

/// What was pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Commits, dirtrees and dirmetas that were not there.
    pub metadata: u64,
    /// Files that were not there.
    pub content: u64,
    /// Bytes of content that were written: not of hard links, nor by static deltas.
    pub bytes: u64,
    /// What came by static deltas.
    pub deltas: deltas::Report,
}

/// What is to be pulled: a commit, and the ref that it comes with.
struct Wanted {
    name: Option<RefName>,
    commit: CommitId,
}

/// Pulls from `source` into `repo`.
pub fn pull_local(
    repo: &Repo,
    source: &Repo,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report> {
    if repo.mode() == Mode::BareSplitXattrs {
        let reason = "Not allowed due to repo mode: bare-split-xattrs is read only";
        return Err(invalid(reason));
    }
    let mut wanted = wanted(source, &options.revs)?;
    if let Some(verifier) = &options.summary_verifier {
        look_up(&mut wanted, &verified_summary(source, verifier.as_ref())?)?;
    }
    let transaction = match links_files(source, repo)? || options.commit_metadata_only {
        true => Transaction::begin(repo)?,
        false => Transaction::quarantine(repo)?,
    };
    let by_deltas = match options.require_deltas {
        true => deltas::apply(
            source,
            &transaction,
            wanted.iter().map(|wanted| wanted.commit),
        ),
        false => Ok(deltas::Report::default()),
    };
    let pull = Pull {
        repo,
        source,
        options,
        transaction: &transaction,
        progress,
        counts: Counts::default(),
    };
    // What has come is found there already; what is left out of a delta is not.
    let pulled = by_deltas.and_then(|deltas| Ok((deltas, pull.fill(&wanted)?)));
    match pulled {
        Ok((deltas, (report, steps))) => {
            let bytes = report.bytes - deltas.content;
            let report = Report {
                bytes,
                deltas,
                ..report
            };
            publish(transaction, &steps, options, &wanted)?;
            Ok(report)
        }
        Err(error) => {
            transaction.abort()?;
            Err(error)
        }
    }
}

fn invalid(reason: impl Into<String>) -> Error {
    oxtree_repo::Error::Invalid(reason.into()).into()
}

fn wanted(source: &Repo, revs: &[String]) -> Result<Vec<Wanted>> {
    if revs.is_empty() {
        let all = source.list_refs(None)?.into_iter();
        return all
            .map(|(refspec, commit)| match refspec.remote {
                None => Ok(Wanted {
                    name: Some(refspec.name),
                    commit,
                }),
                // libostree's behaviour: nobody says what it should be called here.
                Some(_) => Err(invalid(format!("Invalid ref name {refspec}"))),
            })
            .collect();
    }
    revs.iter()
        .map(|rev| {
            if let Some(checksum) = Checksum::from_hex(rev.as_bytes()) {
                return Ok(Wanted {
                    name: None,
                    commit: CommitId(checksum),
                });
            }
            let name: RefName = rev.parse().map_err(oxtree_repo::Error::invalid)?;
            let commit = source.read_ref(&name.clone().into())?;
            let commit = commit.ok_or_else(|| oxtree_repo::Error::RefNotFound(rev.clone()))?;
            Ok(Wanted {
                name: Some(name),
                commit,
            })
        })
        .collect()
}

/// The source's summary, whose signatures are as they have to be.
fn verified_summary(source: &Repo, verifier: &dyn Verifier) -> Result<Vec<u8>> {
    let Some(summary) = source.read_summary()? else {
        return Err(invalid(
            "GPG verification enabled, but no summary found \
             (use gpg-verify-summary=false in remote config to disable)",
        ));
    };
    let signatures = source.read_summary_signatures()?;
    verifier
        .verify(Subject::Summary, &summary, signatures.as_deref())
        .map_err(|error| invalid(error.to_string()))?;
    Ok(summary)
}

/// Takes the commits of refs from a summary.
fn look_up(wanted: &mut [Wanted], summary: &[u8]) -> Result<()> {
    let summary = Summary::parse(summary).map_err(oxtree_repo::Error::invalid)?;
    for Wanted { name, commit } in wanted {
        let Some(name) = name else { continue };
        *commit = summary
            .refs
            .get(name.as_str())
            .map(|entry| entry.commit)
            .ok_or_else(|| invalid(format!("No such branch '{name}' in repository summary")))?;
    }
    Ok(())
}

/// Makes public what was staged: objects, then the notes on what is complete, then the refs.
fn publish(
    transaction: Transaction<'_>,
    steps: &[Step],
    options: &Options,
    wanted: &[Wanted],
) -> Result<()> {
    if transaction.is_resumed() {
        let commits: HashSet<CommitId> = steps.iter().map(|step| step.commit).collect();
        transaction.retain_commits(&commits)?;
    }
    let complete: Vec<CommitId> = match options.commit_metadata_only {
        true => Vec::new(),
        false => {
            let partial = steps.iter().filter(|step| step.was_partial);
            partial.map(|step| step.commit).collect()
        }
    };
    let mut refs = Vec::new();
    let mut seen = HashSet::new();
    for Wanted { name, commit } in wanted {
        let Some(name) = name.as_ref().filter(|name| seen.insert(*name)) else {
            continue;
        };
        refs.push(RefUpdate {
            refspec: Refspec {
                remote: options.remote.clone(),
                name: name.clone(),
            },
            expected: Expected::Any,
            new: Some(*commit),
        });
    }
    transaction.commit_complete(&refs, &complete)?;
    Ok(())
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
    options: &'a Options,
    transaction: &'a Transaction<'a>,
    progress: &'a dyn Progress,
    counts: Counts,
}

impl Pull<'_> {
    /// Stages all that is wanted and not there. Returns every commit that was looked at, too.
    fn fill(&self, wanted: &[Wanted]) -> Result<(Report, Vec<Step>)> {
        let both = Both {
            source: self.source,
            repo: self.repo,
            verify: self.options.import.verify,
        };
        let importer = Importer::new(self.transaction, self.source, self.options.import)?;
        let mut history = History::new(self.repo, &both, self.options.depth);
        let mut steps = Vec::new();
        for Wanted { name, commit } in wanted {
            let check = |id: CommitId, bytes: &[u8], parsed: &Commit<'_>| {
                self.check_signatures(id, bytes)?;
                let name = name.as_ref().filter(|_| id == *commit);
                self.check_bindings(id, parsed, name)
            };
            let new = history.follow(*commit, &check)?;
            let old = name.as_ref().map_or(Ok(None), |name| self.present(name))?;
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
        let report = Report {
            metadata: load(&self.counts.metadata),
            content: load(&self.counts.content),
            bytes: self.transaction.stats().content_bytes,
            deltas: deltas::Report::default(),
        };
        Ok((report, steps))
    }

    /// The commit that the ref is at now, if that is complete.
    fn present(&self, name: &RefName) -> Result<Option<CommitId>> {
        let refspec = Refspec {
            remote: self.options.remote.clone(),
            name: name.clone(),
        };
        match self.repo.read_ref(&refspec)? {
            Some(commit) if history::is_complete(self.repo, commit)? => Ok(Some(commit)),
            _ => Ok(None),
        }
    }

    fn check_signatures(&self, id: CommitId, bytes: &[u8]) -> Result<()> {
        let Some(verifier) = &self.options.commit_verifier else {
            return Ok(());
        };
        // What is signed is what the name says, not what happens to be in the file.
        check_checksum(&id.object(), bytes)?;
        let detached = self.source.load_detached_metadata(id)?;
        verifier
            .verify(Subject::Commit(id), bytes, detached.as_deref())
            .map_err(|error| invalid(error.to_string()))
    }

    fn check_bindings(
        &self,
        id: CommitId,
        commit: &Commit<'_>,
        name: Option<&RefName>,
    ) -> Result<()> {
        if !self.options.verify_bindings {
            return Ok(());
        }
        let collection = self.source.config().collection_id.as_ref();
        let collection = collection.map(AsRef::as_ref);
        bindings::check(commit, name.map(RefName::as_str), collection)
            .map_err(|reason| invalid(format!("Commit {id}: {reason}")))
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
        if step.is_complete {
            return Ok(());
        }
        if self.options.commit_metadata_only {
            // Known before the commit can be found.
            return match step.is_there {
                true => Ok(()),
                false => Ok(self
                    .repo
                    .set_commit_state(step.commit, CommitState::Partial)?),
            };
        }
        let bases: Vec<CommitId> = step.base.into_iter().chain(old).collect();
        let outcome = self.objects(step.commit, &bases, both, importer);
        match outcome {
            Err(Error::Repo(error)) if error.is_missing_object() => {
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
        let mut objects = Vec::new();
        Walk::new(both).commit(commit, bases, &mut |found: &Found<'_>| {
            objects.push(found.object);
            Ok(())
        })?;
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
        Ok(self.transaction.write_detached_metadata(commit, &theirs)?)
    }
}

/// Metadata of the source, or where that lacks something of the repository.
struct Both<'a> {
    source: &'a Repo,
    repo: &'a Repo,
    /// What is damaged at the source is to be named itself, not what seems to be missing from it.
    verify: bool,
}

impl Both<'_> {
    /// Whether these are the bytes of the object, unless the source is believed.
    fn verify(&self, object: &ObjectId, bytes: &[u8]) -> oxtree_repo::Result<()> {
        match self.verify {
            true => check_checksum(object, bytes),
            false => Ok(()),
        }
    }
}

impl Objects for Both<'_> {
    fn load(&self, object: &ObjectId) -> oxtree_repo::Result<Vec<u8>> {
        let bytes = match self.source.load_metadata(object) {
            Err(error) if error.is_missing_object() => return self.repo.load_metadata(object),
            bytes => bytes?,
        };
        self.verify(object, &bytes)?;
        Ok(bytes)
    }

    fn has(&self, object: &ObjectId) -> oxtree_repo::Result<bool> {
        Ok(self.source.has_object(object)? || self.repo.has_object(object)?)
    }

    fn is_partial(&self, commit: CommitId) -> oxtree_repo::Result<bool> {
        self.repo.is_partial(commit)
    }
}
