// SPDX-License-Identifier: MIT OR Apache-2.0
//! The messages of ostree-push before version 0.1.1, which its 1.2.0 still takes by the name
//! `ostree-receive-0`.
//!
//! A message is a head of five bytes (the byte order, `l` or `B`; the version, 0; the
//! kind; the length of the body as `u16`), and the body, an `a{sv}`. Head and body are in
//! that byte order. After a [`Request::Put`] come the bytes of the object's loose file.
//!
//! ```text
//! receiver   info                status          status
//! pusher            update | done        put, bytes  …       done
//! ```

use oxtree_format::gvariant::{Dict, Entry, OwnedVariant, Type, Variant, to_bytes, type_string};
use oxtree_format::refs::RefName;
use oxtree_format::{Checksum, CommitId, ObjectId, ObjectKind};

use crate::error::{Error, Result};

/// Bytes of a message's head.
pub const HEAD_LEN: usize = 5;

/// The only version of these messages.
const VERSION: u8 = 0;

const LITTLE: u8 = b'l';
const BIG: u8 = b'B';

/// A status says no more than this, in bytes: it has to fit into a message.
const MAX_TEXT: usize = 4096;

/// The kinds of objects that a commit needs.
const KINDS: [ObjectKind; 5] = [
    ObjectKind::File,
    ObjectKind::DirTree,
    ObjectKind::DirMeta,
    ObjectKind::Commit,
    ObjectKind::CommitMeta,
];

/// The commit of a ref that is not there.
const NONE: Checksum = Checksum([0; 32]);

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Info = 0,
    Update = 1,
    Put = 2,
    Status = 3,
    Done = 4,
}

/// The head of a pusher's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    kind: Kind,
    big_endian: bool,
    /// Bytes of the body.
    pub len: u16,
}

/// What the pusher says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// It wants these refs to change.
    Update(Vec<Change>),
    /// An object of this size follows: a metadata object's own bytes, or a `.filez`.
    Put {
        /// Which object.
        object: ObjectId,
        /// Its size, in bytes.
        size: u64,
    },
    /// That was all.
    Done,
}

/// How a ref shall change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The ref.
    pub name: RefName,
    /// What it is, if it is there.
    pub from: Option<CommitId>,
    /// What it shall be.
    pub to: CommitId,
}

/// What the receiver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The first message: how the repository stores files, as libostree numbers that, and its refs.
    Info {
        /// 1 for an archive.
        mode: i32,
        /// Names and commits.
        refs: &'a [(String, String)],
    },
    /// The answer to each message but the last.
    Status {
        /// Whether it may go on.
        ok: bool,
        /// Why not.
        text: &'a str,
    },
}

impl Head {
    /// Reads a head.
    pub fn parse(bytes: [u8; HEAD_LEN]) -> Result<Self> {
        let [order, version, kind, len @ ..] = bytes;
        let big_endian = match order {
            LITTLE => false,
            BIG => true,
            _ => return Err(wrong("it does not begin with a byte order")),
        };
        if version != VERSION {
            return Err(wrong(&format!("version {version}, and not {VERSION}")));
        }
        let all = [
            Kind::Info,
            Kind::Update,
            Kind::Put,
            Kind::Status,
            Kind::Done,
        ];
        let kind = all.into_iter().find(|known| *known as u8 == kind);
        let kind = kind.ok_or_else(|| wrong("of an unknown kind"))?;
        let len = match big_endian {
            true => u16::from_be_bytes(len),
            false => u16::from_le_bytes(len),
        };
        Ok(Self {
            kind,
            big_endian,
            len,
        })
    }
}

impl Request {
    /// Reads the body of a message.
    pub fn parse(head: Head, body: &[u8]) -> Result<Self> {
        let bad = |error| wrong(&format!("{error}"));
        let sig = type_string::<Dict<'_>>();
        let body = Variant::new(&sig, body).map_err(bad)?;
        let body = match head.big_endian {
            true => body.byteswapped().map_err(bad)?,
            false => body.to_owned(),
        };
        let dict: Dict<'_> = body.as_ref().as_().map_err(bad)?;
        match head.kind {
            Kind::Update => Ok(Self::Update(changes(&dict)?)),
            Kind::Put => put(&dict),
            Kind::Done => Ok(Self::Done),
            Kind::Info | Kind::Status => Err(wrong("a receiver's, and not a pusher's")),
        }
    }

