// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes to a repository on another machine through `ssh`. If the receiver there turns out to be
//! ostree-push's, the push goes through a [`tunnel`] instead.

use std::path::Path;
use std::process::{ChildStdin, ChildStdout};

use oxtree_repo::Repo;

use super::ssh_process::{Ssh, SshOptions};
use super::tunnel;
use crate::error::{Error, Result};
use crate::protocol::message::UnfinishedPush;
use crate::push::plan::wanted_refs;
use crate::push::{self, PushObserver, PushOptions, PushReport};
use crate::timeouts::{Timed, Timeouts};
use crate::url::SshUrl;

/// What is run on the far side, in this order until one is there.
pub const COMMANDS: [&str; 2] = ["oxtree receive", "ostree-receive"];

/// How a push over ssh has ended.
#[derive(Debug)]
pub enum Pushed {
    /// By our protocol.
    Answered(Box<PushReport>),
    /// By a receiver of ostree-push: what it does with each ref it only says in its own words, which
    /// were passed on.
    Tunnelled,
}

/// Pushes to a repository on another machine. `commands` are tried in order until one is there;
/// none for [`COMMANDS`]. A receiver of ostree-push is given what it can do. `tmp` is where sockets
/// can be made.
pub fn push_ssh(
    repo: &Repo,
    url: &SshUrl,
    commands: &[String],
    ssh: &SshOptions,
    options: &PushOptions,
    observer: PushObserver<'_>,
    tmp: &Path,
) -> Result<Pushed> {
    // What is not there locally is found before anybody is asked for a password.
    wanted_refs(repo, &options.request)?;
    let talk = |from, to: Timed<'_, ChildStdin>| push::push(repo, options, from, to, observer);
    let (command, pushed) = with_receiver(url, commands, ssh, options, talk);
    match pushed {
        Ok(report) => Ok(Pushed::Answered(Box::new(report))),
        Err(Error::WantsUrl) => {
            if !options.request.deletes.is_empty() {
                let reason = "the receiver there is ostree-push's, which deletes no refs";
                return Err(Error::Ssh(reason.to_owned()));
            }
            let request = tunnel::TunnelRequest {
                refs: options.request.refs.clone(),
                force: options.request.force,
                dry_run: options.dry_run,
            };
            let hear = observer.notice;
            tunnel::push_through_tunnel(repo, url, &[command], ssh, &request, tmp, hear)?;
            Ok(Pushed::Tunnelled)
        }
        Err(error) => Err(error),
    }
}

/// The pushes to a repository on another machine that are running or were cut off.
pub fn status_ssh(
    url: &SshUrl,
    commands: &[String],
    ssh: &SshOptions,
    options: &PushOptions,
) -> Result<Vec<UnfinishedPush>> {
    let talk = |from, to: Timed<'_, ChildStdin>| push::status(options, from, to);
    with_receiver(url, commands, ssh, options, talk).1
}

/// Talks to a receiver on the far side. Says, too, which command was the last that was tried.
fn with_receiver<T>(
    url: &SshUrl,
    commands: &[String],
    ssh: &SshOptions,
    options: &PushOptions,
    mut talk: impl FnMut(ChildStdout, Timed<'_, ChildStdin>) -> Result<T>,
) -> (String, Result<T>) {
    let default = COMMANDS.map(str::to_owned);
    let commands = match commands {
        [] => &default[..],
        commands => commands,
    };
    let mut missing = None;
    for command in commands {
        match talk_to(url, command, ssh, options, &mut talk) {
            // The first name is the one to ask for.
            Err(error) if error.is_command_not_found() => drop(missing.get_or_insert(error)),
            talked => return (command.clone(), talked),
        }
    }
    let missing =
        missing.unwrap_or_else(|| Error::Ssh("no command to run on the far side".to_owned()));
    (String::new(), Err(missing))
}

fn talk_to<T>(
    url: &SshUrl,
    command: &str,
    ssh: &SshOptions,
    options: &PushOptions,
    talk: &mut impl FnMut(ChildStdout, Timed<'_, ChildStdin>) -> Result<T>,
) -> Result<T> {
    let (child, from, to) = Ssh::start(url, command, ssh)?;
    let timeouts = Timeouts::new(None);
    timeouts.set(options.idle, None);
    let talked = Timed::owned(to, &timeouts).map_err(Error::Connection);
    let (said, failed) = match talked.and_then(|to| talk(from, to)) {
        Ok(said) => (Some(said), None),
        Err(error) => (None, Some(error)),
    };
    child.finish(command, failed)?;
    said.ok_or_else(|| Error::Ssh("the push has not been answered".to_owned()))
}
