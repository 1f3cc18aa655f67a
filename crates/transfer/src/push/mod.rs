// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pushing end.

mod batches;
mod check;
mod compress;
pub mod http;
mod jobs;
mod link;
mod object;
pub mod plan;
mod rate;
mod reader;
pub mod send;
pub mod session;
mod similar;
mod status;

use std::collections::BTreeMap;
use std::io::{BufWriter, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, ObjectId};
use oxtree_repo::{LockKind, Progress, Repo};

use self::batches::Arrived;
use self::check::check_objects;
pub use self::link::Compression;
use self::plan::{Plan, PushRequest, Remote, wanted_refs};
use self::rate::Paced;
use self::reader::Reader;
use self::send::{Packing, Shipment, Stream, piece_for};
use self::session::{Event, Session};
pub use self::status::status;
use crate::error::{Error, Result, chain};
use crate::limits::check;
use crate::protocol::frame::{self, FrameKind, MAX_FRAME};
use crate::protocol::message::{Message, Outcome, Receiver, WireUpdate, bit, put_id};
use crate::protocol::{COMPRESSION, DETACHED, ID_LEN, PUSHER_GREETING, VERSION};

/// Refs a message: well below a frame, with the longest names.
const MAX_UPDATES: usize = 300;

/// How a push is to be done.
#[derive(Clone, Debug, Default)]
pub struct PushOptions {
    /// What to push.
    pub request: PushRequest,
    /// Change nothing, only find out.
    pub dry_run: bool,
    /// How to pack what is sent.
    pub packing: Packing,
    /// Send no more than so many bytes a second.
    pub rate: Option<u64>,
    /// The program's name and version.
    pub agent: String,
    /// Gives up when the receiver has given no sign of life for so long.
    pub idle: Option<Duration>,
}

/// What a push has done.
#[derive(Clone, Debug, Default)]
pub struct PushReport {
    /// Every ref of the push.
    pub outcome: Outcome,
    /// Objects that the receiver was asked about.
    pub offered: u64,
    /// Objects that it lacked. In a dry run they were not sent.
    pub missing: u64,
    /// Bytes of the missing objects as they are stored here.
    pub missing_bytes: u64,
    /// Bytes that were written to the connection.
    pub bytes_sent: u64,
    /// Bytes that were read from it.
    pub bytes_received: u64,
    /// How often the direction of the conversation has changed.
    pub turns: u64,
    /// Nothing was changed.
    pub dry_run: bool,
}

/// Who is told how a push is getting on.
#[derive(Clone, Copy)]
pub struct PushObserver<'a> {
    /// Hears of bytes that were sent.
    pub progress: &'a dyn Progress,
    /// Hears what the receiver has to say to the user.
    pub notice: &'a dyn Fn(&str),
}

impl PushObserver<'_> {
    /// Nobody.
    pub const NONE: PushObserver<'static> = PushObserver {
        progress: &(),
        notice: &|_| (),
    };
}

impl std::fmt::Debug for PushObserver<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PushObserver")
    }
}

/// Pushes over a connection to a receiver: what it says comes from `from`, what is said to it goes
/// to `to`.
pub fn push(
    repo: &Repo,
    options: &PushOptions,
    from: impl Read + Send + 'static,
    to: impl Write,
    observer: PushObserver<'_>,
) -> Result<PushReport> {
    let wanted = wanted_refs(repo, &options.request)?;
    let _lock = hold(repo)?;
    let reader = Reader::start(from, options.idle);
    let mut to = BufWriter::with_capacity(64 << 10, Paced::new(to, options.rate));
    let session = Session::default();
    let mut conversation = Conversation {
        repo,
        options,
        session,
        reader: &reader,
        to: &mut to,
        observer,
        greeted: false,
    };
    let report = conversation.run(&wanted);
    if let Err(error) = &report {
        conversation.give_up(error);
    }
    observer.progress.finish();
    // Lets the receiver see the end. What went wrong before says more than what goes wrong here.
    let _ = to.flush();
    let _ = to.get_mut().finish();
    let mut report = report?;
    report.bytes_sent = to.get_ref().written();
    report.bytes_received = reader.bytes();
    Ok(report)
}

