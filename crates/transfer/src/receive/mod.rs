// SPDX-License-Identifier: MIT OR Apache-2.0
//! The receiver. Every push takes the same four steps, however it arrives: [`ingest`], [`admit`],
//! [`publish`], [`mod@derive`]. A push to a local path takes them over a socket pair, so that
//! there is no second implementation to keep correct.

pub mod admit;
pub mod audit;
mod bindings;
pub mod derive;
mod detached;
pub mod from_url;
pub mod hook;
pub mod ingest;
mod judge;
pub mod legacy;
pub mod policy;
mod progress;
pub mod publish;
pub mod push;
mod receiver;
pub mod session;
mod take_in;
mod view;

use std::collections::{HashMap, HashSet};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use oxtree_format::CommitId;
use rayon::prelude::*;

use self::policy::{Commits, Policy};
use self::progress::busy;
pub use self::receiver::{LocalReceiver, Receiver};
use self::session::{Event, Session};
use self::take_in::take_in;
use crate::error::{Error, Result, chain};
use crate::protocol::frame::{self, FrameKind, MAX_FRAME};
use crate::protocol::message::{
    self, Limits, Message, Outcome, WireCommit, WireMeta, WireRef, WireTree, write_bitmap,
};
use crate::protocol::stream::Event as StreamEvent;
use crate::protocol::{COMPRESSION, DETACHED, PUSHER_GREETING, RECEIVER_GREETING, STATUS, VERSION};
use crate::store::{Destination, Quarantine};
use crate::timeouts::{Timed, Timeouts};

/// Refs a message: well below a frame, with the longest names.
const REFS_A_MESSAGE: usize = 400;

/// Results a message: with the longest names, and reasons that name other refs.
const RESULTS_A_MESSAGE: usize = 100;

/// Receives one push: reads what the pusher says from `from`, answers on `to`. If `open` fails, the
/// pusher is told. [`None`] if the pusher had nothing to do.
///
/// Waits for the pusher for ever: see [`receive_in_time`].
pub fn receive<S: Destination + 'static>(
    open: impl FnOnce() -> Result<Receiver<S>>,
    from: impl Read,
    to: impl Write,
    agent: &str,
) -> Result<Option<Outcome>> {
    converse(open, from, to, agent, &timeouts())
}

/// [`receive`] from a pusher that is waited for no longer than the destination's limits say.
pub fn receive_in_time<S: Destination + 'static>(
    open: impl FnOnce() -> Result<Receiver<S>>,
    from: impl Read + AsFd,
    to: impl Write + AsFd,
    agent: &str,
) -> Result<Option<Outcome>> {
    let timeouts = timeouts();
    let (from, to) = (Timed::new(from, &timeouts), Timed::new(to, &timeouts));
    converse(open, from, to, agent, &timeouts)
}

fn timeouts() -> Timeouts {
    Timeouts::new(Some(["receive.idle-timeout", "receive.timeout"]))
}

fn converse<S: Destination + 'static>(
    open: impl FnOnce() -> Result<Receiver<S>>,
    from: impl Read,
    to: impl Write,
    agent: &str,
    timeouts: &Timeouts,
) -> Result<Option<Outcome>> {
    let mut to = BufWriter::with_capacity(64 << 10, to);
    to.write_all(RECEIVER_GREETING).map_err(Error::Connection)?;
    let mut from = BufReader::with_capacity(MAX_FRAME, from);
    let done = open().and_then(|receiver| {
        let limits = receiver.limits()?;
        timeouts.set(seconds(limits.idle), seconds(limits.time));
        // What has come in is published, however long that takes, and the pusher is told.
        let no_hurry = || timeouts.set(seconds(limits.idle), None);
        serve(&receiver, &mut from, &mut to, agent, limits, &no_hurry)
    });
    match &done {
        // The pusher knows, and has gone.
        Ok(_) | Err(Error::Aborted(_)) => {}
        Err(error) => {
            timeouts.set(Some(LAST_WORDS), None);
            let text = explain(error);
            // The connection may be what failed: then nobody can be told.
            let _ = send(&mut to, &Message::Error { text })
                .and_then(|()| to.flush().map_err(Error::Connection));
        }
    }
    done
}

/// How long a pusher that is dropped has to take the reason.
const LAST_WORDS: Duration = Duration::from_secs(5);

