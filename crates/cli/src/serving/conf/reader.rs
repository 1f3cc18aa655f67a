// SPDX-License-Identifier: MIT OR Apache-2.0
//! A map of a configuration whose keys are taken one by one. What is left is not known, and an error.

use std::time::Duration;

use oxtree_transfer::limits::{parse_seconds, parse_size};

use crate::receiving::conf::keys::{texts, words};
use crate::yaml::Value;

/// What is wrong, beginning with the key.
pub(super) type Result<T> = std::result::Result<T, String>;

/// A map that is being read.
#[derive(Debug)]
pub(super) struct Map {
    /// How it is called in messages; empty for the whole document.
    name: String,
    entries: Vec<(String, Value)>,
}

impl Map {
    pub(super) fn new(name: &str, value: &Value) -> Result<Self> {
        let entries = match value {
            Value::Null => Vec::new(),
            Value::Map(entries) => texts(name, entries)?,
            other => return Err(format!("{name} must be a map, but found {}", other.shown())),
        };
        let name = name.to_owned();
        Ok(Self { name, entries })
    }

    /// How a key is called in messages.
    fn full(&self, key: &str) -> String {
        match self.name.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.name),
        }
    }

    /// The value of a key; [`None`] if there is none, or `null`.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        let at = self.entries.iter().position(|(name, _)| name == key)?;
        let (_, value) = self.entries.remove(at);
        (value != Value::Null).then_some(value)
    }

    fn parsed<T>(
        &mut self,
        key: &str,
        what: &str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let name = self.full(key);
        let parsed = parse(&value)
            .ok_or_else(|| format!("{name} must be {what}, but found {}", value.shown()));
        parsed.map(Some)
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>> {
        self.parsed(key, "text", |value| {
            value
                .as_word()
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
        })
    }

    /// Text that has to be there.
    pub(super) fn needed(&mut self, key: &str) -> Result<String> {
        let missing = format!("{} is missing", self.full(key));
        self.text(key)?.ok_or(missing)
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>> {
        self.parsed(key, "yes or no", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A list of words, or one.
    pub(super) fn list(&mut self, key: &str) -> Result<Option<Vec<String>>> {
        let name = self.full(key);
        match self.take(key) {
            None => Ok(None),
            Some(Value::List(items)) => words(&name, &items).map(Some),
            Some(value) => match value.as_word() {
                Some(word) => Ok(Some(vec![word.to_owned()])),
                None => Err(format!(
                    "{name} must be a list, but found {}",
                    value.shown()
                )),
            },
        }
    }

    pub(super) fn size(&mut self, key: &str) -> Result<Option<u64>> {
        self.parsed(key, "a number such as 500, 64K, 20M or 3G", |value| {
            value
                .as_word()
                .and_then(parse_size)
                .filter(|size| *size > 0)
        })
    }

    pub(super) fn time(&mut self, key: &str) -> Result<Option<Duration>> {
        self.parsed(key, "a time such as 90s, 5m, 24h or 30d", |value| {
            value.as_word().and_then(time)
        })
    }

    /// A map in the map.
    pub(super) fn map(&mut self, key: &str) -> Result<Option<Self>> {
        let name = self.full(key);
        self.take(key)
            .map(|value| Self::new(&name, &value))
            .transpose()
    }

    /// The maps in the map, by their names.
    pub(super) fn maps(&mut self, key: &str) -> Result<Vec<(String, Self)>> {
        let Some(map) = self.map(key)? else {
            return Ok(Vec::new());
        };
        let of_entry = |(name, value): &(String, Value)| {
            let map = Self::new(&map.full(name), value)?;
            Ok((name.clone(), map))
        };
        map.entries.iter().map(of_entry).collect()
    }

    /// A list of maps.
    pub(super) fn list_of_maps(&mut self, key: &str) -> Result<Vec<Self>> {
        let name = self.full(key);
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::List(items)) => items
                .iter()
                .enumerate()
                .map(|(at, item)| Self::new(&format!("{name}[{at}]"), item))
                .collect(),
            Some(value) => Err(format!(
                "{name} must be a list, but found {}",
                value.shown()
            )),
        }
    }

    /// All that is left, for somebody else to read.
    pub(super) fn entries(self) -> Vec<(String, Value)> {
        self.entries
    }

    /// Keys and lists of words, whatever the keys are.
    pub(super) fn lists(mut self) -> Result<Vec<(String, Vec<String>)>> {
        let keys: Vec<String> = self.entries.iter().map(|(key, _)| key.clone()).collect();
        let list = |key: String| {
            let list = self.list(&key)?.unwrap_or_default();
            Ok((key, list))
        };
        keys.into_iter().map(list).collect()
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<()> {
        match self.entries.first() {
            None => Ok(()),
            Some((key, _)) => Err(format!("{} is not a known key", self.full(key))),
        }
    }
}

/// A time, in days too.
pub(crate) fn time(text: &str) -> Option<Duration> {
    let seconds = match text.strip_suffix(['d', 'D']) {
        Some(days) if days.bytes().all(|byte| byte.is_ascii_digit()) => {
            days.parse::<u64>().ok()?.checked_mul(86400)?
        }
        _ => parse_seconds(text)?,
    };
    Some(Duration::from_secs(seconds))
}
