// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limits of a receiver: how its owner sets them, and how they are enforced.
//!
//! The keys are in the group `receive` of the repository's config. Sizes may end with K, M, G or T
//! (powers of 1024), times with s, m or h. The receiver's session and its driver enforce counts,
//! frames and bytes on the wire. The quarantine's [`Budget`] enforces unpacked sizes, before
//! objects are written.

use std::cell::Cell;
use std::io::{self, Read};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use oxtree_format::keyfile::KeyFile;
use oxtree_format::{FileId, FilezHeader, ObjectId};
use oxtree_repo::Transaction;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::protocol::frame::MAX_FRAME;
use crate::protocol::message::Limits;

/// The group of the config.
pub const GROUP: &str = "receive";

/// Keys of the group that are no limits.
const OTHER_KEYS: [&str; 2] = ["deny-non-fast-forward", "deny-deletes"];

/// What is held in memory for an id that is offered, about, in bytes.
const ID_MEMORY: u64 = 40;

/// Frames that are smaller could not hold every message.
const MIN_FRAME: u64 = 64 << 10;

/// What may unpack to more than `max-ratio` times what came: something small always may.
const FREE: u64 = 16 << 20;

/// Reads bytes such as `500`, `64K`, `3G`.
pub fn parse_size(text: &str) -> Option<u64> {
    parse(
        text,
        &[
            ("K", 1 << 10),
            ("M", 1 << 20),
            ("G", 1 << 30),
            ("T", 1 << 40),
        ],
    )
}

/// Reads a time such as `90`, `90s`, `5m`, `1h`: seconds.
pub fn parse_seconds(text: &str) -> Option<u64> {
    parse(text, &[("s", 1), ("m", 60), ("h", 3600)])
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let upper = text.to_ascii_uppercase();
    let unit = units
        .iter()
        .find(|(unit, _)| upper.ends_with(&unit.to_ascii_uppercase()));
    let (unit_len, factor) = unit.map_or((0, 1), |(unit, factor)| (unit.len(), *factor));
    let digits = &text[..text.len() - unit_len];
    // A sign is none of ours.
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .parse::<u64>()
        .ok()
        .filter(|_| plain)?
        .checked_mul(factor)
}

type Field = fn(&mut Limits) -> &mut u64;

/// The keys, what they set, and whether 0 is allowed: it turns the limit off.
const SIZES: [(&str, Field, bool); 9] = [
    ("max-refs", |limits| &mut limits.refs, false),
    ("max-ids", |limits| &mut limits.ids, false),
    ("max-objects", |limits| &mut limits.objects, false),
    ("max-object-size", |limits| &mut limits.object, false),
    ("max-bytes", |limits| &mut limits.bytes, false),
    ("max-unpacked-size", |limits| &mut limits.unpacked, false),
    ("max-ratio", |limits| &mut limits.ratio, true),
    ("max-frame-size", |limits| &mut limits.frame, false),
    ("max-memory", |limits| &mut limits.memory, false),
];

const TIMES: [(&str, Field); 2] = [
    ("idle-timeout", |limits| &mut limits.idle),
    ("timeout", |limits| &mut limits.time),
];

/// The limits that a repository's config sets. The error says which key has which fault.
pub fn from_config(config: &KeyFile) -> Result<Limits, String> {
    let mut limits = Limits::default();
    let value = |key: &str| {
        let value = config.string(GROUP, key);
        value.map_err(|error| format!("{GROUP}.{key}: {error}"))
    };
    for (key, field, may_be_off) in SIZES {
        if let Some(text) = value(key)? {
            *field(&mut limits) = parse_size(&text)
                .filter(|size| *size > 0 || may_be_off)
                .ok_or_else(|| {
                    format!(
                        "{GROUP}.{key}: expected a number such as 500, 64K, 20M, 3G, not '{text}'"
                    )
                })?;
        }
    }
    for (key, field) in TIMES {
        if let Some(text) = value(key)? {
            *field(&mut limits) = parse_seconds(&text).ok_or_else(|| {
                format!("{GROUP}.{key}: expected a time such as 90s, 5m, 1h, or 0, not '{text}'")
            })?;
        }
    }
    if !(MIN_FRAME..=MAX_FRAME as u64).contains(&limits.frame) {
        return Err(format!("{GROUP}.max-frame-size: expected 64K to 1M"));
    }
    for key in config.keys(GROUP) {
        let known = SIZES.iter().any(|(known, ..)| *known == key)
            || TIMES.iter().any(|(known, _)| *known == key)
            || OTHER_KEYS.contains(&key);
        if !known {
            tracing::warn!("unknown key {GROUP}.{key} in the config");
        }
    }
    limits.ids = limits.ids.min(limits.memory / ID_MEMORY);
    Ok(limits)
}