fn seconds(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// An error for the pusher's user, and what can be done about it.
fn explain(error: &Error) -> String {
    let hint = match error {
        Error::Repo(error) => error.hint(),
        _ => None,
    };
    match hint {
        Some(hint) => format!("{} ({hint})", chain(error)),
        None => chain(error),
    }
}

fn send(to: &mut impl Write, message: &Message) -> Result<()> {
    let frame = message.to_frame();
    frame::write(to, frame.kind, &frame.payload).map_err(Error::Connection)
}

fn serve(
    receiver: &Receiver,
    from: &mut impl Read,
    to: &mut impl Write,
    agent: &str,
    limits: Limits,
    all_is_here: &dyn Fn(),
) -> Result<Option<Outcome>> {
    // A config with a fault is no good to anybody.
    receiver.store.rules()?;
    introduce(receiver, to, agent, limits)?;
    greet(from)?;
    let mut session = Session::new(limits);
    // Up to the ids there are no objects, and nothing is written anywhere.
    loop {
        let frame = frame::read(from)?.ok_or_else(|| lost("before it said what it wants"))?;
        let refuse = &mut |_: StreamEvent<'_>| Ok(());
        match session.receive(frame, refuse)? {
            Event::Decide => break,
            Event::End => return Ok(None),
            Event::Status => {
                tell_status(receiver, to)?;
                return Ok(None);
            }
            Event::Continue | Event::Complete => {}
        }
    }
    let mut outcome = match negotiate(receiver, &mut session, to, limits)? {
        Negotiated::Over(outcome) => outcome,
        Negotiated::Quarantine(quarantine) => {
            let session = &mut session;
            take_in(receiver, quarantine, session, from, to, limits, all_is_here)?
        }
    };
    if !session.dry_run {
        record(receiver, &mut outcome);
    }
    conclude(to, &outcome)?;
    Ok(Some(outcome))
}

/// Notes down how the push has ended.
pub(super) fn record(receiver: &Receiver, outcome: &mut Outcome) {
    let Some(audit) = &receiver.policy.audit else {
        return;
    };
    if let Err(error) = audit.record(&outcome.refs) {
        let warning = format!("the push could not be noted in the audit log: {error}");
        outcome.warnings.push(warning);
        outcome.failed = true;
    }
}

fn conclude(to: &mut impl Write, outcome: &Outcome) -> Result<()> {
    let (first, last) = outcome
        .refs
        .split_at(outcome.refs.len().saturating_sub(RESULTS_A_MESSAGE));
    let mut tell = |outcome, more| send(to, &Message::Outcome { outcome, more });
    for refs in first.chunks(RESULTS_A_MESSAGE) {
        let outcome = Outcome {
            refs: refs.to_vec(),
            ..Outcome::default()
        };
        tell(outcome, true)?;
    }
    let outcome = Outcome {
        refs: last.to_vec(),
        ..outcome.clone()
    };
    tell(outcome, false)?;
    to.flush().map_err(Error::Connection)
}

fn introduce(receiver: &Receiver, to: &mut impl Write, agent: &str, limits: Limits) -> Result<()> {
    send(
        to,
        &Message::Receiver(message::Receiver {
            versions: vec![VERSION],
            agent: agent.to_owned(),
            capabilities: capabilities(&receiver.policy),
            mode: receiver.store.mode().to_owned(),
            limits,
        }),
    )?;
    let mut lacking = receiver.store.partial()?;
    let refs = receiver.policy.visible(receiver.store.refs()?);
    let refs: Vec<(WireRef, WireCommit)> = refs
        .into_iter()
        .map(|(name, commit)| (WireRef(name), WireCommit(commit)))
        .collect();
    let mut left = &refs[..];
    loop {
        let (refs, rest) = left.split_at(left.len().min(REFS_A_MESSAGE));
        left = rest;
        let roots = roots(receiver, refs, &lacking)?;
        let partial = refs.iter().filter(|(_, commit)| lacking.remove(&commit.0));
        let partial = partial.map(|(_, commit)| commit.clone()).collect();
        send(
            to,
            &Message::Refs {
                refs: refs.to_vec(),
                partial,
                roots,
                more: !left.is_empty(),
            },
        )?;
        if left.is_empty() {
            return to.flush().map_err(Error::Connection);
        }
    }
}

/// What the receiver can do beyond the version. Detached metadata is not good for copies.
fn capabilities(policy: &Policy) -> Vec<String> {
    let detached = policy.takes_detached().then_some(DETACHED);
    let all = [STATUS, COMPRESSION].into_iter().chain(detached);
    all.map(str::to_owned).collect()
}

/// Where commits are copied, the root directories of what refs are at, unless something is `lacking`.
/// Of a commit that was made here the pusher knows nothing else.
pub fn roots(
    receiver: &Receiver,
    refs: &[(WireRef, WireCommit)],
    lacking: &HashSet<CommitId>,
) -> Result<Vec<(WireTree, WireMeta)>> {
    if receiver.policy.commits != Commits::Copy {
        return Ok(Vec::new());
    }
    let whole = refs.par_iter().filter(|(_, id)| !lacking.contains(&id.0));
    let roots = whole.map(|(_, id)| {
        let root = judge::root(&id.0, &|object| receiver.store.load(object))?;
        Ok(root.map(|root| (WireTree(root.tree), WireMeta(root.meta))))
    });
    roots.filter_map(Result::transpose).collect()
}

fn tell_status(receiver: &Receiver, to: &mut impl Write) -> Result<()> {
    let all = receiver.store.unfinished()?;
    let mut left = &all[..];
    loop {
        let (pushes, rest) = left.split_at(left.len().min(RESULTS_A_MESSAGE));
        left = rest;
        let (pushes, more) = (pushes.to_vec(), !left.is_empty());
        send(to, &Message::Unfinished { pushes, more })?;
        if !more {
            return to.flush().map_err(Error::Connection);
        }
    }
}

fn greet(from: &mut impl Read) -> Result<()> {
    let mut greeting = vec![0; PUSHER_GREETING.len()];
    from.read_exact(&mut greeting)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => lost("before it said anything"),
            _ => Error::Connection(error),
        })?;
    match greeting == PUSHER_GREETING {
        true => Ok(()),
        false => Err(Error::Protocol(
            "what comes in is no push of oxtree".to_owned(),
        )),
    }
}

