// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two state machines under conversations that are nearly right: pieces lost, doubled, cut,
//! swapped. They must not panic, and must not take such a conversation for a complete one.

mod faults;

use std::collections::HashMap;

use oxtree_format::{Checksum, CommitId, ObjectId, ObjectKind};
use oxtree_transfer::protocol::VERSION;
use oxtree_transfer::protocol::frame::{Frame, FrameKind};
use oxtree_transfer::protocol::message::{
    Limits, Message, Outcome, Progress, Receiver, WireCommit, WireRef, WireUpdate, put_id,
    write_bitmap,
};
use oxtree_transfer::protocol::stream::{Event as StreamEvent, Form, Record, pack};
use oxtree_transfer::push::session as pushing;
use oxtree_transfer::receive::session as receiving;
use proptest::collection::vec;
use proptest::prelude::*;

use self::faults::{apply, fault};

/// The object with this number; its content is as many bytes.
fn object(number: u8) -> (ObjectId, Vec<u8>) {
    let content = vec![number; usize::from(number)];
    let id = ObjectId::new(ObjectKind::DirTree, Checksum::of(&content));
    (id, content)
}

fn update(name: &str, more: bool) -> Frame {
    let update = WireUpdate {
        name: WireRef(name.parse().expect("a ref's name")),
        old: None,
        new: Some(WireCommit(CommitId(Checksum::of(b"x")))),
        force: false,
        timestamp: 0,
        fast_forward: false,
        detached: None,
    };
    let updates = vec![update];
    Message::Update {
        updates,
        dry_run: false,
        more,
    }
    .to_frame()
}

/// All that a pusher says if objects are offered, one for each of `wanted`, and some asked for.
fn pusher(wanted: &[bool], cut: usize) -> Vec<Frame> {
    let (mut ids, mut stream, mut sent) = (Vec::new(), Vec::new(), 0);
    for (number, wanted) in (0..).zip(wanted) {
        let (object, content) = object(number);
        put_id(&mut ids, &object);
        if *wanted {
            let (form, len) = (Form::Metadata, content.len() as u64);
            Record { object, form, len }.put(&mut stream);
            stream.extend_from_slice(&content);
            sent += 1;
        }
    }
    let greeting = Message::Pusher {
        version: VERSION,
        agent: "test".to_owned(),
        capabilities: Vec::new(),
    };
    let kind = FrameKind::Ids;
    let count = wanted.len() as u64;
    let mut frames = vec![
        greeting.to_frame(),
        update("a", true),
        update("b", false),
        Frame { kind, payload: ids },
        Message::Offered { count }.to_frame(),
    ];
    frames.extend(stream.chunks(cut).map(|piece| Frame {
        kind: FrameKind::Data,
        payload: pack(piece, Some(1)),
    }));
    frames.push(Message::Sent { count: sent }.to_frame());
    frames
}

/// All that a receiver says about `count` ids.
fn receiver(count: usize) -> Vec<Frame> {
    let receiver = Receiver {
        versions: vec![VERSION],
        agent: "test".to_owned(),
        capabilities: Vec::new(),
        mode: "archive".to_owned(),
        limits: Limits::default(),
    };
    let refs = |more| {
        let (refs, partial, roots) = (Vec::new(), Vec::new(), Vec::new());
        Message::Refs {
            refs,
            partial,
            roots,
            more,
        }
        .to_frame()
    };
    let bitmap = |payload: &[u8]| Frame {
        kind: FrameKind::Bitmap,
        payload: payload.to_vec(),
    };
    let bits = write_bitmap((0..count).map(|at| at % 2 == 0));
    let (first, second) = bits.split_at(bits.len() / 2);
    vec![
        Message::Receiver(receiver).to_frame(),
        refs(true),
        refs(false),
        bitmap(first),
        bitmap(second),
        Message::Progress(Progress {
            objects: 1,
            ..Progress::default()
        })
        .to_frame(),
        Message::Outcome {
            outcome: Outcome::default(),
            more: false,
        }
        .to_frame(),
    ]
}

/// What has come in of the objects that were asked for: bytes still to come, none before the
/// beginning; and whether the end was seen.
type Incoming = HashMap<ObjectId, (Option<u64>, bool)>;