impl Limits {
    /// The largest metadata object: each is held in memory as a whole, and with all that is in it.
    pub fn metadata(&self) -> u64 {
        (self.memory / 4).min(oxtree_format::MAX_METADATA_SIZE)
    }

    /// Checks one object's size.
    pub fn check_object(&self, object: &ObjectId, size: u64) -> Result<()> {
        let (what, limit, key) = match object.kind.is_metadata() {
            true => ("a metadata object", self.metadata(), "max-memory"),
            false => ("an object", self.object, "max-object-size"),
        };
        check(what, size, limit, key).map_err(|error| Error::Object {
            object: *object,
            source: Box::new(error),
        })
    }

    /// Checks the number of objects that are to come.
    pub fn check_objects(&self, count: u64) -> Result<()> {
        check("a push", count, self.objects, "max-objects")
    }

    /// Checks what has come over the wire so far, and what it unpacks to.
    pub fn check_stream(&self, came: u64, unpacked: u64) -> Result<()> {
        check("a push", came, self.bytes, "max-bytes")?;
        self.check_ratio(came, unpacked)
    }

    fn check_ratio(&self, came: u64, unpacked: u64) -> Result<()> {
        if self.ratio == 0 || unpacked <= FREE {
            return Ok(());
        }
        let limit = came.saturating_mul(self.ratio);
        check("what a push unpacks to", unpacked, limit, "max-ratio")
    }
}

/// Limits of the pushes of one client, where they are lower than those for all. In JSON, a limit that
/// is not set is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Caps {
    /// [`Limits::object`].
    #[serde(rename = "max_object_size", skip_serializing_if = "Option::is_none")]
    pub object: Option<u64>,
    /// [`Limits::bytes`].
    #[serde(rename = "max_bytes", skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// [`Limits::unpacked`].
    #[serde(rename = "max_unpacked_size", skip_serializing_if = "Option::is_none")]
    pub unpacked: Option<u64>,
    /// [`Limits::objects`].
    #[serde(rename = "max_objects", skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
    /// [`Limits::refs`].
    #[serde(rename = "max_refs", skip_serializing_if = "Option::is_none")]
    pub refs: Option<u64>,
}

impl Caps {
    /// The limits that `get` has for their keys in JSON.
    pub fn from_keys<E>(
        mut get: impl FnMut(&str) -> std::result::Result<Option<u64>, E>,
    ) -> std::result::Result<Self, E> {
        Ok(Self {
            object: get("max_object_size")?,
            bytes: get("max_bytes")?,
            unpacked: get("max_unpacked_size")?,
            objects: get("max_objects")?,
            refs: get("max_refs")?,
        })
    }

    /// Whether there is no limit.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The lower of each two.
    pub fn and(&self, other: &Self) -> Self {
        let lower = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self {
            object: lower(self.object, other.object),
            bytes: lower(self.bytes, other.bytes),
            unpacked: lower(self.unpacked, other.unpacked),
            objects: lower(self.objects, other.objects),
            refs: lower(self.refs, other.refs),
        }
    }

