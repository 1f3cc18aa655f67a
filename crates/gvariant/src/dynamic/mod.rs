// SPDX-License-Identifier: MIT OR Apache-2.0
//! Types known only at run time: what a variant may hold.

mod basic;
mod walk;

use std::fmt;

use crate::framing::align_up;
use crate::{Error, MAX_DEPTH, Result};

pub(crate) use basic::Basic;
pub(crate) use walk::{part, split_variant};

/// Longest type string that is read. Parsing one takes some fifty times its size in memory, so
/// there has to be a limit, and no real type comes anywhere near this one.
const MAX_TYPE_STRING: usize = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Basic(Basic),
    Variant,
    Maybe(Box<DynType>),
    Array(Box<DynType>),
    Tuple(Vec<DynType>),
    /// Key and value.
    Entry(Box<[DynType; 2]>),
}

/// A type, parsed from its type string. The alignment and size of each element are computed once, so
/// that a long type costs nothing per element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DynType {
    kind: Kind,
    align: usize,
    fixed: Option<usize>,
    /// Whether any bytes of the right length are a value.
    opaque: bool,
}

impl DynType {
    /// Parses a complete type string.
    pub(crate) fn parse(sig: &str) -> Result<Self> {
        if sig.len() > MAX_TYPE_STRING {
            return Err(Error::Signature);
        }
        match Self::parse_prefix(sig.as_bytes(), MAX_DEPTH)? {
            (ty, []) => Ok(ty),
            _ => Err(Error::Signature),
        }
    }

    /// Parses one complete type off the front of `s`.
    fn parse_prefix(s: &[u8], depth: u8) -> Result<(Self, &[u8])> {
        let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
        let (letter, rest) = s.split_first().ok_or(Error::Signature)?;
        match letter {
            b'v' => Ok((Self::variant(), rest)),
            b'a' => Self::parse_prefix(rest, depth).map(|(t, rest)| (Self::array(t), rest)),
            b'm' => Self::parse_prefix(rest, depth).map(|(t, rest)| (Self::maybe(t), rest)),
            b'(' => {
                let mut members = Vec::new();
                let mut rest = rest;
                while rest.first() != Some(&b')') {
                    let (member, after) = Self::parse_prefix(rest, depth)?;
                    members.push(member);
                    rest = after;
                }
                Ok((Self::tuple(members), &rest[1..]))
            }
            b'{' => {
                let (key, rest) = Self::parse_prefix(rest, depth)?;
                if !matches!(key.kind, Kind::Basic(_)) {
                    return Err(Error::Signature);
                }
                let (value, rest) = Self::parse_prefix(rest, depth)?;
                let rest = rest.strip_prefix(b"}").ok_or(Error::Signature)?;
                Ok((Self::entry(key, value), rest))
            }
            _ => {
                let basic = Basic::from_letter(*letter).ok_or(Error::Signature)?;
                Ok((Self::basic(basic), rest))
            }
        }
    }

    pub(crate) fn basic(basic: Basic) -> Self {
        let fixed = basic.fixed();
        DynType {
            kind: Kind::Basic(basic),
            align: fixed.unwrap_or(1),
            fixed,
            opaque: basic.is_numeric(),
        }
    }

    pub(crate) fn variant() -> Self {
        DynType {
            kind: Kind::Variant,
            align: 8,
            fixed: None,
            opaque: false,
        }
    }

    pub(crate) fn maybe(inner: DynType) -> Self {
        let align = inner.align;
        DynType {
            kind: Kind::Maybe(inner.into()),
            align,
            fixed: None,
            opaque: false,
        }
    }

    pub(crate) fn array(element: DynType) -> Self {
        let align = element.align;
        let opaque = element.align == 1 && element.opaque && element.fixed == Some(1);
        DynType {
            kind: Kind::Array(element.into()),
            align,
            fixed: None,
            opaque,
        }
    }

