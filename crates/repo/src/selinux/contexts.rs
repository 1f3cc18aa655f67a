// SPDX-License-Identifier: MIT OR Apache-2.0
//! `file_contexts`: which label belongs to which path, with libselinux's order of precedence.
//!
//! A line is `REGEX [TYPE] LABEL`: TYPE is `--` for regular files, `-d` for directories, `-l` for
//! links (`-b -c -p -s` exist, too); the label `<<none>>` stands for none. A path without special
//! characters beats any expression; of two of a kind the later one counts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use oxtree_format::dirmeta::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};
use regex::bytes::{Regex, RegexBuilder};

/// Bytes in one word of a line, as libselinux has it.
const MAX_WORD: usize = u16::MAX as usize;

/// Bytes that one compiled expression may take.
const MAX_COMPILED: usize = 256 << 10;

/// Characters that make an expression of a path.
const SPECIAL: &[u8] = b".^$?*+|[({";

/// The lines of all files of a policy.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    /// Expressions in the order of the files, and then plain paths.
    specs: Vec<Spec>,
    /// By the first directory of the path: the lines that may match below it, the last one first.
    by_stem: HashMap<String, Vec<u32>>,
    /// The lines that begin with none, the last one first.
    stemless: Vec<u32>,
}

/// One line.
#[derive(Debug)]
struct Spec {
    /// `/usr` of `/usr/bin/.*`; empty if the expression begins with something else.
    stem: String,
    /// What comes after the stem.
    pattern: Pattern,
    /// Bits of the file's type; 0 for any.
    kind: u32,
    /// [`None`] for `<<none>>`.
    label: Option<String>,
}

#[derive(Debug)]
enum Pattern {
    /// Just this path.
    Plain(Vec<u8>),
    Regex {
        text: String,
        /// What everything that matches begins with.
        prefix: Vec<u8>,
        compiled: OnceLock<Result<Regex, String>>,
    },
}

impl Contexts {
    /// Adds the lines of a file.
    pub(super) fn add(&mut self, text: &[u8]) -> Result<(), String> {
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let spec = Spec::parse(line).map_err(|why| format!("line {}: {why}", number + 1))?;
            self.specs.extend(spec);
        }
        Ok(())
    }

    /// Puts the lines of all files into order.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        let is_plain = |spec: &Spec| matches!(spec.pattern, Pattern::Plain(_));
        self.specs.sort_by_key(is_plain);
        let numbers = 0..u32::try_from(self.specs.len()).map_err(|_| "too many lines")?;
        for (number, spec) in numbers.clone().zip(&self.specs).rev() {
            match spec.stem.as_str() {
                "" => self.stemless.push(number),
                stem => self
                    .by_stem
                    .entry(stem.to_owned())
                    .or_default()
                    .push(number),
            }
        }
        Ok(())
    }

    /// The label of something of type `mode` at `path`.
    pub(super) fn lookup(&self, path: &str, mode: u32) -> Result<Option<&str>, String> {
        let path = squeeze(path);
        // The stem of `/usr/bin` is `/usr`; `/usr` has none.
        let end = path.get(1..).and_then(|rest| rest.find('/'));
        let (stem, rest) = end.map_or(("", &*path), |end| path.split_at(end + 1));
        let below: &[u32] = self.by_stem.get(stem).map_or(&[], Vec::as_slice);
        let (mut below, mut others) = (below.iter().peekable(), self.stemless.iter().peekable());
        loop {
            // Both lists go down: the greater of the two is next.
            let next = match (below.peek(), others.peek()) {
                (Some(a), Some(b)) if a < b => others.next(),
                (Some(_), _) => below.next(),
                (None, _) => others.next(),
            };
            let Some(spec) = next.and_then(|number| self.specs.get(*number as usize)) else {
                return Ok(None);
            };
            let text = match spec.stem.is_empty() {
                true => &*path,
                false => rest,
            };
            if spec.is_for(mode) && spec.matches(text.as_bytes())? {
                return Ok(spec.label.as_deref());
            }
        }
    }
}

/// A path without double slashes.
fn squeeze(path: &str) -> Cow<'_, str> {
    let mut path = Cow::Borrowed(path);
    while path.contains("//") {
        path = Cow::Owned(path.replace("//", "/"));
    }
    path
}

impl Spec {
    /// Reads a line; [`None`] if it is empty or a comment.
    fn parse(line: &[u8]) -> Result<Option<Self>, String> {
        let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
        let mut words = line.split(is_space).filter(|word| !word.is_empty());
        let Some(regex) = words.next().filter(|word| word[0] != b'#') else {
            return Ok(None);
        };
        let (second, third) = (words.next(), words.next());
        let (kind, label) = match (second, third) {
            (None, _) => return Err("missing fields".to_owned()),
            (Some(label), None) => (0, label),
            (Some(kind), Some(label)) => (parse_kind(kind)?, label),
        };
        let text = ascii(regex)?;
        let stem = stem(text);
        Ok(Some(Self {
            stem: stem.to_owned(),
            pattern: Pattern::new(text, &text[stem.len()..]),
            kind,
            label: Some(ascii(label)?)
                .filter(|label| *label != "<<none>>")
                .map(str::to_owned),
        }))
    }

