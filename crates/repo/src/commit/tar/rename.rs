// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--tar-pathname-filter`: names of members rewritten by a regular expression, as GLib's `GRegex`
//! does it.

use regex::{Captures, Regex};

use super::super::reason;
use crate::{Error, Result};

/// A regular expression and what is put in place of each of its matches.
#[derive(Clone, Debug)]
pub struct PathFilter {
    regex: Regex,
    replacement: Vec<Piece>,
}

/// A piece of the replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// What this group has matched: `\1`, `\g<1>`.
    Group(usize),
    /// What the group of this name has matched: `\g<name>`.
    Named(String),
    /// Letters that follow are changed: `\u \l \U \L \E`.
    Case(Case),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Keep,
    Upper,
    Lower,
    /// Only the next letter.
    UpperOne,
    LowerOne,
}

impl PathFilter {
    /// Reads `REGEX,REPLACEMENT`; the expression ends at the first comma. Look-around and
    /// references back are not understood in it.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |reason: String| Error::Invalid(format!("--tar-pathname-filter: {reason}"));
        let (regex, replacement) = text
            .split_once(',')
            .ok_or_else(|| Error::Invalid("Missing ',' in --tar-pathname-filter".to_owned()))?;
        Ok(Self {
            regex: Regex::new(regex).map_err(|error| {
                let reason = reason(&error);
                wrong(format!(
                    "Error while compiling regular expression '{regex}': {reason}"
                ))
            })?,
            replacement: parse_replacement(replacement).map_err(|reason| {
                wrong(format!(
                    "Error while parsing replacement text '{replacement}': {reason}"
                ))
            })?,
        })
    }

    /// `path` with all matches replaced. An empty match may follow right after another match, as
    /// in Perl.
    pub(super) fn apply(&self, path: &str) -> String {
        let mut out = String::new();
        let (mut copied, mut at) = (0, 0);
        let mut last = None;
        while at <= path.len() {
            let Some(found) = self.regex.captures_at(path, at) else {
                break;
            };
            let Some(whole) = found.get(0) else { break };
            let range = whole.range();
            if last.as_ref() != Some(&range) {
                out.push_str(&path[copied..range.start]);
                self.replace(&found, &mut out);
                copied = range.end;
            }
            at = match range.is_empty() {
                true => next_char(path, range.end),
                false => range.end,
            };
            last = Some(range);
        }
        out.push_str(&path[copied..]);
        out
    }

    fn replace(&self, found: &Captures<'_>, out: &mut String) {
        let mut case = Case::Keep;
        for piece in &self.replacement {
            let text = match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Group(number) => found.get(*number).map_or("", |group| group.as_str()),
                Piece::Named(name) => found.name(name).map_or("", |group| group.as_str()),
                Piece::Case(new) => {
                    case = *new;
                    continue;
                }
            };
            push(out, text, &mut case);
        }
    }
}

fn next_char(text: &str, at: usize) -> usize {
    at + text[at..].chars().next().map_or(1, char::len_utf8)
}

fn push(out: &mut String, text: &str, case: &mut Case) {
    let mut letters = text.chars();
    match case {
        Case::Keep => {}
        Case::Upper => out.extend(letters.by_ref().flat_map(char::to_uppercase)),
        Case::Lower => out.extend(letters.by_ref().flat_map(char::to_lowercase)),
        Case::UpperOne | Case::LowerOne => {
            let Some(first) = letters.next() else { return };
            match case {
                Case::UpperOne => out.extend(first.to_uppercase()),
                _ => out.extend(first.to_lowercase()),
            }
            *case = Case::Keep;
        }
    }
    out.push_str(letters.as_str());
}

