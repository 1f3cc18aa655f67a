// SPDX-License-Identifier: MIT OR Apache-2.0
//! Infers the type of a written value, as far as the value determines it.

use super::ast::{Node, Written};
use super::number::looks_floating;
use super::{ParseError, ParseErrorKind as Kind};
use crate::dynamic::{self, Basic, DynType};

/// A type with parts left open.
#[derive(Debug)]
pub(super) enum Pattern {
    /// Any type at all.
    Any,
    /// Any kind of number.
    Number,
    /// Any kind of string.
    Text,
    /// The type, or optional values of it to any level: a value can stand for `just` itself.
    Open(Box<Pattern>),
    Basic(Basic),
    Variant,
    Maybe(Box<Pattern>),
    Array(Box<Pattern>),
    Tuple(Vec<Pattern>),
    Entry(Box<[Pattern; 2]>),
}

impl Pattern {
    /// The pattern of a written value.
    pub(super) fn of(node: &Node<'_>) -> Result<Self, ParseError> {
        let pattern = match &node.written {
            Written::Typed(ty, _) => return Ok(Self::exactly(ty)),
            Written::Nothing => return Ok(Pattern::Maybe(Pattern::Any.into())),
            Written::Just(value) => return Ok(Pattern::Maybe(Self::of(value)?.into())),
            Written::Number(text) if looks_floating(text) => Pattern::Basic(Basic::Double),
            Written::Number(_) => Pattern::Number,
            Written::Bool(_) => Pattern::Basic(Basic::Bool),
            Written::Text(_) => Pattern::Text,
            Written::Bytes(_) => Pattern::Array(Pattern::Basic(Basic::Byte).into()),
            Written::Variant(_) => Pattern::Variant,
            Written::Array(elements) => Pattern::Array(Self::common(elements.iter())?.into()),
            Written::Tuple(members) => {
                Pattern::Tuple(members.iter().map(Self::of).collect::<Result<_, _>>()?)
            }
            Written::Entry(pair) => Self::entry(node, pair.iter().take(1), &pair[1])?,
            Written::Dict(entries) => match entries.first() {
                None => {
                    let entry = Pattern::Entry([Pattern::Any, Pattern::Any].into());
                    Pattern::Array(entry.into())
                }
                // The first value's type is that of all of them, as in GLib.
                Some([_, value]) => {
                    let keys = entries.iter().map(|[key, _]| key);
                    Pattern::Array(Self::entry(node, keys, value)?.into())
                }
            },
        };
        Ok(Pattern::Open(pattern.into()))
    }

    fn entry<'n, 't: 'n>(
        node: &Node<'t>,
        keys: impl Iterator<Item = &'n Node<'t>>,
        value: &Node<'t>,
    ) -> Result<Self, ParseError> {
        let key = match Self::common(keys)? {
            Pattern::Open(key) => *key,
            key => key,
        };
        match key {
            Pattern::Basic(_) | Pattern::Number | Pattern::Text => {
                Ok(Pattern::Entry([key, Self::of(value)?].into()))
            }
            _ => Err(Kind::BadKey.at(node.at)),
        }
    }

    /// The pattern that all of the values fit.
    fn common<'n, 't: 'n>(
        mut nodes: impl Iterator<Item = &'n Node<'t>>,
    ) -> Result<Self, ParseError> {
        let Some(first) = nodes.next() else {
            return Ok(Pattern::Any);
        };
        nodes.try_fold(Self::of(first)?, |common, node| {
            common
                .merge(Self::of(node)?)
                .ok_or_else(|| Kind::NoCommonType.at(node.at))
        })
    }

    fn exactly(ty: &DynType) -> Self {
        match ty.kind() {
            dynamic::Kind::Basic(basic) => Pattern::Basic(*basic),
            dynamic::Kind::Variant => Pattern::Variant,
            dynamic::Kind::Maybe(inner) => Pattern::Maybe(Self::exactly(inner).into()),
            dynamic::Kind::Array(element) => Pattern::Array(Self::exactly(element).into()),
            dynamic::Kind::Tuple(members) => {
                Pattern::Tuple(members.iter().map(Self::exactly).collect())
            }
            dynamic::Kind::Entry(pair) => {
                Pattern::Entry([Self::exactly(&pair[0]), Self::exactly(&pair[1])].into())
            }
        }
    }

    /// The pattern of what fits both. Takes time linear in the smaller one.
    fn merge(self, other: Self) -> Option<Self> {
        use Pattern::{Any, Array, Entry, Maybe, Number, Open, Text, Tuple};
        Some(match (self, other) {
            (Open(a), Open(b)) => Open(a.merge(*b)?.into()),
            (Any, pattern) | (pattern, Any) => pattern,
            (open @ Open(_), Maybe(b)) => Maybe(open.merge(*b)?.into()),
            (Maybe(a), open @ Open(_)) => Maybe(a.merge(open)?.into()),
            (Open(a), b) => a.merge(b)?,
            (a, Open(b)) => a.merge(*b)?,
            (Number, Number) => Number,
            (Text, Text) => Text,
            (Number, Pattern::Basic(basic)) | (Pattern::Basic(basic), Number)
                if basic.is_numeric() =>
            {
                Pattern::Basic(basic)
            }
            (Text, Pattern::Basic(basic)) | (Pattern::Basic(basic), Text) if basic.is_text() => {
                Pattern::Basic(basic)
            }
            (Pattern::Basic(a), Pattern::Basic(b)) if a == b => Pattern::Basic(a),
            (Pattern::Variant, Pattern::Variant) => Pattern::Variant,
            (Maybe(a), Maybe(b)) => Maybe(a.merge(*b)?.into()),
            (Array(a), Array(b)) => Array(a.merge(*b)?.into()),
            (Tuple(a), Tuple(b)) if a.len() == b.len() => {
                let pairs = a.into_iter().zip(b);
                Tuple(pairs.map(|(a, b)| a.merge(b)).collect::<Option<_>>()?)
            }
            (Entry(a), Entry(b)) => {
                let ([ka, va], [kb, vb]) = (*a, *b);
                Entry([ka.merge(kb)?, va.merge(vb)?].into())
            }
            _ => return None,
        })
    }

    /// The type, with defaults for what was left open; `None` if nothing is known of a part.
    pub(super) fn resolve(self) -> Option<DynType> {
        Some(match self {
            Pattern::Any => return None,
            Pattern::Number => DynType::basic(Basic::Int32),
            Pattern::Text => DynType::basic(Basic::String),
            Pattern::Basic(basic) => DynType::basic(basic),
            Pattern::Variant => DynType::variant(),
            Pattern::Open(inner) => inner.resolve()?,
            Pattern::Maybe(inner) => DynType::maybe(inner.resolve()?),
            Pattern::Array(element) => DynType::array(element.resolve()?),
            Pattern::Tuple(members) => {
                let members = members.into_iter().map(Self::resolve);
                DynType::tuple(members.collect::<Option<_>>()?)
            }
            Pattern::Entry(pair) => {
                let [key, value] = *pair;
                DynType::entry(key.resolve()?, value.resolve()?)
            }
        })
    }
}
