// SPDX-License-Identifier: MIT OR Apache-2.0
//! Key files as GLib's `GKeyFile` has them: a repository's `config`, the files of `remotes.d`,
//! `.origin` files.
//!
//! UTF-8 text without NUL, in lines that end with `\n` or `\r\n`. White space at the start of a
//! line is ignored. A line is
//! - blank or starts with `#`: a comment;
//! - `[NAME]`, with spaces and tabs after it: the start of a group. NAME has no `[`, no `]` and no
//!   control character, so `[remote "origin"]` is the group `remote "origin"`. A group that was
//!   there before goes on;
//! - `KEY=VALUE`, in a group: white space around `=` is ignored, white space after VALUE is not.
//!   KEY has no `=`, `[`, `]`, may have spaces inside, and may end with `[LOCALE]`. Of a key that is
//!   there twice the last value counts.
//!
//! In a value `\s`, `\n`, `\t`, `\r` and `\\` stand for a space, newline, tab, carriage return and
//! backslash; in a list, whose items each end with `;`, also `\;` for a semicolon. A boolean is
//! `true`, `1`, `false` or `0`.
//!
//! Written, each line is as it was (except for white space around `=` and at the line's start), and a
//! blank line is put between groups where there is none. libostree throws comments and foreign
//! translations away when it changes a file; [`KeyFile::drop_comments`] does that, and the result
//! is then libostree's, byte for byte. One difference is on purpose: [`KeyFile::remove_key`]
//! removes each of several lines for the same key. GLib removes the last one, so that an older
//! value comes back to life.

mod parse;
mod value;

use std::fmt::{self, Write as _};

/// Why a key file cannot be read, or a value not be taken from it. The wording is GLib's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not UTF-8, or with a NUL byte.
    #[error("line {line}: Invalid UTF-8")]
    Utf8 {
        /// The line, from 1.
        line: usize,
    },
    /// A line that is nothing.
    #[error(
        "line {line}: Key file contains line “{text}” which is not a key-value pair, group, or comment"
    )]
    Line {
        /// The line, from 1.
        line: usize,
        /// Its text.
        text: String,
    },
    /// A key before the first group.
    #[error("line {line}: Key file does not start with a group")]
    NoGroup {
        /// The line, from 1.
        line: usize,
    },
    /// A key that may not be.
    #[error("line {line}: Invalid key name: {key}")]
    KeyAt {
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// A group name that may not be.
    #[error("line {line}: Invalid group name: {group}")]
    GroupAt {
        /// The line, from 1.
        line: usize,
        /// The group.
        group: String,
    },
    /// A key `Encoding` says something else than UTF-8.
    #[error("line {line}: Key file contains unsupported encoding “{encoding}”")]
    Encoding {
        /// The line, from 1.
        line: usize,
        /// The encoding.
        encoding: String,
    },
    /// A key that cannot be set.
    #[error("Invalid key name: {0}")]
    Key(String),
    /// A group that cannot be made.
    #[error("Invalid group name: {0}")]
    Group(String),
    /// A value that would not be read back: one with a NUL, or that starts with a form feed.
    #[error("Value of key “{0}” cannot be written to a key file")]
    Unwritable(String),
    /// A value that is not of the type asked for.
    #[error(
        "Key file contains key “{key}” in group “{group}” which has a value that cannot be interpreted: {why}: “{value}”"
    )]
    Value {
        /// The group.
        group: String,
        /// The key.
        key: String,
        /// The value as it stands in the file.
        value: String,
        /// The expected form.
        why: &'static str,
    },
}

/// A key file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFile {
    /// Comments before the first group.
    head: Vec<String>,
    groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Comment(String),
    Pair { key: String, value: String },
}

impl Line {
    fn key(&self) -> Option<&str> {
        match self {
            Self::Comment(_) => None,
            Self::Pair { key, .. } => Some(key),
        }
    }

    fn is_blank(&self) -> bool {
        matches!(self, Self::Comment(text) if text.is_empty())
    }
}

impl Group {
    /// Where the line of `key` that counts is.
    fn find(&self, key: &str) -> Option<usize> {
        self.lines.iter().rposition(|line| line.key() == Some(key))
    }

    /// How many lines there are without the comments at the end, which belong to what comes next.
    fn body_len(&self) -> usize {
        let last = self.lines.iter().rposition(|line| line.key().is_some());
        last.map_or(0, |last| last + 1)
    }
}