    fn is_for(&self, mode: u32) -> bool {
        let kind = mode & S_IFMT;
        self.kind == 0 || kind == 0 || self.kind == kind
    }

    fn matches(&self, text: &[u8]) -> Result<bool, String> {
        match &self.pattern {
            Pattern::Plain(plain) => Ok(without_newline(text) == plain || text == plain),
            Pattern::Regex {
                text: regex,
                prefix,
                compiled,
            } => match text.starts_with(prefix) {
                false => Ok(false),
                true => match compiled.get_or_init(|| compile(regex)) {
                    Ok(compiled) => Ok(compiled.is_match(text)),
                    Err(reason) => Err(format!("{}{regex}: {reason}", self.stem)),
                },
            },
        }
    }
}

/// In the expressions of Perl and of libselinux, the end may come before a last line end.
fn without_newline(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\n").unwrap_or(text)
}

fn compile(regex: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!(r"^{regex}\n?\z"))
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| crate::commit::reason(&error))
}

impl Pattern {
    /// `whole` with its stem taken off is `text`.
    fn new(whole: &str, text: &str) -> Self {
        let special = special_at(whole.as_bytes());
        if special.is_none()
            && let Some(plain) = unescape(text.as_bytes())
        {
            return Self::Plain(plain);
        }
        Self::Regex {
            text: text.to_owned(),
            prefix: prefix(text.as_bytes()),
            compiled: OnceLock::new(),
        }
    }
}

/// Where the first special character is.
fn special_at(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            byte if SPECIAL.contains(byte) => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// A text without its backslashes; [`None`] if one of them makes something else of a letter.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                let escaped = bytes.next().filter(|byte| !byte.is_ascii_alphanumeric());
                plain.push(*escaped?);
            }
            byte => plain.push(*byte),
        }
    }
    Some(plain)
}

/// What all that matches begins with.
fn prefix(text: &[u8]) -> Vec<u8> {
    if has_alternatives(text) {
        return Vec::new();
    }
    let first = special_at(text).unwrap_or(text.len());
    // What is there at least once is optional after all in `a+*`.
    let optional = matches!(text.get(first), Some(b'?' | b'*' | b'{' | b'+'));
    let mut end = first;
    if optional {
        end = end.saturating_sub(1);
        // What is optional may be an escaped character.
        if end > 0 && text[end - 1] == b'\\' {
            end -= 1;
        }
    }
    unescape(&text[..end]).unwrap_or_default()
}

/// Whether there is a bar outside of all parentheses; one too many only costs time.
fn has_alternatives(text: &[u8]) -> bool {
    let (mut depth, mut class) = (0_usize, false);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            // What parentheses mean after this is not followed.
            b'[' => class = true,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'|' if depth == 0 || class => return true,
            _ => {}
        }
    }
    false
}

fn ascii(word: &[u8]) -> Result<&str, String> {
    if word.len() >= MAX_WORD {
        return Err("an entry that is too long".to_owned());
    }
    match word.is_ascii() && !word.contains(&0) {
        true => str::from_utf8(word).map_err(|error| error.to_string()),
        false => Err("non-ASCII characters".to_owned()),
    }
}

fn parse_kind(word: &[u8]) -> Result<u32, String> {
    Ok(match word {
        b"--" => S_IFREG,
        b"-d" => S_IFDIR,
        b"-l" => S_IFLNK,
        b"-b" => 0o060_000,
        b"-c" => 0o020_000,
        b"-p" => 0o010_000,
        b"-s" => 0o140_000,
        word => {
            let word = String::from_utf8_lossy(word);
            return Err(format!("invalid file type {word}"));
        }
    })
}

