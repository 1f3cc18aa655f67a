// SPDX-License-Identifier: MIT OR Apache-2.0
//! GVariant values to bytes and back, in normal form only.
//!
//! OSTree keeps all of its metadata (commits, directories, summaries, deltas) as
//! [GVariant](https://docs.gtk.org/glib/gvariant-format-strings.html) bytes, and names objects by
//! the hash of those bytes. So two things matter more than anything else here: a value has exactly
//! one way to be written, and bytes that are not that one way are refused.
//!
//! # How a value is laid out
//!
//! A GVariant has a type, which is known from elsewhere, and bytes, which hold nothing but the
//! value: no names, no tags, no header.
//!
//! | type | letter | bytes | Rust |
//! | --- | --- | --- | --- |
//! | byte, boolean | `y` `b` | one; a boolean is 0 or 1 | [`u8`], [`bool`] |
//! | numbers | `n q i u x t d` | 2, 4 or 8, little endian here | [`i16`] … [`u64`], [`f64`], [`Be`] |
//! | string | `s` | UTF-8, then a zero byte | [`str`] |
//! | object path, signature | `o` `g` | as strings, with rules of their own | in a [`Variant`] |
//! | array | `a…` | the elements | [`Vec`] to write, [`Seq`] to read; `ay` is `&[u8]` |
//! | tuple | `(…)` | the members | tuples of 1 to 8 |
//! | dictionary entry | `{kv}` | as a pair | [`Entry`] |
//! | optional value | `m…` | nothing, or the value | in a [`Variant`] |
//! | variant | `v` | the value, a zero byte, its type string | [`Variant`], [`OwnedVariant`] |
//!
//! **Alignment.** A number starts at a multiple of its size, counted from the start of the whole
//! value; a container is aligned like its most demanding member, a variant always to 8. The gaps
//! are filled with zero bytes.
//!
//! **Sizes.** Numbers and booleans have a fixed size, and so has a tuple of nothing but such
//! members: it is padded to a multiple of its alignment, so that an array of them needs no padding.
//! The tuple of no members at all is one zero byte.
//!
//! **Framing offsets.** Where a member's size is not fixed, its container says where it ends: an
//! array of such elements is followed by the end of each, a tuple by the ends of such members in
//! reverse order, leaving out its last member, which ends where the offsets begin. Offsets count
//! from the container's start and are 1, 2, 4 or 8 bytes wide, the smallest that can hold the
//! container's size with the offsets included; they are little endian whatever the numbers are.
//! A present optional value whose size is not fixed is followed by a zero byte instead, so that it
//! differs from an absent one, which is no bytes at all.
//!
//! # Normal form
//!
//! GLib reads any bytes, making up default values where they make no sense. This crate reads only
//! what a writer would have written: padding is zero, offsets are in order and no wider than
//! needed, nothing is left over, strings are valid. What GLib calls normal and this crate does not:
//! a *tuple of zero length* whose type needs framing offsets (for example an empty file as a
//! directory object). GLib never writes one: it writes the same value with its offsets.
//!
//! Two limits go beyond the format: nesting deeper than [`MAX_DEPTH`] and type strings longer than
//! 64 KiB are refused.
//!
//! # Hostile bytes
//!
//! Reading never panics and never recurses deeper than [`MAX_DEPTH`]. [`from_bytes`] checks the
//! whole value once, in time linear in its length, and allocates only while it looks at the type
//! string of a variant. Taking elements out of a [`Seq`] does not check again what they contain,
//! except that strings are looked at once more: nothing here is `unsafe`.
//!
//! ```
//! use oxtree_gvariant::{Seq, from_bytes, to_bytes};
//!
//! let bytes = to_bytes(&(vec!["a", "b"], 7_u32));
//! let (names, number): (Seq<'_, &str>, u32) = from_bytes(&bytes)?;
//! assert_eq!(names.iter().collect::<Vec<_>>(), ["a", "b"]);
//! assert_eq!(number, 7);
//! # Ok::<(), oxtree_gvariant::Error>(())
//! ```

mod array;
mod basic;
mod dynamic;
mod error;
mod framing;
pub mod text;
mod traits;
mod tuple;
mod variant;

pub use array::{Iter, Seq};
pub use basic::Be;
pub use error::{Error, Result};
pub use traits::{Decode, Encode, MAX_DEPTH, Type, from_bytes, to_bytes, type_string};
pub use tuple::Entry;
pub use variant::{Dict, OwnedVariant, Variant};