fn lost(when: &str) -> Error {
    let reason = format!("the pusher has left {when}");
    Error::Connection(std::io::Error::new(
        std::io::ErrorKind::UnexpectedEof,
        reason,
    ))
}

/// Where a push stands once the ids are known.
enum Negotiated<'d> {
    /// Refused, or only asked for: this is the answer.
    Over(Outcome),
    /// Objects may come in.
    Quarantine(Box<dyn Quarantine + 'd>),
}

fn negotiate<'d>(
    receiver: &'d Receiver,
    session: &mut Session,
    to: &mut impl Write,
    limits: Limits,
) -> Result<Negotiated<'d>> {
    let mut verdict = admit::before(receiver, &session.updates, session.dry_run, &HashMap::new())?;
    if admit::is_refused(&verdict) {
        admit::refuse_rest(&mut verdict);
        return Ok(Negotiated::Over(Outcome {
            refs: verdict,
            ..Outcome::default()
        }));
    }
    if session.dry_run {
        let mut missing = receiver.store.missing(&session.offered)?;
        let (updates, offered) = (&session.updates, &session.offered);
        detached::ask(receiver, updates, true, offered, &mut missing)?;
        receiver.policy.hide(&session.offered, &mut missing)?;
        check_count(&missing, limits)?;
        answer(to, &missing)?;
        let objects = missing.iter().filter(|missing| **missing).count() as u64;
        return Ok(Negotiated::Over(Outcome {
            refs: verdict,
            objects,
            ..Outcome::default()
        }));
    }
    // What an interrupted push has left is verified first.
    let (updates, offered) = (&session.updates, &session.offered);
    let (quarantine, mut missing) = busy(to, 0, || {
        let quarantine = receiver.quarantine()?;
        let mut missing = quarantine.missing(offered)?;
        detached::ask(receiver, updates, false, offered, &mut missing)?;
        receiver.policy.hide(offered, &mut missing)?;
        Ok((quarantine, missing))
    })?;
    check_count(&missing, limits)?;
    if receiver.policy.promotes_only() {
        missing.fill(false);
    }
    // Nothing missing, nothing to wait for: the outcome is the answer.
    if missing.contains(&true) {
        answer(to, &missing)?;
        to.flush().map_err(Error::Connection)?;
    }
    session.want(&missing);
    if receiver.policy.promotes_only() {
        // It has offered them, and brings none.
        session.commits.clear();
    }
    Ok(Negotiated::Quarantine(quarantine))
}

fn check_count(missing: &[bool], limits: Limits) -> Result<()> {
    limits.check_objects(missing.iter().filter(|missing| **missing).count() as u64)
}

fn answer(to: &mut impl Write, missing: &[bool]) -> Result<()> {
    for part in write_bitmap(missing.iter().copied()).chunks(MAX_FRAME) {
        frame::write(to, FrameKind::Bitmap, part).map_err(Error::Connection)?;
    }
    Ok(())
}