/// The first directory of an expression, if nothing in it is special.
fn stem(regex: &str) -> &str {
    let end = regex.as_bytes().get(1..).and_then(|rest| {
        let slash = rest.iter().position(|byte| *byte == b'/');
        slash.map(|at| at + 1)
    });
    let stem = end.map_or("", |end| &regex[..end]);
    match stem.bytes().any(|byte| SPECIAL.contains(&byte)) {
        true => "",
        false => stem,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contexts(files: &[&str]) -> Contexts {
        let mut contexts = Contexts::default();
        for file in files {
            contexts.add(file.as_bytes()).unwrap();
        }
        contexts.finish().unwrap();
        contexts
    }

    #[test]
    fn precedence() {
        let contexts = contexts(&[
            "# comment\n  /.* default ignored words\n"
                .replace(" ignored words", "")
                .as_str(),
            "/usr/lib/.*\\.so -- lib\n/usr/lib/exact\\.so exact\n/usr/lib/[^/]* any\n\
             /usr/lib/later plain\n/usr/lib/la.* meta\n/alt|/b alt\n\
             /usr/(bin|sbin)/x?y+ group\n/opt -d optdir\n/opt -l optlink\n/usr/lib/none <<none>>\n\
             /o\\.x* dot\n/exact\\.so? so\n",
        ]);
        for (path, mode, label) in [
            ("/", S_IFDIR, Some("default")),
            ("/alt", S_IFREG, Some("alt")),
            ("/altx", S_IFREG, Some("alt")),
            ("/b", S_IFREG, Some("alt")),
            ("/bxx", S_IFREG, Some("default")),
            ("/xb", S_IFREG, Some("default")),
            ("/usr/lib/a.so", S_IFREG, Some("any")),
            ("/usr/lib/d/a.so", S_IFREG, Some("lib")),
            ("/usr/lib/d/a.so", S_IFDIR, Some("default")),
            ("/usr//lib///d/a.so", S_IFREG, Some("lib")),
            ("/usr/lib/exact.so", S_IFREG, Some("exact")),
            ("/usr/lib/exactxso", S_IFREG, Some("any")),
            ("/usr/lib/later", S_IFREG, Some("plain")),
            ("/usr/lib/later\n", S_IFREG, Some("plain")),
            ("/usr/lib/latest", S_IFREG, Some("meta")),
            ("/usr/lib/none", S_IFREG, None),
            ("/usr/sbin/yy", S_IFREG, Some("group")),
            ("/usr/sbin/x", S_IFREG, Some("default")),
            ("/opt", S_IFDIR, Some("optdir")),
            ("/opt", S_IFLNK, Some("optlink")),
            ("/opt", S_IFREG, Some("default")),
            ("/o.", S_IFREG, Some("dot")),
            ("/o.xx", S_IFREG, Some("dot")),
            ("/o", S_IFREG, Some("default")),
            ("/exact.s", S_IFREG, Some("so")),
        ] {
            assert_eq!(contexts.lookup(path, mode), Ok(label), "{path:?} {mode:o}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, reason) in [
            ("\n/x", "line 2: missing fields"),
            ("/x -q a:b", "invalid file type -q"),
            ("/x\u{e9} a:b", "non-ASCII"),
            ("/x a:\u{e9}", "non-ASCII"),
        ] {
            let error = Contexts::default().add(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let long = format!("/{} a:b", "x".repeat(MAX_WORD));
        assert!(Contexts::default().add(long.as_bytes()).is_err());
        for regex in ["/x[", "/x(?=a)", "/x(x{1000}){1000}"] {
            let contexts = contexts(&[&format!("{regex} a:b")]);
            assert!(contexts.lookup("/x", 0).is_err(), "{regex}");
            assert_eq!(contexts.lookup("/y", 0), Ok(None), "{regex}");
        }
    }

    proptest! {
        #[test]
        fn hostile_files_do_not_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut contexts = Contexts::default();
            if contexts.add(&text).is_ok() && contexts.finish().is_ok() {
                let _ = contexts.lookup("/usr/bin/x", S_IFREG);
            }
        }

        /// The shortcuts (stems, plain paths, prefixes) change nothing: what counts is the last
        /// plain path that matches, or else the last expression.
        #[test]
        fn the_last_line_that_matches(
            regexes in proptest::collection::vec(r"/[ab.*?|\\/()+]{0,8}", 1..8),
            path in "/[ab./]{0,6}",
        ) {
            let text: String = (0..).zip(&regexes).map(|(n, regex)| format!("{regex} {n}\n")).collect();
            let contexts = contexts(&[&text]);
            let found = contexts.lookup(&path, 0);
            let path = squeeze(&path);
            let matching = |regex: &&String| {
                // A regex with a stem is matched without it: that matters where it has alternatives.
                let stem = stem(regex);
                let end = path[1..].find('/').map_or(0, |at| at + 1);
                let rest = match stem {
                    "" => &path[..],
                    stem if stem == &path[..end] => &path[end..],
                    _ => return Ok(false),
                };
                compile(&regex[stem.len()..]).map(|compiled| compiled.is_match(rest.as_bytes()))
            };
            let order = (0..).zip(&regexes).filter(|(_, r)| special_at(r.as_bytes()).is_some());
            let plain = (0..).zip(&regexes).filter(|(_, r)| special_at(r.as_bytes()).is_none());
            let mut expected = Ok(None);
            for (number, regex) in order.chain(plain).collect::<Vec<(usize, _)>>().into_iter().rev() {
                match matching(&regex) {
                    Ok(false) => {}
                    Ok(true) => { expected = Ok(Some(number.to_string())); break }
                    Err(error) => { expected = Err(error); break }
                }
            }
            // An expression that is wrong is not noticed where its prefix already does not match.
            if let Ok(expected) = expected {
                prop_assert_eq!(found.unwrap().map(str::to_owned), expected);
            }
        }
    }
}