impl KeyFile {
    /// A key file with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a key file. The caller bounds its size.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        parse::parse(bytes)
    }

    /// The names of the groups, in order.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|group| group.name.as_str())
    }

    /// True if there is a group called `group`.
    pub fn has_group(&self, group: &str) -> bool {
        self.group(group).is_some()
    }

    /// The keys in `group`, each once, in order. None if there is no such group.
    pub fn keys(&self, group: &str) -> Vec<&str> {
        let mut seen = std::collections::HashSet::new();
        let lines = self.group(group).map_or(&[][..], |group| &group.lines);
        lines
            .iter()
            .filter_map(Line::key)
            .filter(|key| seen.insert(*key))
            .collect()
    }

    /// The value of `key` as it stands in the file, escapes and all.
    pub fn value(&self, group: &str, key: &str) -> Option<&str> {
        let group = self.group(group)?;
        match &group.lines[group.find(key)?] {
            Line::Pair { value, .. } => Some(value),
            Line::Comment(_) => None,
        }
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Sets the value as it is to stand in the file. It has no newline and no NUL.
    fn set_value(&mut self, group: &str, key: &str, value: String) -> Result<(), Error> {
        if !parse::is_group_name(group) {
            return Err(Error::Group(group.to_owned()));
        }
        if !parse::is_settable_key(key) {
            return Err(Error::Key(key.to_owned()));
        }
        let unreadable = value.contains('\0') || value.trim_ascii_start() != value;
        if unreadable || parse::is_other_encoding(key, &value) {
            return Err(Error::Unwritable(key.to_owned()));
        }
        let at = self.groups.iter().position(|g| g.name == group);
        let at = at.unwrap_or_else(|| {
            self.groups.push(Group {
                name: group.to_owned(),
                lines: Vec::new(),
            });
            self.groups.len() - 1
        });
        let group = &mut self.groups[at];
        let line = Line::Pair {
            key: key.to_owned(),
            value,
        };
        match group.find(key) {
            Some(at) => group.lines[at] = line,
            None => group.lines.insert(group.body_len(), line),
        }
        Ok(())
    }

    /// Removes `key` from `group`. True if it was there. The group stays, even if it is empty then.
    pub fn remove_key(&mut self, group: &str, key: &str) -> bool {
        let Some(group) = self.groups.iter_mut().find(|g| g.name == group) else {
            return false;
        };
        let before = group.lines.len();
        group.lines.retain(|line| line.key() != Some(key));
        group.lines.len() != before
    }

    /// Removes a group with its keys. True if it was there. Comments after its last key stay:
    /// they are about what comes next.
    pub fn remove_group(&mut self, group: &str) -> bool {
        let Some(at) = self.groups.iter().position(|g| g.name == group) else {
            return false;
        };
        let mut gone = self.groups.remove(at);
        let mut tail = gone.lines.split_off(gone.body_len());
        match at.checked_sub(1) {
            Some(before) => {
                // One blank line is enough between the groups that are neighbours now, and none is
                // needed at the end.
                let is_last = at == self.groups.len();
                let lines = &mut self.groups[before].lines;
                if lines.last().is_some_and(Line::is_blank)
                    && tail.first().map_or(is_last, Line::is_blank)
                {
                    lines.pop();
                }
                lines.append(&mut tail);
            }
            None => self
                .head
                .extend(tail.into_iter().filter_map(|line| match line {
                    Line::Comment(text) => Some(text),
                    Line::Pair { .. } => None,
                })),
        }
        true
    }

    /// Throws away what libostree does not keep when it reads a file: comments, blank lines, and
    /// keys with a locale other than `C`.
    pub fn drop_comments(&mut self) {
        self.head.clear();
        for group in &mut self.groups {
            group.lines.retain(|line| match line.key() {
                None => false,
                Some(key) => parse::locale(key).is_none_or(|locale| locale == "C"),
            });
        }
    }
}

/// The file's text.
impl fmt::Display for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        for comment in &self.head {
            writeln!(out, "{comment}")?;
        }
        for Group { name, lines } in &self.groups {
            if out.len() >= 2 && !out.ends_with("\n\n") {
                out.push('\n');
            }
            writeln!(out, "[{name}]")?;
            for line in lines {
                match line {
                    Line::Comment(text) => writeln!(out, "{text}")?,
                    Line::Pair { key, value } => writeln!(out, "{key}={value}")?,
                }
            }
        }
        f.write_str(&out)
    }
}

#[cfg(test)]
mod tests;
