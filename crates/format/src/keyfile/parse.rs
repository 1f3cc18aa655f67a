// SPDX-License-Identifier: MIT OR Apache-2.0
//! From text to lines.

use std::collections::HashMap;

use super::{Error, Group, KeyFile, Line};

/// A parsed line, borrowed from the text.
enum Read<'a> {
    Comment,
    Group(&'a str),
    Pair(&'a str, &'a str),
}

pub(super) fn parse(bytes: &[u8]) -> Result<KeyFile, Error> {
    let text = text(bytes)?;
    let mut file = KeyFile::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut current = None;
    for (number, line) in lines(text).enumerate() {
        let number = number + 1;
        match read(line, number)? {
            Read::Comment => match current {
                None => file.head.push(line.to_owned()),
                Some(at) => push(&mut file, at, Line::Comment(line.to_owned())),
            },
            Read::Group(name) => {
                let place = *places.entry(name).or_insert(file.groups.len());
                if place == file.groups.len() {
                    file.groups.push(Group {
                        name: name.to_owned(),
                        lines: Vec::new(),
                    });
                }
                current = Some(place);
            }
            Read::Pair(key, value) => {
                let at = current.ok_or(Error::NoGroup { line: number })?;
                check_pair(key, value, number)?;
                let (key, value) = (key.to_owned(), value.to_owned());
                push(&mut file, at, Line::Pair { key, value });
            }
        }
    }
    Ok(file)
}

fn push(file: &mut KeyFile, group: usize, line: Line) {
    file.groups[group].lines.push(line);
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    let wrong = |at: usize| Error::Utf8 {
        line: 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count(),
    };
    let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.valid_up_to()))?;
    match text.find('\0') {
        Some(at) => Err(wrong(at)),
        None => Ok(text),
    }
}

/// The lines without their ends. After the last `\n` comes another only if it is not empty, and
/// there a `\r` belongs to the line.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').map(|line| {
        let Some(line) = line.strip_suffix('\n') else {
            return line;
        };
        line.strip_suffix('\r').unwrap_or(line)
    })
}

fn read(line: &str, number: usize) -> Result<Read<'_>, Error> {
    let start = line.trim_ascii_start();
    if start.is_empty() || start.starts_with('#') {
        return Ok(Read::Comment);
    }
    if let Some(name) = group_name(start) {
        if is_group_name(name) {
            return Ok(Read::Group(name));
        }
        let group = name.to_owned();
        return Err(Error::GroupAt {
            line: number,
            group,
        });
    }
    match start.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok(Read::Pair(key.trim_ascii_end(), value.trim_ascii_start()))
        }
        _ => Err(Error::Line {
            line: number,
            text: line.to_owned(),
        }),
    }
}

/// NAME of `[NAME]`, if the line is of that form.
fn group_name(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix('[')?.split_once(']')?;
    rest.chars()
        .all(|c| matches!(c, ' ' | '\t'))
        .then_some(name)
}

fn check_pair(key: &str, value: &str, line: usize) -> Result<(), Error> {
    if !is_key_name(key) {
        let key = key.to_owned();
        return Err(Error::KeyAt { line, key });
    }
    if is_other_encoding(key, value) {
        let encoding = value.to_owned();
        return Err(Error::Encoding { line, encoding });
    }
    Ok(())
}

/// Whether a pair says that the file is not UTF-8. GLib looks for that in the first group only; here
/// it is refused in every group, since removing a group can make another one the first.
pub(super) fn is_other_encoding(key: &str, value: &str) -> bool {
    key == "Encoding" && !value.eq_ignore_ascii_case("UTF-8")
}

pub(super) fn is_group_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| matches!(c, '[' | ']') || c.is_ascii_control())
}

fn is_key_name(key: &str) -> bool {
    let (name, locale) = match key.split_once('[') {
        Some((name, rest)) => (name, rest.strip_suffix(']')),
        None => (key, Some("")),
    };
    let in_locale = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    !name.is_empty()
        && !name.contains(['=', ']'])
        && !name.starts_with(' ')
        && !name.ends_with(' ')
        && locale.is_some_and(|locale| locale.chars().all(in_locale))
}

/// A key that is read back as it was written: GLib sets others too, and writes a broken file.
pub(super) fn is_settable_key(key: &str) -> bool {
    is_key_name(key)
        && !key.contains(['\n', '\0'])
        && key.trim_ascii() == key
        && !key.starts_with('#')
}

/// LOCALE of `KEY[LOCALE]`; an empty one is none.
pub(super) fn locale(key: &str) -> Option<&str> {
    let locale = key.split_once('[')?.1.strip_suffix(']')?;
    (!locale.is_empty()).then_some(locale)
}
