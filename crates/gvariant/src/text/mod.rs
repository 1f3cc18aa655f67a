// SPDX-License-Identifier: MIT OR Apache-2.0
//! GVariant's text format: what `ostree show` prints and `ostree commit --add-metadata` reads.
//!
//! The format is [GLib's](https://docs.gtk.org/glib/gvariant-text-format.html), as GLib 2.74 prints
//! it. [`print()`] gives the same text, byte for byte; [`parse`] gives the same value for
//! everything that GLib prints and for what people write, and differs on purpose only here:
//!
//! - A number has at least one digit and at most one sign (GLib takes `-` for 0 and `--0` too).
//! - Floating point numbers are decimal (GLib also reads `@d 0x1p3`), and those that are too small
//!   for full precision are read (GLib prints `4.9406564584124654e-324` but does not read it).
//! - `\u` and `\U` need a code point that UTF-8 can hold; GLib's answer is undefined.
//! - Nesting is limited to [`MAX_DEPTH`](crate::MAX_DEPTH), GLib's limit is 128.
//!
//! # The text
//!
//! Numbers without a point are `int32`, with one they are `double`; every other kind of number is
//! named before the number (`uint32 5`, `byte 0x01`), as are `objectpath '/'` and `signature 's'`.
//! Arrays are `[1, 2]`, tuples `(1, 'a')` with `(1,)` for a single member, dictionaries
//! `{'a': 1}`, variants `<1>`, byte arrays that are C strings `b'text'`, optional values the value
//! or `nothing`, with `just` where that is ambiguous. `@` and a type string name any type
//! (`@a{sv} {}`). When types are printed, they are printed where they cannot be inferred: at the
//! first element of an array but not at the others, and always inside of a variant.

mod ast;
mod build;
mod infer;
mod lex;
mod number;
mod print;
mod printable;

use std::fmt;

pub use print::{print, print_to};

use crate::OwnedVariant;

/// Why text is not a value, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Byte in the text at which the offending word or value begins.
    pub at: usize,
    /// The kind of error.
    pub kind: ParseErrorKind,
}

/// The ways in which a text can be malformed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// A value should begin here.
    ValueExpected,
    /// One of these should stand here.
    Expected(&'static str),
    /// There is more after the value.
    TrailingText,
    /// A word that means nothing.
    UnknownKeyword,
    /// A quoted text without its closing quote.
    Unterminated,
    /// `\u` or `\U` without enough digits, or with those of no character.
    BadEscape,
    /// Not a number, or digits that do not belong to its base.
    BadNumber,
    /// The number does not fit its type (given as a letter), or any (`None`).
    OutOfRange(Option<char>),
    /// `@` without a valid type string.
    BadType,
    /// The text does not say what type this has, such as an empty array.
    CannotInfer,
    /// The elements of an array have no type in common with this one.
    NoCommonType,
    /// A dictionary's keys are not of a basic type.
    BadKey,
    /// The value cannot have the type that it should.
    TypeMismatch(String),
    /// Not an object path.
    BadObjectPath,
    /// Not a signature.
    BadSignature,
    /// Values are nested too deeply.
    Depth,
    /// The value breaks a limit of the binary format.
    Refused(crate::Error),
}

impl fmt::Display for ParseErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ValueExpected => f.write_str("expected value"),
            Self::Expected(what) => write!(f, "expected {what}"),
            Self::TrailingText => f.write_str("expected end of input"),
            Self::UnknownKeyword => f.write_str("unknown keyword"),
            Self::Unterminated => f.write_str("unterminated string constant"),
            Self::BadEscape => f.write_str("invalid unicode escape"),
            Self::BadNumber => f.write_str("invalid character in number"),
            Self::OutOfRange(Some(ty)) => write!(f, "number out of range for type '{ty}'"),
            Self::OutOfRange(None) => f.write_str("number too big for any type"),
            Self::BadType => f.write_str("invalid type declaration"),
            Self::CannotInfer => f.write_str("unable to infer type"),
            Self::NoCommonType => f.write_str("unable to find a common type"),
            Self::BadKey => f.write_str("dictionary keys must have basic types"),
            Self::TypeMismatch(ty) => write!(f, "can not parse as value of type '{ty}'"),
            Self::BadObjectPath => f.write_str("not a valid object path"),
            Self::BadSignature => f.write_str("not a valid signature"),
            Self::Depth => f.write_str("values are nested too deeply"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.kind, self.at)
    }
}

impl std::error::Error for ParseError {}

impl ParseErrorKind {
    fn at(self, at: usize) -> ParseError {
        ParseError { at, kind: self }
    }
}

/// Reads a value from its text form, inferring its type.
///
/// Takes memory of some forty times the text's length; text from strangers wants a limit.
///
/// # Errors
/// Says what is wrong and where.
pub fn parse(text: &str) -> Result<OwnedVariant, ParseError> {
    let node = ast::parse(text)?;
    let value = build::resolve(&node)?;
    // Types written with `@` can be nested deeper than the text is, and inferred ones be too long.
    match crate::Variant::new(&value.sig, &value.data) {
        Ok(_) => Ok(value),
        Err(error) => Err(ParseErrorKind::Refused(error).at(node.at)),
    }
}
