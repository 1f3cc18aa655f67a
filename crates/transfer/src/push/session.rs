// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pusher's side of the protocol as a state machine: frames in, events out, no I/O.

use std::collections::{BTreeMap, HashSet};

use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, DirId};

use crate::error::{Error, Result};
use crate::protocol::VERSION;
use crate::protocol::frame::{Frame, FrameKind};
use crate::protocol::message::{Message, Outcome, Progress, Receiver, RefOutcome, UnfinishedPush};

#[derive(Debug)]
enum State {
    /// The receiver has not said who it is.
    Greeting,
    /// Its refs are coming in.
    Refs,
    /// They are known; now it is our turn.
    OurTurn,
    /// So many ids were offered.
    Offered { ids: usize, bitmap: Vec<u8> },
    /// The unfinished pushes were asked for.
    Asked(Vec<UnfinishedPush>),
    /// Objects are on their way; the outcome is to come.
    Sending,
    /// All is said.
    Ended,
}

/// What the driver has to do about a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet.
    Continue,
    /// The receiver and its refs are known.
    Remote,
    /// A bit an id that was offered: 1 where the object is wanted.
    Wanted(Vec<u8>),
    /// How fast it goes.
    Progress(Progress),
    /// Something for the user to read.
    Notice(String),
    /// The pushes that are running or were cut off; the end.
    Unfinished(Vec<UnfinishedPush>),
    /// The end.
    Outcome(Outcome),
}

/// The pusher's state in one push.
#[derive(Debug)]
pub struct Session {
    state: State,
    /// Who the receiver is.
    pub receiver: Receiver,
    /// Its refs.
    pub refs: BTreeMap<RefName, CommitId>,
    /// The commits that it has only in part.
    pub partial: HashSet<CommitId>,
    /// Root directories of its refs' commits that it has told, all of which it has.
    pub roots: HashSet<DirId>,
    /// How often the direction of the conversation has changed.
    pub turns: u64,
    ours: bool,
    results: Vec<RefOutcome>,
    /// Frames that the receiver has sent.
    frames: usize,
    /// Bytes of their payloads.
    bytes: usize,
    /// Bytes of text for the user in them.
    text: usize,
}

impl Default for Session {
    fn default() -> Self {
        let receiver = Receiver {
            versions: Vec::new(),
            agent: String::new(),
            capabilities: Vec::new(),
            mode: String::new(),
            limits: crate::protocol::message::Limits::default(),
        };
        // The receiver begins.
        Self {
            state: State::Greeting,
            receiver,
            refs: BTreeMap::new(),
            partial: HashSet::new(),
            roots: HashSet::new(),
            turns: 0,
            ours: false,
            results: Vec::new(),
            frames: 0,
            bytes: 0,
            text: 0,
        }
    }
}

impl Session {
    /// The state once all is sent, where the receiver is a web server: what it says until the outcome
    /// is the same.
    pub(super) fn finishing() -> Self {
        Self {
            state: State::Sending,
            ..Self::default()
        }
    }

    /// Takes a frame from the receiver.
    pub fn receive(&mut self, frame: Frame) -> Result<Event> {
        self.frames += 1;
        self.bytes += frame.payload.len();
        bounded("a number of frames", self.frames, MAX_FRAMES)?;
        bounded("a conversation in bytes", self.bytes, MAX_BYTES)?;
        if let (FrameKind::Bitmap, State::Offered { .. }) = (frame.kind, &self.state) {
            self.turn(false);
            return self.bitmap(&frame.payload);
        }
        if frame.kind != FrameKind::Control {
            return Err(unexpected(&format!("{:?} frame", frame.kind)));
        }
        let message = Message::parse(&frame.payload)?;
        match message {
            // These come whenever the receiver likes; nobody waits for them.
            Message::Error { text } => return Err(Error::Remote(text)),
            Message::Notice { text } => {
                self.text += text.len();
                bounded("a number of bytes in notices", self.text, MAX_TEXT)?;
                return Ok(Event::Notice(text));
            }
            Message::Progress(progress) => return Ok(Event::Progress(progress)),
            _ => self.turn(false),
        }
        match (&mut self.state, message) {
            (State::Greeting, Message::Receiver(receiver)) => {
                check_version(&receiver.versions)?;
                self.receiver = receiver;
                self.state = State::Refs;
                Ok(Event::Continue)
            }
            (
                State::Refs,
                Message::Refs {
                    refs,
                    partial,
                    roots,
                    more,
                },
            ) => {
                self.partial.extend(partial.into_iter().map(|id| id.0));
                self.roots
                    .extend(roots.into_iter().map(|(tree, meta)| DirId {
                        tree: tree.0,
                        meta: meta.0,
                    }));
                self.refs
                    .extend(refs.into_iter().map(|(name, commit)| (name.0, commit.0)));
                let longest = self.partial.len().max(self.roots.len());
                bounded("refs", self.refs.len().max(longest), MAX_LIST)?;
                if more {
                    return Ok(Event::Continue);
                }
                self.state = State::OurTurn;
                Ok(Event::Remote)
            }
            (State::Offered { .. } | State::Sending, Message::Outcome { outcome, more }) => {
                self.results.extend(outcome.refs);
                bounded("results", self.results.len(), MAX_LIST)?;
                if more {
                    return Ok(Event::Continue);
                }
                self.state = State::Ended;
                let refs = std::mem::take(&mut self.results);
                Ok(Event::Outcome(Outcome { refs, ..outcome }))
            }
            (State::Asked(found), Message::Unfinished { pushes, more }) => {
                found.extend(pushes);
                bounded("unfinished pushes", found.len(), MAX_LIST)?;
                if more {
                    return Ok(Event::Continue);
                }
                let found = std::mem::take(found);
                self.state = State::Ended;
                Ok(Event::Unfinished(found))
            }
            (_, message) => Err(unexpected(&format!("message {message:?}"))),
        }
    }