fn take(event: &StreamEvent<'_>, current: &mut Option<ObjectId>, incoming: &mut Incoming) {
    if let StreamEvent::Begin(record) = event {
        *current = Some(record.object);
    }
    let object = current.as_ref().expect("an object has begun");
    let (left, ended) = incoming.get_mut(object).expect("it was asked for");
    assert!(!*ended, "something comes after the end");
    match event {
        StreamEvent::Begin(record) => assert_eq!(left.replace(record.len), None, "begun twice"),
        StreamEvent::Bytes(bytes) => {
            let less = left.expect("begun").checked_sub(bytes.len() as u64);
            *left = Some(less.expect("no longer than promised"));
        }
        StreamEvent::End => {
            assert_eq!(*left, Some(0), "ended early");
            *ended = true;
        }
    }
}

/// Lets a receiver hear these frames. True if it takes the push for complete; then it is.
fn heard_by_receiver(frames: Vec<Frame>, wanted: &[bool]) -> bool {
    let mut session = receiving::Session::new(Limits::default());
    let (mut incoming, mut current) = (Incoming::new(), None);
    for frame in frames {
        let event = session.receive(frame, &mut |event| {
            take(&event, &mut current, &mut incoming);
            Ok(())
        });
        match event {
            Ok(receiving::Event::Decide) => {
                let offered = session.offered.clone();
                let is_wanted = |at: usize| wanted.get(at).copied().unwrap_or(true);
                let missing: Vec<bool> = (0..offered.len()).map(is_wanted).collect();
                let ids = offered.into_iter().zip(&missing);
                let ids = ids.filter(|(_, missing)| **missing).map(|(id, _)| id);
                incoming = ids.map(|id| (id, (None, false))).collect();
                session.want(&missing);
            }
            Ok(receiving::Event::Complete) => {
                let all = incoming.values().all(|(_, ended)| *ended);
                assert!(all, "something is missing");
                return true;
            }
            Ok(receiving::Event::End | receiving::Event::Status) | Err(_) => return false,
            Ok(receiving::Event::Continue) => {}
        }
    }
    false
}

/// Lets a pusher that offers `count` ids hear these frames. True if it has heard the outcome.
fn heard_by_pusher(frames: Vec<Frame>, count: usize) -> bool {
    let mut session = pushing::Session::default();
    let (mut offered, mut answered) = (false, false);
    for frame in frames {
        match session.receive(frame) {
            Ok(pushing::Event::Remote) => {
                assert!(!offered, "told of the refs twice");
                session.speaking();
                session.offered(count);
                offered = true;
            }
            Ok(pushing::Event::Wanted(bitmap)) => {
                assert!(offered && !answered, "an answer without a question");
                assert_eq!(bitmap.len(), count.div_ceil(8));
                session.speaking();
                answered = true;
            }
            Ok(pushing::Event::Outcome(_)) => {
                assert!(offered, "an outcome of nothing");
                assert!(session.turns <= 4, "{} turns", session.turns);
                return true;
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

proptest! {
    #[test]
    fn a_right_conversation_is_complete(wanted in vec(any::<bool>(), 1..20), cut in 1..300usize) {
        prop_assert!(heard_by_receiver(pusher(&wanted, cut), &wanted));
        prop_assert!(heard_by_pusher(receiver(wanted.len()), wanted.len()));
    }

    #[test]
    fn a_receiver_takes_nothing_faulty_for_complete(
        wanted in vec(any::<bool>(), 0..20),
        cut in 1..300usize,
        faults in vec(fault(), 1..4),
    ) {
        let mut frames = pusher(&wanted, cut);
        faults.iter().for_each(|fault| apply(&mut frames, fault));
        // What it takes for complete is checked in there.
        heard_by_receiver(frames, &wanted);
    }

    #[test]
    fn a_pusher_bears_a_faulty_conversation(count in 1..40usize, faults in vec(fault(), 1..4)) {
        let mut frames = receiver(count);
        faults.iter().for_each(|fault| apply(&mut frames, fault));
        heard_by_pusher(frames, count);
    }

    #[test]
    fn what_is_lost_is_noticed(
        wanted in vec(any::<bool>(), 1..20),
        cut in 1..300usize,
        at in 0..100usize,
    ) {
        let mut frames = pusher(&wanted, cut);
        let at = at % frames.len();
        let lost = frames.remove(at);
        // Of two lists of refs, the first only adds to what is to be changed.
        prop_assume!(at != 1);
        prop_assert!(!heard_by_receiver(frames, &wanted), "without {:?}", lost.kind);
    }
}
