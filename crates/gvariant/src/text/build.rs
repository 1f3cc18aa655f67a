// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree of written values, and a type, to bytes.

use super::ast::{Node, Written};
use super::infer::Pattern;
use super::{ParseError, ParseErrorKind, number};
use crate::dynamic::{Basic, DynType, Kind};
use crate::framing::{pad, put_offsets};
use crate::{Encode, OwnedVariant};

type Result<T> = std::result::Result<T, ParseError>;

/// The value with the type that its text suggests.
pub(super) fn resolve(node: &Node<'_>) -> Result<OwnedVariant> {
    let ty = infer(node)?;
    let mut data = Vec::new();
    put(node, &ty, &mut data)?;
    Ok(OwnedVariant {
        sig: ty.to_string(),
        data,
    })
}

fn infer(node: &Node<'_>) -> Result<DynType> {
    Pattern::of(node)?
        .resolve()
        .ok_or_else(|| ParseErrorKind::CannotInfer.at(node.at))
}

fn mismatch(node: &Node<'_>, ty: &DynType) -> ParseError {
    ParseErrorKind::TypeMismatch(ty.to_string()).at(node.at)
}

/// Appends the bytes of the value as one of type `ty`.
fn put(node: &Node<'_>, ty: &DynType, out: &mut Vec<u8>) -> Result<()> {
    match (&node.written, ty.kind()) {
        // The written type was used when the type was inferred; it no longer matters here.
        (Written::Typed(_, value), _) => put(value, ty, out),
        (Written::Nothing, Kind::Maybe(_)) => Ok(()),
        (Written::Just(value), Kind::Maybe(inner)) => {
            put(value, inner, out)?;
            end_just(inner, out);
            Ok(())
        }
        (_, Kind::Maybe(inner)) => {
            put(node, inner, out)?;
            end_just(inner, out);
            Ok(())
        }
        (Written::Number(text), Kind::Basic(basic)) => {
            number::put(text, *basic, out).map_err(|kind| kind.at(node.at))
        }
        (Written::Bool(value), Kind::Basic(Basic::Bool)) => {
            value.put(out);
            Ok(())
        }
        (Written::Text(text), Kind::Basic(basic)) if basic.is_text() => {
            put_text(node, text, *basic, out)
        }
        (Written::Bytes(bytes), Kind::Array(element))
            if *element.kind() == Kind::Basic(Basic::Byte) =>
        {
            out.extend_from_slice(bytes);
            Ok(())
        }
        (Written::Array(elements), Kind::Array(element)) => {
            put_array(elements, element, out, |node, out| put(node, element, out))
        }
        (Written::Dict(entries), Kind::Array(element)) => match element.kind() {
            Kind::Entry(pair) => put_array(entries, element, out, |entry, out| {
                put_members(entry, &pair[..], element, out)
            }),
            _ => Err(mismatch(node, ty)),
        },
        (Written::Entry(entry), Kind::Entry(pair)) => put_members(&entry[..], &pair[..], ty, out),
        (Written::Tuple(nodes), Kind::Tuple(members)) if nodes.len() == members.len() => {
            put_members(nodes, members, ty, out)
        }
        (Written::Variant(value), Kind::Variant) => {
            let ty = infer(value)?;
            put(value, &ty, out)?;
            out.push(0);
            out.extend_from_slice(ty.to_string().as_bytes());
            Ok(())
        }
        _ => Err(mismatch(node, ty)),
    }
}

/// A present optional value whose size is not fixed is followed by a zero byte.
fn end_just(inner: &DynType, out: &mut Vec<u8>) {
    if inner.fixed().is_none() {
        out.push(0);
    }
}

fn put_text(node: &Node<'_>, text: &str, ty: Basic, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    text.put(out);
    ty.check(&out[start..]).map_err(|_| {
        let kind = match ty {
            Basic::ObjectPath => ParseErrorKind::BadObjectPath,
            Basic::Signature => ParseErrorKind::BadSignature,
            _ => ParseErrorKind::BadEscape,
        };
        kind.at(node.at)
    })
}

fn put_array<T>(
    elements: &[T],
    ty: &DynType,
    out: &mut Vec<u8>,
    mut put: impl FnMut(&T, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let start = out.len();
    let mut ends = Vec::new();
    for element in elements {
        pad(out, ty.align());
        put(element, out)?;
        if ty.fixed().is_none() {
            ends.push(out.len() - start);
        }
    }
    put_offsets(out, start, ends.into_iter());
    Ok(())
}

/// The members of a tuple or dictionary entry `ty`.
fn put_members(
    nodes: &[Node<'_>],
    members: &[DynType],
    ty: &DynType,
    out: &mut Vec<u8>,
) -> Result<()> {
    let start = out.len();
    let mut ends = Vec::new();
    for (i, (node, member)) in nodes.iter().zip(members).enumerate() {
        pad(out, member.align());
        put(node, member, out)?;
        if member.fixed().is_none() && i + 1 < members.len() {
            ends.push(out.len() - start);
        }
    }
    match ty.fixed() {
        Some(size) => out.resize(start + size, 0),
        None => put_offsets(out, start, ends.into_iter().rev()),
    }
    Ok(())
}
