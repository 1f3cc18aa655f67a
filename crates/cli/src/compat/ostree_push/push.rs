// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ostree-push`: its arguments in front of `oxtree push`.

use anyhow::{Context as _, Result, anyhow, bail};
use oxtree_format::refs::RefName;
use oxtree_transfer::protocol::message::{RefOutcome, Status};
use oxtree_transfer::push::PushReport;
use oxtree_transfer::push::http::HttpOptions;
use oxtree_transfer::receive::policy::is_generated;
use oxtree_transfer::transport::SshOptions;
use oxtree_transfer::transport::ssh::Pushed;
use oxtree_transfer::{PushOptions, PushRequest, Url};

use super::argparse::{Grammar, Opt, Parsed};
use super::log::Log;
use super::{Call, context, dest};
use crate::commands::push::{Job, agent, default_idle_time, refusals, ssh_program};
use crate::error::AlreadyReported;
use crate::receiving::conf::LogLevel;
use crate::shell_words;

/// What is run on the far side unless told otherwise.
///
/// The original begins with the other one. This one is there wherever there is any, so nobody logs in
/// twice; where it is the receiver of before version 1, its complaint says so.
const COMMANDS: [&str; 2] = ["ostree-receive", "ostree-receive-1"];

pub(super) const GRAMMAR: Grammar = Grammar {
    options: &[
        Opt::flag(&["-h", "--help"]),
        Opt::flag(&["-n", "--dry-run"]),
        Opt::with_value(&["-p"]),
        Opt::flag(&["-q", "--quiet"]),
        Opt::flag(&["-v", "--verbose"]),
        Opt::with_value(&["--repo"]),
        Opt::with_value(&["--command"]),
        Opt::with_value(&["-i", "-o"]),
        Opt::flag(&["--version"]),
    ],
    arguments: &["DEST"],
    more: true,
    usage: "[-h] [-n] [-p PORT] [-q] [-v] [--repo REPO]\n[--command COMMAND] [-i OPTION] \
            [--version]\nDEST [REF ...]",
    help: "
Publish OSTree refs in another repository, over ssh. This is `oxtree push` with the arguments of
ostree-push 1.2.0; `oxtree push --help` has more.

positional arguments:
  DEST                  where to: [user@]host:path/to/repo or
                        ssh://[user@]host[:port]/path/to/repo
  REF                   what to push [default: all refs]

options:
  -h, --help            print this and exit
  -n, --dry-run         change nothing, only say what would be
  -p PORT               the port of the ssh server
  -q, --quiet           print warnings and errors only
  -v, --verbose         print what is being done
  --repo REPO           the local repository [default: the current directory]
  --command COMMAND     what to run on the far side; can be repeated, the first
                        that is there is taken [default: ostree-receive, then
                        ostree-receive-1]
  -i OPTION, -o OPTION  options for ssh
  --version             print the version and exit

example:
  ostree-push repo@example.com:/srv/repo debian/12/amd64",
};

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let Some(parsed) = call.parse(&GRAMMAR, 1)? else {
        return Ok(());
    };
    let level = match parsed.last(&["-q", "--quiet", "-v", "--verbose"]) {
        Some("-q" | "--quiet") => LogLevel::Warning,
        Some(_) => LogLevel::Debug,
        None => LogLevel::Info,
    };
    let identities = parsed.values("-i");
    if identities.len() > 1 {
        let text = "argument -i/-o: Option -i can only be specified once";
        return Err(call.wrong(&GRAMMAR, text));
    }
    let port = port(call, &parsed)?;
    let url = dest::parse(&parsed.arguments[0])?;
    let commands = commands(&parsed)?;

    let repo = parsed.values("--repo").pop();
    let repo = repo.map(|path| std::path::absolute(&path).map(|path| path.display().to_string()));
    let context = context(repo.transpose()?, level == LogLevel::Debug, call.out);
    let log = Log {
        out: call.out,
        level,
        logger: "otpush.push",
    };
    let repo = context.open_repo()?;
    let job = Job {
        url: Url::Ssh(url),
        commands,
        ssh: SshOptions {
            program: ssh_program(None, &context),
            identity: identities.into_iter().next(),
            options: parsed.values("-o"),
            port,
            verbose: context.verbose,
        },
        http: HttpOptions::default(),
        options: PushOptions {
            request: PushRequest {
                refs: refs(&repo, &parsed.arguments[1..])?,
                ..PushRequest::default()
            },
            dry_run: parsed.has(&["-n", "--dry-run"]),
            agent: agent(),
            idle: default_idle_time(),
            ..PushOptions::default()
        },
    };
    // The far side's own words, whatever is said here.
    let notice = |text: &str| text.lines().for_each(|line| call.out.note(line));
    let progress = if level > LogLevel::Info {
        &()
    } else {
        context.progress()
    };
    let pushed = job.run(&repo, progress, &notice).map_err(|error| {
        let missing = error.chain().any(|cause| {
            let cause = cause.downcast_ref::<oxtree_transfer::Error>();
            cause.is_some_and(oxtree_transfer::Error::is_command_not_found)
        });
        match missing {
            true => not_found(&job.commands),
            false => error,
        }
    })?;
    match pushed {
        Pushed::Answered(report) => describe(&report, log),
        // The receiver has said it all.
        Pushed::Tunnelled => Ok(()),
    }
}