/// How many of these fit into a message. Names of detached metadata are a quarter as long as a ref's.
fn fitting(updates: &[WireUpdate]) -> usize {
    let mut weight = 0;
    let mut fits = |update: &&WireUpdate| {
        weight += 1 + update
            .detached
            .as_ref()
            .map_or(0, |all| all.len().div_ceil(4));
        weight <= MAX_UPDATES
    };
    updates
        .iter()
        .take_while(|update| fits(update))
        .count()
        .max(1)
}

/// Nobody is to prune what is being pushed. Who may not write here cannot lock, either.
fn hold(repo: &Repo) -> Result<impl Sized + use<>> {
    let writable = repo.check_writable().ok();
    Ok(writable.map(|()| repo.lock(LockKind::Shared)).transpose()?)
}

/// The objects that are wanted, with their sizes, if the receiver takes them.
fn missing(
    repo: &Repo,
    wanted: Vec<ObjectId>,
    receiver: &Receiver,
) -> Result<Vec<(ObjectId, u64)>> {
    let objects = Plan::sizes(repo, wanted)?;
    check_objects(repo, &objects, receiver)?;
    Ok(objects)
}

/// How these objects are sent.
fn shipment<'r>(
    repo: &'r Repo,
    plan: &'r Plan,
    objects: &'r [(ObjectId, u64)],
    options: &PushOptions,
    receiver: &Receiver,
) -> Shipment<'r> {
    // The largest payload of a frame that the receiver takes.
    let frame = usize::try_from(receiver.limits.frame).unwrap_or(MAX_FRAME);
    Shipment {
        repo,
        objects,
        steps: &plan.steps,
        packing: options.packing,
        compresses: receiver.can(COMPRESSION),
        limit_rate: options.rate,
        piece: piece_for(frame.min(MAX_FRAME)),
        batches: None,
    }
}

struct Conversation<'a, W: Write> {
    repo: &'a Repo,
    options: &'a PushOptions,
    session: Session,
    reader: &'a Reader,
    to: &'a mut BufWriter<Paced<W>>,
    observer: PushObserver<'a>,
    /// We have said who we are.
    greeted: bool,
}

