// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the first object to the outcome: ingest, admit, publish, derive.

use std::io::{Read, Write};

use oxtree_format::CommitId;

use super::Receiver;
use super::admit::Decision;
use super::hook::is_change;
use super::ingest::{Ingest, QUEUE};
use super::policy::Outbox;
use super::progress::{Meter, Observer, busy};
use super::session::{Event, Session};
use super::{admit, derive, lost, publish, send};
use crate::error::{Error, Result};
use crate::protocol::frame;
use crate::protocol::message::{Limits, Message, Outcome, Status, WireUpdate};
use crate::protocol::stream::Event as StreamEvent;
use crate::store::Quarantine;

/// Takes in the objects that the pusher sends, and does what it wants.
pub(super) fn take_in(
    receiver: &Receiver,
    quarantine: Box<dyn Quarantine + '_>,
    session: &mut Session,
    from: &mut impl Read,
    to: &mut impl Write,
    limits: Limits,
    all_is_here: &dyn Fn(),
) -> Result<Outcome> {
    let objects = match session.is_waiting() {
        true => read_objects(&*quarantine, session, from, to, limits),
        false => Ok(0),
    };
    all_is_here();
    settle(
        receiver,
        quarantine,
        &session.updates,
        objects.map(|objects| (objects, session.commits.clone())),
        to,
    )
}

/// Admits, publishes and derives, whatever door the objects came in by. `came`: how many they were,
/// and which commits were among them.
pub(super) fn settle(
    receiver: &Receiver,
    quarantine: Box<dyn Quarantine + '_>,
    updates: &[WireUpdate],
    came: Result<(u64, Vec<CommitId>)>,
    to: &mut impl Observer,
) -> Result<Outcome> {
    let judged = came.and_then(|(objects, commits)| {
        let judged = judge(receiver, &*quarantine, updates, objects, &commits, to)?;
        Ok((objects, judged))
    });
    match judged {
        Ok((objects, judged)) => conclude(receiver, quarantine, judged, objects, to),
        Err(error) => {
            if is_of_no_use(&error, quarantine.is_resumed()) {
                // The reason says more than what may go wrong with the tidying up.
                let _ = quarantine.discard();
            }
            Err(error)
        }
    }
}

/// Admits. `commits`: those that came along, a parent before its child.
pub(super) fn judge(
    receiver: &Receiver,
    quarantine: &dyn Quarantine,
    updates: &[WireUpdate],
    objects: u64,
    commits: &[CommitId],
    to: &mut impl Observer,
) -> Result<Decision> {
    busy(to, objects, || {
        admit::decide(receiver, quarantine, updates, commits)
    })
}

/// Publishes and derives, if nothing is refused.
pub(super) fn conclude(
    receiver: &Receiver,
    quarantine: Box<dyn Quarantine + '_>,
    decision: Decision,
    objects: u64,
    to: &mut impl Observer,
) -> Result<Outcome> {
    let Decision {
        verdict: mut refs,
        commits,
        attached,
        warnings,
    } = decision;
    let mut outcome = Outcome {
        objects,
        failed: !warnings.is_empty(),
        warnings,
        ..Outcome::default()
    };
    if admit::is_refused(&refs) {
        // All of it was verified: the next try need not send it again.
        admit::refuse_rest(&mut refs);
    } else if ask(receiver, &mut refs, to, objects)? {
        let policy = &receiver.policy;
        busy(to, objects, || {
            let commits = publish::prepare(&*quarantine, policy, &mut refs, commits)?;
            if let Some(Outbox(record)) = &policy.outbox {
                record(&refs).map_err(Error::Hook)?;
            }
            publish::publish(quarantine, &mut refs, &commits, &attached)
        })?;
        if !admit::is_refused(&refs) {
            let mut said = String::new();
            busy(to, objects, || {
                derive::derive(receiver, &refs, &mut outcome, &mut said);
                Ok(())
            })?;
            pass_on(&said, to)?;
        }
    }
    outcome.refs = refs;
    Ok(outcome)
}

/// Asks the owner's hook, if there is one. If it says no, nothing may change.
fn ask(
    receiver: &Receiver,
    refs: &mut admit::Verdict,
    to: &mut impl Observer,
    objects: u64,
) -> Result<bool> {
    let changes = refs.iter().any(|change| is_change(change.status));
    let Some(hook) = receiver.policy.hook.as_ref().filter(|_| changes) else {
        return Ok(true);
    };
    let answer = busy(to, objects, || {
        hook.ask(refs, receiver.policy.pusher.as_deref())
    })?;
    let text = pass_on(&answer.text, to)?;
    if !answer.allowed {
        for change in refs.iter_mut().filter(|change| is_change(change.status)) {
            change.status = Status::Rejected;
            let last = text.lines().last().unwrap_or("it says no more");
            change.reason = Some(format!("the receiver's hook refuses the push: {last}"));
        }
        admit::refuse_rest(refs);
    }
    Ok(answer.allowed)
}

/// Tells the pusher what a program has printed, without the end of its last line.
fn pass_on<'t>(text: &'t str, to: &mut impl Observer) -> Result<&'t str> {
    let text = text.trim_end();
    if !text.is_empty() {
        let text = text.to_owned();
        to.tell(&Message::Notice { text })?;
    }
    Ok(text)
}

/// Whether what was received is thrown away after this error. Not if the push can be taken up
/// again, and not if something is among it that other pushes had left, unless it fills the disk.
pub(super) fn is_of_no_use(error: &Error, resumed: bool) -> bool {
    match error {
        Error::Connection(_) | Error::Aborted(_) | Error::Fetch { .. } => false,
        Error::Repo(error) if error.is_no_space() => true,
        _ => !resumed,
    }
}

fn read_objects(
    quarantine: &dyn Quarantine,
    session: &mut Session,
    from: &mut impl Read,
    to: &mut impl Write,
    limits: Limits,
) -> Result<u64> {
    std::thread::scope(|scope| {
        let mut ingest = Ingest::start(scope, quarantine, limits.object, QUEUE);
        let mut meter = Meter::new();
        let (mut came, mut unpacked) = (0, 0);
        loop {
            let frame = meter.wait(|| frame::read(from))?;
            let frame = frame.ok_or_else(|| lost("in the middle of the objects"))?;
            came += frame.payload.len() as u64;
            let mut on = |event: StreamEvent<'_>| {
                if let StreamEvent::Bytes(bytes) = &event {
                    unpacked += bytes.len() as u64;
                    limits.check_stream(came, unpacked)?;
                }
                ingest.feed(event)
            };
            match session.receive(frame, &mut on)? {
                Event::Complete => return ingest.finish(),
                Event::Continue | Event::Decide | Event::Status | Event::End => {}
            }
            if let Some(progress) = meter.progress(ingest.done(), came) {
                send(to, &Message::Progress(progress))?;
                to.flush().map_err(Error::Connection)?;
            }
        }
    })
}
