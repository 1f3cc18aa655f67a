// SPDX-License-Identifier: MIT OR Apache-2.0
//! The types that other types are made of.

use super::{DynType, MAX_TYPE_STRING};
use crate::{Decode, Error, MAX_DEPTH, Result};

/// The types that are not containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basic {
    Bool,
    Byte,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Handle,
    Double,
    String,
    ObjectPath,
    Signature,
}

impl Basic {
    const ALL: [Basic; 13] = [
        Basic::Bool,
        Basic::Byte,
        Basic::Int16,
        Basic::Uint16,
        Basic::Int32,
        Basic::Uint32,
        Basic::Int64,
        Basic::Uint64,
        Basic::Handle,
        Basic::Double,
        Basic::String,
        Basic::ObjectPath,
        Basic::Signature,
    ];

    pub(super) fn from_letter(letter: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|basic| basic.letter() == char::from(letter))
    }

    pub(crate) fn letter(self) -> char {
        match self {
            Basic::Bool => 'b',
            Basic::Byte => 'y',
            Basic::Int16 => 'n',
            Basic::Uint16 => 'q',
            Basic::Int32 => 'i',
            Basic::Uint32 => 'u',
            Basic::Int64 => 'x',
            Basic::Uint64 => 't',
            Basic::Handle => 'h',
            Basic::Double => 'd',
            Basic::String => 's',
            Basic::ObjectPath => 'o',
            Basic::Signature => 'g',
        }
    }

    /// The word for it in the text format.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Basic::Bool => "boolean",
            Basic::Byte => "byte",
            Basic::Int16 => "int16",
            Basic::Uint16 => "uint16",
            Basic::Int32 => "int32",
            Basic::Uint32 => "uint32",
            Basic::Int64 => "int64",
            Basic::Uint64 => "uint64",
            Basic::Handle => "handle",
            Basic::Double => "double",
            Basic::String => "string",
            Basic::ObjectPath => "objectpath",
            Basic::Signature => "signature",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|basic| basic.name() == name)
    }

    pub(super) fn fixed(self) -> Option<usize> {
        match self {
            Basic::Bool | Basic::Byte => Some(1),
            Basic::Int16 | Basic::Uint16 => Some(2),
            Basic::Int32 | Basic::Uint32 | Basic::Handle => Some(4),
            Basic::Int64 | Basic::Uint64 | Basic::Double => Some(8),
            Basic::String | Basic::ObjectPath | Basic::Signature => None,
        }
    }

    pub(crate) fn is_text(self) -> bool {
        self.fixed().is_none()
    }

    pub(crate) fn is_numeric(self) -> bool {
        !self.is_text() && self != Basic::Bool
    }

    pub(crate) fn check(self, data: &[u8]) -> Result<()> {
        match self {
            Basic::Bool => bool::get(data, 0).map(drop),
            Basic::String => <&str>::get(data, 0).map(drop),
            Basic::ObjectPath if is_object_path(<&str>::get(data, 0)?) => Ok(()),
            Basic::ObjectPath => Err(Error::ObjectPath),
            Basic::Signature => check_signature(<&str>::get(data, 0)?),
            _ if self.fixed() == Some(data.len()) => Ok(()),
            _ => Err(Error::Length),
        }
    }
}

/// Whether a string is a valid `o`: `/`, or names of letters, digits and `_`, each after a slash.
fn is_object_path(s: &str) -> bool {
    let name = |n: &str| !n.is_empty() && n.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    s == "/"
        || s.strip_prefix('/')
            .is_some_and(|names| names.split('/').all(name))
}

/// Checks that a string is a valid `g`: any number of complete types, none of them optional (D-Bus has no `m`).
fn check_signature(s: &str) -> Result<()> {
    if s.len() > MAX_TYPE_STRING || s.contains('m') {
        return Err(Error::Signature);
    }
    let mut rest = s.as_bytes();
    while !rest.is_empty() {
        (_, rest) = DynType::parse_prefix(rest, MAX_DEPTH)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_signatures() {
        for path in ["/", "/a", "/a/B_9"] {
            assert!(is_object_path(path), "{path}");
        }
        for path in ["", "a", "//", "/a/", "/a//b", "/a-b", "/é"] {
            assert!(!is_object_path(path), "{path}");
        }
        for sig in ["", "y", "yy(s)a{sv}", "{sv}"] {
            assert_eq!(check_signature(sig), Ok(()), "{sig}");
        }
        for sig in ["a", "ms", "(", "*"] {
            assert_eq!(check_signature(sig), Err(Error::Signature), "{sig}");
        }
    }
}
