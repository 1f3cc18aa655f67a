// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commit objects: `(a{sv}aya(say)sstayay)`.
//!
//! Metadata, the parent's checksum (empty for none), related objects (libostree always writes
//! none), subject, body, the time in seconds since 1970 (big-endian), and the root directory's
//! dirtree and dirmeta.

use oxtree_gvariant::{Be, Dict, Encode, Entry, Seq, Type, Variant, from_bytes, to_bytes};

use crate::dirtree::DirId;
use crate::{Checksum, CommitId, DirMetaId, DirTreeId, Error};

/// Metadata keys that have a meaning for OSTree itself.
pub mod keys {
    /// `s`: the version that `log` and `show` print.
    pub const VERSION: &str = "version";
    /// `as`, sorted: the refs that may point at the commit.
    pub const REF_BINDING: &str = "ostree.ref-binding";
    /// `s`: the collection those refs are in.
    pub const COLLECTION_BINDING: &str = "ostree.collection-binding";
    /// `aay`: the sizes of all objects below the commit.
    pub const SIZES: &str = "ostree.sizes";
    /// `ay` of 32 bytes: the fs-verity digest of the commit's composefs image.
    pub const COMPOSEFS_DIGEST: &str = "ostree.composefs.digest.v0";
    /// `s`: why nobody should use this branch any more.
    pub const ENDOFLIFE: &str = "ostree.endoflife";
    /// `s`: the branch to use instead.
    pub const ENDOFLIFE_REBASE: &str = "ostree.endoflife-rebase";
}

/// A parsed commit that borrows its object's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// The metadata.
    pub metadata: Dict<'a>,
    /// The commit before this one.
    pub parent: Option<CommitId>,
    /// Related objects, by name. Nothing uses them.
    pub related: Seq<'a, (&'a str, &'a [u8])>,
    /// The first line of the message.
    pub subject: &'a str,
    /// The rest of the message.
    pub body: &'a str,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// The root directory.
    pub root: DirId,
}

pub(crate) type CommitVariant<'a, D, R> = (
    D,
    &'a [u8],
    R,
    &'a str,
    &'a str,
    Be<u64>,
    &'a [u8],
    &'a [u8],
);
pub(crate) type Related<'a> = Seq<'a, (&'a str, &'a [u8])>;

impl<'a> Commit<'a> {
    /// Parses and checks a commit object.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (metadata, parent, related, subject, body, Be(timestamp), tree, meta) =
            from_bytes::<CommitVariant<'a, Dict<'a>, Related<'a>>>(bytes)?;
        let parent = match parent {
            [] => None,
            parent => Some(CommitId::from_bytes(parent)?),
        };
        let root = DirId {
            tree: DirTreeId::from_bytes(tree)?,
            meta: DirMetaId::from_bytes(meta)?,
        };
        if metadata.iter().any(|Entry(key, _)| key.is_empty()) {
            return Err(Error::MetadataKey(String::new()));
        }
        Ok(Self {
            metadata,
            parent,
            related,
            subject,
            body,
            timestamp,
            root,
        })
    }

    /// The commit's bytes again.
    pub fn to_bytes(&self) -> Vec<u8> {
        let parent = self
            .parent
            .as_ref()
            .map_or(&[][..], |parent| parent.as_bytes());
        self.write(self.metadata, parent, self.related)
    }

    fn write<D: Encode + Type, R: Encode + Type>(
        &self,
        metadata: D,
        parent: &[u8],
        related: R,
    ) -> Vec<u8> {
        let (tree, meta) = (
            &self.root.tree.as_bytes()[..],
            &self.root.meta.as_bytes()[..],
        );
        let timestamp = Be(self.timestamp);
        to_bytes(&(
            metadata,
            parent,
            related,
            self.subject,
            self.body,
            timestamp,
            tree,
            meta,
        ))
    }

    /// The metadata value called `key`.
    pub fn metadata_value(&self, key: &str) -> Option<Variant<'a>> {
        self.metadata
            .iter()
            .find(|Entry(k, _)| *k == key)
            .map(|Entry(_, value)| value)
    }

    /// The metadata value called `key`, if it is a string.
    pub fn metadata_str(&self, key: &str) -> Option<&'a str> {
        self.metadata_value(key)?.as_::<&str>().ok()
    }

    /// The refs this commit is bound to; [`None`] if it says nothing about that.
    pub fn ref_bindings(&self) -> Option<Vec<&'a str>> {
        let refs: Seq<'a, &'a str> = self.metadata_value(keys::REF_BINDING)?.as_().ok()?;
        Some(refs.iter().collect())
    }

    /// The checksum of what the commit holds, whatever its message, time and metadata: that of the
    /// root's dirtree and dirmeta checksums.
    pub fn content_checksum(&self) -> Checksum {
        content_checksum(&self.root)
    }
}

