// SPDX-License-Identifier: MIT OR Apache-2.0
//! `receive`: the far side of a push.

use std::cell::Cell;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Error, Result};
use oxtree_repo::Repo;
use oxtree_transfer::limits::parse_seconds;
use oxtree_transfer::protocol::message::UnfinishedPush;
use oxtree_transfer::receive;
use oxtree_transfer::receive::LocalReceiver;
use oxtree_transfer::store::local::unfinished;
use oxtree_transfer::visibility::{RefVisibility, Visibility};

use crate::commands::push::{agent, size, unfinished_line};
use crate::compat::ostree_push;
use crate::compat::ostree_push::shell::{self, Allowed};
use crate::context::Context;
use crate::error::{Usage, one_line};
use crate::receiving::conf::{
    CommandLine, Conf, ConfError, LogLevel, Places, ReceiveConfig, is_still_at,
};
use crate::receiving::policy::{Manners, policy};
use crate::receiving::refusals;

/// Options of `receive`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
This is what `oxtree push` runs on the far side, through ssh; it is of no use on a terminal. Every
object is verified before it is stored, the refs move only when all is complete, and an
interrupted push is continued by the next one. What it has left is deleted when it is older than
core.tmp-expiry-secs, or with --cleanup:
  oxtree receive --cleanup /srv/repo
  oxtree receive --cleanup --older-than 1h --json /srv/repo

The repository's config can say:
  receive.deny-non-fast-forward=true   not even --force moves a ref back or sideways
  receive.deny-deletes=true            no ref is deleted

and how much it takes. Sizes can end with K, M, G or T (powers of 1024), times with s, m or h:
  receive.max-object-size=64G    content of one file
  receive.max-bytes=1T           what comes over the wire in one push
  receive.max-unpacked-size=1T   what the objects of one push unpack to
  receive.max-ratio=0            how many times larger that may be than what came; 0 for no such
                                 bound: an empty disk image is packed a thousand times
  receive.max-objects=3M         objects that one push sends
  receive.max-ids=2M             objects that it offers
  receive.max-refs=10000         refs that it changes
  receive.max-memory=80M         memory, about: it bounds what is offered, 40 bytes each, and the
                                 size of a commit or folder, a quarter of it
  receive.max-frame-size=1M      of a piece of the protocol; 64K to 1M
  receive.idle-timeout=5m        a pusher that does nothing for so long is dropped; 0 for never
  receive.timeout=0              how long a push may take to come in; 0 for ever

To let a key do nothing else, put this before it in ~/.ssh/authorized_keys:
  command=\"oxtree receive /srv/repo\",restrict ssh-ed25519 AAAA…

