// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ostree-receive`, `ostree-receive-1` and `ostree-receive-0`: their arguments in front of
//! `oxtree receive`, of a pull from a pusher's URL, and of the protocol before version 1.

use std::path::Path;

use anyhow::{Result, bail};
use oxtree_format::refs::RefName;
use oxtree_transfer::http::Network;
use oxtree_transfer::protocol::message::{Outcome, Status};
use oxtree_transfer::receive::from_url::{self, FetchReport, FetchRequest};
use oxtree_transfer::receive::legacy;
use rustix::fs::{FileType, fstat};

use super::argparse::{Grammar, Opt, Parsed, required};
use super::log::Log;
use super::{Call, context};
use crate::commands::receive::{
    Ending, configure, converse, destination, places, unbuffered_stdio,
};
use crate::context::Context;
use crate::error::AlreadyReported;
use crate::names::Program;
use crate::output::Output;
use crate::receiving::conf::{CommandLine, Conf, ConfError, LogLevel, ReceiveConfig, Urls};
use crate::receiving::policy::Manners;
use crate::receiving::refusals;

pub(super) const GRAMMAR: Grammar = Grammar {
    options: &[
        Opt::flag(&["-h", "--help"]),
        Opt::flag(&["--no-update"]),
        Opt::flag(&["-n", "--dry-run"]),
        Opt::flag(&["-f", "--force"]),
        Opt::flag(&["-q", "--quiet"]),
        Opt::flag(&["-v", "--verbose"]),
        Opt::flag(&["--version"]),
    ],
    arguments: &["REPO", "URL"],
    more: true,
    usage: "[-h] [--no-update] [-n] [-f] [-q] [-v] [--version]\nREPO URL [REF ...]",
    help: "
The far side of a push: what ostree-push runs through ssh. Without a URL and with a pusher of oxtree
on standard input it is `oxtree receive`, with the rules of ostree-push 1.2.0.

positional arguments:
  REPO           the repository to receive into
  URL            where the pusher serves its repository, on this machine
  REF            what to receive [default: all refs]

options:
  -h, --help     print this and exit
  --no-update    leave the summary as it is
  -n, --dry-run  change nothing, only say what would be
  -f, --force    take what is older than, or the same as, what is there
  -q, --quiet    print warnings and errors only
  -v, --verbose  print what is being done
  --version      print the version and exit

Options, and much else, can be set in /etc/ostree/ostree-receive.conf and
~/.config/ostree/ostree-receive.conf, or in the file that $OSTREE_RECEIVE_CONF names, in YAML:
  root: /srv/repos
  gpg_verify: yes",
};

pub(super) const LEGACY_GRAMMAR: Grammar = Grammar {
    options: &[
        Opt::flag(&["-h", "--help"]),
        Opt::with_value(&["--repo"]),
        Opt::flag(&["-v", "--verbose"]),
        Opt::flag(&["--debug"]),
    ],
    arguments: &[],
    more: false,
    usage: "[-h] [--repo REPO] [-v] [--debug]",
    help: "
The far side of a push by ostree-push before version 1.

options:
  -h, --help     print this and exit
  --repo REPO    the repository to receive into
  -v, --verbose  print what is being done
  --debug        print more of it",
};

/// Runs one of the receivers; `identity` is who pushes, where that is known.
pub(crate) fn run(
    program: Program,
    words: &[String],
    identity: Option<&str>,
    out: &Output,
) -> Result<()> {
    let name = program.name();
    let call = Call { name, words, out };
    let asks_for_legacy = words.iter().any(|word| word.starts_with("--repo"));
    match program {
        Program::Receive0 => by_messages(&call, identity),
        Program::Receive if asks_for_legacy => by_messages(&call, identity),
        _ => current(&call, identity),
    }
}

