// SPDX-License-Identifier: MIT OR Apache-2.0
//! Static deltas: files that make one commit of another, or of nothing.
//!
//! # Files
//!
//! A delta is a folder `deltas/AB/CD…`, where `ABCD…` is the commit that one gets in base64, or the one that
//! one needs, `-`, and the one that one gets ([`DeltaName::folder`]). In it are `superblock` and the parts
//! `0`, `1`, …, unless they are in the superblock. `delta-indexes/AB/CD….index`, named by the commit
//! that one gets, lists the deltas that lead there ([`index`]).
//!
//! # The superblock
//!
//! `(a{sv}tayay(a{sv}aya(say)sstayay)aya(uayttay)a(yaytt))`:
//!
//! 1. metadata: what the maker has to say, then [`keys::ENDIANNESS`]; for an inline part, the path of its
//!    file with the file's bytes as `(yay)`; for detached metadata of the commit, the path
//!    `deltas/AB/CD…/commitmeta` with an `a{sv}`;
//! 2. when it was made, in seconds since 1970, big-endian;
//! 3. the commit that one needs, or no bytes;
//! 4. the commit that one gets, and
//! 5. that commit object itself;
//! 6. deltas to be applied before it, pairs of checksums; always none;
//! 7. the parts: version (0), SHA-256 of the file, its size, the size of all objects in it, and the
//!    objects, 33 bytes each: the kind's number and the checksum;
//! 8. objects that are to be fetched one by one instead: kind, checksum, size as stored, size of
//!    the content.
//!
//! Versions and sizes of 7 and 8 are in the byte order that the metadata names. Deltas of libostree
//! before 2015 do not say it: they are taken to be little-endian here, unless that makes no sense
//! ([`Superblock::byte_order`]).
//!
//! A *signed* superblock is a `(taya{sv})`: the letters `OSTSGNDT`, the superblock's bytes, and signatures of
//! them under the keys that detached metadata has for them, too ([`Signed`]).
//!
//! # A part
//!
//! One byte says how the rest is packed: `x` for xz, 0 for not at all. Unpacked it is the [`part`]'s *payload*,
//! `(a(uuu)aa(ayay)ayay)`: owner, group and mode (big-endian) of files; sets of extended attributes;
//! a blob; and operations on it, which make the objects in the order in which the superblock lists them. An
//! operation is a letter and numbers in LEB128:
//!
//! | | numbers | what it does |
//! | --- | --- | --- |
//! | `S` | length, offset | the next object, metadata, is this of the blob |
//! | `S` | mode, attributes, length, offset | the next object, a file, has this content; a link, this target |
//! | `o` | mode, attributes, size | begins the next object, a file of this size |
//! | `w` | length, offset | goes on with this of the blob, or of the source, if there is one |
//! | `B` | offset, length | goes on with what this of the blob, a patch, makes of the source |
//! | `c` | | ends the object; there is no source any more |
//! | `r` | offset | the source is the file object whose checksum is here in the blob |
//! | `R` | | there is no source any more |
//!
//! `S` ends the source, too.
//!
//! A patch is bsdiff's, without a header: again and again three numbers of 8 bytes (little-endian, the
//! highest bit for the sign): how many bytes are to be added to those of the source, how many are
//! new, and how far to go on in the source then; then these bytes ([`patch`]).

pub mod index;
mod name;
mod operations;
pub mod part;
pub mod patch;
mod signed;
mod superblock;
mod write;

pub use name::DeltaName;
pub use operations::NewOperations;
pub use signed::{Signed, sign};
pub use superblock::{ByteOrder, Fallback, Objects, Part, Superblock};
pub use write::{NewPart, NewSuperblock};

/// Metadata keys of a superblock.
pub mod keys {
    /// `y`: `l` or `B`, the order of the bytes of versions and sizes.
    pub const ENDIANNESS: &str = "ostree.endianness";
}
