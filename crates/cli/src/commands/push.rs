// SPDX-License-Identifier: MIT OR Apache-2.0
//! `push`: publish commits to another repository.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use oxtree_format::refs::RefName;
use oxtree_repo::{Progress, Repo};
use oxtree_transfer::limits::{parse_seconds, parse_size};
use oxtree_transfer::local::{push_local, status_local};
use oxtree_transfer::protocol::message::{RefOutcome, Status, UnfinishedPush, WireCommit};
use oxtree_transfer::push::Report;
use oxtree_transfer::push::http::{HttpOptions, push_http, status_http};
use oxtree_transfer::ssh::{Pushed, SshOptions, push_ssh, status_ssh};
use oxtree_transfer::{Audience, Compression, History, Options, Packing, Request, Url};

use crate::context::Context;
use crate::error::{AlreadyReported, Usage};
use crate::network::HttpArgs;

/// Options of `push`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
DEST is ssh://[user@]host[:port]/path, [user@]host:path, https://host[:port]/path or a local path.
On the far side ssh runs `oxtree receive`, or `oxtree serve` answers. It verifies every object,
moves all refs at once or none, and then updates the summary. Both repositories can be in any mode.

A server wants a token. It is read from $OXTREE_TOKEN, a file or a command, never from the command
line, and is sent to other machines over https only. Proxies are those of $https_proxy, $http_proxy,
$all_proxy and $no_proxy.

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
    pub(crate) options: Options,
}

impl Job {
    /// Pushes. `notice` hears what the far side has to say meanwhile.
    pub(crate) fn run(
        &self,
        repo: &Repo,
        progress: &dyn Progress,
        notice: &dyn Fn(&str),
    ) -> Result<Pushed> {
        let audience = Audience { progress, notice };
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
    let job = job(args, url, ssh, http);
    let started = Instant::now();
    let notice = |text: &str| context.out.note(&format!("remote: {text}"));
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
        return tell(context, &job.url, &report, started.elapsed());
    }
    finish(context, &report)
}

/// Says what came of a push; an error if it was refused.
pub(crate) fn tell(
    context: &Context<'_>,
    url: &Url,
    report: &Report,
    took: Duration,
) -> Result<()> {
    describe(context, url, report, took)?;
    finish(context, report)
}

fn job(args: Args, url: Url, ssh: SshOptions, http: HttpOptions) -> Job {
    let history = match (args.all_history, args.depth) {
        (true, _) => History::All,
        (false, Some(depth)) => History::Depth(depth),
        (false, None) => History::SinceReceiver,
    };
    let options = Options {
        request: Request {
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
    let options = Options {
        agent: agent(),
        idle: args.timeout.0,
        ..Options::default()
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

/// A push that is running or was cut off, for people.
pub(crate) fn unfinished_line(push: &UnfinishedPush) -> String {
    let state = match push.running {
        true => "running,",
        false => "cut off,",
    };
    let (objects, bytes) = (push.objects, size(push.bytes));
    format!(
        "  {state} {objects} objects, {bytes}, last received {} ago",
        age(push.age)
    )
}

/// Seconds for people.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
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

/// Which refs were refused, and why.
pub(crate) fn refusals(report: &Report) -> String {
    let refs = report.outcome.refs.iter();
    let refused = refs.filter(|r| r.status == Status::Rejected).map(|r| {
        let reason = r.reason.as_deref().unwrap_or("no reason given");
        format!("{}: {reason}", r.name)
    });
    refused.collect::<Vec<_>>().join("; ")
}

/// Warnings, and the error for what was refused.
fn finish(context: &Context<'_>, report: &Report) -> Result<()> {
    for warning in &report.outcome.warnings {
        context.out.note(&format!("warning: {warning}"));
    }
    if report.outcome.is_ok() {
        return Ok(());
    }
    context.out.note(&format!(
        "error: push refused, nothing has changed: {}",
        refusals(report)
    ));
    Err(AlreadyReported { code: 1 }.into())
}

fn describe(context: &Context<'_>, url: &Url, report: &Report, took: Duration) -> Result<()> {
    let would = if report.dry_run {
        " (dry run: nothing is changed)"
    } else {
        ""
    };
    context.out.line(&format!("To {url}{would}"))?;
    for outcome in &report.outcome.refs {
        context.out.line(&ref_line(outcome))?;
    }
    if report.outcome.refs.is_empty() {
        context
            .out
            .line("Nothing to push: there are no local refs")?;
    }
    if report.dry_run {
        return context.out.line(&format!(
            "Would send {} of {} objects, {}",
            report.missing,
            report.offered,
            size(report.missing_bytes)
        ));
    }
    if report
        .outcome
        .refs
        .iter()
        .all(|r| r.status == Status::Unchanged)
    {
        return Ok(());
    }
    context.out.line(&format!(
        "Sent {} of {} objects, {} in {:.1} s",
        report.missing,
        report.offered,
        size(report.bytes_sent),
        took.as_secs_f64()
    ))
}

fn ref_line(outcome: &RefOutcome) -> String {
    let name = &outcome.name;
    let short = |commit: &Option<WireCommit>| {
        commit
            .as_ref()
            .map_or(String::new(), |commit| commit.to_string()[..10].to_owned())
    };
    let (old, new) = (short(&outcome.old), short(&outcome.new));
    match outcome.status {
        Status::Created => format!(" * [new]                  {name} -> {new}"),
        Status::Updated => format!("   {old}..{new} {name}"),
        Status::Deleted => format!(" - [deleted]              {name} (was {old})"),
        Status::Unchanged => format!(" = [up to date]           {name}"),
        Status::NotDone => format!(" ! [not done]             {name}"),
        Status::Rejected => {
            let reason = outcome.reason.as_deref().unwrap_or("no reason given");
            format!(
                " ! [refused]              {name}: {}",
                crate::text::harmless(reason)
            )
        }
    }
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

fn json(url: &Url, report: &Report, took: Duration) -> String {
    serde_json::json!({
        "destination": url.to_string(),
        "dry_run": report.dry_run,
        "ok": report.outcome.is_ok(),
        "refs": report.outcome.refs,
        "warnings": report.outcome.warnings,
        "objects_offered": report.offered,
        "objects_missing": report.missing,
        "object_bytes": report.missing_bytes,
        "bytes_sent": report.bytes_sent,
        "bytes_received": report.bytes_received,
        "turns": report.turns,
        "seconds": (took.as_secs_f64() * 1000.0).round() / 1000.0,
    })
    .to_string()
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
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7200, "2 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (1_500_000, "1.5 MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
