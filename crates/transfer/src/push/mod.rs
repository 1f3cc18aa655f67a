// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pushing end.

mod check;
pub mod plan;
mod rate;
pub mod send;
pub mod session;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver as Queue, channel};
use std::time::Duration;

use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, ObjectId};
use oxtree_repo::{LockKind, Progress, Repo};

use self::check::check_objects;
use self::plan::{Plan, Request, wanted_refs};
use self::rate::Paced;
use self::send::Packing;
use self::session::{Event, Session};
use crate::limits::check;
use crate::protocol::frame::{self, Frame, FrameKind, MAX_FRAME};
use crate::protocol::message::{Message, Outcome, bit, put_id};
use crate::protocol::{ID_LEN, PUSHER_GREETING, RECEIVER_GREETING, VERSION};
use crate::{Error, Result};

/// Refs a message: well below a frame, with the longest names.
const MAX_UPDATES: usize = 300;

/// How a push is to be done.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What to push.
    pub request: Request,
    /// Change nothing, only find out.
    pub dry_run: bool,
    /// How to pack what is sent.
    pub packing: Packing,
    /// Send no more than so many bytes a second.
    pub rate: Option<u64>,
    /// The program's name and version.
    pub agent: String,
}

/// What a push has done.
#[derive(Clone, Debug, Default)]
pub struct Report {
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
pub struct Audience<'a> {
    /// Hears of bytes that were sent.
    pub progress: &'a dyn Progress,
    /// Hears what the receiver has to say to the user.
    pub notice: &'a dyn Fn(&str),
}

impl Audience<'_> {
    /// Nobody.
    pub const NOBODY: Audience<'static> = Audience {
        progress: &(),
        notice: &|_| (),
    };
}

impl std::fmt::Debug for Audience<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Audience")
    }
}

/// Pushes over a connection to a receiver: what it says comes from `from`, what is said to it goes
/// to `to`.
pub fn push(
    repo: &Repo,
    options: &Options,
    from: impl Read + Send + 'static,
    to: impl Write,
    audience: Audience<'_>,
) -> Result<Report> {
    let wanted = wanted_refs(repo, &options.request)?;
    // Nobody is to prune what is being pushed. Who may not write here cannot lock, either.
    let _lock = repo
        .check_writable()
        .ok()
        .map(|()| repo.lock(LockKind::Shared))
        .transpose()?;
    let received = Arc::new(AtomicU64::new(0));
    let queue = read_frames(Counted {
        from,
        count: Arc::clone(&received),
    });
    let mut to = BufWriter::with_capacity(64 << 10, Paced::new(to, options.rate));
    let session = Session::default();
    let mut conversation = Conversation {
        repo,
        options,
        session,
        queue,
        to: &mut to,
        audience,
    };
    let report = conversation.run(&wanted);
    audience.progress.finish();
    // Lets the receiver see the end. What went wrong before says more than what goes wrong here.
    let _ = to.flush();
    let _ = to.get_mut().finish();
    let mut report = report?;
    report.bytes_sent = to.get_ref().written();
    report.bytes_received = received.load(Ordering::Relaxed);
    Ok(report)
}

type Frames = Queue<Result<Option<Frame>>>;

/// Reads what the receiver says in a thread of its own: it may say why it gives up while we are
/// still sending. The thread ends with the connection.
fn read_frames(from: impl Read + Send + 'static) -> Frames {
    let (frames, queue) = channel();
    std::thread::spawn(move || {
        let mut from = BufReader::with_capacity(64 << 10, from);
        if let Err(error) = read_greeting(&mut from) {
            let _ = frames.send(Err(error));
            return;
        }
        loop {
            let frame = frame::read(&mut from);
            let last = !matches!(frame, Ok(Some(_)));
            // Nobody listens any more: the push is over.
            if frames.send(frame).is_err() || last {
                return;
            }
        }
    });
    queue
}

/// Whatever comes in before the greeting is not ours: some login shell's banner, or an error of a
/// program that is not this one.
fn read_greeting(from: &mut impl BufRead) -> Result<()> {
    let mut line = Vec::new();
    // Something else is known by its first bytes: a prompt, say, has no end to wait for.
    while RECEIVER_GREETING.starts_with(&line) && !line.ends_with(b"\n") {
        let buffer = match from.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer.map_err(Error::Connection)?,
        };
        if buffer.is_empty() {
            break;
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let len = end.map_or(buffer.len(), |end| end + 1);
        line.extend_from_slice(&buffer[..len]);
        from.consume(len);
    }
    if line == RECEIVER_GREETING {
        return Ok(());
    }
    if line.is_empty() {
        return Err(lost());
    }
    let line = String::from_utf8_lossy(&line[..line.len().min(80)])
        .trim_end()
        .to_owned();
    Err(Error::NotTheProtocol(line))
}

