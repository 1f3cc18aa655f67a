// SPDX-License-Identifier: MIT OR Apache-2.0
//! Control messages: JSON objects, told apart by their `type`. Fields that are not known are
//! ignored; a type that is not known is an error.

use std::fmt;

use oxtree_format::checksum::hex;
use oxtree_format::detached::join::ItemId;
use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, DirMetaId, DirTreeId, ObjectId, ObjectKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::ID_LEN;
use super::frame::{Frame, FrameKind, MAX_FRAME};
use crate::error::{Error, Result};

/// What one side tells the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Message {
    /// The receiver's first message.
    Receiver(Receiver),
    /// The receiver's local refs. Many may need several messages.
    Refs {
        /// Name and commit of each.
        refs: Vec<(WireRef, WireCommit)>,
        /// Those of the commits that are known to lack some of their objects.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        partial: Vec<WireCommit>,
        /// The root directories of the others, where the commits are the receiver's own.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        roots: Vec<(WireTree, WireMeta)>,
        /// There are more to come.
        more: bool,
    },
    /// The pusher's first message.
    Pusher {
        /// The version that it chose among the receiver's.
        version: u32,
        /// The program's name and version.
        agent: String,
        /// What it can do beyond the version.
        capabilities: Vec<String>,
    },
    /// What the pusher wants to change.
    Update {
        /// The refs.
        updates: Vec<WireUpdate>,
        /// Nothing is to be changed, only answered.
        dry_run: bool,
        /// There are more to come.
        more: bool,
    },
    /// All ids were offered, in frames of their own.
    Offered {
        /// How many they were.
        count: u64,
    },
    /// All objects that were wanted have been sent.
    Sent {
        /// How many they were.
        count: u64,
    },
    /// There is nothing to do after all.
    Bye,
    /// The pusher wants no more than to know which pushes were cut off.
    Status,
    /// The answer to that. Many may need several messages.
    Unfinished {
        /// Each of them.
        pushes: Vec<UnfinishedPush>,
        /// There are more to come.
        more: bool,
    },
    /// How far the receiver is. Not more often than a few times a second.
    Progress(Progress),
    /// Something for the user to see: a warning, or what a hook prints.
    Notice {
        /// One or more lines.
        text: String,
    },
    /// The end of it. Many refs may need several messages; only the last has anything but refs.
    Outcome {
        /// How the push ended.
        #[serde(flatten)]
        outcome: Outcome,
        /// There are more to come.
        more: bool,
    },
    /// This side gives up.
    Error {
        /// Why, and what to do.
        text: String,
    },
}

/// How far the receiver is, and how fast it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Objects that were verified and written.
    pub objects: u64,
    /// Bytes of objects that have come in, as they were packed.
    pub bytes: u64,
    /// Milliseconds since the first of them.
    pub elapsed: u64,
    /// As many of those it was waiting for more.
    pub waited: u64,
}

/// Who the receiver is, what it can do and how much it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// The protocol versions that it speaks.
    pub versions: Vec<u32>,
    /// The program's name and version.
    pub agent: String,
    /// What it can do beyond the version.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// How its repository stores files.
    #[serde(default)]
    pub mode: String,
    /// What it refuses to go beyond.
    #[serde(default)]
    pub limits: Limits,
}

impl Receiver {
    /// Whether it has announced this capability.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|word| word == capability)
    }
}

/// What a receiver takes at the most; 0 where that is said to turn a limit off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Refs a push.
    pub refs: u64,
    /// Object ids a push.
    pub ids: u64,
    /// Objects that are sent, a push.
    pub objects: u64,
    /// Bytes of one object's content.
    pub object: u64,
    /// Bytes a push over the wire.
    pub bytes: u64,
    /// Bytes that the objects of a push unpack to.
    pub unpacked: u64,
    /// How many times larger what is unpacked may be than what came; 0 for no such bound.
    pub ratio: u64,
    /// Bytes of a frame's payload, of those with ids and with objects.
    pub frame: u64,
    /// Bytes of memory, about. Bounds the ids, and the size of metadata objects.
    pub memory: u64,
    /// Seconds without a sign of the pusher; 0 for ever.
    pub idle: u64,
    /// Seconds that a push may take; 0 for ever.
    pub time: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            refs: 10_000,
            ids: 2 << 20,
            objects: 3 << 20,
            object: 64 << 30,
            bytes: 1 << 40,
            unpacked: 1 << 40,
            // Zeros in the image of a disk are packed a thousand times and more.
            ratio: 0,
            frame: MAX_FRAME as u64,
            memory: 80 << 20,
            idle: 300,
            time: 0,
        }
    }
}

