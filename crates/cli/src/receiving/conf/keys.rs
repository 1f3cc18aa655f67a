// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keys of `ostree-receive.conf`: their types, and the check of a value.

use oxtree_transfer::limits::parse_seconds;

use super::identity;
use crate::shell_words;
use crate::yaml::Value;

/// What a value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text; empty or null where that means that there is none.
    Text,
    /// A program with arguments, in words as a shell splits them; empty or null for none.
    Program,
    /// Text that has to be there.
    Name,
    /// A boolean.
    Flag,
    /// A list of text.
    List,
    /// A map.
    Map,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A time span.
    Time,
    /// A boolean, or null for neither.
    MaybeFlag,
    /// A map of identities.
    Identities,
}

/// A key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether it can stand below `repos`.
    pub(super) per_repo: bool,
}

const fn key(name: &'static str, kind: Kind, per_repo: bool) -> Key {
    Key {
        name,
        kind,
        per_repo,
    }
}

/// Python's names of the log levels.
pub(super) const LEVELS: [&str; 8] = [
    "NOTSET", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL",
];

/// All keys: those of ostree-push 1.2.0, then ours.
pub(super) const KEYS: [Key; 24] = [
    key("root", Kind::Text, false),
    key("gpg_sign", Kind::List, true),
    key("gpg_homedir", Kind::Text, true),
    key("gpg_verify", Kind::Flag, true),
    key("gpg_trustedkeys", Kind::Text, true),
    key("sign_type", Kind::Name, true),
    key("sign_keyfiles", Kind::List, true),
    key("sign_verify", Kind::Flag, true),
    key("sign_trustedkeyfile", Kind::Text, true),
    key("update", Kind::Flag, true),
    key("update_hook", Kind::Program, true),
    key("repos", Kind::Map, false),
    key("log_level", Kind::Choice(&LEVELS), false),
    key("force", Kind::Flag, false),
    key("dry_run", Kind::Flag, false),
    key("commits", Kind::Choice(&["keep", "copy"]), true),
    key("legacy_protocol", Kind::Flag, true),
    key("urls", Kind::Choice(&["loopback", "any"]), true),
    key("max_future", Kind::Time, true),
    key("allow_force", Kind::MaybeFlag, true),
    key("allow_delete", Kind::MaybeFlag, true),
    key("receive_hook", Kind::Program, true),
    key("audit_log", Kind::Text, true),
    key("identities", Kind::Identities, true),
];

/// Keys without which more would be taken, shown or signed than with them: to ignore one that is misspelt would be
/// to ignore the owner's rule.
const RESTRICTING: [&str; 16] = [
    "root",
    "gpg_sign",
    "gpg_verify",
    "gpg_trustedkeys",
    "sign_keyfiles",
    "sign_verify",
    "sign_trustedkeyfile",
    "dry_run",
    "commits",
    "legacy_protocol",
    "max_future",
    "allow_force",
    "allow_delete",
    "receive_hook",
    "audit_log",
    "identities",
];

/// The restricting key that a key which is not known could be meant to be.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    let plain = |name: &str| -> Vec<char> {
        let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.'));
        letters.flat_map(char::to_lowercase).take(64).collect()
    };
    let name = plain(name);
    let near = |key: &&&str| {
        let key = plain(key);
        distance(&name, &key) <= (key.len() / 4).min(2)
    };
    RESTRICTING.iter().find(near).copied()
}

/// How many letters have to be changed, left out, put in or swapped with the next.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let changed = rows[i][j] + usize::from(x != y);
            let mut least = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// The key of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// A value that is as its key wants it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Setting {
    Text(Option<String>),
    Flag(Option<bool>),
    List(Vec<String>),
    Map(Vec<(String, Value)>),
    Seconds(u64),
    Identities(Vec<identity::Identity>),
}

