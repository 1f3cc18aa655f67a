// SPDX-License-Identifier: MIT OR Apache-2.0
//! `fsck`: is everything in the repository whole?

use anyhow::{Result, bail};
use oxtree_repo::fsck::{Damage, Fsck, Options, Problem};

use crate::context::Context;
use crate::names::Face;

/// Options of `fsck`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Checks that every ref can be read and leads to a commit, that all objects of all commits are there
and are what their names say, and that the summary, static deltas and signatures can be read. Tells
of all damage before it ends. Commits that lack an object are marked as partial.

Examples:
  oxtree fsck
  oxtree fsck --all --repo=/srv/ostree
  oxtree fsck --delete    # then push or pull again to mend the repository")]
pub(crate) struct Args {
    /// Write tombstones for parents of commits that are not there
    #[arg(long)]
    add_tombstones: bool,
    /// Print only the outcome and errors
    #[arg(long, short)]
    quiet: bool,
    /// Let the error at the end only say that there is damage, not repeat the first of it
    #[arg(long, short)]
    all: bool,
    /// Delete damaged objects, and go on
    #[arg(long)]
    delete: bool,
    /// Check that commits are bound to the refs that point at them
    #[arg(long)]
    verify_bindings: bool,
    /// Check that the refs to which commits are bound point at them, and the other way round
    #[arg(long)]
    verify_back_refs: bool,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    let options = Options {
        // All damage is told of, with or without --all.
        keep_going: true,
        delete: args.delete,
        verify_bindings: args.verify_bindings || args.verify_back_refs,
        verify_back_refs: args.verify_back_refs,
        add_tombstones: args.add_tombstones,
    };
    let mut report = Report {
        context,
        all: args.all || args.delete,
        corrupt: false,
        first: None,
    };
    let say = |what: &str| match args.quiet {
        true => Ok(()),
        false => context.out.line(what),
    };
    let mut fsck = Fsck::new(&repo, options)?;
    say("Validating refs...")?;
    report.add(fsck.refs()?);
    say("Validating refs in collections...")?;
    report.add(fsck.collection_refs()?);
    say("Enumerating commits...")?;
    report.add(fsck.commits()?);
    let commits = fsck.counts().commits;
    say(&format!(
        "Verifying content integrity of {commits} commit objects..."
    ))?;
    report.add(fsck.find_objects()?);
    let objects = fsck.counts().objects;
    context.count(1, objects)?;
    let problems = fsck.verify(context.progress())?;
    if !problems.iter().any(|problem| report.is_fatal(problem)) {
        context.count(objects, objects)?;
    }
    report.add(problems);
    report.add(fsck.files()?);
    finish(args, &fsck, report, context)
}

fn finish(
    args: &Args,
    fsck: &Fsck<'_>,
    mut report: Report<'_>,
    context: &Context<'_>,
) -> Result<()> {
    let counts = fsck.counts();
    if args.add_tombstones {
        for commit in &counts.tombstones {
            let line = format!("Adding tombstone for commit {commit}");
            context.out.line(&line)?;
        }
    } else if counts.partial > 0 {
        let line = format!("{} partial commits not verified", counts.partial);
        context.out.line(&line)?;
    }
    if let Some(first) = report.take_first() {
        return Err(first.into());
    }
    if report.corrupt {
        bail!("Repository corruption encountered");
    }
    if counts.damaged > 0 {
        bail!(
            "{} partial commits from fsck-detected corruption",
            counts.damaged
        );
    }
    context.out.line(&format!(
        "object fsck of {} commits completed successfully - no errors found.",
        counts.commits
    ))
}

impl Context<'_> {
    /// What libostree prints where there is no terminal to show progress on.
    fn count(&self, done: usize, total: usize) -> Result<()> {
        if total == 0 || self.face == Face::Oxtree {
            return Ok(());
        }
        let percent = done * 100 / total;
        let line = format!("fsck objects ({done}/{total}) {percent}%");
        self.out.line(&line)
    }
}

/// Tells of problems as they come.
struct Report<'c> {
    context: &'c Context<'c>,
    /// The option `--all`: then the error at the end only says that there were problems.
    all: bool,
    corrupt: bool,
    /// The first of those that end libostree's check, which becomes the error at the end.
    first: Option<Problem>,
}

impl Report<'_> {
    fn is_fatal(&self, problem: &Problem) -> bool {
        !self.all && !problem.is_missing()
    }

    /// Prints problems, but for the first that is the error at the end.
    fn add(&mut self, problems: Vec<Problem>) {
        for problem in problems {
            if self.first.is_some() || !self.is_fatal(&problem) {
                self.corrupt = true;
                self.note(&problem);
                continue;
            }
            self.first = Some(problem);
        }
    }

    /// The error at the end, after what there is to say of it.
    fn take_first(&mut self) -> Option<Problem> {
        let first = self.first.take()?;
        if let Problem::DanglingRef { error, .. } = &first
            && let oxtree_repo::Error::MetadataNotFound(object) = error
        {
            self.context.out.note(&format!("Object missing: {object}"));
        }
        if let Problem::Object(damage) = &first {
            self.place(damage);
        }
        Some(first)
    }

    fn note(&self, problem: &Problem) {
        let out = self.context.out;
        out.note(&problem.to_string());
        let Problem::Object(damage) = problem else {
            return;
        };
        self.place(damage);
        for commit in &damage.marked {
            out.note(&format!("Marking commit as partial: {commit}"));
        }
    }

    /// Says where an object belongs; libostree does not.
    fn place(&self, damage: &Damage) {
        if let Some(place) = damage.place() {
            let object = damage.object;
            self.context
                .out
                .note(&format!("  {object} belongs to {place}"));
        }
    }
}