fn current(call: &Call<'_>, identity: Option<&str>) -> Result<()> {
    // A terminal or /dev/null is no pusher, so there has to be a URL.
    let input = fstat(std::io::stdin())?;
    let pusher = FileType::from_raw_mode(input.st_mode) != FileType::CharacterDevice;
    let Some(parsed) = call.parse(&GRAMMAR, if pusher { 1 } else { 2 })? else {
        return Ok(());
    };
    let command_line = command_line(&parsed);
    let context = context(
        None,
        command_line.log_level == Some(LogLevel::Debug),
        call.out,
    );
    let repo = Path::new(&parsed.arguments[0]);
    let config = || config(repo, identity, command_line, &context);
    let Some(url) = parsed.arguments.get(1) else {
        return match converse(config, Manners::Original, &context)? {
            Ending::Done => Ok(()),
            // Nobody was there: a call without its second argument.
            Ending::NobodyThere(_) => Err(call.wrong(&GRAMMAR, &required(&["URL"]))),
        };
    };
    let config = config()?;
    let refs = check_request(&config, url, &parsed.arguments[2..])
        .inspect_err(|error| note_refusal(&config, call, &error.to_string()))?;
    receive_from_url(&config, url, refs, command_line.force, &context)
}

/// Notes in the audit log that the pusher may not have what it asks for.
fn note_refusal(config: &ReceiveConfig, call: &Call<'_>, reason: &str) {
    if let Some(log) = &config.audit_log {
        refusals::refused(log, &call.words.join(" "), reason, call.out);
    }
}

/// Whether the pusher may ask for that.
fn check_request(config: &ReceiveConfig, url: &str, refs: &[String]) -> Result<Vec<RefName>> {
    from_url::check_url(url, config.urls == Urls::Any)?;
    let refs = refs.iter().map(|name| name.parse::<RefName>());
    let refs = refs.collect::<Result<Vec<_>, _>>()?;
    if let Some(identity) = &config.identity
        && let Some(name) = refs.iter().find(|name| !identity.may_write(name.as_str()))
    {
        bail!("{} may not write the ref {name}", identity.name);
    }
    Ok(refs)
}

fn command_line(parsed: &Parsed) -> CommandLine {
    let level = match parsed.last(&["-q", "--quiet", "-v", "--verbose"]) {
        Some("-q" | "--quiet") => Some(LogLevel::Warning),
        Some(_) => Some(LogLevel::Debug),
        None => None,
    };
    CommandLine {
        no_update: parsed.has(&["--no-update"]),
        dry_run: parsed.has(&["-n", "--dry-run"]),
        force: parsed.has(&["-f", "--force"]),
        log_level: level,
    }
}

/// What holds for the repository. What there is to say about the files is logged.
fn config(
    repo: &Path,
    identity: Option<&str>,
    command_line: CommandLine,
    context: &Context<'_>,
) -> Result<ReceiveConfig, ConfError> {
    let mut conf = Conf::load(places(context))?;
    let log = Log {
        out: context.out,
        level: conf.log_level(command_line),
        logger: "otpush.receive",
    };
    let log = |level, text: &str| log.write(level, text);
    configure(&mut conf, repo, identity, command_line, &log, context)
}

fn by_messages(call: &Call<'_>, identity: Option<&str>) -> Result<()> {
    let Some(parsed) = call.parse(&LEGACY_GRAMMAR, 0)? else {
        return Ok(());
    };
    let level = match (parsed.has(&["--debug"]), parsed.has(&["-v", "--verbose"])) {
        (true, _) => LogLevel::Debug,
        (false, true) => LogLevel::Info,
        (false, false) => LogLevel::Warning,
    };
    let context = context(None, level == LogLevel::Debug, call.out);
    let Some(repo) = parsed.values("--repo").pop() else {
        return Err(call.wrong(&LEGACY_GRAMMAR, "argument --repo is missing"));
    };
    let command_line = CommandLine {
        log_level: Some(level),
        ..CommandLine::default()
    };
    let config = config(Path::new(&repo), identity, command_line, &context)?;
    if !config.legacy_protocol {
        let reason =
            "the protocol of ostree-push before version 1 is turned off here: update ostree-push";
        note_refusal(&config, call, reason);
        bail!(reason);
    }
    receive_legacy(&config, &context)
}

