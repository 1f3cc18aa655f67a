// SPDX-License-Identifier: MIT OR Apache-2.0
//! `push`: publish commits to another repository.

mod report;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use oxtree_format::refs::RefName;
use oxtree_repo::{DamagedRef, Progress, Repo};
use oxtree_transfer::limits::{parse_seconds, parse_size};
use oxtree_transfer::push::http::{HttpOptions, push_http, status_http};
use oxtree_transfer::transport::SshOptions;
use oxtree_transfer::transport::local::{push_local, status_local};
use oxtree_transfer::transport::ssh::{Pushed, push_ssh, status_ssh};
use oxtree_transfer::{Compression, History, Packing, PushObserver, PushOptions, PushRequest, Url};

use crate::context::Context;
use crate::error::Usage;
use crate::network::HttpArgs;
use crate::text;

use report::{finish, json};
pub(crate) use report::{refusals, size, tell, unfinished_line};

/// Options of `push`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
DEST is ssh://[user@]host[:port]/path, [user@]host:path, https://host[:port]/path or a local path.
On the far side ssh runs `oxtree receive`, or `oxtree serve` answers. It verifies every object,
moves all refs at once or none, and then updates the summary. Both repositories can be in any mode.

A server wants a token. It is read from $OXTREE_TOKEN, a file or a command, never from the command
line, and is sent to other machines over https only. Proxies are those of $https_proxy, $http_proxy,
$all_proxy and $no_proxy; localhost and loopback addresses are asked without one.

A ref moves only forward: to a descendant of its present commit, or to a newer commit. Anything
else takes --force, and the receiver's leave.

Examples:
  oxtree push ssh://repo@example.com/srv/repo                 all local refs
  oxtree push repo@example.com:/srv/repo debian/12/amd64      one ref
  oxtree push -n /srv/repo                                    what would be sent?
  oxtree push --delete old/branch repo@example.com:/srv/repo
  OXTREE_TOKEN=… oxtree push https://example.com/repo         to a server
  oxtree push --token-file ~/.ci-token https://example.com/repo debian/12/amd64
  oxtree push --status repo@example.com:/srv/repo             what was cut off?

A push that was cut off is continued by the next one, of whatever refs.

Exit status: 0 when all refs are as asked, 1 when one was refused or something failed, 2 for wrong
usage.")]
pub(crate) struct Args {
    /// Change nothing; say what would move, and how much would be sent
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Let refs go back or sideways
    #[arg(long, short)]
    force: bool,
    /// Delete this ref at the destination (can be repeated)
    #[arg(long, value_name = "REF")]
    delete: Vec<RefName>,
    /// Send so many commits before each ref's, too [default: those the receiver lacks since the
    /// newest it has, else none]
    #[arg(long, value_name = "N", conflicts_with = "all_history")]
    depth: Option<u64>,
    /// Send all commits before each ref's, too
    #[arg(long)]
    all_history: bool,
    /// Threads that read and pack objects [default: one a core]
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
    /// Send no more than so many bytes a second; K, M and G are understood (powers of 1024)
    #[arg(long, value_name = "RATE", value_parser = rate)]
    limit_rate: Option<u64>,
    /// none sends objects as they are stored; 1 (fast) to 9 (small) sends what has changed of each
    /// file, packed; auto does the one or the other, as the link needs it
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = compression)]
    compression: Compression,
    /// Give up when the far side neither says nor takes anything for so long, such as 90s, 5m or 1h;
    /// 0 for never
    #[arg(long, value_name = "TIME", default_value = IDLE, value_parser = idle_time)]
    timeout: IdleTime,
    /// Push nothing: tell which pushes to DEST are running or were cut off, and what they have left
    #[arg(long, conflicts_with_all = ["dry_run", "force", "delete", "depth", "all_history", "refs"])]
    status: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
    /// Print nothing but errors
    #[arg(long, short)]
    quiet: bool,
    /// The port of the ssh server
    #[arg(short, value_name = "PORT")]
    port: Option<u16>,
    /// The private key for ssh
    #[arg(short, value_name = "FILE")]
    identity: Option<String>,
    /// An option for ssh, as in its configuration file (can be repeated)
    #[arg(short = 'o', value_name = "OPTION")]
    ssh_options: Vec<String>,
    /// What to run instead of `ssh` [default: $OXTREE_SSH_COMMAND]
    #[arg(long, value_name = "COMMAND")]
    ssh_command: Option<String>,
    #[command(flatten)]
    http: HttpArgs,
    /// What to run on the far side (can be repeated: the first that is there) [default: oxtree
    /// receive, ostree-receive]
    #[arg(long, value_name = "COMMAND")]
    command: Vec<String>,
    /// Where to push to
    #[arg(value_name = "DEST")]
    dest: String,
    /// What to push [default: all local refs]
    #[arg(value_name = "REF")]
    refs: Vec<RefName>,
}

