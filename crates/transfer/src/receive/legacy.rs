// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receives from ostree-push before version 0.1.1, which sends each object of each new commit and
//! waits for an answer to each. The objects take the same steps as in any push. An object is
//! answered when it has arrived, while earlier ones are still being verified.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::AsFd;

use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, ObjectKind};

use super::Receiver;
use super::admit::{self, Verdict};
use super::ingest::{Ingest, QUEUE};
use super::policy::Policy;
use super::progress::NoticeObserver;
use super::take_in::settle;
use super::{lost, record, seconds, timeouts};
use crate::error::{Error, Result, chain};
use crate::limits::check;
use crate::protocol::legacy::{Change, HEAD_LEN, Head, Reply, Request, refs_that_fit};
use crate::protocol::message::{Limits, Outcome, Status, WireCommit, WireRef, WireUpdate};
use crate::protocol::stream::{Event, Form, Record};
use crate::store::Quarantine;
use crate::timeouts::Timed;

/// Bytes of an object that are read at a time.
const PIECE: usize = 256 << 10;

/// Receives one push. `notice` is told what there is to say to the user. [`None`] if the pusher had
/// nothing to do.
pub fn receive_legacy(
    receiver: &Receiver,
    from: impl Read + AsFd,
    to: impl Write + AsFd,
    notice: &mut dyn FnMut(&str),
) -> Result<Option<Outcome>> {
    // A config with a fault is no good to anybody.
    receiver.store.rules()?;
    let limits = receiver.limits()?;
    let timeouts = timeouts();
    timeouts.set(seconds(limits.idle), seconds(limits.time));
    let from = BufReader::with_capacity(PIECE, Timed::new(from, &timeouts));
    let to = BufWriter::new(Timed::new(to, &timeouts));
    let mut pusher = Pusher { from, to };
    let current = receiver.policy.visible(receiver.store.refs()?);
    introduce(receiver, &current, &mut pusher, notice)?;
    let changes = match pusher.hear("before it said what it wants")? {
        Request::Update(changes) => changes,
        Request::Done => return Ok(None),
        Request::Put { .. } => return Err(out_of_turn()),
    };
    let count = changes.len() as u64;
    check("a push", count, limits.refs, "max-refs")?;
    let updates: Vec<WireUpdate> = changes.iter().map(update).collect();
    let mut verdict = admit::before(receiver, &updates, false, &HashMap::new())?;
    if let Some(text) = refusal(&changes, &current, &mut verdict) {
        pusher.answer(&Err(text))?;
        // It says that it is done, or goes; what it was to say is of no use any more.
        let _ = pusher.hear("");
        return conclude(receiver, verdict).map(Some);
    }
    let quarantine = receiver.quarantine()?;
    pusher.answer(&Ok(()))?;
    let came = read_objects(&*quarantine, &receiver.policy, &mut pusher, limits);
    if matches!(&came, Ok((0, _))) {
        // That is how a pusher ends that has changed its mind.
        return Ok(None);
    }
    // What has come in is published, however long that takes.
    timeouts.set(seconds(limits.idle), None);
    let mut outcome = settle(
        receiver,
        quarantine,
        &updates,
        came,
        &mut NoticeObserver(notice),
    )?;
    record(receiver, &mut outcome);
    Ok(Some(outcome))
}

fn conclude(receiver: &Receiver, mut refs: Verdict) -> Result<Outcome> {
    admit::refuse_rest(&mut refs);
    let mut outcome = Outcome {
        refs,
        ..Outcome::default()
    };
    record(receiver, &mut outcome);
    Ok(outcome)
}

/// Tells how files are stored here and what the refs are: those that this pusher may change, as far
/// as they fit.
fn introduce(
    receiver: &Receiver,
    current: &BTreeMap<RefName, CommitId>,
    pusher: &mut Pusher<impl Read, impl Write>,
    notice: &mut dyn FnMut(&str),
) -> Result<()> {
    let identity = receiver.policy.identity.as_ref();
    let is_open = |name: &RefName| {
        identity.is_none_or(|identity| identity.refuses(name, false, false).is_none())
    };
    let refs = current.iter().filter(|(name, _)| is_open(name));
    let refs: Vec<_> = refs
        .map(|(name, commit)| (name.to_string(), commit.to_string()))
        .collect();
    let mode = mode_number(receiver.store.mode());
    let fit = refs_that_fit(mode, &refs);
    if fit < refs.len() {
        let all = refs.len();
        notice(&format!(
            "the protocol of ostree-push before version 1 has room for {fit} of the {all} refs \
             here: the others cannot be pushed to by it"
        ));
    }
    let refs = &refs[..fit];
    pusher.say(&Reply::Info { mode, refs })
}

/// The number that libostree has for a repository's mode.
fn mode_number(mode: &str) -> i32 {
    match mode {
        "bare" => 0,
        "bare-user" => 2,
        "bare-user-only" => 3,
        "bare-split-xattrs" => 4,
        _ => 1,
    }
}

/// Such a pusher sends descendants only. Whether that is true is looked at when they are here.
fn update(change: &Change) -> WireUpdate {
    WireUpdate {
        name: WireRef(change.name.clone()),
        old: change.from.map(WireCommit),
        new: Some(WireCommit(change.to)),
        force: false,
        timestamp: 0,
        fast_forward: true,
        detached: None,
    }
}