fn parse_replacement(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('\\') {
        plain.push_str(&rest[..start]);
        let (piece, after) = parse_escape(&rest[start + 1..])?;
        match piece {
            Piece::Text(text) => plain.push_str(&text),
            piece => {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(piece);
            }
        }
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

/// What comes after a backslash, and what comes after that.
fn parse_escape(text: &str) -> Result<(Piece, &str), String> {
    let mut letters = text.chars();
    let first = letters.next().ok_or("stray final '\\'")?;
    let rest = letters.as_str();
    let char = |char: char| Ok((Piece::Text(char.to_string()), rest));
    let case = |case| Ok((Piece::Case(case), rest));
    match first {
        't' => char('\t'),
        'n' => char('\n'),
        'v' => char('\u{b}'),
        'r' => char('\r'),
        'f' => char('\u{c}'),
        'a' => char('\u{7}'),
        'b' => char('\u{8}'),
        '\\' => char('\\'),
        'l' => case(Case::LowerOne),
        'u' => case(Case::UpperOne),
        'L' => case(Case::Lower),
        'U' => case(Case::Upper),
        'E' => case(Case::Keep),
        'x' => parse_hex(rest),
        'g' => parse_reference(rest),
        '0'..='9' => parse_number(text),
        _ => Err(format!("unknown escape sequence '\\{first}'")),
    }
}

/// `\xHH` or `\x{H…}`.
fn parse_hex(text: &str) -> Result<(Piece, &str), String> {
    let wrong = || "hexadecimal digit expected".to_owned();
    let (digits, rest) = match text.strip_prefix('{') {
        Some(inner) => inner
            .split_once('}')
            .ok_or_else(|| "'}' expected".to_owned())?,
        None => {
            let is_digit = |byte: &&u8| byte.is_ascii_hexdigit();
            let len = text.as_bytes().iter().take(2).take_while(is_digit).count();
            if len < 2 {
                return Err(wrong());
            }
            text.split_at(len)
        }
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let code = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
    let char = char::from_u32(code).ok_or_else(wrong)?;
    Ok((Piece::Text(char.to_string()), rest))
}

/// `\g<NUMBER>` or `\g<NAME>`.
fn parse_reference(text: &str) -> Result<(Piece, &str), String> {
    let inner = text
        .strip_prefix('<')
        .ok_or("missing '<' in symbolic reference")?;
    let (name, rest) = inner
        .split_once('>')
        .ok_or("unfinished symbolic reference")?;
    match name.chars().next() {
        None => Err("zero-length symbolic reference".to_owned()),
        Some('0'..='9') => {
            let number = name
                .parse()
                .map_err(|_| "digit expected in symbolic reference".to_owned())?;
            Ok((Piece::Group(number), rest))
        }
        Some(_) if name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
            Ok((Piece::Named(name.to_owned()), rest))
        }
        Some(_) => Err("illegal symbolic reference".to_owned()),
    }
}

/// `\N` and `\NN` are groups; `\0NN` and `\NNN`, all digits less than 8, are characters in octal.
fn parse_number(text: &str) -> Result<(Piece, &str), String> {
    let digit = |at: usize| text.as_bytes().get(at).filter(|byte| byte.is_ascii_digit());
    let octal_only = text.starts_with('0') && digit(1).is_some();
    let (mut octal, mut decimal, mut len) = (0_u32, 0_usize, 0);
    let mut is_decimal = false;
    while len < 3
        && let Some(byte) = digit(len)
    {
        let value = byte - b'0';
        if value > 7 {
            if octal_only {
                break;
            }
            is_decimal = true;
        }
        if len == 2 && is_decimal {
            break;
        }
        octal = octal * 8 + u32::from(value);
        decimal = decimal * 10 + usize::from(value);
        len += 1;
    }
    let piece = match octal_only || len == 3 {
        true => {
            let char = char::from_u32(octal).ok_or("no such character")?;
            Piece::Text(char.to_string())
        }
        false => Piece::Group(decimal),
    };
    Ok((piece, &text[len..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apply(filter: &str, path: &str) -> String {
        PathFilter::parse(filter).unwrap().apply(path)
    }

    /// Each was seen with GLib 2.74.
    #[test]
    fn as_gregex_does_it() {
        for (filter, path, expected) in [
            (
                r"^boot(.*),usr/lib/ostree-boot\1",
                "boot/k",
                "usr/lib/ostree-boot/k",
            ),
            (r"^etc(.*),usr/etc\1", "opt/etc", "opt/etc"),
            ("a*,-", "hard", "-h--r-d-"),
            ("a*,-", "boot/", "-b-o-o-t-/-"),
            (r"a,\9b", "hard", "hbrd"),
            (r"(k|conf),\U\1\Ez\x41", "etc/conf", "etc/CONFzA"),
            (r"(b)(o),\u\2\1\x{62}\142\g<1>", "boot", "Obbbbot"),
            (r"(?P<n>o),<\g<n>>\0\\", "boot", r"b<o>o\<o>o\t"),
            ("o,", "boot", "bt"),
            ("^,x/", "", "x/"),
            ("$,é", "aé", "aéé"),
            (".*,[\\0]", "aé", "[aé][]"),
        ] {
            assert_eq!(apply(filter, path), expected, "{filter} on {path}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (filter, reason) in [
            ("nocomma", "Missing ','"),
            ("(,x", "unclosed group"),
            (r"(?=a),x", "look-around"),
            (r"a,\", "stray final"),
            (r"a,\q", "unknown escape"),
            (r"a,\g1", "missing '<'"),
            (r"a,\g<1", "unfinished"),
            (r"a,\g<>", "zero-length"),
            (r"a,\g<1x>", "digit expected"),
            (r"a,\g<x-y>", "illegal"),
            (r"a,\xg", "hexadecimal"),
            (r"a,\x{110000}", "hexadecimal"),
            (r"a,\x{41", "expected"),
        ] {
            let error = PathFilter::parse(filter).unwrap_err().to_string();
            assert!(error.contains(reason), "{filter}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_filter_on_any_path(
            regex in r"[a-c.*+?()|\[\]^$\\é]{0,8}",
            replacement in r"[\\0-9a-gx<>{}LUluE]{0,8}",
            path in "[a-cé/]{0,12}",
        ) {
            if let Ok(filter) = PathFilter::parse(&format!("{regex},{replacement}")) {
                filter.apply(&path);
            }
        }

        #[test]
        fn without_a_match_nothing_changes(path in "[a-y/]{0,20}") {
            prop_assert_eq!(apply("z,x", &path), path);
        }
    }
}
