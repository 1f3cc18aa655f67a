// SPDX-License-Identifier: MIT OR Apache-2.0
//! The three traits that tie Rust types to GVariant types.

use crate::Result;

/// How deeply containers, and variants in variants, may be nested.
///
/// This bounds the stack that hostile bytes can make a reader use. OSTree's own types are at most
/// six deep.
pub const MAX_DEPTH: u8 = 64;

/// A Rust type that stands for a GVariant type.
pub trait Type {
    /// Alignment of a value in its container, in bytes: 1, 2, 4 or 8.
    const ALIGN: usize;
    /// Size in bytes, if every value of the type has the same.
    const FIXED: Option<usize>;
    /// Appends the type string, for example `a{sv}`.
    fn sig(s: &mut String);
}

/// A value that can be written.
pub trait Encode: Type {
    /// Appends the value's bytes to `w`.
    ///
    /// `w` must be aligned for the type, that is, `w.len()` a multiple of [`Type::ALIGN`]: containers
    /// pad before each member.
    fn put(&self, w: &mut Vec<u8>);
}

/// A value that can be read, borrowing from its bytes.
pub trait Decode<'a>: Type + Sized {
    /// Reads the value that `b` is, all of it, in normal form.
    ///
    /// `depth` is how many more levels of containers may be entered.
    ///
    /// # Errors
    /// Says which rule the bytes break; reading never panics.
    fn get(b: &'a [u8], depth: u8) -> Result<Self>;

    /// Reads bytes that [`get`](Decode::get) has accepted before, as when an element is taken out
    /// of an array that was checked; containers need not check what they hold again.
    ///
    /// # Errors
    /// None after `get` accepted the bytes. Others give an error or some value, but no panic.
    fn reread(b: &'a [u8]) -> Result<Self> {
        Self::get(b, MAX_DEPTH)
    }
}

impl<T: Type + ?Sized> Type for &T {
    const ALIGN: usize = T::ALIGN;
    const FIXED: Option<usize> = T::FIXED;
    fn sig(s: &mut String) {
        T::sig(s);
    }
}

impl<T: Encode + ?Sized> Encode for &T {
    fn put(&self, w: &mut Vec<u8>) {
        (**self).put(w);
    }
}

/// The type string of `T`, for example `(uuua(ayay))`.
#[must_use]
pub fn type_string<T: Type + ?Sized>() -> String {
    let mut s = String::new();
    T::sig(&mut s);
    s
}

/// The bytes of a value.
#[must_use]
pub fn to_bytes<T: Encode + ?Sized>(v: &T) -> Vec<u8> {
    let mut w = Vec::new();
    v.put(&mut w);
    w
}

/// Reads a value that takes all of `b`.
///
/// # Errors
/// When the bytes are not a `T` in normal form.
pub fn from_bytes<'a, T: Decode<'a>>(b: &'a [u8]) -> Result<T> {
    T::get(b, MAX_DEPTH)
}