/// Why nothing may change, if so: in ostree-push's words where it would refuse it, too.
fn refusal(
    changes: &[Change],
    current: &BTreeMap<RefName, CommitId>,
    verdict: &mut Verdict,
) -> Option<String> {
    let mut first = None;
    for (change, outcome) in changes.iter().zip(verdict) {
        let Change { name, from, .. } = change;
        let now = current.get(name);
        let moved = (now != from.as_ref()).then(|| match (now, from) {
            (Some(now), from) => {
                let from = from.map_or_else(|| "0".repeat(64), |from| from.to_string());
                format!("Branch {name} is at {now}, not {from}")
            }
            (None, Some(from)) => format!("Invalid from commit {from} for new branch {name}"),
            (None, None) => String::new(),
        });
        let text = match (moved, outcome.status, &outcome.reason) {
            (Some(text), ..) => {
                outcome.status = Status::Rejected;
                outcome.reason = Some(text.clone());
                text
            }
            (None, Status::Rejected, reason) => {
                format!("{name}: {}", reason.as_deref().unwrap_or_default())
            }
            _ => continue,
        };
        first.get_or_insert(text);
    }
    first
}

/// The two directions of the connection.
struct Pusher<R, W> {
    from: R,
    to: W,
}

impl<R: Read, W: Write> Pusher<R, W> {
    fn say(&mut self, reply: &Reply<'_>) -> Result<()> {
        let said = self.to.write_all(&reply.to_bytes());
        said.and_then(|()| self.to.flush())
            .map_err(Error::Connection)
    }

    /// Says whether it may go on, or why not.
    fn answer(&mut self, answer: &Result<(), String>) -> Result<()> {
        let text = answer.as_ref().err().map_or("", String::as_str);
        let ok = answer.is_ok();
        self.say(&Reply::Status { ok, text })
    }

    /// The next message. The error is that nothing comes any more, `when`.
    fn hear(&mut self, when: &str) -> Result<Request> {
        let mut head = [0; HEAD_LEN];
        self.read(&mut head, when)?;
        let head = Head::parse(head)?;
        let mut body = vec![0; usize::from(head.len)];
        self.read(&mut body, when)?;
        Request::parse(head, &body)
    }

    fn read(&mut self, bytes: &mut [u8], when: &str) -> Result<()> {
        let read = self.from.read_exact(bytes);
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => lost(when),
            _ => Error::Connection(error),
        })
    }

    /// The bytes of an object, piece by piece.
    fn read_object(&mut self, size: u64, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut piece = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE))];
        let mut left = size;
        while left > 0 {
            let len = piece.len().min(usize::try_from(left).unwrap_or(PIECE));
            self.read(&mut piece[..len], "in the middle of an object")?;
            take(&piece[..len])?;
            left -= len as u64;
        }
        Ok(())
    }
}

fn out_of_turn() -> Error {
    Error::Protocol("a message of ostree-push that is out of turn".to_owned())
}

/// Reads objects until there are no more. While the next one is on its way, those before are
/// verified. How many were sent, and the commits among them.
fn read_objects(
    quarantine: &dyn Quarantine,
    policy: &Policy,
    pusher: &mut Pusher<impl Read, impl Write>,
    limits: Limits,
) -> Result<(u64, Vec<CommitId>)> {
    let brings = !policy.promotes_only();
    std::thread::scope(|scope| {
        let mut ingest = Ingest::start(scope, quarantine, limits.object, QUEUE);
        let (mut objects, mut bytes) = (0, 0_u64);
        let mut commits = Vec::new();
        loop {
            let record = match pusher.hear("in the middle of the objects")? {
                Request::Put { object, size } => Record {
                    object,
                    form: match object.kind {
                        ObjectKind::File => Form::Filez,
                        _ => Form::Metadata,
                    },
                    len: size,
                },
                Request::Done => {
                    ingest.finish()?;
                    return Ok((objects, commits));
                }
                Request::Update(_) => return Err(out_of_turn()),
            };
            let object = record.object;
            objects += 1;
            bytes = bytes.saturating_add(record.len);
            let checked = check("a push", objects, limits.ids, "max-ids")
                .and_then(|()| limits.check_objects(objects))
                .and_then(|()| check_metadata(&record, limits))
                .and_then(|()| limits.check_stream(bytes, bytes));
            let taken = checked.and_then(|()| {
                let mut missing = quarantine.missing(&[object])?;
                policy.hide(&[object], &mut missing)?;
                match brings && missing.contains(&true) {
                    true => take(&mut ingest, pusher, record),
                    // What is there already is not looked at.
                    false => pusher.read_object(record.len, &mut |_| Ok(())),
                }
            });
            match &taken {
                // Nobody is there who could be told.
                Err(Error::Connection(_)) => {}
                // The pusher may go before it has heard this: the reason is what counts.
                Err(error) => drop(pusher.answer(&Err(chain(error)))),
                Ok(()) => pusher.answer(&Ok(()))?,
            }
            taken?;
            // What was not looked at, and is not known to this pusher, was not brought.
            if brings && object.kind == ObjectKind::Commit {
                commits.push(CommitId(object.checksum));
            }
        }
    })
}

/// How large a file may be is looked at by whoever takes it in.
fn check_metadata(record: &Record, limits: Limits) -> Result<()> {
    match record.form {
        Form::Metadata => limits.check_object(&record.object, record.len),
        _ => Ok(()),
    }
}

/// Takes one object in.
fn take(
    ingest: &mut Ingest<'_>,
    pusher: &mut Pusher<impl Read, impl Write>,
    record: Record,
) -> Result<()> {
    ingest.feed(Event::Begin(record))?;
    pusher.read_object(record.len, &mut |piece| ingest.feed(Event::Bytes(piece)))?;
    ingest.feed(Event::End)
}