impl<W: Write> Conversation<'_, W> {
    fn run(&mut self, wanted: &BTreeMap<RefName, CommitId>) -> Result<PushReport> {
        while self.event()? != Event::Remote {}
        let session = &self.session;
        let plan = Plan::new(
            self.repo,
            &self.options.request,
            wanted,
            Remote {
                refs: &session.refs,
                partial: &session.partial,
                roots: &session.roots,
                takes_detached: session.receiver.can(DETACHED),
            },
        )?;
        let mut report = PushReport {
            offered: plan.objects.len() as u64,
            dry_run: self.options.dry_run,
            ..PushReport::default()
        };
        self.greet()?;
        if plan.updates.is_empty() {
            self.say(&Message::Bye)?;
        } else {
            self.offer(&plan)?;
            report.outcome = self.answer(&plan, &mut report)?;
        }
        report.outcome.refs.extend(plan.unchanged);
        report.outcome.refs.sort_by(|a, b| a.name.cmp(&b.name));
        report.turns = self.session.turns;
        Ok(report)
    }

    /// Tells the receiver why we go, if that is our own decision.
    fn give_up(&mut self, error: &Error) {
        let ours = matches!(
            error,
            Error::Repo(_)
                | Error::NothingToPush(_)
                | Error::Object { .. }
                | Error::OverLimit { .. }
        );
        if !ours {
            return;
        }
        let text = chain(error);
        // It is only a courtesy.
        let _ = match self.greeted {
            true => Ok(()),
            false => self.greet(),
        }
        .and_then(|()| self.say(&Message::Error { text }));
    }

    fn greet(&mut self) -> Result<()> {
        self.session.speaking();
        self.greeted = true;
        greet(self.to, &self.options.agent)
    }

    fn offer(&mut self, plan: &Plan) -> Result<()> {
        let limits = self.session.receiver.limits;
        let (refs, ids) = (plan.updates.len() as u64, plan.objects.len() as u64);
        check("a list of refs to push", refs, limits.refs, "max-refs")?;
        let key = "max-ids and receive.max-memory";
        check("a list of objects to push", ids, limits.ids, key)?;
        let mut left = &plan.updates[..];
        while !left.is_empty() {
            let (updates, rest) = left.split_at(fitting(left));
            left = rest;
            let (updates, dry_run) = (updates.to_vec(), self.options.dry_run);
            self.say(&Message::Update {
                updates,
                dry_run,
                more: !left.is_empty(),
            })?;
        }
        let frame_size = usize::try_from(limits.frame).unwrap_or(MAX_FRAME);
        for ids in plan
            .objects
            .chunks((frame_size.min(MAX_FRAME) / ID_LEN).max(1))
        {
            let mut payload = Vec::with_capacity(ids.len() * ID_LEN);
            ids.iter().for_each(|id| put_id(&mut payload, id));
            frame::write(self.to, FrameKind::Ids, &payload).map_err(Error::Connection)?;
        }
        let count = plan.objects.len();
        self.say(&Message::Offered {
            count: count as u64,
        })?;
        self.session.offered(count);
        self.to.flush().map_err(Error::Connection)
    }

    /// From the offer to the outcome.
    fn answer(&mut self, plan: &Plan, report: &mut PushReport) -> Result<Outcome> {
        loop {
            match self.event()? {
                Event::Outcome(outcome) => return Ok(outcome),
                Event::Wanted(bitmap) => {
                    let objects = plan.objects.iter().enumerate();
                    let objects = objects.filter(|(at, _)| bit(&bitmap, *at));
                    let wanted = objects.map(|(_, id)| *id).collect();
                    let receiver = &self.session.receiver;
                    let objects = missing(self.repo, wanted, receiver)?;
                    report.missing = objects.len() as u64;
                    report.missing_bytes = objects.iter().map(|(_, size)| size).sum();
                    if !self.options.dry_run {
                        let shipment = shipment(self.repo, plan, &objects, self.options, receiver);
                        self.send(&shipment, report.missing_bytes)?;
                    }
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, shipment: &Shipment<'_>, bytes: u64) -> Result<()> {
        self.session.speaking();
        let progress = self.observer.progress;
        progress.start("Sending objects", Some(bytes));
        let link = Arc::new(shipment.link());
        let pace = || self.reader.pace();
        let mut stream = Stream::new(&mut *self.to, &link, &pace);
        let sent = shipment
            .send(&mut stream, &link, &Arrived::default(), progress)
            .and_then(|()| {
                self.say(&Message::Sent {
                    count: shipment.objects.len() as u64,
                })
            })
            .and_then(|()| self.to.flush().map_err(Error::Connection));
        progress.start("Waiting for the receiver to verify and publish", None);
        match sent {
            // The receiver has hung up: what it said before is the reason.
            Err(Error::Connection(error)) => match self.last_words() {
                Some(reason) => Err(reason),
                None => Err(Error::Connection(error)),
            },
            sent => sent,
        }
    }

    /// What the receiver said before it hung up.
    fn last_words(&mut self) -> Option<Error> {
        while let Some(frame) = self.reader.next_within(LAST_WORDS) {
            if let Err(error) = self.session.receive(frame) {
                return Some(error);
            }
        }
        None
    }

    /// The next thing the receiver says.
    fn event(&mut self) -> Result<Event> {
        loop {
            match self.session.receive(self.reader.next()?)? {
                Event::Notice(text) => (self.observer.notice)(&text),
                event => return Ok(event),
            }
        }
    }

    fn say(&mut self, message: &Message) -> Result<()> {
        say(self.to, message)
    }
}

/// How long the reason for a lost connection is waited for.
const LAST_WORDS: Duration = Duration::from_secs(5);

fn greet(to: &mut impl Write, agent: &str) -> Result<()> {
    to.write_all(PUSHER_GREETING).map_err(Error::Connection)?;
    let (version, agent) = (VERSION, agent.to_owned());
    let capabilities = Vec::new();
    say(
        to,
        &Message::Pusher {
            version,
            agent,
            capabilities,
        },
    )
}

fn say(to: &mut impl Write, message: &Message) -> Result<()> {
    let frame = message.to_frame();
    frame::write(to, frame.kind, &frame.payload).map_err(Error::Connection)
}