    /// The lower one of each.
    pub fn apply(&self, limits: Limits) -> Limits {
        let lower = |cap: Option<u64>, limit: u64| cap.map_or(limit, |cap| cap.min(limit));
        Limits {
            object: lower(self.object, limits.object),
            bytes: lower(self.bytes, limits.bytes),
            unpacked: lower(self.unpacked, limits.unpacked),
            objects: lower(self.objects, limits.objects),
            refs: lower(self.refs, limits.refs),
            ..limits
        }
    }
}

/// An error if there is too much of something; `key` is what the owner can raise.
pub fn check(what: &'static str, size: u64, limit: u64, key: &'static str) -> Result<()> {
    match size > limit {
        true => Err(Error::OverLimit {
            what,
            size,
            limit,
            key,
        }),
        false => Ok(()),
    }
}

/// What the objects of a push unpack to, all together. Used by many threads at once.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    started: Instant,
    unpacked: AtomicU64,
}

impl Budget {
    /// Nothing is used up yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            started: Instant::now(),
            unpacked: AtomicU64::new(0),
        }
    }

    /// The largest metadata object.
    pub fn largest_metadata(&self) -> u64 {
        self.limits.metadata()
    }

    /// The largest `.filez`.
    pub fn largest_filez(&self) -> u64 {
        let header = oxtree_format::file::MAX_HEADER_LEN as u64;
        self.limits.object.saturating_add(header)
    }

    /// Checks what has come over the wire so far, in which time, and how many objects are known of.
    pub fn check_came(&self, bytes: u64, objects: u64) -> Result<()> {
        let time = self.limits.time;
        if time > 0 && self.started.elapsed() > Duration::from_secs(time) {
            let reason = format!("the push takes longer than {time} s (receive.timeout)");
            return Err(Error::Connection(io::Error::new(
                io::ErrorKind::TimedOut,
                reason,
            )));
        }
        check("a push", bytes, self.limits.bytes, "max-bytes")?;
        check("a push", objects, self.limits.ids, "max-ids")?;
        self.limits.check_objects(objects)
    }

    /// Writes a file that comes as a `.filez` of `came` bytes, if there is room for what it says it
    /// unpacks to. Returns how much that is.
    pub fn write_filez(
        &self,
        transaction: &Transaction<'_>,
        id: FileId,
        filez: &mut dyn Read,
        came: u64,
        max_size: u64,
    ) -> Result<u64> {
        let (over, size) = (OnceLock::new(), Cell::new(0));
        let object = id.object();
        let check = |header: &FilezHeader| {
            size.set(header.size);
            self.take_up_to(&object, came, header.size, max_size)
                .map_err(|error| {
                    let reason = error.to_string();
                    // Only the first error counts, and there is but one.
                    let _ = over.set(error);
                    oxtree_repo::Error::corrupt(object, reason)
                })
        };
        let written = transaction.write_filez(id, filez, &check);
        match over.into_inner() {
            Some(error) => Err(error),
            None => Ok(written.map(|()| size.get())?),
        }
    }

    /// Checks an object of which was not known before how many bytes would come.
    pub fn check_object_ratio(&self, object: &ObjectId, came: u64, size: u64) -> Result<()> {
        let in_object = |error| Error::Object {
            object: *object,
            source: Box::new(error),
        };
        self.limits.check_ratio(came, size).map_err(in_object)
    }

    /// [`Budget::take`] where no object may be larger than `max_size`.
    pub fn take_up_to(&self, object: &ObjectId, came: u64, size: u64, max_size: u64) -> Result<()> {
        check("an object", size, max_size, "max-object-size")?;
        self.take(object, came, size)
    }

    /// Asks for room for an object that came as `came` bytes and unpacks to `size`, before it is
    /// written.
    pub fn take(&self, object: &ObjectId, came: u64, size: u64) -> Result<()> {
        let limits = &self.limits;
        let in_object = |error| Error::Object {
            object: *object,
            source: Box::new(error),
        };
        limits.check_object(object, size)?;
        self.check_object_ratio(object, came, size)?;
        let before = self.unpacked.fetch_add(size, Ordering::Relaxed);
        let all = before.saturating_add(size);
        let what = "what a push unpacks to";
        check(what, all, limits.unpacked, "max-unpacked-size").map_err(in_object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxtree_format::{Checksum, ObjectKind};

    fn limits(text: &str) -> Result<Limits, String> {
        from_config(&KeyFile::parse(format!("[receive]\n{text}\n").as_bytes()).unwrap())
    }

    #[test]
    fn sizes_and_times() {
        for (text, size) in [
            ("0", 0),
            ("7", 7),
            ("64K", 64 << 10),
            ("64k", 64 << 10),
            ("3M", 3 << 20),
            ("2G", 2 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Some(size), "{text}");
        }
        for bad in [
            "",
            "K",
            "-1",
            "+1",
            "1.5M",
            "1KB",
            "1 K",
            "99999999999999999999",
            "99999999T",
            "ä",
        ] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
        for (text, seconds) in [("0", 0), ("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600)] {
            assert_eq!(parse_seconds(text), Some(seconds), "{text}");
        }
        for bad in ["", "m", "5d", "-1s", "1K"] {
            assert_eq!(parse_seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_key_is_read_and_faults_name_it() {
        assert_eq!(limits(""), Ok(Limits::default()));
        for (key, field, may_be_off) in SIZES {
            let value = if key == "max-frame-size" {
                65536
            } else {
                12345
            };
            let mut set = limits(&format!("{key}={value}")).unwrap();
            assert_eq!(*field(&mut set), value, "{key}");
            let off = limits(&format!("{key}=0"));
            assert_eq!(off.is_ok(), may_be_off, "{key}");
            let error = limits(&format!("{key}=much")).unwrap_err();
            assert!(error.contains(key) && error.contains("much"), "{error}");
        }
        for (key, field) in TIMES {
            assert_eq!(*field(&mut limits(&format!("{key}=2m")).unwrap()), 120);
            assert_eq!(*field(&mut limits(&format!("{key}=0")).unwrap()), 0);
            let error = limits(&format!("{key}=soon")).unwrap_err();
            assert!(error.contains(key) && error.contains("soon"), "{error}");
        }
        for bad in ["1K", "2M"] {
            let error = limits(&format!("max-frame-size={bad}")).unwrap_err();
            assert!(error.contains("max-frame-size"), "{error}");
        }
    }

    #[test]
    fn memory_bounds_ids_and_metadata() {
        let small = limits("max-memory=4000").unwrap();
        assert_eq!((small.ids, small.metadata()), (100, 1000));
        let tree = ObjectId::new(ObjectKind::DirTree, Checksum::of(b"x"));
        assert!(small.check_object(&tree, 1000).is_ok());
        let error = small.check_object(&tree, 1001).unwrap_err();
        assert!(format!("{error}").contains("receive.max-memory"), "{error}");
    }

    #[test]
    fn a_budget_is_used_up() {
        let file = ObjectId::new(ObjectKind::File, Checksum::of(b"x"));
        let budget = |text: &str| Budget::new(limits(text).unwrap());
        let says = |taken: Result<()>, word: &str| {
            let error = taken.unwrap_err().to_string();
            assert!(
                error.contains(word) && error.contains(&file.to_string()),
                "{error}"
            );
        };
        let total = budget("max-unpacked-size=100");
        total.take(&file, 1, 60).unwrap();
        total.take(&file, 1, 40).unwrap();
        says(total.take(&file, 1, 1), "receive.max-unpacked-size");
        says(
            budget("max-object-size=9").take(&file, 1, 10),
            "receive.max-object-size",
        );
        let ratio = budget("max-ratio=10");
        ratio.take(&file, 1, FREE).unwrap();
        ratio.take(&file, FREE, FREE * 10).unwrap();
        says(ratio.take(&file, FREE, FREE * 10 + 1), "receive.max-ratio");
        budget("").take(&file, 1, 60 << 30).unwrap();
        assert!(budget("").take(&file, u64::MAX, u64::MAX).is_err());
    }
}