Who may push what, whose signatures count, hooks and more are in /etc/ostree/ostree-receive.conf
and ~/.config/ostree/ostree-receive.conf, or in the file that $OSTREE_RECEIVE_CONF names, in YAML.
docs/receive.md has all keys; the later file's count:
  root: /srv/repos            repositories are below it, links followed
  gpg_verify: yes             commits have to be signed by a key of gpg_trustedkeys
  repos:                      other values for one repository
    stable: {allow_force: no}
  identities:                 what a key may do that has --identity ci in its command
    ci: {refs: [app/*], max_bytes: 2G}

With --identity and without REPO, what the client has asked for is done, if ostree-receive-shell
would do it:
  command=\"oxtree receive --identity ci\",restrict,port-forwarding ssh-ed25519 AAAA…")]
pub(crate) struct Args {
    /// Delete what interrupted pushes have left in the repository, but not that of running ones
    #[arg(long)]
    cleanup: bool,
    /// Of that, only what nothing was added to for so long, such as 90s, 5m or 1h
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time, requires = "cleanup")]
    older_than: Duration,
    /// Print what was deleted as one JSON object
    #[arg(long, requires = "cleanup")]
    json: bool,
    /// Who pushes: a name below `identities` in ostree-receive.conf
    #[arg(long, value_name = "NAME", conflicts_with = "cleanup")]
    identity: Option<String>,
    /// The repository to receive into [default: with --identity, what the client of ssh asks for]
    #[arg(value_name = "REPO", required_unless_present = "identity")]
    path: Option<PathBuf>,
}

/// How a conversation with a pusher has ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// All is said.
    Done,
    /// There was no pusher: not a byte has come.
    NobodyThere(oxtree_transfer::Error),
}

fn time(text: &str) -> Result<Duration, String> {
    let seconds = parse_seconds(text).ok_or("expected a time such as 90s, 5m or 1h")?;
    Ok(Duration::from_secs(seconds))
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Result<()> {
    let Some(path) = &args.path else {
        return run_original_command(args.identity.as_deref(), context);
    };
    if args.cleanup {
        return cleanup(args, path, context);
    }
    receive_into(path, args.identity.as_deref(), context)
}

fn receive_into(path: &Path, identity: Option<&str>, context: &Context<'_>) -> Result<()> {
    if std::io::stdin().is_terminal() {
        let reason = "receive is what `oxtree push` runs on the far side, not for a terminal";
        return Err(Usage(reason.to_owned()).into());
    }
    let config = || {
        let log = |level: LogLevel, text: &str| match level {
            LogLevel::Debug => tracing::debug!("{text}"),
            _ => context.out.note(&format!("warning: {text}")),
        };
        let mut conf = Conf::load(places(context))?;
        configure(
            &mut conf,
            path,
            identity,
            CommandLine::default(),
            &log,
            context,
        )
    };
    match converse(config, Manners::Oxtree, context)? {
        Ending::Done => Ok(()),
        Ending::NobodyThere(error) => Err(error.into()),
    }
}

/// Does what the client of ssh has asked for, where `authorized_keys` has another command.
fn run_original_command(identity: Option<&str>, context: &Context<'_>) -> Result<()> {
    let command = context.var("SSH_ORIGINAL_COMMAND").ok_or_else(|| {
        let reason = "REPO must be specified, as ssh has no command of a client's";
        Usage(reason.to_owned())
    })?;
    let command = command
        .to_str()
        .context("the client's command is not UTF-8")?;
    let allowed = shell::allowed(command, false).map_err(|reason| {
        let conf = Conf::load(places(context));
        if let Some(log) = conf.as_ref().ok().and_then(Conf::audit_log) {
            refusals::refused(log, command, &reason, context.out);
        }
        Error::msg(reason)
    });
    match allowed? {
        Allowed::Own(words) => {
            let path = words
                .first()
                .context("the client has named no repository")?;
            receive_into(Path::new(path), identity, context)
        }
        Allowed::Original(program, words) => {
            ostree_push::receive::run(program, &words, identity, context.out)
        }
    }
}

/// Where the configuration is.
pub(crate) fn places(context: &Context<'_>) -> Places {
    let path = |name| context.var(name).map(PathBuf::from);
    Places::new(
        path("OSTREE_RECEIVE_CONF"),
        path("XDG_CONFIG_HOME"),
        std::env::home_dir(),
    )
}

/// What the configuration says for the repository. A refusal is noted in the audit log; `log`
/// hears what else there is to say.
pub(crate) fn configure(
    conf: &mut Conf,
    repo: &Path,
    identity: Option<&str>,
    command_line: CommandLine,
    log: &dyn Fn(LogLevel, &str),
    context: &Context<'_>,
) -> Result<ReceiveConfig, ConfError> {
    let config = conf.for_repo(repo, identity, command_line);
    for (level, text) in conf.notes() {
        log(level, &text);
    }
    if let (Err(error), Some(path)) = (&config, conf.audit_log()) {
        let asked = repo.display().to_string();
        refusals::refused(path, &asked, &error.to_string(), context.out);
    }
    config
}

/// Talks to the pusher on standard input and output. It is told what `config` finds wrong.
pub(crate) fn converse(
    config: impl FnOnce() -> Result<ReceiveConfig, ConfError>,
    manners: Manners,
    context: &Context<'_>,
) -> Result<Ending> {
    let open = || {
        let refused = oxtree_transfer::Error::Destination;
        let config = config().map_err(|error| refused(error.to_string()))?;
        destination(&config, manners, context).map_err(|error| refused(one_line(&error)))
    };
    let [file, to] = unbuffered_stdio()?;
    let any = Cell::new(false);
    let from = Counting { file, any };
    match receive::receive_in_time(open, &from, to, &agent()) {
        Ok(_) => Ok(Ending::Done),
        Err(error) if is_end(&error) && !from.any.get() => Ok(Ending::NobodyThere(error)),
        Err(error) => Err(error.into()),
    }
}

/// Standard input and output, past the buffers of the standard library: what is in there would not
/// be seen by whoever waits for more.
pub(crate) fn unbuffered_stdio() -> std::io::Result<[File; 2]> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    let output = std::io::stdout().as_fd().try_clone_to_owned()?;
    Ok([File::from(input), File::from(output)])
}

/// The repository, and what its owner asks of pushes.
pub(crate) fn destination(
    config: &ReceiveConfig,
    manners: Manners,
    context: &Context<'_>,
) -> Result<LocalReceiver> {
    let repo = open_configured(config, context).map_err(|error| match &config.confined {
        None => error,
        Some(asked) => {
            let [path, asked] = [&config.repo, asked].map(|path| path.display().to_string());
            Error::msg(one_line(&error).replace(&path, &asked))
        }
    })?;
    destination_in(repo, config, manners, context)
}

/// The same in a repository that is open.
pub(crate) fn destination_in(
    mut repo: Repo,
    config: &ReceiveConfig,
    manners: Manners,
    context: &Context<'_>,
) -> Result<LocalReceiver> {
    repo.check_writable()?;
    let auto_update = &mut repo.config_mut().auto_update_summary;
    let mut policy = policy(config, manners, *auto_update, context)?;
    if config.update_hook.is_empty() || !config.update {
        // It was asked: the change of the refs itself has nothing to add.
        *auto_update = None;
    }
    let repo = Arc::new(repo);
    let refs = config.identity.as_ref().and_then(|one| one.refs.as_ref());
    policy.visibility = refs.map(|refs| -> Box<dyn Visibility> {
        let patterns = refs.iter().map(|pattern| pattern.as_str().to_owned());
        Box::new(RefVisibility::new(&repo, &Arc::default(), patterns))
    });
    Ok(LocalReceiver::with_policy(repo, policy))
}

fn open_configured(config: &ReceiveConfig, context: &Context<'_>) -> Result<Repo> {
    let repo = open_repo(&config.repo, context)?;
    if config.confined.is_some() && !is_still_at(&config.repo, repo.opened()?) {
        anyhow::bail!("repo {} has moved meanwhile", config.repo.display());
    }
    Ok(repo)
}

fn is_end(error: &oxtree_transfer::Error) -> bool {
    let oxtree_transfer::Error::Connection(error) = error else {
        return false;
    };
    error.kind() == ErrorKind::UnexpectedEof
}

/// Standard input, and whether anything has come from there.
struct Counting {
    file: File,
    any: Cell<bool>,
}

impl Read for &Counting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = (&self.file).read(buffer)?;
        self.any.set(self.any.get() || len > 0);
        Ok(len)
    }
}

impl AsFd for Counting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn open_repo(path: &Path, context: &Context<'_>) -> oxtree_repo::Result<Repo> {
    let repo = Repo::open_in(path, &context.environment())?;
    repo.check_writable()?;
    Ok(repo)
}

fn cleanup(args: &Args, path: &Path, context: &Context<'_>) -> Result<()> {
    let repo = open_repo(path, context)?;
    let deleted = repo.delete_unfinished(args.older_than)?;
    let left = repo.unfinished()?;
    let [deleted, left] =
        [deleted, left].map(|all| -> Vec<UnfinishedPush> { all.iter().map(unfinished).collect() });
    if args.json {
        let report = serde_json::json!({"deleted": deleted, "left": left});
        return context.out.line(&report.to_string());
    }
    let bytes = deleted.iter().map(|push| push.bytes).sum();
    let objects: u64 = deleted.iter().map(|push| push.objects).sum();
    context.out.line(&format!(
        "Deleted what {} interrupted pushes had left: {objects} objects, {}",
        deleted.len(),
        size(bytes)
    ))?;
    if !left.is_empty() {
        context.out.line("Left alone:")?;
    }
    for push in &left {
        context.out.line(&unfinished_line(push))?;
    }
    Ok(())
}
