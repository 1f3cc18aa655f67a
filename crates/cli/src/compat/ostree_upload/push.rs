// SPDX-License-Identifier: MIT OR Apache-2.0
//! `push`: to a server of ours, or to one of the original's.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use oxtree_format::refs::RefName;
use oxtree_repo::Repo;
use oxtree_repo::prune::Options as PruneOptions;
use oxtree_transfer::push::http::{HttpOptions, Token, push_http, push_to_ostree_upload};
use oxtree_transfer::{Error, PushObserver, PushOptions, PushRequest, Url};

use crate::commands::push::{agent, default_idle_time, tell};
use crate::context::Context;
use crate::network::network;

/// Options of `push`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Where the address is that of `oxtree serve`, or of `ostree-upload receive` of this program, objects are
packed and verified, and go on where an earlier push was cut off. A server of the original's is found out, and
is told what it understands.

A token that is an argument can be seen by others: better put it into OSTREE_UPLOAD_TOKEN.")]
pub(super) struct Args {
    /// The URL of the server
    #[arg(
        long,
        short,
        value_name = "URL",
        default_value = "http://localhost:8080"
    )]
    address: String,
    /// The OSTree repository
    #[arg(long, short, value_name = "PATH", default_value = "repo")]
    repo: PathBuf,
    /// The token for the server [default: $OSTREE_UPLOAD_TOKEN]
    #[arg(long, short, value_name = "TOKEN")]
    token: Option<String>,
    /// Prune the repository before anything is sent
    #[arg(long)]
    prune: bool,
    /// The branches to push, with commas between them (can be repeated) [default: all]
    #[arg(long, short, value_name = "BRANCH", value_delimiter = ',')]
    branch: Vec<RefName>,
    /// Say more
    #[arg(long, short)]
    pub(super) verbose: bool,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let variable = || {
        context
            .var("OSTREE_UPLOAD_TOKEN")?
            .to_str()
            .map(str::to_owned)
    };
    let token = args.token.clone().filter(|token| !token.is_empty());
    let token = token
        .or_else(variable)
        .ok_or_else(|| anyhow!("Token is mandatory"))?;
    let url = match args.address.parse()? {
        Url::Http(url) => url,
        _ => return Err(anyhow!("{} is no URL of a server", args.address)),
    };
    let repo = Repo::open_in(&args.repo, &context.environment()).context("opening repo")?;
    if args.prune {
        let pruned = repo.plan_prune(&PruneOptions::default())?;
        let total = pruned.total;
        let pruned = pruned.execute(context.progress())?;
        let (objects, bytes) = (pruned.objects, pruned.bytes);
        let line = format!("Pruned {objects}/{total} objects, {bytes} bytes deleted");
        context.out.line(&line)?;
    }
    let how = HttpOptions {
        network: network(context),
        token: Some(Token::new(&token)?),
        // It has always been sent like that.
        plain: true,
        ..HttpOptions::default()
    };
    let options = PushOptions {
        request: PushRequest {
            refs: args.branch.clone(),
            ..PushRequest::default()
        },
        agent: agent(),
        idle: default_idle_time(),
        ..PushOptions::default()
    };
    let started = Instant::now();
    let notice = |text: &str| context.out.remote(text);
    let progress = context.progress();
    let audience = PushObserver {
        progress,
        notice: &notice,
    };
    let report = match push_http(&repo, &url, &how, &options, audience) {
        Err(Error::NoApi { .. }) => push_to_ostree_upload(&repo, &url, &how, &options, audience),
        report => report,
    };
    let url = Url::Http(url);
    let report = report.with_context(|| format!("pushing to {url}"))?;
    tell(context, &url, &report, started.elapsed())?;
    context.out.line("Done!")
}