fn lost() -> Error {
    let reason = "it has ended before the push was answered";
    Error::Connection(io::Error::new(io::ErrorKind::UnexpectedEof, reason))
}

struct Conversation<'a, W: Write> {
    repo: &'a Repo,
    options: &'a Options,
    session: Session,
    queue: Frames,
    to: &'a mut BufWriter<Paced<W>>,
    audience: Audience<'a>,
}

impl<W: Write> Conversation<'_, W> {
    fn run(&mut self, wanted: &BTreeMap<RefName, CommitId>) -> Result<Report> {
        while self.event()? != Event::Remote {}
        let plan = Plan::new(self.repo, &self.options.request, wanted, &self.session.refs)?;
        let mut report = Report {
            offered: plan.objects.len() as u64,
            dry_run: self.options.dry_run,
            ..Report::default()
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

    fn greet(&mut self) -> Result<()> {
        self.session.speaking();
        self.to
            .write_all(PUSHER_GREETING)
            .map_err(Error::Connection)?;
        self.say(&Message::Pusher {
            version: VERSION,
            agent: self.options.agent.clone(),
            capabilities: Vec::new(),
        })
    }

    fn offer(&mut self, plan: &Plan) -> Result<()> {
        let limits = self.session.receiver.limits;
        let (refs, ids) = (plan.updates.len() as u64, plan.objects.len() as u64);
        check("a list of refs to push", refs, limits.refs, "max-refs")?;
        let key = "max-ids and receive.max-memory";
        check("a list of objects to push", ids, limits.ids, key)?;
        let mut left = &plan.updates[..];
        while !left.is_empty() {
            let (updates, rest) = left.split_at(left.len().min(MAX_UPDATES));
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

    /// The largest payload of a frame that the receiver takes.
    fn frame_size(&self) -> usize {
        let limit = usize::try_from(self.session.receiver.limits.frame);
        limit.unwrap_or(MAX_FRAME).min(MAX_FRAME)
    }

    /// From the offer to the outcome.
    fn answer(&mut self, plan: &Plan, report: &mut Report) -> Result<Outcome> {
        loop {
            match self.event()? {
                Event::Outcome(outcome) => return Ok(outcome),
                Event::Wanted(bitmap) => {
                    let objects = plan.objects.iter().enumerate();
                    let objects: Vec<ObjectId> = objects
                        .filter(|(at, _)| bit(&bitmap, *at))
                        .map(|(_, id)| *id)
                        .collect();
                    report.missing = objects.len() as u64;
                    report.missing_bytes = Plan::stored_size(self.repo, &objects)?;
                    check_objects(self.repo, &objects, &self.session.receiver)?;
                    if !self.options.dry_run {
                        self.send(&objects, report.missing_bytes)?;
                    }
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, objects: &[ObjectId], bytes: u64) -> Result<()> {
        self.session.speaking();
        let progress = self.audience.progress;
        progress.start("Sending objects", Some(bytes));
        let packing = Packing {
            frame: self.frame_size(),
            ..self.options.packing
        };
        let sent = send::send(self.repo, objects, packing, self.to, progress)
            .and_then(|()| {
                self.say(&Message::Sent {
                    count: objects.len() as u64,
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
        while let Ok(Ok(Some(frame))) = self.queue.recv_timeout(LAST_WORDS) {
            if let Err(error) = self.session.receive(frame) {
                return Some(error);
            }
        }
        None
    }

    /// The next thing the receiver says.
    fn event(&mut self) -> Result<Event> {
        loop {
            let frame = self.queue.recv().map_err(|_| lost())??.ok_or_else(lost)?;
            match self.session.receive(frame)? {
                Event::Notice(text) => (self.audience.notice)(&text),
                event => return Ok(event),
            }
        }
    }

    fn say(&mut self, message: &Message) -> Result<()> {
        let frame = message.to_frame();
        frame::write(self.to, frame.kind, &frame.payload).map_err(Error::Connection)
    }
}

/// How long the reason for a lost connection is waited for.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Counts what is read.
struct Counted<R> {
    from: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.from.read(buffer)?;
        self.count.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}
