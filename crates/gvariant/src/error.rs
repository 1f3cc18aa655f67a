// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why bytes are not the value they should be.

use std::fmt;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why bytes were refused, or a value could not be written.
///
/// The variants name the rule that was broken, not the place: a GVariant has no field names, so
/// the caller, who knows the object, adds which one it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A value has the wrong number of bytes for its type, or bytes are left over.
    Length,
    /// A framing offset points outside its container, goes backwards, or is wider than needed.
    Offset,
    /// Padding is not zero, or the byte that marks a present optional value is missing.
    Padding,
    /// A string is not UTF-8.
    Utf8,
    /// A string does not end with its zero byte, or has one inside.
    Nul,
    /// A boolean is neither 0 nor 1.
    Bool,
    /// A type string (of a variant, or the content of a `g`) is malformed or absurdly long.
    Signature,
    /// The content of an `o` is not an object path.
    ObjectPath,
    /// Types or values are nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH).
    Depth,
    /// A variant holds a value of another type than the one asked for.
    TypeMismatch,
    /// The sink that text was printed to reported an error.
    Write,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Length => "value has the wrong length",
            Error::Offset => "bad framing offset",
            Error::Padding => "padding is not zero",
            Error::Utf8 => "string is not UTF-8",
            Error::Nul => "string has no zero byte at its end, or one inside",
            Error::Bool => "boolean is neither 0 nor 1",
            Error::Signature => "malformed type string",
            Error::ObjectPath => "malformed object path",
            Error::Depth => "values are nested too deeply",
            Error::TypeMismatch => "value has another type",
            Error::Write => "text could not be written",
        })
    }
}

impl std::error::Error for Error {}

impl From<fmt::Error> for Error {
    fn from(_: fmt::Error) -> Self {
        Error::Write
    }
}
