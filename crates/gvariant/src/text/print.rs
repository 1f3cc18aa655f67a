// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values to text.

use std::fmt::Write;

use super::printable::is_printable;
use crate::dynamic::{Basic, DynType, Kind, part};
use crate::{Error, MAX_DEPTH, Result, Variant};

/// The text form of a value, as `g_variant_print` gives it.
///
/// With `annotate`, types that could not be inferred from the text are written into it. Types
/// inside of variants always are.
///
/// # Errors
/// When the variant was put together by hand and is not in normal form.
pub fn print(value: Variant<'_>, annotate: bool) -> Result<String> {
    let mut out = String::new();
    print_to(&mut out, value, annotate)?;
    Ok(out)
}

/// Like [`print()`], to a writer: text can be a few hundred times longer than hostile bytes.
///
/// # Errors
/// Also [`Error::Write`] when the writer fails.
pub fn print_to<W: Write>(out: &mut W, value: Variant<'_>, annotate: bool) -> Result<()> {
    let ty = DynType::parse(value.sig)?;
    Printer { out }.value(&ty, value.data, annotate, MAX_DEPTH)
}

struct Printer<'w, W> {
    out: &'w mut W,
}

impl<W: Write> Printer<'_, W> {
    fn value(&mut self, ty: &DynType, data: &[u8], annotate: bool, depth: u8) -> Result<()> {
        if let Kind::Basic(basic) = ty.kind() {
            return self.basic(*basic, data, annotate);
        }
        let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
        match ty.kind() {
            Kind::Basic(_) => Ok(()),
            Kind::Variant => {
                self.out.write_char('<')?;
                ty.children(data, |t, r| self.value(t, part(data, r)?, true, depth))?;
                Ok(self.out.write_char('>')?)
            }
            Kind::Maybe(inner) => self.maybe(ty, inner, data, annotate, depth),
            Kind::Array(element) => match element.kind() {
                Kind::Basic(Basic::Byte) if is_c_string(data) => self.byte_string(data),
                Kind::Entry(_) => self.elements(ty, data, annotate, depth, ['{', '}']),
                _ => self.elements(ty, data, annotate, depth, ['[', ']']),
            },
            Kind::Tuple(_) => self.tuple(ty, data, annotate, depth),
            Kind::Entry(_) => {
                self.out.write_char('{')?;
                self.pair(ty, data, ", ", annotate, depth)?;
                Ok(self.out.write_char('}')?)
            }
        }
    }

    fn maybe(
        &mut self,
        ty: &DynType,
        inner: &DynType,
        data: &[u8],
        annotate: bool,
        depth: u8,
    ) -> Result<()> {
        if annotate {
            write!(self.out, "@{ty} ")?;
        }
        if data.is_empty() {
            return Ok(self.out.write_str("nothing")?);
        }
        ty.children(data, |_, range| {
            let value = part(data, range)?;
            // `nothing` alone would be this level's, so a `nothing` further in needs a `just`.
            if holds_nothing(inner, value) {
                self.out.write_str("just ")?;
            }
            self.value(inner, value, false, depth)
        })
    }

    /// An array, or a dictionary; types are written at the first element only.
    fn elements(
        &mut self,
        ty: &DynType,
        data: &[u8],
        annotate: bool,
        depth: u8,
        brackets: [char; 2],
    ) -> Result<()> {
        if annotate && data.is_empty() {
            write!(self.out, "@{ty} ")?;
        }
        self.out.write_char(brackets[0])?;
        let mut first = true;
        ty.children(data, |element, range| {
            let first = std::mem::take(&mut first);
            if !first {
                self.out.write_str(", ")?;
            }
            let annotate = annotate && first;
            let value = part(data, range)?;
            match element.kind() {
                Kind::Entry(_) => self.pair(element, value, ": ", annotate, depth),
                _ => self.value(element, value, annotate, depth),
            }
        })?;
        Ok(self.out.write_char(brackets[1])?)
    }

    fn pair(
        &mut self,
        ty: &DynType,
        data: &[u8],
        between: &str,
        annotate: bool,
        depth: u8,
    ) -> Result<()> {
        let mut separator = "";
        ty.children(data, |member, range| {
            self.out.write_str(separator)?;
            separator = between;
            self.value(member, part(data, range)?, annotate, depth)
        })
    }

    fn tuple(&mut self, ty: &DynType, data: &[u8], annotate: bool, depth: u8) -> Result<()> {
        self.out.write_char('(')?;
        let mut count = 0;
        ty.children(data, |member, range| {
            if count > 0 {
                self.out.write_str(", ")?;
            }
            count += 1;
            self.value(member, part(data, range)?, annotate, depth)
        })?;
        Ok(self.out.write_str(if count == 1 { ",)" } else { ")" })?)
    }

    fn basic(&mut self, basic: Basic, data: &[u8], annotate: bool) -> Result<()> {
        if annotate && let Some(name) = keyword(basic) {
            write!(self.out, "{name} ")?;
        }
        let out = &mut *self.out;
        match basic {
            Basic::Bool => write!(out, "{}", crate::from_bytes::<bool>(data)?)?,
            Basic::Byte => write!(out, "0x{:02x}", crate::from_bytes::<u8>(data)?)?,
            Basic::Int16 => write!(out, "{}", crate::from_bytes::<i16>(data)?)?,
            Basic::Uint16 => write!(out, "{}", crate::from_bytes::<u16>(data)?)?,
            Basic::Int32 | Basic::Handle => write!(out, "{}", crate::from_bytes::<i32>(data)?)?,
            Basic::Uint32 => write!(out, "{}", crate::from_bytes::<u32>(data)?)?,
            Basic::Int64 => write!(out, "{}", crate::from_bytes::<i64>(data)?)?,
            Basic::Uint64 => write!(out, "{}", crate::from_bytes::<u64>(data)?)?,
            Basic::Double => super::number::write_double(out, crate::from_bytes(data)?)?,
            Basic::String => self.string(crate::from_bytes(data)?)?,
            // Neither can hold anything that would need an escape.
            Basic::ObjectPath | Basic::Signature => {
                basic.check(data)?;
                write!(out, "'{}'", crate::from_bytes::<&str>(data)?)?;
            }
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<()> {
        let quote = if text.contains('\'') { '"' } else { '\'' };
        self.out.write_char(quote)?;
        for c in text.chars() {
            if c == quote || c == '\\' {
                self.out.write_char('\\')?;
            }
            match short_escape(u32::from(c)) {
                _ if is_printable(c) => self.out.write_char(c)?,
                Some(letter) => write!(self.out, "\\{letter}")?,
                None if u32::from(c) < 0x1_0000 => write!(self.out, "\\u{:04x}", u32::from(c))?,
                None => write!(self.out, "\\U{:08x}", u32::from(c))?,
            }
        }
        Ok(self.out.write_char(quote)?)
    }

    /// Bytes that end with their only zero byte.
    fn byte_string(&mut self, data: &[u8]) -> Result<()> {
        let text = data.split_last().map_or(data, |(_, text)| text);
        let quote = if text.contains(&b'\'') { '"' } else { '\'' };
        write!(self.out, "b{quote}")?;
        for &byte in text {
            match (byte, short_escape(byte.into())) {
                (b'"' | b'\\', _) => write!(self.out, "\\{}", char::from(byte))?,
                (b' '..=b'~', _) => self.out.write_char(byte.into())?,
                // GLib has no `\a` here.
                (0x08.., Some(letter)) => write!(self.out, "\\{letter}")?,
                _ => write!(self.out, "\\{byte:03o}")?,
            }
        }
        Ok(self.out.write_char(quote)?)
    }
}

/// The word that names a basic type where the text alone would not tell it.
fn keyword(basic: Basic) -> Option<&'static str> {
    match basic {
        Basic::Bool | Basic::Int32 | Basic::Double | Basic::String => None,
        _ => Some(basic.name()),
    }
}

fn short_escape(c: u32) -> Option<char> {
    Some(match c {
        0x07 => 'a',
        0x08 => 'b',
        0x09 => 't',
        0x0a => 'n',
        0x0b => 'v',
        0x0c => 'f',
        0x0d => 'r',
        _ => return None,
    })
}

fn is_c_string(data: &[u8]) -> bool {
    data.iter()
        .position(|b| *b == 0)
        .is_some_and(|first| first + 1 == data.len())
}

/// Whether the value is an absent optional value, or present ones around an absent one.
fn holds_nothing(ty: &DynType, data: &[u8]) -> bool {
    match (ty.kind(), data.split_last()) {
        (Kind::Maybe(_), None) => true,
        (Kind::Maybe(inner), Some((_, value))) => {
            inner.fixed().is_none() && holds_nothing(inner, value)
        }
        _ => false,
    }
}
