// SPDX-License-Identifier: MIT OR Apache-2.0
//! `serve`: repositories over HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use oxtree_repo::Repo;
use oxtree_server::{Permission, SiteConfig, Visitor};
use oxtree_transfer::local::LocalDestination;

use crate::commands::push::agent;
use crate::commands::receive::{destination, places};
use crate::context::{Context, Kept};
use crate::error::one_line;
use crate::receive_conf::{CommandLine, Conf};
use crate::receive_policy::Manners;

/// Options of `serve`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Serves a repository to any client of OSTree, and takes pushes for it:
  oxtree serve /srv/repo
  ostree remote add --no-gpg-verify here http://127.0.0.1:8080/
  oxtree push http://127.0.0.1:8080/ app/main

The first line that it prints says where. With port 0, the system chooses one:
  oxtree serve --listen 127.0.0.1:0 /srv/repo")]
pub(crate) struct Args {
    /// Where to listen: an address and a port (can be repeated)
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: Vec<SocketAddr>,
    /// The repository
    #[arg(value_name = "REPO")]
    path: PathBuf,
}

/// Seconds after which a push is forgotten that nobody has done anything with.
const LIFETIME: u64 = 3600;

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    // What is wrong with the repository is said now.
    Repo::open_in(&args.path, &context.environment())?;
    let kept = context.keep();
    let path = args.path.clone();
    let config = oxtree_server::Config {
        listen: args.listen.clone(),
        sites: vec![SiteConfig {
            name: String::new(),
            path: path.clone(),
            open: Box::new(move |visitor| open(&path, visitor, &kept)),
        }],
        agent: agent(),
        anonymous: Visitor::anonymous(Permission::ALL),
        push_lifetime: LIFETIME,
    };
    let mut told = Ok(());
    oxtree_server::run(config, |addresses| {
        let lines = addresses.iter().map(|address| format!("http://{address}/"));
        told = lines
            .into_iter()
            .try_for_each(|line| context.out.line(&line))
            .and_then(|()| context.out.flush());
    })?;
    told
}

/// What a visitor's pushes go to.
fn open(path: &Path, _visitor: &Visitor, kept: &Kept) -> oxtree_transfer::Result<LocalDestination> {
    let opened = kept.with(|context| -> Result<LocalDestination> {
        let mut conf = Conf::load(places(context))?;
        let config = conf.for_repo(path, None, CommandLine::default())?;
        destination(&config, Manners::Oxtree, context)
    });
    opened.map_err(|error| oxtree_transfer::Error::Destination(one_line(&error)))
}
