// SPDX-License-Identifier: MIT OR Apache-2.0
//! `prune`: delete what nobody needs.

mod policy;

use anyhow::{Result, anyhow, bail};
use jiff::Zoned;
use oxtree_repo::prune::{Keep, Options, Policy, Share};
use oxtree_repo::{Error, Repo};

use crate::context::Context;
use crate::dates;
use crate::error::Usage;
use crate::names::Face;
use crate::text;

/// Options of `prune`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Deletes the objects that belong to no commit, with --refs-only also the commits that no ref leads
to. Static deltas that lead to commits that are not there go, too. Nobody else can write meanwhile,
unless --keep-unreferenced-younger-than says what is too young to go.

--depth, --keep-younger-than, --retain-branch-depth, --only-branch and --policy say how much of the
history of which ref stays; the commit that a ref points at always does. All but --depth imply
--refs-only. DATE is what date(1) understands. A policy is a key file. The first group whose pattern
fits a ref says what stays; a commit stays if either key keeps it, and all do without a key. The
history of refs that no group fits stays whole. In a pattern, * stands for anything, ? for one
character:

  [ref \"*/testing\"]
  keep-younger-than=90 days
  depth=1

  [ref \"fedora/*\"]
  depth=10

Examples:
  oxtree prune --no-prune --refs-only
  oxtree prune --refs-only --depth=2
  oxtree prune --keep-younger-than='30 days ago' --retain-branch-depth=stable=-1
  oxtree prune --delete-commit=debian/12^
  oxtree prune --policy=/etc/oxtree/retention --keep-unreferenced-younger-than='2 days'")]
pub(crate) struct Args {
    /// Only say what would be deleted, in all and by ref
    #[arg(long)]
    no_prune: bool,
    /// Delete commits that no ref leads to
    #[arg(long)]
    refs_only: bool,
    /// Keep so many parents of each commit, -1 for all [default: -1]
    #[arg(long, value_name = "DEPTH")]
    depth: Option<String>,
    /// Delete this commit first, to which no ref may point, and leave a tombstone
    #[arg(long, value_name = "COMMIT")]
    delete_commit: Option<String>,
    /// Keep commits that are not older than this
    #[arg(long, value_name = "DATE")]
    keep_younger_than: Option<String>,
    /// Keep all that came into the repository less than this ago; others may write meanwhile
    #[arg(long, value_name = "DURATION")]
    keep_unreferenced_younger_than: Option<String>,
    /// Delete the static deltas that lead to --delete-commit, which stays
    #[arg(long)]
    static_deltas_only: bool,
    /// Keep so many parents of the commit that BRANCH points at
    #[arg(long, value_name = "BRANCH=DEPTH")]
    retain_branch_depth: Vec<String>,
    /// Delete nothing of the history of other refs
    #[arg(long, value_name = "BRANCH")]
    only_branch: Vec<String>,
    /// Do what this file says for each ref
    #[arg(long, value_name = "FILE")]
    policy: Option<std::path::PathBuf>,
    /// Delete commits only; what was theirs is for another prune
    #[arg(long)]
    commit_only: bool,
    /// Say by ref what is deleted
    #[arg(long)]
    by_ref: bool,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let repo = context.open_repo()?;
    if args.no_prune && args.delete_commit.is_some() {
        let reason = "Cannot specify both --delete-commit and --no-prune";
        return Err(Usage(reason.to_owned()).into());
    }
    if !args.no_prune {
        repo.check_writable()?;
    }
    let mut options = args.options(&repo, context)?;
    args.check_branches(&repo, context)?;
    match (args.static_deltas_only, options.delete_commit) {
        (true, Some(commit)) => {
            repo.delete_deltas_to(commit)?;
            options.delete_commit = None;
        }
        (true, None) => bail!(
            "--static-deltas-only requires --delete-commit; see \
             https://github.com/ostreedev/ostree/issues/1479"
        ),
        (false, _) => {}
    }
    let plan = repo.plan_prune(&options)?;
    let total = plan.total;
    let damaged = plan.damaged.clone();
    for share in &plan.shares {
        context.out.line(&describe(share))?;
    }
    let (objects, bytes) = match args.no_prune {
        true => (plan.objects.len() as u64, plan.bytes()),
        false => {
            let pruned = plan.execute(context.progress())?;
            (pruned.objects, pruned.bytes)
        }
    };
    let what = if args.commit_only {
        " (commit only)"
    } else {
        ""
    };
    context.out.line(&format!("Total{what} objects: {total}"))?;
    let size = text::size(bytes);
    context.out.line(&match (objects, args.no_prune) {
        (0, _) => "No unreachable objects".to_owned(),
        (objects, true) => format!("Would delete: {objects} objects, freeing {size}"),
        (objects, false) => format!("Deleted {objects} objects, {size} freed"),
    })?;
    for one in &damaged {
        context.out.note(&format!("warning: {one}"));
    }
    if options.refs_only && !damaged.is_empty() {
        bail!(
            "all commits were kept: {} cannot be read and may need any of them; delete what cannot be read (`refs \
             --delete NAME`) or set it again, and prune once more",
            text::refs(damaged.len())
        );
    }
    Ok(())
}

fn describe(share: &Share) -> String {
    let Share {
        name,
        kept,
        commits,
        objects,
        bytes,
    } = share;
    let (name, of) = match name {
        Some(name) => (
            name.as_str(),
            format!("{commits} of {} commits", kept + commits),
        ),
        None => ("(no ref)", format!("{commits} commits")),
    };
    format!("{name}: {of}, {objects} objects, {}", text::size(*bytes))
}

impl Args {
    fn options(&self, repo: &Repo, context: &Context<'_>) -> Result<Options> {
        let now = Zoned::now();
        let depth = match &self.depth {
            None => -1,
            Some(text) => text
                .parse::<i32>()
                .map_err(|_| Usage(format!("Cannot parse integer value “{text}” for --depth")))?,
        };
        let grace = match &self.keep_unreferenced_younger_than {
            Some(text) => Some(dates::age(text, &now)?),
            None => None,
        };
        let by_name = !self.retain_branch_depth.is_empty() || !self.only_branch.is_empty();
        let complex =
            by_name || self.keep_younger_than.is_some() || self.policy.is_some() || grace.is_some();
        Ok(Options {
            refs_only: self.refs_only || complex,
            policy: self.policy(repo, depth.into(), &now)?,
            commit_only: self.commit_only,
            delete_commit: self
                .delete_commit
                .as_ref()
                .map(|rev| repo.resolve_rev(rev))
                .transpose()?,
            grace,
            dry_run: self.no_prune,
            by_ref: self.by_ref || (self.no_prune && context.face == Face::Oxtree),
        })
    }

    /// Refuses what would delete more than is meant: two depths of one branch, and a branch that is not there.
    fn check_branches(&self, repo: &Repo, context: &Context<'_>) -> Result<()> {
        let rules: Vec<(&str, &str)> = self
            .retain_branch_depth
            .iter()
            .filter_map(|rule| rule.split_once('='))
            .collect();
        for (at, (branch, depth)) in rules.iter().enumerate() {
            if rules[..at]
                .iter()
                .any(|(other, old)| other == branch && old != depth)
            {
                let text = format!("--retain-branch-depth names {branch} twice, with two depths");
                return Err(Usage(text).into());
            }
            let is_pattern = branch.contains(['*', '?']);
            if !is_pattern && matches!(repo.resolve_rev(branch), Err(Error::RefNotFound(_))) {
                context.contradiction(&format!(
                    "--retain-branch-depth={branch}={depth} has no effect: there is no ref {branch}"
                ))?;
            }
        }
        Ok(())
    }

    /// What stays of the history of which ref.
    fn policy(&self, repo: &Repo, depth: i64, now: &Zoned) -> Result<Policy> {
        let keep = match &self.keep_younger_than {
            Some(date) => Keep::younger_than(dates::parse(date, now)?.as_second()),
            None => Keep::depth(depth),
        };
        let others_stay = self.policy.is_some() || !self.only_branch.is_empty();
        let mut policy = Policy::same(if others_stay { Keep::ALL } else { keep });
        // Of two for the same branch, the last one counts.
        for rule in self.retain_branch_depth.iter().rev() {
            let (branch, depth) = rule
                .split_once('=')
                .ok_or_else(|| anyhow!("Invalid value {rule}, must specify BRANCH=DEPTH"))?;
            let depth = depth
                .parse::<i64>()
                .map_err(|_| anyhow!("Invalid depth {depth}"))?;
            policy.add(branch, Keep::depth(depth));
        }
        for branch in &self.only_branch {
            repo.resolve_rev(branch)?;
            policy.add(branch, keep);
        }
        if let Some(file) = &self.policy {
            policy::read(file, now, &mut policy)?;
        }
        Ok(policy)
    }
}
