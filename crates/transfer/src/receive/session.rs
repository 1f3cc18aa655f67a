// SPDX-License-Identifier: MIT OR Apache-2.0
//! The receiver's side of the protocol as a state machine: frames in, events out, no I/O.

use std::collections::HashSet;

use oxtree_format::{CommitId, ObjectId, ObjectKind};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::limits::check;
use crate::protocol::VERSION;
use crate::protocol::frame::{Frame, FrameKind};
use crate::protocol::message::{Limits, Message, WireUpdate, parse_ids};
use crate::protocol::stream::{Decoder, Event as StreamEvent, Record, Unpacker};

/// Where the conversation is.
#[derive(Debug)]
enum State {
    /// The pusher has not said who it is.
    Greeting,
    /// It has, but not what it wants.
    Introduced,
    /// Ids are being offered.
    Offering,
    /// The ids are known; the answer is to be given.
    Deciding,
    /// Objects are coming in. Those in the set were asked for and have not begun yet.
    Receiving {
        wanted: Wanted,
        total: u64,
        unpacker: Box<Unpacker>,
        decoder: Decoder,
    },
    /// All is said.
    Ended,
}

/// What the driver has to do about a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet.
    Continue,
    /// All that is offered is known: decide, and answer.
    Decide,
    /// All objects have come in.
    Complete,
    /// The pusher wants to know what pushes were cut off.
    Status,
    /// The pusher has left in good order.
    End,
}

/// What the driver has to do with a piece of an object.
pub type OnObject<'a> = dyn FnMut(StreamEvent<'_>) -> Result<()> + 'a;

/// The receiver's state in one push.
#[derive(Debug)]
pub struct Session {
    state: State,
    limits: Limits,
    /// What the pusher wants to change.
    pub updates: Vec<WireUpdate>,
    /// Nothing is to be changed.
    pub dry_run: bool,
    /// What the pusher can send.
    pub offered: Vec<ObjectId>,
    /// The commits among that, in the pusher's order: a parent before its child.
    pub commits: Vec<CommitId>,
}

impl Session {
    /// A session in which nothing was said yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            state: State::Greeting,
            limits,
            updates: Vec::new(),
            dry_run: false,
            offered: Vec::new(),
            commits: Vec::new(),
        }
    }

    /// Takes a frame from the pusher. Pieces of objects go to `on_object`.
    pub fn receive(&mut self, frame: Frame, on_object: &mut OnObject<'_>) -> Result<Event> {
        if frame.kind != FrameKind::Control {
            let size = frame.payload.len() as u64;
            check("a frame", size, self.limits.frame, "max-frame-size")?;
        }
        match (&mut self.state, frame.kind) {
            (_, FrameKind::Control) => self.control(Message::parse(&frame.payload)?),
            (State::Offering, FrameKind::Ids) => self.ids(&frame.payload),
            (
                State::Receiving {
                    wanted,
                    unpacker,
                    decoder,
                    ..
                },
                FrameKind::Data,
            ) => {
                let mut on = |event: StreamEvent<'_>| {
                    if let StreamEvent::Begin(Record { object, .. }) = &event
                        && !wanted.take(object)
                    {
                        return Err(unexpected(&format!("object {object}, not asked for")));
                    }
                    on_object(event)
                };
                decoder.feed(&unpacker.unpack(&frame.payload)?, &mut on)?;
                Ok(Event::Continue)
            }
            (_, kind) => Err(unexpected(&format!("{kind:?} frame"))),
        }
    }

    fn control(&mut self, message: Message) -> Result<Event> {
        match (&self.state, message) {
            (_, Message::Error { text }) => Err(Error::Aborted(text)),
            (State::Introduced, Message::Status) => {
                self.state = State::Ended;
                Ok(Event::Status)
            }
            (
                State::Greeting,
                Message::Pusher {
                    version: VERSION, ..
                },
            ) => {
                self.state = State::Introduced;
                Ok(Event::Continue)
            }
            (State::Greeting, Message::Pusher { version, .. }) => Err(Error::Version {
                theirs: version.to_string(),
                ours: VERSION,
                newer: version > VERSION,
            }),
            (State::Introduced, Message::Bye) => {
                self.state = State::Ended;
                Ok(Event::End)
            }
            (
                State::Introduced,
                Message::Update {
                    updates,
                    dry_run,
                    more,
                },
            ) => {
                self.take_updates(updates)?;
                self.dry_run = dry_run;
                if !more {
                    self.state = State::Offering;
                }
                Ok(Event::Continue)
            }
            (State::Offering, Message::Offered { count }) => {
                if count != self.offered.len() as u64 {
                    return Err(unexpected("count of ids"));
                }
                if let Some(twice) = find_twice(&self.offered) {
                    return Err(unexpected(&format!("id of {twice}, offered twice")));
                }
                self.state = State::Deciding;
                Ok(Event::Decide)
            }
            (
                State::Receiving {
                    wanted,
                    total,
                    unpacker,
                    decoder,
                },
                Message::Sent { count },
            ) => {
                let is_cut = !decoder.is_at_boundary() || !unpacker.is_at_boundary();
                if wanted.left > 0 || count != *total || is_cut {
                    let missing = wanted.first_left().map(ToString::to_string);
                    let missing = missing.unwrap_or_else(|| "the rest of an object".to_owned());
                    return Err(unexpected(&format!(
                        "end of the objects: {missing} is missing"
                    )));
                }
                self.state = State::Ended;
                Ok(Event::Complete)
            }
            (_, message) => Err(unexpected(&format!("message {message:?}"))),
        }
    }

    fn take_updates(&mut self, updates: Vec<WireUpdate>) -> Result<()> {
        self.updates.extend(updates);
        check_updates(&self.updates, self.limits)
    }

    fn ids(&mut self, payload: &[u8]) -> Result<Event> {
        let ids = parse_ids(payload)?;
        let count = (self.offered.len() + ids.len()) as u64;
        let key = "max-ids and receive.max-memory";
        check("a list of object ids", count, self.limits.ids, key)?;
        self.offered.extend(ids);
        Ok(Event::Continue)
    }

    /// True if objects that were asked for are still to come.
    pub fn is_waiting(&self) -> bool {
        matches!(&self.state, State::Receiving { total, .. } if *total > 0)
    }

    /// The driver's answer to [`Event::Decide`]: of what was offered, these are wanted.
    pub fn want(&mut self, missing: &[bool]) {
        let offered = std::mem::take(&mut self.offered);
        self.commits = offered
            .iter()
            .filter(|id| id.kind == ObjectKind::Commit)
            .map(|id| CommitId(id.checksum))
            .collect();
        let wanted = Wanted::new(offered, missing);
        let total = wanted.left as u64;
        self.state = State::Receiving {
            wanted,
            total,
            unpacker: Box::default(),
            decoder: Decoder::default(),
        };
    }
}

