// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of the protocol, as `docs/design/protocol.md` has them. Nothing here is checked: it is for
//! saying what is wrong.

use std::time::Duration;

use oxtree_format::Checksum;
use serde_json::{Value, json};

/// The numbers of the kinds of objects.
pub(crate) const FILE: u8 = 1;
pub(crate) const DIRTREE: u8 = 2;
pub(crate) const DIRMETA: u8 = 3;
pub(crate) const COMMIT: u8 = 4;
pub(crate) const COMMIT_META: u8 = 6;

/// The forms of objects.
pub(crate) const METADATA: u8 = 0;
pub(crate) const FILEZ: u8 = 1;
pub(crate) const PLAIN: u8 = 2;

pub(crate) const MIB: usize = 1 << 20;

/// A frame; the length is right.
pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    [&[kind][..], &length.to_be_bytes(), payload].concat()
}

/// A frame with a message.
pub(crate) fn control(message: &Value) -> Vec<u8> {
    frame(b'C', message.to_string().as_bytes())
}

/// An object that is sent or offered.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) kind: u8,
    pub(crate) form: u8,
    /// What it is called; right or not.
    pub(crate) name: Checksum,
    pub(crate) bytes: Vec<u8>,
}

impl Object {
    /// A metadata object under its right name.
    pub(crate) fn metadata(kind: u8, bytes: Vec<u8>) -> Self {
        let (form, name) = (METADATA, Checksum::of(&bytes));
        Self {
            kind,
            form,
            name,
            bytes,
        }
    }

    /// Whether it is one of an archive, in the form that it has there.
    pub(crate) fn is_of_archive(&self) -> bool {
        match self.kind {
            FILE => self.form == FILEZ,
            kind => (DIRTREE..=COMMIT).contains(&kind) && self.form == METADATA,
        }
    }

    pub(crate) fn id(&self) -> Vec<u8> {
        [&[self.kind][..], self.name.as_bytes()].concat()
    }

    /// The record; `length` is what its head says.
    pub(crate) fn record(&self, length: u64) -> Vec<u8> {
        let head = [&self.id()[..], &[self.form], &length.to_be_bytes()].concat();
        [&head[..], &self.bytes].concat()
    }
}

/// One thing that a pusher says, at whatever door.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// A control message.
    Message(Value),
    /// A frame of another kind.
    Frame(u8, Vec<u8>),
    /// Bytes among the frames.
    Raw(Vec<u8>),
    /// The line in front of all.
    Greeting(Vec<u8>),
    /// Nothing for so long.
    Pause(Duration),
    /// Nothing more, though there should be.
    Silence,
}

impl Part {
    /// The bytes of it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Message(message) => control(message),
            Self::Frame(kind, payload) => frame(*kind, payload),
            Self::Raw(bytes) | Self::Greeting(bytes) => bytes.clone(),
            Self::Pause(_) | Self::Silence => Vec::new(),
        }
    }
}

/// What a pusher says, from its first byte. Each door hears it in its own way: over ssh all of it follows
/// one another, over HTTP it is put into requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Talk {
    pub(crate) parts: Vec<Part>,
    /// What it pushes, where that is all that is wrong.
    pub(crate) objects: Vec<Object>,
}

impl Talk {
    /// These bytes and nothing else.
    pub(crate) fn greeting(bytes: &[u8]) -> Self {
        Self::default().and(Part::Greeting(bytes.to_vec()))
    }

    /// It says who it is.
    pub(crate) fn hello() -> Self {
        let pusher = json!({
            "type": "pusher", "version": 1, "agent": "somebody", "capabilities": [],
        });
        Self::greeting(b"OXTREE-PUSH\n").say(&pusher)
    }

    /// It wants a new ref `evil` to be at `commit`.
    pub(crate) fn wants(commit: &Checksum) -> Self {
        Self::hello().update(&json!("evil"), &Value::Null, &json!(commit.to_string()))
    }

    pub(crate) fn and(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    pub(crate) fn say(self, message: &Value) -> Self {
        self.and(Part::Message(message.clone()))
    }

    pub(crate) fn update(self, name: &Value, old: &Value, new: &Value) -> Self {
        let update = json!({
            "ref": name, "old": old, "new": new, "force": true, "timestamp": 1, "fast_forward": true,
        });
        self.say(&json!({
            "type": "update", "updates": [update], "dry_run": false, "more": false,
        }))
    }

    pub(crate) fn frame(self, kind: u8, payload: &[u8]) -> Self {
        self.and(Part::Frame(kind, payload.to_vec()))
    }

    pub(crate) fn raw(self, bytes: &[u8]) -> Self {
        self.and(Part::Raw(bytes.to_vec()))
    }

    /// Offers the objects, and says that this is all.
    pub(crate) fn offer(self, objects: &[Object]) -> Self {
        let ids: Vec<u8> = objects.iter().flat_map(Object::id).collect();
        let count = objects.len();
        self.frame(b'I', &ids)
            .say(&json!({"type": "offered", "count": count}))
    }

    /// A piece of the stream of objects, as it is.
    pub(crate) fn data(mut self, stream: &[u8]) -> Self {
        for piece in stream.chunks(MIB - 2048) {
            self = self.frame(b'D', &[&[0], piece].concat());
        }
        self
    }

    /// Sends an object as it should be sent.
    pub(crate) fn send(self, object: &Object) -> Self {
        self.data(&object.record(object.bytes.len() as u64))
    }

    pub(crate) fn sent(self, count: usize) -> Self {
        self.say(&json!({"type": "sent", "count": count}))
    }

    /// A whole push of `evil` to the last of `objects`, all of which are offered and sent.
    pub(crate) fn push(objects: &[Object]) -> Self {
        let commit = objects.last().expect("a commit").name;
        let talk = Self::wants(&commit).offer(objects);
        let mut talk = objects.iter().fold(talk, Self::send).sent(objects.len());
        talk.objects = objects.to_vec();
        talk
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.parts.iter().flat_map(Part::bytes).collect()
    }
}