/// Receives by pulling from the pusher's end of the tunnel, and says what ostree-push would.
fn receive_from_url(
    config: &ReceiveConfig,
    url: &str,
    refs: Vec<RefName>,
    force: bool,
    context: &Context<'_>,
) -> Result<()> {
    let log = Log {
        out: context.out,
        level: config.log_level,
        logger: "otpush.receive",
    };
    let destination = destination(config, Manners::Original, context)?;
    let request = FetchRequest {
        url: url.to_owned(),
        refs,
        force: force && config.allow_force != Some(false),
        dry_run: config.dry_run,
        any_host: config.urls == Urls::Any,
        network: Network::default(),
    };
    // What hooks print.
    let mut notice = |text: &str| text.lines().for_each(|line| context.out.note(line));
    let report = from_url::receive_from_url(&destination, &request, &(), &mut notice)?;
    describe(&report, log)
}

fn describe(report: &FetchReport, log: Log<'_>) -> Result<()> {
    log.write(LogLevel::Info, "Remote commits:");
    for (name, commit) in &report.remote {
        log.write(LogLevel::Info, &format!(" {name} {commit}"));
    }
    log.write(LogLevel::Info, "Current commits:");
    for name in report.remote.keys() {
        let commit = report.current.get(name);
        let commit = commit.map_or_else(|| "None".to_owned(), ToString::to_string);
        log.write(LogLevel::Info, &format!(" {name} {commit}"));
    }
    let outcome = &report.outcome;
    for change in &outcome.refs {
        let name = &change.name;
        let reason = change.reason.as_deref().unwrap_or_default();
        match change.status {
            Status::Rejected => log.write(LogLevel::Error, &format!("{name}: {reason}")),
            Status::NotDone | Status::Deleted => {}
            // Nothing has been left out.
            Status::Unchanged if change.old == change.new => {
                log.write(LogLevel::Info, &format!("{name}: {reason}"));
            }
            Status::Unchanged => log.warn(reason),
            Status::Created | Status::Updated => {
                log.warn(reason);
                if !reason.is_empty() {
                    log.write(LogLevel::Info, &format!("Forcing merge of ref {name}"));
                }
                if let Some(new) = &change.new {
                    log.write(
                        LogLevel::Info,
                        &format!("Setting ref {name} to commit {new}"),
                    );
                }
            }
        }
    }
    let mut statuses = outcome.refs.iter().map(|change| change.status);
    if statuses.all(|status| status == Status::Unchanged) {
        log.write(LogLevel::Info, "No refs need updating");
    }
    conclude(outcome, log)
}

/// Says what there is to know of what came after the refs were set, and makes the exit code.
fn conclude(outcome: &Outcome, log: Log<'_>) -> Result<()> {
    let level = match outcome.failed {
        true => LogLevel::Error,
        false => LogLevel::Warning,
    };
    for warning in &outcome.warnings {
        log.write(level, warning);
    }
    match outcome.is_ok() && !outcome.failed {
        true => Ok(()),
        false => Err(AlreadyReported { code: 1 }.into()),
    }
}

/// Receives by the protocol of ostree-push before version 1: commits stay what they are, and only
/// descendants are taken.
fn receive_legacy(config: &ReceiveConfig, context: &Context<'_>) -> Result<()> {
    let log = Log {
        out: context.out,
        level: config.log_level,
        logger: "otpush.receive_legacy",
    };
    let destination = destination(config, Manners::Legacy, context)?;
    let [from, to] = unbuffered_stdio()?;
    let mut notice = |text: &str| log.write(LogLevel::Warning, text);
    let Some(outcome) = legacy::receive_legacy(&destination, from, to, &mut notice)? else {
        return Ok(());
    };
    for change in &outcome.refs {
        let name = &change.name;
        match (&change.status, change.reason.as_deref()) {
            (Status::Rejected | Status::NotDone, reason) => {
                let reason = reason.unwrap_or_default();
                log.write(LogLevel::Error, &format!("{name}: {reason}"));
            }
            (_, Some(reason)) => log.write(LogLevel::Warning, &format!("{name}: {reason}")),
            (..) => log.write(LogLevel::Info, &format!("Set {name}")),
        }
    }
    conclude(&outcome, log)
}
