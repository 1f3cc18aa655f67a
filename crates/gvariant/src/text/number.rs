// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers as text.

use std::fmt::{self, Write};

use super::ParseErrorKind as Kind;
use crate::dynamic::Basic;

/// Writes a number as C's `%.17g` does, and with a `.0` if it would look like an integer.
pub(super) fn write_double<W: Write>(out: &mut W, value: f64) -> fmt::Result {
    if !value.is_finite() {
        let sign = if value.is_sign_negative() { "-" } else { "" };
        return write!(out, "{sign}{}", if value.is_nan() { "nan" } else { "inf" });
    }
    let text = format!("{value:.16e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        // `exponent` is at most 16, so the difference is not negative.
        let decimals = usize::try_from(16 - exponent).unwrap_or(0);
        let fixed = format!("{value:.decimals$}");
        let short = strip_zeros(&fixed);
        let point = if short.contains('.') { "" } else { ".0" };
        write!(out, "{short}{point}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{}e{sign}{:02}", strip_zeros(digits), exponent.abs())
    }
}

fn strip_zeros(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

/// Whether a number is a `double` by its looks.
pub(super) fn looks_floating(text: &str) -> bool {
    text.contains('.')
        || (!text.starts_with("0x") && text.contains('e'))
        || text.contains("inf")
        || text.contains("nan")
}

/// Appends the bytes of the number that `text` is, as a value of type `ty`.
pub(super) fn put(text: &str, ty: Basic, out: &mut Vec<u8>) -> Result<(), Kind> {
    if ty == Basic::Double {
        let value = double(text)?;
        out.extend_from_slice(&value.to_le_bytes());
        return Ok(());
    }
    let value = integer(text)?;
    let (size, range) = match ty {
        Basic::Byte => (1, 0..=i128::from(u8::MAX)),
        Basic::Int16 => (2, i16::MIN.into()..=i16::MAX.into()),
        Basic::Uint16 => (2, 0..=u16::MAX.into()),
        Basic::Int32 | Basic::Handle => (4, i32::MIN.into()..=i32::MAX.into()),
        Basic::Uint32 => (4, 0..=u32::MAX.into()),
        Basic::Int64 => (8, i64::MIN.into()..=i64::MAX.into()),
        Basic::Uint64 => (8, 0..=u64::MAX.into()),
        _ => return Err(Kind::TypeMismatch(ty.letter().to_string())),
    };
    if !range.contains(&value) {
        return Err(Kind::OutOfRange(Some(ty.letter())));
    }
    out.extend_from_slice(&value.to_le_bytes()[..size]);
    Ok(())
}

fn double(text: &str) -> Result<f64, Kind> {
    let value: f64 = text.parse().map_err(|_| Kind::BadNumber)?;
    // Rust rounds a number that is too big to infinity.
    if value.is_infinite() && !text.to_ascii_lowercase().contains("inf") {
        return Err(Kind::OutOfRange(None));
    }
    Ok(value)
}

/// An integer as C writes them: `0x` for base 16, another leading `0` for base 8.
fn integer(text: &str) -> Result<i128, Kind> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(Kind::BadNumber);
    }
    let size = u64::from_str_radix(digits, base).map_err(|_| Kind::OutOfRange(None))?;
    Ok(if negative {
        -i128::from(size)
    } else {
        size.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_look_like_c() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.10000000000000001"),
            (1e16, "10000000000000000.0"),
            (1e17, "1e+17"),
            (1.5e300, "1.5000000000000001e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            let mut out = String::new();
            write_double(&mut out, value).unwrap();
            assert_eq!(out, text);
        }
    }

    #[test]
    fn integers_have_bases_and_limits() {
        for (text, value) in [
            ("0", 0),
            ("-5", -5),
            ("+5", 5),
            ("0x1F", 31),
            ("-0X1f", -31),
            ("017", 15),
            ("00", 0),
        ] {
            assert_eq!(integer(text), Ok(value), "{text}");
        }
        for text in ["", "-", "--0", "08", "0x", "5a", "1E5"] {
            assert_eq!(integer(text), Err(Kind::BadNumber), "{text}");
        }
        assert_eq!(integer("18446744073709551616"), Err(Kind::OutOfRange(None)));
        let put = |text, ty| put(text, ty, &mut Vec::new());
        assert_eq!(put("-32768", Basic::Int16), Ok(()));
        assert_eq!(put("32768", Basic::Int16), Err(Kind::OutOfRange(Some('n'))));
        assert_eq!(put("-1", Basic::Uint64), Err(Kind::OutOfRange(Some('t'))));
        assert_eq!(put("1e400", Basic::Double), Err(Kind::OutOfRange(None)));
        assert_eq!(put("-inf", Basic::Double), Ok(()));
        assert_eq!(put("1", Basic::Bool), Err(Kind::TypeMismatch("b".into())));
    }
}