/// Checks the value of `key`. The error begins with the key's name.
pub(super) fn check(key: &Key, value: &Value) -> Result<Setting, String> {
    let name = key.name;
    let not_a = |class: &str| {
        let found = value.python_type();
        format!("{name} must be an instance of <class '{class}'>, but found <class '{found}'>")
    };
    match (key.kind, value) {
        (Kind::Text, Value::Null) => Ok(Setting::Text(None)),
        (Kind::Text, Value::Text(text)) if text.is_empty() => Ok(Setting::Text(None)),
        (Kind::Text | Kind::Name, Value::Text(text)) => Ok(Setting::Text(Some(text.clone()))),
        (Kind::Program, Value::Null) => Ok(Setting::List(Vec::new())),
        (Kind::Program, Value::Text(line)) => match shell_words::split(line) {
            Ok(words) => Ok(Setting::List(words)),
            Err(error) => Err(format!("{name}: {error} in {line}")),
        },
        (Kind::MaybeFlag, Value::Null) => Ok(Setting::Flag(None)),
        (Kind::Flag | Kind::MaybeFlag, Value::Bool(flag)) => Ok(Setting::Flag(Some(*flag))),
        (Kind::List, Value::List(items)) => words(name, items).map(Setting::List),
        (Kind::Map, Value::Map(entries)) => texts(name, entries).map(Setting::Map),
        (Kind::Identities, Value::Map(entries)) => {
            let entries = texts(name, entries)?;
            let all = entries
                .iter()
                .map(|(who, value)| identity::parse(who, value));
            let all = all.collect::<Result<_, _>>();
            all.map(Setting::Identities)
                .map_err(|error| format!("{name}.{error}"))
        }
        (Kind::Choice(choices), Value::Text(text)) if choices.contains(&text.as_str()) => {
            Ok(Setting::Text(Some(text.clone())))
        }
        (Kind::Choice(choices), Value::Text(text)) if choices == LEVELS.as_slice() => {
            let known = choices.join(", ");
            Err(format!(
                "{name}: Unknown level: '{text}'; known are {known}"
            ))
        }
        (Kind::Choice(choices), Value::Text(text)) => {
            let known = choices.join(" or ");
            Err(format!("{name} must be {known}, but found '{text}'"))
        }
        (Kind::Time, value) => value
            .as_word()
            .and_then(parse_seconds)
            .map(Setting::Seconds)
            .ok_or_else(|| {
                let found = value.shown();
                format!("{name} must be a time such as 90s, 5m, 24h or 0, but found '{found}'")
            }),
        (Kind::Text | Kind::Name | Kind::Program | Kind::Choice(_), _) => Err(not_a("str")),
        (Kind::Flag | Kind::MaybeFlag, _) => Err(not_a("bool")),
        (Kind::List, _) => Err(not_a("list")),
        (Kind::Map | Kind::Identities, _) => Err(not_a("dict")),
    }
}

/// The items of a list. A key id of digits only is a number to YAML, and meant as it is written.
pub(crate) fn words(name: &str, items: &[Value]) -> Result<Vec<String>, String> {
    let words = items.iter().map(|item| match item.as_word() {
        Some(word) if !word.is_empty() => Ok(word.to_owned()),
        _ => Err(format!(
            "{name}: each item must be an instance of <class 'str'>, but found {}",
            match item {
                Value::Text(_) => "an empty one".to_owned(),
                other => format!("<class '{}'>", other.python_type()),
            }
        )),
    });
    words.collect()
}

/// A map whose keys are text. Of equal keys the last one counts, as in Python, in the first's place.
pub(crate) fn texts(
    name: &str,
    entries: &[(Value, Value)],
) -> Result<Vec<(String, Value)>, String> {
    let mut all: Vec<(String, Value)> = Vec::new();
    for (key, value) in entries {
        let word = key.as_word().ok_or_else(|| {
            let found = key.python_type();
            format!(
                "{name}: each key must be an instance of <class 'str'>, but found <class '{found}'>"
            )
        })?;
        match all.iter_mut().find(|(there, _)| there == word) {
            Some((_, there)) => there.clone_from(value),
            None => all.push((word.to_owned(), value.clone())),
        }
    }
    Ok(all)
}