/// As Python reads a number. 0 is none.
fn port(call: &Call<'_>, parsed: &Parsed) -> Result<Option<u16>> {
    let Some(text) = parsed.values("-p").pop() else {
        return Ok(None);
    };
    let digits = text.trim();
    let port: i64 = digits.parse().map_err(|_| {
        call.wrong(
            &GRAMMAR,
            &format!("argument -p: invalid int value: '{text}'"),
        )
    })?;
    match u16::try_from(port) {
        Ok(port) => Ok(Some(port).filter(|port| *port > 0)),
        Err(_) => bail!("Port out of range 0-65535"),
    }
}

fn commands(parsed: &Parsed) -> Result<Vec<String>> {
    let given = parsed.values("--command");
    if given.is_empty() {
        return Ok(COMMANDS.map(str::to_owned).to_vec());
    }
    for command in &given {
        // The far side's shell takes it as it is; what has no end here has none there.
        let words = shell_words::split(command);
        if words
            .with_context(|| format!("--command={command}"))?
            .is_empty()
        {
            bail!("--command needs a command");
        }
    }
    Ok(given)
}

/// The error when none of the commands is there.
fn not_found(commands: &[String]) -> anyhow::Error {
    let first = |command: &String| shell_words::split(command).ok()?.into_iter().next();
    let mut names: Vec<String> = commands.iter().filter_map(first).collect();
    if names == COMMANDS {
        // As the original says it.
        names.reverse();
    }
    anyhow!("Could not find commands {} on server", names.join(" "))
}

/// The refs by their names. What no ref can be called is not there either.
fn refs(repo: &oxtree_repo::Repo, names: &[String]) -> Result<Vec<RefName>> {
    let local = repo.local_refs()?;
    let mut missing: Vec<&str> = names.iter().map(String::as_str).collect();
    missing.retain(|name| !local.keys().any(|there| there.as_str() == *name));
    missing.sort_unstable();
    missing.dedup();
    if !missing.is_empty() {
        let path = std::path::absolute(repo.path())?;
        bail!("Refs {} not found in {}", missing.join(" "), path.display());
    }
    let refs = local
        .into_keys()
        .filter(|name| names.iter().any(|asked| asked == name.as_str()));
    Ok(refs.collect())
}

/// What has become of each ref.
fn describe(report: &PushReport, log: Log<'_>) -> Result<()> {
    let receiver = Log {
        logger: "otpush.receive",
        ..log
    };
    for outcome in &report.outcome.refs {
        let level = match outcome.status {
            Status::Rejected => LogLevel::Error,
            _ => LogLevel::Info,
        };
        match outcome.reason.as_deref() {
            // It was stale, and perhaps forced all the same: in the original's words.
            Some(reason) if level == LogLevel::Info && !is_generated(&outcome.name.0) => {
                receiver.warn(reason);
                if outcome.status == Status::Unchanged {
                    continue;
                }
            }
            _ => {}
        }
        log.write(level, &line(outcome));
    }
    for warning in &report.outcome.warnings {
        receiver.write(LogLevel::Warning, warning);
    }
    if report.dry_run {
        let (missing, offered) = (report.missing, report.offered);
        let text = format!("Would send {missing} of {offered} objects; nothing is changed");
        log.write(LogLevel::Info, &text);
    }
    if report.outcome.is_ok() {
        return Ok(());
    }
    let refused = refusals(report);
    log.write(
        LogLevel::Error,
        &format!("push refused, nothing has changed: {refused}"),
    );
    Err(AlreadyReported { code: 1 }.into())
}

fn line(outcome: &RefOutcome) -> String {
    let commit = |commit: &Option<_>| match commit {
        Some(commit) => format!("{commit}"),
        None => "none".to_owned(),
    };
    let name = &outcome.name;
    match outcome.status {
        Status::Unchanged => match outcome.reason.as_deref() {
            Some(reason) => format!("{name} is left out: {reason}"),
            None => format!("{name} is up to date"),
        },
        Status::NotDone => format!("{name} not done"),
        Status::Rejected => {
            let reason = outcome.reason.as_deref().unwrap_or("no reason given");
            format!("{name} refused: {reason}")
        }
        Status::Created | Status::Updated | Status::Deleted => {
            let (old, new): (&Option<oxtree_transfer::protocol::message::WireCommit>, _) =
                (&outcome.old, &outcome.new);
            format!("{name} {} -> {}", commit(old), commit(new))
        }
    }
}