    fn bitmap(&mut self, payload: &[u8]) -> Result<Event> {
        let State::Offered { ids, bitmap } = &mut self.state else {
            return Err(unexpected("bitmap"));
        };
        let need = ids.div_ceil(8);
        bitmap.extend_from_slice(payload);
        if bitmap.len() > need {
            return Err(unexpected("length of a bitmap"));
        }
        if bitmap.len() < need {
            return Ok(Event::Continue);
        }
        let bitmap = std::mem::take(bitmap);
        // In a dry run the outcome follows at once, and nothing is sent.
        self.state = State::Sending;
        Ok(Event::Wanted(bitmap))
    }

    /// Notes that `ids` ids were offered, and that it is the receiver's turn.
    pub fn offered(&mut self, ids: usize) {
        self.state = State::Offered {
            ids,
            bitmap: Vec::new(),
        };
    }

    /// Notes that the unfinished pushes were asked for.
    pub fn asked(&mut self) {
        self.state = State::Asked(Vec::new());
    }

    /// Notes that we say something.
    pub fn speaking(&mut self) {
        self.turn(true);
    }

    fn turn(&mut self, ours: bool) {
        if self.ours != ours {
            self.ours = ours;
            self.turns += 1;
        }
    }
}

/// More refs, or whatever comes in lists, than this no receiver is believed to have.
pub(super) const MAX_LIST: usize = 1 << 18;

/// No push takes so many.
const MAX_FRAMES: usize = 1 << 20;

/// Far more than the longest lists need.
const MAX_BYTES: usize = 256 << 20;

/// More text than anybody reads, in bytes.
const MAX_TEXT: usize = 1 << 20;

/// A receiver that goes on for ever is not listened to for ever.
pub(super) fn bounded(what: &'static str, count: usize, limit: usize) -> Result<()> {
    match count > limit {
        true => Err(Error::Limit {
            what,
            size: count as u64,
            limit: limit as u64,
        }),
        false => Ok(()),
    }
}

pub(super) fn check_version(versions: &[u32]) -> Result<()> {
    if versions.contains(&VERSION) {
        return Ok(());
    }
    let newer = versions.iter().all(|version| *version > VERSION);
    let list: Vec<String> = versions.iter().map(ToString::to_string).collect();
    Err(Error::Version {
        theirs: list.join(", "),
        ours: VERSION,
        newer,
    })
}

fn unexpected(what: &str) -> Error {
    Error::Protocol(format!("unexpected {what} from the far side"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::{Limits, UnfinishedPush, WireCommit, WireRef};
    use oxtree_format::{Checksum, CommitId};

    fn told(message: &Message, session: &mut Session) -> Result<Event> {
        session.receive(message.to_frame())
    }

    fn introduced() -> Session {
        let mut session = Session::default();
        let receiver = Message::Receiver(Receiver {
            versions: vec![VERSION],
            agent: "test".to_owned(),
            capabilities: Vec::new(),
            mode: "archive".to_owned(),
            limits: Limits::default(),
        });
        told(&receiver, &mut session).unwrap();
        session
    }

    #[test]
    fn lists_without_end_are_not_heard_to_their_end() {
        let mut session = introduced();
        let commit = WireCommit(CommitId(Checksum::of(b"x")));
        let end = (0..100).find_map(|part| {
            let refs = (0..5000)
                .map(|at| WireRef(format!("r/{part}/{at}").parse().unwrap()))
                .map(|name| (name, commit.clone()));
            let refs = Message::Refs {
                refs: refs.collect(),
                partial: Vec::new(),
                roots: Vec::new(),
                more: true,
            };
            told(&refs, &mut session).err()
        });
        assert!(matches!(end, Some(Error::Limit { what: "refs", .. })));

        let mut session = Session::default();
        session.asked();
        let push = UnfinishedPush {
            age: 1,
            objects: 1,
            bytes: 1,
            running: true,
        };
        let pushes = Message::Unfinished {
            pushes: vec![push; 5000],
            more: true,
        };
        let end = (0..100).find_map(|_| told(&pushes, &mut session).err());
        assert!(matches!(end, Some(Error::Limit { .. })));
    }

    #[test]
    fn an_answer_in_parts_is_put_together() {
        let mut session = Session::default();
        session.asked();
        let push = |age| UnfinishedPush {
            age,
            objects: 2,
            bytes: 3,
            running: false,
        };
        for (age, more) in [(1, true), (2, false)] {
            let pushes = vec![push(age)];
            let event = told(&Message::Unfinished { pushes, more }, &mut session).unwrap();
            match more {
                true => assert_eq!(event, Event::Continue),
                false => assert_eq!(event, Event::Unfinished(vec![push(1), push(2)])),
            }
        }
        // Nobody has asked any more.
        let pushes = Vec::new();
        let more = false;
        assert!(told(&Message::Unfinished { pushes, more }, &mut session).is_err());
    }
}