    /// The whole message, as a little-endian pusher sends it.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Update(changes) => {
                let text = |commit: CommitId| commit.to_string();
                let entry = |change: &Change| {
                    let from = change.from.unwrap_or(CommitId(NONE));
                    let value = OwnedVariant::of(&(text(from), text(change.to)));
                    Entry(change.name.to_string(), value)
                };
                let entries: Vec<_> = changes.iter().map(entry).collect();
                message(Kind::Update, &to_bytes(&entries))
            }
            Self::Put { object, size } => {
                let suffix = if object.kind.is_metadata() { "" } else { "z" };
                let body = vec![
                    Entry("object", OwnedVariant::of(&format!("{object}{suffix}"))),
                    Entry("size", OwnedVariant::of(size)),
                ];
                message(Kind::Put, &to_bytes(&body))
            }
            Self::Done => message(Kind::Done, &[]),
        }
    }
}

impl Reply<'_> {
    /// The whole message. What is too long for one is cut: of refs the last ones are left out.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Info { mode, refs } => {
                let refs = &refs[..refs_that_fit(*mode, refs)];
                message(Kind::Info, &info(*mode, refs))
            }
            Self::Status { ok, text } => {
                let mut ends = (0..=text.len().min(MAX_TEXT)).rev();
                let end = ends.find(|end| text.is_char_boundary(*end));
                let text = &text[..end.unwrap_or(0)];
                let body = vec![
                    Entry("result", OwnedVariant::of(ok)),
                    Entry("message", OwnedVariant::of(text)),
                ];
                message(Kind::Status, &to_bytes(&body))
            }
        }
    }
}

/// How many of the refs fit into an [`Reply::Info`]: some hundreds.
pub fn refs_that_fit(mode: i32, refs: &[(String, String)]) -> usize {
    let mut count = refs.len();
    loop {
        let len = info(mode, &refs[..count]).len();
        if len <= usize::from(u16::MAX) {
            return count;
        }
        // Less in any case: by what they are too long, on average.
        count = count * usize::from(u16::MAX) / len;
    }
}

/// The body of an [`Reply::Info`], whether it fits into a message or not.
fn info(mode: i32, refs: &[(String, String)]) -> Vec<u8> {
    let refs: Vec<_> = refs
        .iter()
        .map(|(name, commit)| Entry(name.as_str(), commit.as_str()))
        .collect();
    to_bytes(&vec![
        Entry("mode", OwnedVariant::of(&mode)),
        Entry("refs", OwnedVariant::of(&refs)),
    ])
}

/// A message. A body that is too long for one is cut: whoever makes it sees to it that it is not.
fn message(kind: Kind, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let [low, high] = len.to_le_bytes();
    let mut bytes = vec![LITTLE, VERSION, kind as u8, low, high];
    bytes.extend_from_slice(&body[..usize::from(len)]);
    bytes
}

fn changes(dict: &Dict<'_>) -> Result<Vec<Change>> {
    let mut changes: Vec<Change> = Vec::with_capacity(dict.len());
    for Entry(name, value) in dict.iter() {
        let name: RefName = name.parse().map_err(|error| wrong(&format!("{error}")))?;
        let (from, to): (&str, &str) = typed(&value)?;
        let [from, to] = [commit(from)?, commit(to)?];
        let from = (from.0 != NONE).then_some(from);
        changes.push(Change { name, from, to });
    }
    changes.sort_by(|a, b| a.name.cmp(&b.name));
    match changes.windows(2).any(|pair| pair[0].name == pair[1].name) {
        true => Err(wrong("it names a ref twice")),
        false => Ok(changes),
    }
}

fn commit(text: &str) -> Result<CommitId> {
    text.parse()
        .map_err(|_| wrong(&format!("{text:?} is no commit")))
}

fn put(dict: &Dict<'_>) -> Result<Request> {
    let field = |key: &str| {
        let value = dict.lookup(key);
        value.ok_or_else(|| wrong(&format!("it has no {key:?}")))
    };
    let name: &str = typed(&field("object")?)?;
    let size = typed(&field("size")?)?;
    let object = loose(name).ok_or_else(|| wrong(&format!("{name:?} is no object's name")))?;
    Ok(Request::Put { object, size })
}

/// The object with this name in an archive.
fn loose(name: &str) -> Option<ObjectId> {
    let (dir, file) = name.split_at_checked(2)?;
    ObjectId::from_loose(dir, file, true).filter(|object| KINDS.contains(&object.kind))
}

fn typed<'a, T: Type + oxtree_format::gvariant::Decode<'a>>(value: &Variant<'a>) -> Result<T> {
    value.as_().map_err(|error| wrong(&format!("{error}")))
}

