// SPDX-License-Identifier: MIT OR Apache-2.0
//! A YAML document as a tree, with plain words read as YAML 1.1 has them and `PyYAML` does: `yes`,
//! `no`, `on` and `off` are booleans.
//!
//! The parser is `granit-parser`; this puts its events together. Nesting and the number of nodes
//! are bounded, those that aliases repeat included.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use granit_parser::{Event, Options, Parser, ScalarStyle, Tag};
use regex::Regex;

/// How deep lists and maps may be nested.
const MAX_DEPTH: usize = 32;

/// How many values a document may have.
const MAX_NODES: usize = 100_000;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `yes`, `no`, `true`, `false`, `on`, `off`.
    Bool(bool),
    /// A number or date as it is written, and Python's name of its type.
    Plain(String, &'static str),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A map, in the order of the file; of equal keys the last one counts.
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// Python's name of the type, as it stands in the messages of ostree-push.
    pub(crate) fn python_type(&self) -> &'static str {
        match self {
            Self::Null => "NoneType",
            Self::Bool(_) => "bool",
            Self::Plain(_, name) => name,
            Self::Text(_) => "str",
            Self::List(_) => "list",
            Self::Map(_) => "dict",
        }
    }

    /// The text of a scalar that is text or could be meant as such, like a key id of digits only.
    pub(crate) fn as_word(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Plain(text, _) => Some(text),
            _ => None,
        }
    }

    /// The value for people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Bool(true) => "True".to_owned(),
            Self::Bool(false) => "False".to_owned(),
            Self::Null => "None".to_owned(),
            Self::Text(text) | Self::Plain(text, _) => text.clone(),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a map".to_owned(),
        }
    }
}

/// Reads the one document in `text`. The error says what is wrong, and where.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut composer = Composer {
        events: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut document = None;
    loop {
        match composer.next()? {
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            Event::StreamEnd => return Ok(document.unwrap_or(Value::Null)),
            _ if document.is_some() => {
                return Err("expected a single document in the stream".to_owned());
            }
            event => document = Some(composer.node(event, 0)?),
        }
    }
}

struct Composer<'t> {
    events: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, Value>,
    nodes: usize,
}

impl<'t> Composer<'t> {
    fn next(&mut self) -> Result<Event<'t>, String> {
        match self.events.next() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(Event::StreamEnd),
        }
    }

    fn count(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes += nodes;
        match self.nodes > MAX_NODES {
            true => Err(format!("more than {MAX_NODES} values")),
            false => Ok(()),
        }
    }

    fn node(&mut self, event: Event<'t>, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH}"));
        }
        self.count(1)?;
        let (value, anchor) = match event {
            Event::Alias(id) => {
                let value = self.anchors.get(&id).cloned();
                let value = value.ok_or("an alias for what it is itself in")?;
                self.count(nodes(&value))?;
                return Ok(value);
            }
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag)?, anchor),
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "seq")?;
                (self.list(depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "map")?;
                (self.map(depth)?, anchor)
            }
            _ => return Err("a value is missing".to_owned()),
        };
        // Numbers begin at 1; 0 is no anchor.
        if anchor > 0 {
            self.count(nodes(&value))?;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Value::List(items)),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, String> {
        let (mut entries, mut merged) = (Vec::new(), Vec::new());
        loop {
            let event = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let merges =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.node(event, depth + 1)?;
            if matches!(key, Value::List(_) | Value::Map(_)) {
                return Err("a list or map as the key of a map".to_owned());
            }
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            match merges {
                true => merge(value, &mut merged)?,
                false => entries.push((key, value)),
            }
        }
        // What stands in the map itself comes last, and so counts.
        merged.extend(entries);
        Ok(Value::Map(merged))
    }
}

/// What `<<: *other` brings. Of several maps the first one that has a key counts.
fn merge(value: Value, merged: &mut Vec<(Value, Value)>) -> Result<(), String> {
    match value {
        Value::Map(entries) => merged.splice(..0, entries).for_each(drop),
        Value::List(maps) => {
            for map in maps {
                if !matches!(map, Value::Map(_)) {
                    return Err("expected a mapping for merging".to_owned());
                }
                merge(map, merged)?;
            }
        }
        _ => return Err("expected a mapping or list of mappings for merging".to_owned()),
    }
    Ok(())
}

fn nodes(value: &Value) -> usize {
    match value {
        Value::List(items) => 1 + items.iter().map(nodes).sum::<usize>(),
        Value::Map(entries) => {
            let both = |(key, value): &(Value, Value)| nodes(key) + nodes(value);
            1 + entries.iter().map(both).sum::<usize>()
        }
        _ => 1,
    }
}