#[derive(Clone, Copy, Debug)]
struct IdleTime(Option<Duration>);

/// The default of `--timeout`.
const IDLE: &str = "5m";

/// [`IDLE`], for who has no such option.
pub(crate) fn default_idle_time() -> Option<Duration> {
    parse_seconds(IDLE).map(Duration::from_secs)
}

fn idle_time(text: &str) -> Result<IdleTime, String> {
    let seconds = parse_seconds(text).ok_or("expected a time such as 90s, 5m or 1h")?;
    Ok(IdleTime(
        (seconds > 0).then(|| Duration::from_secs(seconds)),
    ))
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "auto" => Ok(Compression::Auto),
        "none" | "0" => Ok(Compression::None),
        level => match level.parse() {
            Ok(level @ 1..=9) => Ok(Compression::Level(level)),
            _ => Err("expected auto, none, or a level from 1 to 9".to_owned()),
        },
    }
}

fn rate(text: &str) -> Result<u64, String> {
    let rate = parse_size(text);
    rate.filter(|rate| *rate > 0)
        .ok_or_else(|| "expected bytes a second, such as 500K or 2M".to_owned())
}

/// What the two sides call themselves.
pub(crate) fn agent() -> String {
    format!("oxtree {}", env!("CARGO_PKG_VERSION"))
}

/// A push that is understood, by whatever name it was asked for.
#[derive(Debug)]
pub(crate) struct Job {
    /// Where to.
    pub(crate) url: Url,
    /// What to run there; empty for the usual.
    pub(crate) commands: Vec<String>,
    /// How to get there.
    pub(crate) ssh: SshOptions,
    /// How to get there, if it is a web server.
    pub(crate) http: HttpOptions,
    /// What to push, and how.
    pub(crate) options: PushOptions,
}

impl Job {
    /// Pushes. `notice` hears what the far side has to say meanwhile.
    pub(crate) fn run(
        &self,
        repo: &Repo,
        progress: &dyn Progress,
        notice: &dyn Fn(&str),
    ) -> Result<Pushed> {
        let audience = PushObserver { progress, notice };
        let pushed = match &self.url {
            Url::Ssh(url) => push_ssh(
                repo,
                url,
                &self.commands,
                &self.ssh,
                &self.options,
                audience,
                &std::env::temp_dir(),
            ),
            Url::Http(url) => push_http(repo, url, &self.http, &self.options, audience)
                .map(|report| Pushed::Answered(Box::new(report))),
            Url::Local(path) => push_local(repo, path, &self.options, audience)
                .map(|report| Pushed::Answered(Box::new(report))),
        };
        pushed.with_context(|| format!("pushing to {}", self.url))
    }
}

pub(crate) fn run(args: Args, context: &Context<'_>) -> Result<()> {
    let url: Url = args
        .dest
        .parse()
        .map_err(|error| Usage(format!("{error}")))?;
    let ssh = ssh_options(&args, context)?;
    let http = match url {
        Url::Http(_) => args.http.options(context)?,
        _ => HttpOptions::default(),
    };
    if args.status {
        return status(&args, &url, &ssh, &http, context);
    }
    let repo = context.open_repo()?;
    let (quiet, json_wanted) = (args.quiet, args.json);
    let mut job = job(args, url, ssh, http);
    let left_out = leave_out(&repo, &mut job.options.request, context)?;
    check(&job.options.request, &repo)?;
    let started = Instant::now();
    let notice = |text: &str| context.out.remote(text);
    let progress = match quiet || json_wanted {
        true => &(),
        false => context.progress(),
    };
    let report = match job.run(&repo, progress, &notice)? {
        Pushed::Answered(report) => report,
        Pushed::Tunnelled if json_wanted => {
            let report = serde_json::json!({"destination": job.url.to_string(), "tunnelled": true});
            return context.out.line(&report.to_string());
        }
        Pushed::Tunnelled => return Ok(()),
    };
    if json_wanted {
        let text = json(&job.url, &report, started.elapsed());
        context.out.line(&text)?;
    } else if !quiet {
        tell(context, &job.url, &report, started.elapsed())?;
        return all_pushed(left_out);
    }
    finish(context, &report)?;
    all_pushed(left_out)
}