fn wrong(reason: &str) -> Error {
    Error::Protocol(format!("a message of ostree-push is wrong: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Request> {
        let (head, body) = bytes.split_first_chunk().expect("a head");
        let head = Head::parse(*head)?;
        assert_eq!(usize::from(head.len), body.len());
        Request::parse(head, body)
    }

    fn big_endian(bytes: &[u8], sig: &str) -> Vec<u8> {
        let body = Variant::new(sig, &bytes[HEAD_LEN..]).unwrap();
        let body = body.byteswapped().unwrap().data;
        let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[BIG, VERSION, bytes[2], high, low], &body[..]].concat()
    }

    fn id() -> impl Strategy<Value = CommitId> {
        any::<[u8; 32]>().prop_map(|bytes| CommitId(Checksum(bytes)))
    }

    fn request() -> impl Strategy<Value = Request> {
        let change = (id(), prop::option::of(id()));
        let changes = prop::collection::btree_map("[a-z]{1,20}", change, 0..10);
        let update = changes.prop_map(|changes| {
            let change = |(name, (to, from)): (String, (CommitId, Option<CommitId>))| Change {
                name: name.parse().unwrap(),
                from: from.filter(|id| id.0 != NONE),
                to,
            };
            Request::Update(changes.into_iter().map(change).collect())
        });
        let put = (prop::sample::select(&KINDS[..]), id(), any::<u64>());
        let put = put.prop_map(|(kind, id, size)| Request::Put {
            object: ObjectId::new(kind, id.0),
            size,
        });
        prop_oneof![update, put, Just(Request::Done)]
    }

    proptest! {
        #[test]
        fn what_is_said_is_heard_in_either_byte_order(request in request()) {
            let bytes = request.to_bytes();
            prop_assert_eq!(read(&bytes).unwrap(), request.clone());
            prop_assert_eq!(read(&big_endian(&bytes, "a{sv}")).unwrap(), request);
        }

        #[test]
        fn any_bytes_are_harmless(head in any::<[u8; 5]>(), body in any::<Vec<u8>>()) {
            let mut head = head;
            head[0] = LITTLE;
            head[1] = VERSION;
            head[2] %= 5;
            let _ = Request::parse(Head::parse(head).unwrap(), &body);
        }

        #[test]
        fn refs_are_cut_at_the_largest_message(count in 0usize..1500, len in 1usize..200) {
            let refs: Vec<_> = (0..count)
                .map(|n| (format!("{n:0len$}"), "0".repeat(64)))
                .collect();
            let fit = refs_that_fit(1, &refs);
            let bytes = Reply::Info { mode: 1, refs: &refs }.to_bytes();
            prop_assert!(bytes.len() <= HEAD_LEN + usize::from(u16::MAX));
            let said = u16::from_le_bytes([bytes[3], bytes[4]]);
            prop_assert_eq!(usize::from(said), bytes.len() - HEAD_LEN);
            // Hardly anything is left out that there is room for.
            let more = info(1, &refs[..(fit + 1 + fit / 10).min(count)]).len();
            prop_assert!(fit == count || more > usize::from(u16::MAX));
        }
    }

    #[test]
    fn long_reasons_are_cut() {
        let text = "ä".repeat(100_000);
        let bytes = Reply::Status {
            ok: false,
            text: &text,
        }
        .to_bytes();
        assert!(bytes.len() < MAX_TEXT + 100);
    }

    #[test]
    fn names_that_are_none() {
        let hex = "0".repeat(64);
        let file = |name: &str| {
            let body = vec![
                Entry("object", OwnedVariant::of(name)),
                Entry("size", OwnedVariant::of(&1_u64)),
            ];
            read(&message(Kind::Put, &to_bytes(&body)))
        };
        assert!(file(&format!("{hex}.filez")).is_ok());
        for bad in [
            String::new(),
            "ä".to_owned(),
            hex.clone(),
            format!("{hex}.file"),
            format!("{hex}.filez/../x"),
            format!("{hex}.tombstone-commit"),
            format!("{hex}.payload-link"),
            format!("{}.commit", "A".repeat(64)),
            format!("../../{hex}.commit"),
            format!("/etc/{hex}.commit"),
            "../../../etc/passwd".to_owned(),
        ] {
            assert!(file(&bad).is_err(), "{bad}");
        }
        for bad in ["../x", "", "a//b", "a b", "-x/.."] {
            let value = OwnedVariant::of(&(hex.as_str(), hex.as_str()));
            let body = to_bytes(&vec![Entry(bad, value)]);
            assert!(read(&message(Kind::Update, &body)).is_err(), "{bad}");
        }
        let twice = || Entry("a", OwnedVariant::of(&(hex.as_str(), hex.as_str())));
        let body = to_bytes(&vec![twice(), twice()]);
        assert!(read(&message(Kind::Update, &body)).is_err());
        for head in [*b"x\0\0\0\0", *b"l\x01\0\0\0", *b"l\0\x05\0\0"] {
            assert!(Head::parse(head).is_err());
        }
        assert!(read(&message(Kind::Status, &[])).is_err());
    }
}
