// SPDX-License-Identifier: MIT OR Apache-2.0
//! `serve`: repositories over HTTP.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use oxtree_repo::Repo;
use oxtree_server::{Address, Client, Config, Permission, ServedConfig, TlsFiles};
use oxtree_transfer::receive::LocalReceiver;
use oxtree_transfer::receive::policy::{Derive, Policy};

use crate::commands::push::agent;
use crate::commands::receive::{destination_in, places};
use crate::context::Context;
use crate::error::{Usage, one_line};
use crate::receiving::conf::{Conf, ConfError, LogLevel};
use crate::receiving::policy::Manners;
use crate::secrets::warn_if_open;
use crate::serving::conf::{self, Anonymous, RepoConf, ServeConf};
use crate::yaml::Value;

/// Options of `serve`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Serves repositories to any OSTree client:
  oxtree serve /srv/repo
  ostree remote add --no-gpg-verify here http://127.0.0.1:8080/

It prints where, a URL a line. With port 0 the system chooses one:
  oxtree serve --listen 127.0.0.1:0 /srv/repo

Everybody may read, and a push needs a token:
  oxtree token create --tokens /srv/tokens.json ci --allow push --ref 'app/*'
  oxtree serve --tokens /srv/tokens.json --listen-tls 0.0.0.0:8443 \\
    --tls-cert cert.pem --tls-key key.pem /srv/repo

On a machine of your own, for a try, pushes can do without:
  oxtree serve --allow-anonymous-push /srv/repo
  oxtree push http://127.0.0.1:8080/ app/main