/// Where all refs are to be pushed: leaves out those that cannot be, and says so. How many these are.
fn leave_out(repo: &Repo, request: &mut PushRequest, context: &Context<'_>) -> Result<usize> {
    if !request.refs.is_empty() || !request.deletes.is_empty() {
        return Ok(0);
    }
    let mut unusable = repo.unusable_refs()?;
    unusable.retain(|one| one.path.starts_with("refs/heads"));
    if unusable.is_empty() {
        return Ok(0);
    }
    for one in &unusable {
        context
            .out
            .note(&format!("warning: {one}; it is not pushed"));
    }
    let mut good = repo.local_refs()?;
    for name in unusable.iter().filter_map(DamagedRef::refspec) {
        good.remove(&name.name);
    }
    if good.is_empty() {
        bail!("no ref can be pushed; `fsck -a` shows all damage");
    }
    request.refs = good.into_keys().collect();
    Ok(unusable.len())
}

/// An error if refs were left out of a push of all refs.
fn all_pushed(left_out: usize) -> Result<()> {
    match left_out {
        0 => Ok(()),
        left_out => bail!(
            "not pushed: {} that cannot be read or whose commits are missing; `fsck -a` shows all damage, `refs \
             --delete NAME` deletes such a ref",
            text::refs(left_out)
        ),
    }
}

/// Refuses what contradicts itself, and what asks for nothing.
fn check(request: &PushRequest, repo: &Repo) -> Result<()> {
    if let Some(contradiction) = request.contradiction() {
        return Err(Usage(contradiction).into());
    }
    if request.refs.is_empty() && request.deletes.is_empty() && repo.local_refs()?.is_empty() {
        bail!(
            "there is nothing to push: {} has no refs of its own",
            repo.path().display()
        );
    }
    Ok(())
}

fn job(args: Args, url: Url, ssh: SshOptions, http: HttpOptions) -> Job {
    let history = match (args.all_history, args.depth) {
        (true, _) => History::All,
        (false, Some(depth)) => History::Depth(depth),
        (false, None) => History::SinceReceiver,
    };
    let options = PushOptions {
        request: PushRequest {
            refs: args.refs,
            deletes: args.delete,
            force: args.force,
            history,
        },
        dry_run: args.dry_run,
        packing: Packing {
            compression: args.compression,
            jobs: args.jobs.unwrap_or(0),
        },
        rate: args.limit_rate,
        idle: args.timeout.0,
        agent: agent(),
    };
    Job {
        url,
        commands: args.command,
        ssh,
        http,
        options,
    }
}

fn status(
    args: &Args,
    url: &Url,
    ssh: &SshOptions,
    http: &HttpOptions,
    context: &Context<'_>,
) -> Result<()> {
    let options = PushOptions {
        agent: agent(),
        idle: args.timeout.0,
        ..PushOptions::default()
    };
    let found = match url {
        Url::Ssh(ssh_url) => status_ssh(ssh_url, &args.command, ssh, &options),
        Url::Http(http_url) => status_http(http_url, http, &options),
        Url::Local(path) => status_local(path, &options),
    };
    let found = found.with_context(|| format!("asking {url}"))?;
    if args.json {
        let report = serde_json::json!({"destination": url.to_string(), "unfinished": found});
        return context.out.line(&report.to_string());
    }
    if found.is_empty() {
        return context.out.line(&format!("{url} has no unfinished pushes"));
    }
    context.out.line(&format!("Unfinished pushes to {url}:"))?;
    for push in &found {
        context.out.line(&unfinished_line(push))?;
    }
    Ok(())
}

fn ssh_options(args: &Args, context: &Context<'_>) -> Result<SshOptions> {
    let program = ssh_program(args.ssh_command.as_deref(), context);
    if args.identity.as_deref() == Some("") {
        return Err(Usage("-i needs a file".to_owned()).into());
    }
    Ok(SshOptions {
        program,
        identity: args.identity.clone(),
        options: args.ssh_options.clone(),
        port: args.port,
        verbose: context.verbose,
    })
}

/// What is run as `ssh`, with its first arguments: the option, else the environment says it.
pub(crate) fn ssh_program(option: Option<&str>, context: &Context<'_>) -> Vec<String> {
    let variable = context
        .var("OXTREE_SSH_COMMAND")
        .and_then(|value| value.to_str());
    let words = option.or(variable).unwrap_or_default();
    words.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_levels() {
        assert_eq!(rate("500K"), Ok(500 << 10));
        assert_eq!(rate("7"), Ok(7));
        for bad in ["", "K", "0", "-1", "1.5M", "99999999999999999999G"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert_eq!(compression("none"), Ok(Compression::None));
        assert_eq!(compression("9"), Ok(Compression::Level(9)));
        assert!(compression("10").is_err() && compression("best").is_err());
    }

    #[test]
    fn times() {
        assert_eq!(
            idle_time("2m").map(|time| time.0),
            Ok(Some(Duration::from_secs(120)))
        );
        assert_eq!(idle_time("0").map(|time| time.0), Ok(None));
        assert!(idle_time("soon").is_err());
    }
}
