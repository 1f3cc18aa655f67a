// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of the protocol, as `docs/protocol.md` has them. Nothing here is checked: it is for
//! saying what is wrong.

use oxtree_format::Checksum;
use serde_json::{Value, json};

/// The numbers of the kinds of objects.
pub(crate) const FILE: u8 = 1;
pub(crate) const DIRTREE: u8 = 2;
pub(crate) const DIRMETA: u8 = 3;
pub(crate) const COMMIT: u8 = 4;

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

    pub(crate) fn id(&self) -> Vec<u8> {
        [&[self.kind][..], self.name.as_bytes()].concat()
    }

    /// The record; `length` is what its head says.
    pub(crate) fn record(&self, length: u64) -> Vec<u8> {
        let head = [&self.id()[..], &[self.form], &length.to_be_bytes()].concat();
        [&head[..], &self.bytes].concat()
    }
}

/// What a pusher says, from its first byte.
#[derive(Clone, Debug)]
pub(crate) struct Talk(pub(crate) Vec<u8>);

impl Talk {
    /// It says who it is.
    pub(crate) fn hello() -> Self {
        let pusher = json!({
            "type": "pusher", "version": 1, "agent": "somebody", "capabilities": [],
        });
        Self(b"OXTREE-PUSH\n".to_vec()).say(&pusher)
    }

    /// It wants a new ref `evil` to be at `commit`.
    pub(crate) fn wants(commit: &Checksum) -> Self {
        Self::hello().update(&json!("evil"), &Value::Null, &json!(commit.to_string()))
    }

    pub(crate) fn say(mut self, message: &Value) -> Self {
        self.0.extend(control(message));
        self
    }

    pub(crate) fn update(self, name: &Value, old: &Value, new: &Value) -> Self {
        let update = json!({
            "ref": name, "old": old, "new": new, "force": true, "timestamp": 1, "fast_forward": true,
        });
        self.say(&json!({
            "type": "update", "updates": [update], "dry_run": false, "more": false,
        }))
    }

    pub(crate) fn frame(mut self, kind: u8, payload: &[u8]) -> Self {
        self.0.extend(frame(kind, payload));
        self
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
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
        objects.iter().fold(talk, Self::send).sent(objects.len())
    }
}
