// SPDX-License-Identifier: MIT OR Apache-2.0
//! Types known only at run time: what a variant may hold.

use std::fmt;
use std::ops::Range;

use crate::framing::{ArrayFrame, TupleFrame, align_up};
use crate::{Decode, Error, MAX_DEPTH, Result};

/// Longest type string that is read. Parsing one takes some fifty times its size in memory, so
/// there has to be a limit, and no real type comes anywhere near this one.
const MAX_TYPE_STRING: usize = 64 * 1024;

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

    fn from_letter(letter: u8) -> Option<Self> {
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

    fn fixed(self) -> Option<usize> {
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

/// A type that was parsed from its type string. What a reader needs to know for each element
/// (alignment, size) is worked out once, so that a long type costs nothing per element.
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

    /// Checks that `data` is a value of this type in normal form.
    ///
    /// The time is linear in the length of `data`.
    pub(crate) fn check(&self, data: &[u8], depth: u8) -> Result<()> {
        if self.opaque && self.fixed.is_none_or(|size| size == data.len()) {
            return Ok(());
        }
        match &self.kind {
            Kind::Basic(basic) => basic.check(data),
            Kind::Array(element) => {
                let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
                let (element, wrappers) = element.unwrapped();
                let below = depth.checked_sub(wrappers).ok_or(Error::Depth)?;
                let frame = ArrayFrame::new(data, element.align, element.fixed)?;
                if element.opaque && element.fixed.is_some() {
                    return Ok(());
                }
                for i in 0..frame.count() {
                    element.check(part(data, frame.check(i)?)?, below)?;
                }
                Ok(())
            }
            _ => {
                let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
                self.children(data, |ty, range| ty.check(part(data, range)?, depth))
            }
        }
    }

    /// Calls `visit` with the type and the place of each child of a container, checking the
    /// container's framing on the way. A basic value has no children.
    pub(crate) fn children(
        &self,
        data: &[u8],
        mut visit: impl FnMut(&DynType, Range<usize>) -> Result<()>,
    ) -> Result<()> {
        match &self.kind {
            Kind::Basic(_) => Ok(()),
            Kind::Variant => {
                let (sig, value) = split_variant(data)?;
                visit(&DynType::parse(sig)?, 0..value.len())
            }
            Kind::Maybe(_) if data.is_empty() => Ok(()),
            Kind::Maybe(inner) => match (inner.fixed, data.split_last()) {
                (Some(_), _) => visit(inner, 0..data.len()),
                (None, Some((0, value))) => visit(inner, 0..value.len()),
                (None, _) => Err(Error::Padding),
            },
            Kind::Array(element) => {
                let frame = ArrayFrame::new(data, element.align, element.fixed)?;
                (0..frame.count()).try_for_each(|i| visit(element, frame.check(i)?))
            }
            Kind::Tuple(members) => self.members(members, data, visit),
            Kind::Entry(members) => self.members(&members[..], data, visit),
        }
    }

    fn members(
        &self,
        members: &[DynType],
        data: &[u8],
        mut visit: impl FnMut(&DynType, Range<usize>) -> Result<()>,
    ) -> Result<()> {
        if self.fixed.is_some_and(|size| size != data.len()) {
            return Err(Error::Length);
        }
        let Some((_, framed)) = members.split_last() else {
            return crate::framing::require_zeros(data);
        };
        let offsets = framed.iter().filter(|t| t.fixed.is_none()).count();
        let mut frame = TupleFrame::new(data, offsets)?;
        for (i, ty) in members.iter().enumerate() {
            visit(ty, frame.next(ty.align, ty.fixed, i + 1 == members.len())?)?;
        }
        frame.finish(self.fixed.is_some())
    }

    /// The type inside tuples of one member, and how many there are: they have the bytes of what
    /// they hold, so an array of millions of them need not go through each level each time.
    fn unwrapped(&self) -> (&DynType, u8) {
        let mut ty = self;
        let mut levels = 0;
        while let Kind::Tuple(members) = &ty.kind
            && let [only] = &members[..]
        {
            ty = only;
            levels += 1;
        }
        (ty, levels)
    }

    /// Turns every number in `out`, a copy of `data`, around to the other byte order.
    pub(crate) fn swap(&self, data: &[u8], out: &mut [u8], depth: u8) -> Result<()> {
        if self.align == 1 {
            return Ok(());
        }
        if let Kind::Basic(_) = self.kind {
            out.reverse();
            return Ok(());
        }
        let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
        self.children(data, |ty, range| {
            let into = out.get_mut(range.clone()).ok_or(Error::Offset)?;
            ty.swap(part(data, range)?, into, depth)
        })
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

/// Splits the bytes of a variant into its type string and its value. The type string is not
/// checked, nor is the value.
pub(crate) fn split_variant(data: &[u8]) -> Result<(&str, &[u8])> {
    let end = data.iter().rposition(|x| *x == 0).ok_or(Error::Signature)?;
    let sig = std::str::from_utf8(&data[end + 1..]).map_err(|_| Error::Signature)?;
    Ok((sig, &data[..end]))
}

/// A range of a container's bytes.
pub(crate) fn part(data: &[u8], range: Range<usize>) -> Result<&[u8]> {
    data.get(range).ok_or(Error::Offset)
}

/// What an `o` may hold: `/`, or names of letters, digits and `_`, each after a slash.
fn is_object_path(s: &str) -> bool {
    let name = |n: &str| !n.is_empty() && n.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    s == "/"
        || s.strip_prefix('/')
            .is_some_and(|names| names.split('/').all(name))
}

/// What a `g` may hold: any number of complete types, none of them optional (D-Bus has no `m`).
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

    #[test]
    fn long_types_cost_nothing_per_element() {
        // A quarter of a million empty arrays of a type with sixty thousand members: quadratic
        // work would take minutes.
        let sig = format!("aa({})", "s".repeat(60_000));
        let elements = 250_000;
        let data = vec![0; elements * 4];
        let start = std::time::Instant::now();
        assert_eq!(
            DynType::parse(&sig).unwrap().check(&data, MAX_DEPTH),
            Ok(())
        );
        assert!(start.elapsed().as_secs() < 10);
    }

    #[test]
    fn nested_variants_stop_at_the_limit() {
        let nest = |levels: usize| {
            let mut data = vec![7, 0, b'y'];
            (1..levels).for_each(|_| data.extend(b"\0v"));
            DynType::variant().check(&data, MAX_DEPTH)
        };
        assert_eq!(nest(usize::from(MAX_DEPTH)), Ok(()));
        assert_eq!(nest(usize::from(MAX_DEPTH) + 1), Err(Error::Depth));
        assert_eq!(nest(100_000), Err(Error::Depth));
    }
}