/// [`Commit::content_checksum`] of a commit with this root.
pub fn content_checksum(root: &DirId) -> Checksum {
    Checksum::of(&[root.tree.as_bytes().as_slice(), root.meta.as_bytes()].concat())
}

/// The parts of a new commit.
#[derive(Clone, Debug)]
pub struct NewCommit<'a> {
    /// The metadata, in the order in which it is to be written.
    pub metadata: Vec<(&'a str, Variant<'a>)>,
    /// The commit before this one.
    pub parent: Option<CommitId>,
    /// The first line of the message.
    pub subject: &'a str,
    /// The rest of the message.
    pub body: &'a str,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// The root directory.
    pub root: DirId,
}

impl NewCommit<'_> {
    /// The commit's bytes. Refuses empty metadata keys, which libostree does not read.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let metadata: Vec<Entry<&str, Variant<'_>>> = self
            .metadata
            .iter()
            .map(|(key, value)| Entry(*key, *value))
            .collect();
        let parent: &[u8] = self.parent.as_ref().map_or(&[], |parent| parent.as_bytes());
        let related: Vec<(&str, &[u8])> = Vec::new();
        let bytes = to_bytes(&(
            metadata,
            parent,
            related,
            self.subject,
            self.body,
            Be(self.timestamp),
            &self.root.tree.as_bytes()[..],
            &self.root.meta.as_bytes()[..],
        ));
        Commit::parse(&bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_vector() {
        let bindings = to_bytes(&vec!["main"]);
        let commit = NewCommit {
            metadata: vec![
                (
                    "version",
                    Variant {
                        sig: "s",
                        data: b"1\0",
                    },
                ),
                (
                    keys::REF_BINDING,
                    Variant {
                        sig: "as",
                        data: &bindings,
                    },
                ),
            ],
            parent: None,
            subject: "subj",
            body: "body",
            timestamp: 1_700_000_000,
            root: DirId {
                tree: "7f27d2d1efc2f2e8eef48ffdc74e8e5f7f5ce71a9912e5a2eed038fea42e38b3"
                    .parse()
                    .unwrap(),
                meta: "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488"
                    .parse()
                    .unwrap(),
            },
        };
        let bytes = commit.to_bytes().unwrap();
        assert_eq!(
            Checksum::of(&bytes).to_string(),
            "311dc415721091c5867431fb444be9b6421835d88f05fc3ccdf081251d5cc80a"
        );
        let parsed = Commit::parse(&bytes).unwrap();
        assert_eq!(parsed.metadata_str("version"), Some("1"));
        assert_eq!(parsed.ref_bindings(), Some(vec!["main"]));
        assert_eq!(parsed.timestamp, 1_700_000_000);
        assert_eq!(parsed.to_bytes(), bytes);
    }

    #[test]
    fn cut_and_changed_commits_do_not_panic() {
        let root = DirId {
            tree: DirTreeId(Checksum::of(b"a")),
            meta: DirMetaId(Checksum::of(b"b")),
        };
        let bytes = NewCommit {
            metadata: vec![],
            parent: Some(CommitId(Checksum::of(b"c"))),
            subject: "s",
            body: "",
            timestamp: 1,
            root,
        };
        let bytes = bytes.to_bytes().unwrap();
        for end in 0..bytes.len() {
            assert!(Commit::parse(&bytes[..end]).is_err(), "cut at {end}");
        }
    }
}