/// A list or map may say that it is one, and nothing else.
fn check_tag(tag: Option<&Tag>, expected: &str) -> Result<(), String> {
    match tag {
        Some(tag) if tag.core_suffix() != Some(expected) && tag.original() != "!" => Err(format!(
            "could not determine a constructor for the tag '{}'",
            tag.original()
        )),
        _ => Ok(()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<Cow<'_, Tag>>) -> Result<Value, String> {
    let Some(tag) = tag else {
        return Ok(match style {
            ScalarStyle::Plain => resolve(text),
            _ => Value::Text(text.to_owned()),
        });
    };
    let value = match (tag.core_suffix(), resolve(text)) {
        (Some("str"), _) => Value::Text(text.to_owned()),
        (Some("null"), _) => Value::Null,
        (Some("bool"), value @ Value::Bool(_)) => value,
        (Some(kind @ ("int" | "float")), Value::Plain(text, name)) if kind == name => {
            Value::Plain(text, name)
        }
        _ if tag.original() == "!" => Value::Text(text.to_owned()),
        _ => {
            let tag = tag.original();
            return Err(format!(
                "the tag '{tag}' does not fit '{text}', or is not known"
            ));
        }
    };
    Ok(value)
}

/// What a plain word means in YAML 1.1 (<https://yaml.org/type/>), as far as `PyYAML` goes along.
fn resolve(text: &str) -> Value {
    static KINDS: LazyLock<[(Regex, &'static str); 4]> = LazyLock::new(|| {
        [
            (
                r"[-+]?(0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(:[0-5]?[0-9])+)",
                "int",
            ),
            (
                r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
                "float",
            ),
            (r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "datetime.date"),
            (
                r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?([ \t]*(Z|[-+][0-9]{1,2}(:[0-9]{2})?))?",
                "datetime.datetime",
            ),
        ]
        .map(|(expression, name)| {
            let whole = format!("^(?:{expression})$");
            (Regex::new(&whole).expect("an expression of ours"), name)
        })
    });
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    match KINDS.iter().find(|(kind, _)| kind.is_match(text)) {
        Some((_, name)) => Value::Plain(text.to_owned(), name),
        None => Value::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    /// Each as `yaml.safe_load` of `PyYAML` 6.0 reads it.
    #[test]
    fn plain_words() {
        for (word, name) in [
            ("yes", "bool"),
            ("Off", "bool"),
            ("TRUE", "bool"),
            ("y", "str"),
            ("yEs", "str"),
            ("~", "NoneType"),
            ("", "NoneType"),
            ("NULL", "NoneType"),
            ("nil", "str"),
            ("1", "int"),
            ("-0x1F", "int"),
            ("0b1", "int"),
            ("017", "int"),
            ("019", "str"),
            ("1_000", "int"),
            ("1:30", "int"),
            ("0o17", "str"),
            ("1.5", "float"),
            (".5", "float"),
            ("1e3", "str"),
            ("1.0e+3", "float"),
            ("1.0e3", "str"),
            (".inf", "float"),
            ("-.INF", "float"),
            ("2026-01-02", "datetime.date"),
            ("2026-01-02 03:04:05", "datetime.datetime"),
            ("24h", "str"),
            ("'yes'", "str"),
            ("\"1\"", "str"),
            ("!!str yes", "str"),
            ("!!int 1", "int"),
            ("! yes", "str"),
            ("[a]", "list"),
            ("{a: b}", "dict"),
            ("1234ABCD", "str"),
        ] {
            assert_eq!(parse(word).unwrap().python_type(), name, "{word:?}");
        }
    }

    #[test]
    fn documents() {
        let map = "a: yes\nb: # a comment\n- 1\n- 'x y'\nc: {d: null}\n";
        assert_eq!(
            parse(map).unwrap(),
            Value::Map(vec![
                (text("a"), Value::Bool(true)),
                (
                    text("b"),
                    Value::List(vec![Value::Plain("1".to_owned(), "int"), text("x y")])
                ),
                (text("c"), Value::Map(vec![(text("d"), Value::Null)])),
            ])
        );
        for empty in ["", "# nothing\n", "---\n", "---\n...\n"] {
            assert_eq!(parse(empty).unwrap(), Value::Null, "{empty:?}");
        }
    }

    #[test]
    fn aliases_and_merged_maps() {
        let text = "a: &a {x: 1, y: 1}\nb: &b {y: 2}\nc: {<<: [*a, *b], x: 3}\nd: *b\n";
        let Value::Map(entries) = parse(text).unwrap() else {
            panic!("a map")
        };
        let last = |map: &Value, wanted: &str| match map {
            Value::Map(entries) => {
                let mut entries = entries.iter().rev();
                entries
                    .find(|(key, _)| key.as_word() == Some(wanted))
                    .unwrap()
                    .1
                    .shown()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(last(&entries[2].1, "x"), "3");
        assert_eq!(last(&entries[2].1, "y"), "1");
        assert_eq!(last(&entries[3].1, "y"), "2");
    }

    #[test]
    fn what_is_no_yaml_or_too_much_of_it() {
        let laughs = (1..9).fold(
            "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(),
            |all, n| {
                let alias = format!("*a{}", n - 1);
                all + &format!("a{n}: &a{n} [{}]\n", [alias.as_str(); 9].join(", "))
            },
        );
        let deep = "[".repeat(200) + &"]".repeat(200);
        let very_deep = "[".repeat(200_000);
        for text in [
            "a: [b",
            "a: b: c",
            "*x",
            "a: &a [*a]",
            "a: !!python/object:os.system {}",
            "!!int x",
            "!!map [a]",
            "{[a]: b}",
            "a\n---\nb",
            "<<: x",
            "<<: [x]",
            "a: 'b",
            "%YAML x",
            &laughs,
            &deep,
            &very_deep,
        ] {
            assert!(parse(text).is_err(), "{}", &text[..text.len().min(60)]);
        }
    }
}