/// One ref to be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireUpdate {
    /// Which ref.
    #[serde(rename = "ref")]
    pub name: WireRef,
    /// What it was when the receiver told.
    pub old: Option<WireCommit>,
    /// What it is to be; none deletes it.
    pub new: Option<WireCommit>,
    /// It may go back, or sideways.
    #[serde(default)]
    pub force: bool,
    /// When the new commit was made, in seconds since 1970: lets the receiver refuse before
    /// anything is sent. What counts is the commit itself.
    #[serde(default)]
    pub timestamp: u64,
    /// The old commit is an ancestor of the new one, as far as the pusher can see.
    #[serde(default)]
    pub fast_forward: bool,
    /// Names of what the pusher has beside the new commit: signatures above all. [`None`]: it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detached: Option<Vec<WireItem>>,
}

impl WireUpdate {
    /// Whether the ref is to stay what it is: only detached metadata is offered.
    pub fn stays(&self) -> bool {
        self.detached.is_some() && self.new.is_some() && self.old == self.new
    }
}

/// The name of a signature, or of another value that is kept beside a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WireItem(pub ItemId);

impl Serialize for WireItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for WireItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::custom("expected 32 hexadecimal digits");
        let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(&text, 16).map_err(|_| wrong())?;
        match digits && text.len() == 32 {
            true => Ok(Self(number.to_be_bytes())),
            false => Err(wrong()),
        }
    }
}

/// How a push ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Every ref of the push.
    pub refs: Vec<RefOutcome>,
    /// Objects that were new to the receiver.
    #[serde(default)]
    pub objects: u64,
    /// What the user should know of what came after the refs were set; they stay set.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Whether something has failed then. Not told.
    #[serde(skip)]
    pub failed: bool,
}

/// A push that is running, or was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfinishedPush {
    /// Seconds since something was last received.
    pub age: u64,
    /// Objects that were received.
    pub objects: u64,
    /// Their size on disk in bytes.
    pub bytes: u64,
    /// It is still running.
    pub running: bool,
}

/// What became of one ref.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefOutcome {
    /// Which ref.
    #[serde(rename = "ref")]
    pub name: WireRef,
    /// What it was.
    pub old: Option<WireCommit>,
    /// What it was to be.
    pub new: Option<WireCommit>,
    /// What became of it.
    pub status: Status,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of one ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It is new.
    Created,
    /// It has moved.
    Updated,
    /// It is gone.
    Deleted,
    /// It was there already.
    Unchanged,
    /// It was refused.
    Rejected,
    /// Another ref of the same push was refused.
    NotDone,
}

impl Outcome {
    /// True if nothing was refused.
    pub fn is_ok(&self) -> bool {
        !self
            .refs
            .iter()
            .any(|r| matches!(r.status, Status::Rejected | Status::NotDone))
    }
}

