// SPDX-License-Identifier: MIT OR Apache-2.0
//! As much of XML as metalinks use: elements, attributes, text, the five entities and numeric ones.
//! Declarations, comments and processing instructions are passed over; nothing is ever expanded to more
//! than it was.

/// A piece of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'t> {
    /// An element begins: its name and its attributes.
    Start(&'t str, Vec<(&'t str, String)>),
    /// Text within an element.
    Text(String),
    /// An element ends.
    End,
}

/// Reads a document piece by piece. That elements end as they have begun is checked.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    rest: &'t str,
    open: Vec<&'t str>,
    /// The last element had no content, and ends now.
    empty: bool,
    begun: bool,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            rest: text,
            open: Vec::new(),
            empty: false,
            begun: false,
        }
    }

    /// The next piece; [`None`] at the end of the document.
    pub(super) fn next(&mut self) -> Result<Option<Event<'t>>, String> {
        if std::mem::take(&mut self.empty) {
            self.open.pop();
            return Ok(Some(Event::End));
        }
        loop {
            if self.rest.is_empty() {
                return match self.open.last() {
                    Some(name) => Err(format!("Document ends within <{name}>")),
                    None if !self.begun => Err(NO_ELEMENT.to_owned()),
                    None => Ok(None),
                };
            }
            if let Some(rest) = self.rest.strip_prefix("<!--") {
                self.rest = after(rest, "-->")?.1;
            } else if let Some(rest) = self.rest.strip_prefix("<?") {
                self.rest = after(rest, "?>")?.1;
            } else if let Some(rest) = self.rest.strip_prefix("<![CDATA[") {
                let (text, rest) = after(rest, "]]>")?;
                self.rest = rest;
                return Ok(Some(Event::Text(text.to_owned())));
            } else if let Some(rest) = self.rest.strip_prefix("<!") {
                self.rest = after(rest, ">")?.1;
            } else if let Some(rest) = self.rest.strip_prefix("</") {
                let (name, rest) = after(rest, ">")?;
                self.rest = rest;
                let name = name.trim_end();
                return match self.open.pop() {
                    Some(open) if open == name => Ok(Some(Event::End)),
                    Some(open) => Err(format!("</{name}> where </{open}> has to be")),
                    None => Err(format!("</{name}> without its beginning")),
                };
            } else if let Some(rest) = self.rest.strip_prefix('<') {
                return self.start(rest).map(Some);
            } else {
                let end = self.rest.find('<').unwrap_or(self.rest.len());
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                match self.open.is_empty() {
                    false => return Ok(Some(Event::Text(unescape(text)?))),
                    true if text.trim().is_empty() => {}
                    true if !self.begun => return Err(NO_ELEMENT.to_owned()),
                    true => return Err("text after the document's end".to_owned()),
                }
            }
        }
    }

    fn start(&mut self, text: &'t str) -> Result<Event<'t>, String> {
        let (name, mut rest) = name(text);
        if name.is_empty() {
            return Err("an element without a name".to_owned());
        }
        if self.open.is_empty() && self.begun {
            return Err(format!("<{name}> after the document's end"));
        }
        let mut attributes = Vec::new();
        loop {
            rest = rest.trim_start();
            if let Some(end) = rest.strip_prefix("/>") {
                self.empty = true;
                rest = end;
                break;
            }
            if let Some(end) = rest.strip_prefix('>') {
                rest = end;
                break;
            }
            let wrong = || format!("wrong attribute of <{name}>");
            let (key, value) = self::name(rest);
            let value = value.trim_start().strip_prefix('=').ok_or_else(wrong)?;
            let value = value.trim_start();
            let quote = value.chars().next().filter(|c| *c == '"' || *c == '\'');
            let quote = quote.ok_or_else(wrong)?;
            let (value, end) = value[1..].split_once(quote).ok_or_else(wrong)?;
            if key.is_empty() {
                return Err(wrong());
            }
            attributes.push((key, unescape(value)?));
            rest = end;
        }
        self.begun = true;
        self.rest = rest;
        self.open.push(name);
        Ok(Event::Start(name, attributes))
    }
}

const NO_ELEMENT: &str = "Document must begin with an element (e.g. <book>)";

/// What stands before `end`, and what after it.
fn after<'t>(text: &'t str, end: &str) -> Result<(&'t str, &'t str), String> {
    text.split_once(end)
        .ok_or_else(|| format!("Document ends before {end}"))
}

fn name(text: &str) -> (&str, &str) {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    text.split_at(text.find(|c| !part(c)).unwrap_or(text.len()))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, entity)) = rest.split_once('&') {
        out.push_str(before);
        let wrong = || "an entity that is none".to_owned();
        let (entity, after) = entity.split_once(';').ok_or_else(wrong)?;
        let number = |digits: &str, radix| {
            let code = u32::from_str_radix(digits, radix).ok();
            code.and_then(char::from_u32).ok_or_else(wrong)
        };
        out.push(match entity {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => match (entity.strip_prefix("#x"), entity.strip_prefix('#')) {
                (Some(hex), _) => number(hex, 16)?,
                (None, Some(decimal)) => number(decimal, 10)?,
                (None, None) => return Err(wrong()),
            },
        });
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> Result<Vec<Event<'_>>, String> {
        let mut reader = Reader::new(text);
        let mut events = Vec::new();
        while let Some(event) = reader.next()? {
            events.push(event);
        }
        Ok(events)
    }

    #[test]
    fn documents() {
        let text = |text: &str| Event::Text(text.to_owned());
        let events =
            all("<!DOCTYPE a><!-- <x> --><a b='1&lt;2' c=\"\"><d/>&#65;&#x42;<![CDATA[<]]></a> ");
        let attributes = vec![("b", "1<2".to_owned()), ("c", String::new())];
        assert_eq!(
            events.unwrap(),
            [
                Event::Start("a", attributes),
                Event::Start("d", Vec::new()),
                Event::End,
                text("AB"),
                text("<"),
                Event::End
            ]
        );
        for wrong in [
            "",
            "x",
            "<a>",
            "<a></b>",
            "<a/>x",
            "<a/><b/>",
            "<a b>",
            "<a b='>",
            "</a>",
            "<a>&x;</a>",
            "<a>&#xd800;</a>",
            "<>",
            "<!--",
            "<a 'x'='y'/>",
        ] {
            assert!(all(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text(text in "\\PC*|[<>/a&;#='\"!?-]{0,40}") {
            let _ = all(&text);
        }
    }
}