/// Checks a list of refs to change: not too many, and none twice.
pub(super) fn check_updates(updates: &[WireUpdate], limits: Limits) -> Result<()> {
    let count = updates.len() as u64;
    check("a list of refs to change", count, limits.refs, "max-refs")?;
    let items = updates.iter().filter_map(|update| update.detached.as_ref());
    let items = items.map(|all| all.len() as u64).sum();
    let key = "max-refs";
    check(
        "a list of detached metadata",
        items,
        10 * limits.refs.max(10_000),
        key,
    )?;
    let mut names = HashSet::new();
    match updates.iter().find(|update| !names.insert(&update.name)) {
        Some(twice) => Err(unexpected(&format!("ref {}, twice", twice.name))),
        None => Ok(()),
    }
}

/// The objects that were asked for. Of millions of them, little more than the ids is held.
#[derive(Debug)]
struct Wanted {
    /// In order.
    ids: Vec<ObjectId>,
    begun: Vec<bool>,
    left: usize,
}

impl Wanted {
    fn new(offered: Vec<ObjectId>, missing: &[bool]) -> Self {
        let mut ids = offered;
        let mut missing = missing.iter();
        ids.retain(|_| missing.next() == Some(&true));
        ids.par_sort_unstable();
        ids.shrink_to_fit();
        Self {
            begun: vec![false; ids.len()],
            left: ids.len(),
            ids,
        }
    }

    /// Notes that an object comes; false if it is not to come (again).
    fn take(&mut self, object: &ObjectId) -> bool {
        let Ok(at) = self.ids.binary_search(object) else {
            return false;
        };
        if std::mem::replace(&mut self.begun[at], true) {
            return false;
        }
        self.left -= 1;
        true
    }

    fn first_left(&self) -> Option<&ObjectId> {
        let at = self.begun.iter().position(|begun| !begun)?;
        self.ids.get(at)
    }
}

/// An id that is there more than once. Of as many as these, even a list of places is large.
fn find_twice(ids: &[ObjectId]) -> Option<ObjectId> {
    let mut order: Vec<u32> = (0..u32::try_from(ids.len()).unwrap_or(u32::MAX)).collect();
    order.par_sort_unstable_by_key(|at| ids[*at as usize]);
    let id = |at: u32| ids[at as usize];
    let twice = order.windows(2).find(|two| id(two[0]) == id(two[1]))?;
    Some(id(twice[0]))
}

fn unexpected(what: &str) -> Error {
    Error::Protocol(format!("unexpected {what}"))
}