macro_rules! wire {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map(Self).map_err(de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

wire! {
    /// A ref's name in JSON; checked when it is read.
    WireRef(RefName)
}
wire! {
    /// A commit's id in JSON: 64 hexadecimal digits.
    WireCommit(CommitId)
}
wire! {
    /// A dirtree's id in JSON: 64 hexadecimal digits.
    WireTree(DirTreeId)
}
wire! {
    /// A dirmeta's id in JSON: 64 hexadecimal digits.
    WireMeta(DirMetaId)
}

impl Message {
    /// The message in a frame's payload.
    pub fn parse(payload: &[u8]) -> Result<Self> {
        serde_json::from_slice(payload)
            .map_err(|error| Error::Protocol(format!("invalid control message: {error}")))
    }

    /// The message as a frame.
    pub fn to_frame(&self) -> Frame {
        // Only maps with keys that are not text, and values that refuse to be written, can fail.
        let payload = serde_json::to_vec(self).unwrap_or_default();
        Frame {
            kind: FrameKind::Control,
            payload,
        }
    }
}

/// Appends an object's id as it goes over the wire.
pub fn put_id(to: &mut Vec<u8>, object: &ObjectId) {
    to.push(object.kind as u8);
    to.extend_from_slice(object.checksum.as_bytes());
}

/// Reads one id of exactly [`ID_LEN`] bytes. Only kinds that travel are ids.
pub fn parse_id(bytes: &[u8]) -> Result<ObjectId> {
    let wrong = || Error::Protocol("invalid object id".to_owned());
    let (kind, checksum) = bytes.split_first().ok_or_else(wrong)?;
    let kind = ObjectKind::from_number(*kind)
        .filter(|kind| travels(*kind))
        .ok_or_else(wrong)?;
    let checksum = oxtree_format::Checksum::from_bytes(checksum).map_err(|_| wrong())?;
    Ok(ObjectId { checksum, kind })
}

/// Whether objects of this kind are ever sent.
pub fn travels(kind: ObjectKind) -> bool {
    use ObjectKind::{Commit, CommitMeta, DirMeta, DirTree, File};
    matches!(kind, File | DirTree | DirMeta | Commit | CommitMeta)
}

/// Reads the ids in a frame's payload.
pub fn parse_ids(payload: &[u8]) -> Result<Vec<ObjectId>> {
    if !payload.len().is_multiple_of(ID_LEN) {
        return Err(Error::Protocol(format!(
            "{} bytes are no list of ids",
            payload.len()
        )));
    }
    payload.chunks_exact(ID_LEN).map(parse_id).collect()
}

/// A bit an id, as few bytes as will do.
pub fn write_bitmap(bits: impl IntoIterator<Item = bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, bit) in bits.into_iter().enumerate() {
        if at % 8 == 0 {
            bytes.push(0);
        }
        if bit {
            bytes[at / 8] |= 1 << (at % 8);
        }
    }
    bytes
}

/// Bit `at` of a bitmap.
pub fn bit(bitmap: &[u8], at: usize) -> bool {
    bitmap
        .get(at / 8)
        .is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxtree_format::Checksum;

    #[test]
    fn messages_are_readable_json() {
        let name = WireRef("os/main".parse().unwrap());
        let new = Some(WireCommit(CommitId(Checksum::of(b"x"))));
        let update = WireUpdate {
            name,
            old: None,
            new,
            force: false,
            timestamp: 1,
            fast_forward: true,
            detached: Some(vec![WireItem([0xab; 16])]),
        };
        let message = Message::Update {
            updates: vec![update],
            dry_run: false,
            more: false,
        };
        let frame = message.to_frame();
        let text = String::from_utf8(frame.payload.clone()).unwrap();
        assert!(
            text.starts_with(r#"{"type":"update","updates":[{"ref":"os/main","old":null,"#),
            "{text}"
        );
        let item = format!(r#""detached":["{}"]"#, "ab".repeat(16));
        assert!(text.contains(&item), "{text}");
        assert_eq!(Message::parse(&frame.payload).unwrap(), message);
        for wrong in [
            "ab",
            &"+".repeat(32),
            &format!("+{}", "a".repeat(31)),
            &"ab".repeat(17),
        ] {
            let text = text.replace(&"ab".repeat(16), wrong);
            assert!(Message::parse(text.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_fields_pass_and_unknown_types_do_not() {
        assert_eq!(
            Message::parse(br#"{"type":"bye","later":1}"#).unwrap(),
            Message::Bye
        );
        assert!(Message::parse(br#"{"type":"dance"}"#).is_err());
        let bad = br#"{"type":"refs","refs":[["../x","00"]],"more":false}"#;
        assert!(Message::parse(bad).is_err());
    }

    #[test]
    fn ids_and_bitmaps() {
        let id = ObjectId::new(ObjectKind::DirTree, Checksum::of(b"x"));
        let mut bytes = Vec::new();
        put_id(&mut bytes, &id);
        assert_eq!(parse_ids(&bytes).unwrap(), [id]);
        assert!(parse_ids(&bytes[1..]).is_err());
        bytes[0] = ObjectKind::PayloadLink as u8;
        assert!(parse_ids(&bytes).is_err());
        let bits = [true, false, false, true, false, false, false, false, true];
        let bitmap = write_bitmap(bits);
        assert_eq!(bitmap, [0b1001, 1]);
        assert!(
            bits.iter()
                .enumerate()
                .all(|(at, want)| bit(&bitmap, at) == *want)
        );
        assert!(!bit(&bitmap, 100));
    }
}
