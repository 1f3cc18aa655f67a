// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typed values and their escapes.

use super::{Error, KeyFile};

impl KeyFile {
    /// The string called `key`; [`None`] if there is no such key.
    pub fn string(&self, group: &str, key: &str) -> Result<Option<String>, Error> {
        self.typed(group, key, "a bad escape sequence", unescape)
    }

    /// The boolean called `key`; [`None`] if there is no such key.
    pub fn boolean(&self, group: &str, key: &str) -> Result<Option<bool>, Error> {
        self.typed(group, key, "not a boolean", |value| {
            match value.trim_ascii_end() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            }
        })
    }

    /// The whole number called `key`; [`None`] if there is no such key.
    pub fn integer(&self, group: &str, key: &str) -> Result<Option<i64>, Error> {
        self.typed(group, key, "not a number", |value| {
            value.trim_ascii_end().parse().ok()
        })
    }

    /// The list of strings called `key`; [`None`] if there is no such key. The last item need not
    /// end with `;`.
    pub fn string_list(&self, group: &str, key: &str) -> Result<Option<Vec<String>>, Error> {
        self.typed(group, key, "a bad escape sequence", unescape_list)
    }

    fn typed<T>(
        &self,
        group: &str,
        key: &str,
        why: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.value(group, key) else {
            return Ok(None);
        };
        let wrong = || Error::Value {
            group: group.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
            why,
        };
        read(value).map(Some).ok_or_else(wrong)
    }

    /// Sets a string. A new key comes after the group's last one, a new group at the end.
    pub fn set_string(&mut self, group: &str, key: &str, value: &str) -> Result<(), Error> {
        self.set_value(group, key, escape(value, false))
    }

    /// Sets a boolean.
    pub fn set_boolean(&mut self, group: &str, key: &str, value: bool) -> Result<(), Error> {
        self.set_value(group, key, value.to_string())
    }

    /// Sets a whole number.
    pub fn set_integer(&mut self, group: &str, key: &str, value: i64) -> Result<(), Error> {
        self.set_value(group, key, value.to_string())
    }

    /// Sets a list of strings.
    pub fn set_string_list<S: AsRef<str>>(
        &mut self,
        group: &str,
        key: &str,
        items: &[S],
    ) -> Result<(), Error> {
        let items = items.iter().map(|item| escape(item.as_ref(), true) + ";");
        self.set_value(group, key, items.collect())
    }
}

/// The character that `\` and `letter` stand for.
fn escaped(letter: char) -> Option<char> {
    Some(match letter {
        's' => ' ',
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '\\' => '\\',
        _ => return None,
    })
}

fn unescape(value: &str) -> Option<String> {
    let mut chars = value.chars();
    let mut out = String::with_capacity(value.len());
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => escaped(chars.next()?)?,
            c => c,
        });
    }
    Some(out)
}

fn unescape_list(value: &str) -> Option<Vec<String>> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            ';' => items.push(std::mem::take(&mut item)),
            '\\' => item.push(match chars.next()? {
                ';' => ';',
                letter => escaped(letter)?,
            }),
            c => item.push(c),
        }
    }
    if !item.is_empty() {
        items.push(item);
    }
    Some(items)
}

/// Spaces and tabs need an escape only at the start, where a reader would skip them.
fn escape(value: &str, in_list: bool) -> String {
    let mut out = String::with_capacity(value.len());
    let mut leading = true;
    for c in value.chars() {
        match c {
            ' ' if leading => out.push_str("\\s"),
            '\t' if leading => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            ';' if in_list => out.push_str("\\;"),
            c => out.push(c),
        }
        leading = leading && matches!(c, ' ' | '\t' | '\n' | '\r');
    }
    out
}