    pub(crate) fn tuple(members: Vec<DynType>) -> Self {
        let (align, fixed, opaque) = layout(&members);
        DynType {
            kind: Kind::Tuple(members),
            align,
            fixed,
            opaque,
        }
    }

    pub(crate) fn entry(key: DynType, value: DynType) -> Self {
        let members = [key, value];
        let (align, fixed, opaque) = layout(&members);
        DynType {
            kind: Kind::Entry(members.into()),
            align,
            fixed,
            opaque,
        }
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(crate) fn align(&self) -> usize {
        self.align
    }

    pub(crate) fn fixed(&self) -> Option<usize> {
        self.fixed
    }
}

/// The type string.
impl fmt::Display for DynType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        match &self.kind {
            Kind::Basic(basic) => f.write_char(basic.letter()),
            Kind::Variant => f.write_char('v'),
            Kind::Maybe(inner) => write!(f, "m{inner}"),
            Kind::Array(element) => write!(f, "a{element}"),
            Kind::Tuple(members) => {
                f.write_char('(')?;
                members.iter().try_for_each(|t| write!(f, "{t}"))?;
                f.write_char(')')
            }
            Kind::Entry(members) => write!(f, "{{{}{}}}", members[0], members[1]),
        }
    }
}

/// Alignment, size and opacity of a tuple.
fn layout(members: &[DynType]) -> (usize, Option<usize>, bool) {
    let align = members.iter().map(|t| t.align).max().unwrap_or(1);
    let packed = members.iter().map(|t| t.fixed.unwrap_or(0)).sum::<usize>();
    let fixed = members
        .iter()
        .try_fold(0, |at, t| Some(align_up(at, t.align) + t.fixed?));
    // The empty tuple is one zero byte, so that an array of them has a length.
    let fixed = fixed.map(|size| align_up(size.max(1), align));
    let opaque = fixed == Some(packed) && members.iter().all(|t| t.opaque);
    (align, fixed, opaque)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_strings_are_parsed_and_printed() {
        for sig in [
            "y",
            "(a{sv}aya(say)sstayay)",
            "mm(n)",
            "()",
            "a{oa{tg}}",
            "{sv}",
            "(bqhd)",
        ] {
            assert_eq!(DynType::parse(sig).unwrap().to_string(), sig);
        }
        for sig in [
            "", "a", "m", "(", ")", "(y", "{s}", "{vs}", "{(y)s}", "{sss}", "yy", "z", "é",
        ] {
            assert_eq!(DynType::parse(sig), Err(Error::Signature), "{sig}");
        }
        let deep = |n: usize| DynType::parse(&format!("{}y", "a".repeat(n)));
        assert!(deep(usize::from(MAX_DEPTH) - 1).is_ok());
        assert_eq!(deep(usize::from(MAX_DEPTH)), Err(Error::Depth));
        assert_eq!(
            DynType::parse(&format!("({})", "y".repeat(MAX_TYPE_STRING))),
            Err(Error::Signature)
        );
    }

    #[test]
    fn sizes_and_alignments() {
        for (sig, align, fixed) in [
            ("()", 1, Some(1)),
            ("(yu)", 4, Some(8)),
            ("(uy)", 4, Some(8)),
            ("(y(tb)y)", 8, Some(32)),
            ("ad", 8, None),
            ("(yas)", 1, None),
            ("mt", 8, None),
            ("{yv}", 8, None),
        ] {
            let ty = DynType::parse(sig).unwrap();
            assert_eq!((ty.align, ty.fixed), (align, fixed), "{sig}");
        }
    }

    #[test]
    fn opaque_types_have_no_padding_and_no_forbidden_bytes() {
        for (sig, opaque) in [
            ("ay", true),
            ("(uu)", true),
            ("(uy)", false),
            ("()", false),
            ("b", false),
            ("au", false),
        ] {
            assert_eq!(DynType::parse(sig).unwrap().opaque, opaque, "{sig}");
        }
    }
}