Several repositories, who may read and push what, what is done after a push: all that is in a
file in YAML, of which docs/serve.md has all keys:
  listen_tls: 0.0.0.0:443
  tls_certificate: /etc/oxtree/cert.pem    # read again when it changes, and on SIGHUP
  tls_key: /etc/oxtree/key.pem
  tokens: /var/lib/oxtree/tokens.json
  repos:
    stable: {path: /srv/stable, receive: {gpg_verify: yes}}
    nightly: {path: /srv/nightly, retention: {app/*: {keep_last: 5}}}

On SIGTERM it takes no more requests, and ends when those under way have been answered, or after
30 seconds: pushes can go on with the next one.")]
pub(crate) struct Args {
    /// What is served, and how [default: /etc/oxtree/serve.yaml, if no REPO is named]
    #[arg(long, value_name = "FILE", conflicts_with = "path")]
    config: Option<PathBuf>,
    /// Where to listen: an address and a port (can be repeated) [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", value_parser = conf::address)]
    listen: Vec<SocketAddr>,
    /// Where to listen for TLS (can be repeated)
    #[arg(long, value_name = "ADDRESS", value_parser = conf::address, requires = "tls_cert")]
    listen_tls: Vec<SocketAddr>,
    /// The certificate, and those between it and a root, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Also without TLS where other machines can reach it: behind a proxy, say
    #[arg(long)]
    insecure_http: bool,
    /// The file with the tokens (see oxtree token)
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Reading needs a token, too
    #[arg(long)]
    private: bool,
    /// Let every client that can reach the server push and delete refs without a token, also through a
    /// proxy. Web pages in a browser still cannot
    #[arg(long, conflicts_with = "private")]
    allow_anonymous_push: bool,
    /// Leave the summaries as they are, whatever changes refs
    #[arg(long)]
    no_update: bool,
    /// Add a line of JSON to this file for each request
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// The repository
    #[arg(value_name = "REPO")]
    path: Option<PathBuf>,
}

/// A push is forgotten that nobody has done anything with for so long.
const LIFETIME: Duration = Duration::from_secs(3600);

/// So long may a client take to say what it wants.
const HEADERS: Duration = Duration::from_secs(30);

/// So long may it take nothing of what is sent to it.
const SEND: Duration = Duration::from_secs(60);

/// Connections at once.
const CONNECTIONS: usize = 20_000;

/// And of one client, at least, if it is not said how many: more than there are behind most addresses.
const PER_CLIENT: usize = 1000;

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    serve(conf(args)?, context)
}

/// Serves, as a configuration says it, until the process is told to end.
pub(crate) fn serve(conf: ServeConf, context: &Context<'_>) -> Result<()> {
    if !conf.takes_pushes() {
        context.out.note(
            "No push is accepted: there are no tokens. Create one with oxtree token create and name its \
             file with --tokens, or let everybody push with --allow-anonymous-push",
        );
    }
    let config = config(conf, context)?;
    let mut told = Ok(());
    oxtree_server::run(config, |addresses| told = tell(addresses, context))?;
    told
}

/// Says where it listens, a URL a line.
fn tell(addresses: &[Address], context: &Context<'_>) -> Result<()> {
    for Address { address, tls } in addresses {
        let scheme = if *tls { "https" } else { "http" };
        context.out.line(&format!("{scheme}://{address}/"))?;
    }
    context.out.flush()
}

/// A file that says what is served.
fn load(path: &Path) -> Result<ServeConf> {
    let conf = ServeConf::load(path)?;
    anyhow::ensure!(
        !conf.repos.is_empty(),
        "{}: it names no repository to serve; write for example: repos: {{/: {{path: /srv/repo}}}}",
        path.display()
    );
    Ok(conf)
}

/// What the file says, and the command line.
fn conf(args: &Args) -> Result<ServeConf> {
    let mut conf = match (&args.path, &args.config) {
        (Some(path), _) => ServeConf {
            repos: vec![RepoConf {
                path: path.clone(),
                ..RepoConf::default()
            }],
            ..ServeConf::default()
        },
        (None, Some(path)) => load(path)?,
        (None, None) if Path::new(conf::PATH).exists() => load(Path::new(conf::PATH))?,
        (None, None) => {
            let reason = format!("REPO must be specified, as there is no {}", conf::PATH);
            return Err(Usage(reason).into());
        }
    };
    let plain = args.listen.iter().map(|address| (*address, false));
    let secure = args.listen_tls.iter().map(|address| (*address, true));
    let listen: Vec<Address> = plain
        .chain(secure)
        .map(|(address, tls)| Address { address, tls })
        .collect();
    if !listen.is_empty() {
        conf.listen = listen;
    }
    if conf.listen.is_empty() {
        conf.listen.push(Address {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: false,
        });
    }
    if let (Some(certificates), Some(key)) = (&args.tls_cert, &args.tls_key) {
        conf.tls = Some(TlsFiles {
            certificates: certificates.clone(),
            key: key.clone(),
            client_ca: conf.tls.and_then(|tls| tls.client_ca),
        });
    }
    conf.insecure_http |= args.insecure_http;
    conf.tokens = args.tokens.clone().or(conf.tokens);
    conf.access_log = args.access_log.clone().or(conf.access_log);
    if args.private {
        conf.anonymous = Some(Anonymous::Nothing);
    }
    conf.allow_anonymous_push |= args.allow_anonymous_push;
    if args.no_update {
        conf.repos.iter_mut().for_each(RepoConf::turn_updates_off);
    }
    anyhow::ensure!(
        !(conf.allow_anonymous_push && conf.anonymous == Some(Anonymous::Nothing)),
        "clients without a token cannot push where they may read nothing: remove either \
         allow_anonymous_push or anonymous: none"
    );
    Ok(conf)
}

fn config(conf: ServeConf, context: &Context<'_>) -> Result<Config> {
    if let Some(tls) = &conf.tls {
        warn_if_open("private key", &tls.key, context);
    }
    let anonymous = anonymous(&conf);
    let mut told = BTreeSet::new();
    let mut note = |text: String| {
        if told.insert(text.clone()) {
            context.out.note(&format!("warning: {text}"));
        }
    };
    let repos = conf.repos.into_iter();
    let repositories: Result<Vec<ServedConfig>> =
        repos.map(|repo| site(repo, context, &mut note)).collect();
    let max_connections = conf.max_connections.unwrap_or(CONNECTIONS);
    let per_client = (max_connections / 4).max(PER_CLIENT);
    Ok(Config {
        listen: conf.listen,
        tls: conf.tls,
        insecure: conf.insecure_http,
        repositories: repositories?,
        agent: agent(),
        anonymous,
        tokens: conf.tokens,
        issuers: conf.issuers,
        trusted_proxies: conf.trusted_proxies,
        access_log: conf.access_log,
        audit_log: conf.audit_log,
        push_lifetime: conf.push_lifetime.unwrap_or(LIFETIME).as_secs(),
        header_timeout: conf.header_timeout.unwrap_or(HEADERS),
        shutdown_delay: conf.shutdown_delay.unwrap_or_default(),
        send_timeout: conf.send_timeout.unwrap_or(SEND),
        max_connections,
        max_connections_per_client: conf.max_connections_per_client.unwrap_or(per_client),
    })
}

/// What clients without a token may do.
fn anonymous(conf: &ServeConf) -> Client {
    use Permission::{Delete, Force, Promote, Push, Read};
    let permissions: &[Permission] = match conf.allow_anonymous_push {
        true => &[Read, Push, Force, Delete, Promote],
        false => &[Read],
    };
    let permissions = permissions.iter().copied();
    match &conf.anonymous {
        None | Some(Anonymous::All) => Client::anonymous(permissions),
        Some(Anonymous::Nothing) => Client::default(),
        Some(Anonymous::Refs(refs)) => Client {
            refs: Some(refs.clone()),
            ..Client::anonymous(permissions)
        },
    }
}

fn site(
    repo: RepoConf,
    context: &Context<'_>,
    note: &mut dyn FnMut(String),
) -> Result<ServedConfig> {
    let (path, kept) = (repo.path.clone(), context.keep());
    let receive = repo.receive;
    check(&path, &receive, context, note).with_context(|| format!("serving {}", path.display()))?;
    Ok(ServedConfig {
        name: repo.name,
        path: repo.path,
        open: Box::new(move |_| {
            let opened = kept.with(|context| open(&path, &receive, context));
            opened.map_err(|error| match error.is::<Unreadable>() {
                true => no_rules(),
                false => oxtree_transfer::Error::Destination(one_line(&error)),
            })
        }),
        webhooks: repo.webhooks,
        retention: repo.retention,
    })
}

/// The configuration of pushes is there and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreadable(ConfError);

/// What those are told who push then: where files are on the server is not their business.
fn no_rules() -> oxtree_transfer::Error {
    let reason = "the server cannot read the configuration of pushes";
    oxtree_transfer::Error::ReadOnly(reason.to_owned())
}

/// Says what is wrong with a repository or its configuration. What can be read is served even if nobody can push.
fn check(
    path: &Path,
    receive: &[(String, Value)],
    context: &Context<'_>,
    note: &mut dyn FnMut(String),
) -> Result<()> {
    match open(path, receive, context) {
        Ok(destination) => {
            if let Err(error) = destination.repo().check_writable() {
                let path = path.display();
                note(format!(
                    "{path} is served read-only, without pushes: {error}"
                ));
                return Ok(());
            }
        }
        Err(error) if error.is::<Unreadable>() => {
            let path = path.display();
            note(format!(
                "{path} is served without pushes, since rules for them cannot be read: {error}"
            ));
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    for (level, text) in Conf::load(places(context))?.notes() {
        if level >= LogLevel::Warning {
            note(text);
        }
    }
    Ok(())
}

/// What pushes go to: as `ostree-receive.conf` has it, and what the server's configuration says.
fn open(path: &Path, receive: &[(String, Value)], context: &Context<'_>) -> Result<LocalReceiver> {
    let repo = Repo::open_in(path, &context.environment())?;
    if repo.check_writable().is_err() {
        // There is nothing to ask of pushes, nor to do after them.
        let policy = Policy {
            derive: Derive::Nothing,
            ..Policy::default()
        };
        return Ok(LocalReceiver::with_policy(repo, policy));
    }
    let places = places(context);
    let mut conf = Conf::load(places.clone()).map_err(|error| match places.are_unreadable() {
        true => Unreadable(error).into(),
        false => anyhow::Error::new(error),
    })?;
    conf.lay_over(receive)?;
    destination_in(repo, &conf.for_server(path)?, Manners::Oxtree, context)
}
