// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command lines of ostree-push 1.2.0, read as Python's argparse does, with its messages:
//! options may be shortened, short ones may be put together, and a mistake ends with code 2.
//! Other than there, options may stand between arguments.

/// An option.
#[derive(Debug)]
pub(super) struct Opt {
    /// How it can be written.
    names: &'static [&'static str],
    /// Whether a value follows.
    takes_value: bool,
}

impl Opt {
    pub(super) const fn flag(names: &'static [&'static str]) -> Self {
        let takes_value = false;
        Self { names, takes_value }
    }

    pub(super) const fn with_value(names: &'static [&'static str]) -> Self {
        let takes_value = true;
        Self { names, takes_value }
    }
}

/// What a program takes.
#[derive(Debug)]
pub(super) struct Grammar {
    pub(super) options: &'static [Opt],
    /// Arguments that have to be there.
    pub(super) arguments: &'static [&'static str],
    /// Whether any number of others may follow.
    pub(super) more: bool,
    /// The lines after the program's name in its usage.
    pub(super) usage: &'static str,
    /// What the help says below that.
    pub(super) help: &'static str,
}

/// What a command line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// The options by their names as they were written, in order, with their values.
    pub(super) options: Vec<(&'static str, String)>,
    pub(super) arguments: Vec<String>,
}

/// Why there is nothing to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Help,
    Version,
    Wrong(String),
}

impl Parsed {
    /// Whether the option was given by one of its names.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        self.last(names).is_some()
    }

    /// The name that was given last, of these.
    pub(super) fn last(&self, names: &[&str]) -> Option<&'static str> {
        let mut given = self.options.iter().rev().map(|(name, _)| *name);
        given.find(|given| names.contains(given))
    }

    /// All values of an option.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        let given = self.options.iter().filter(|(given, _)| *given == name);
        given.map(|(_, value)| value.clone()).collect()
    }
}

/// The message for arguments that are missing.
pub(super) fn required(names: &[&str]) -> String {
    let names = names.join(", ");
    format!("the following arguments are required: {names}")
}

/// Reads the command line. At least `least` of the arguments have to be there.
pub(super) fn parse(grammar: &Grammar, words: &[String], least: usize) -> Result<Parsed, Stop> {
    let mut parsed = Parsed::default();
    let mut unknown = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            parsed.arguments.extend(words.by_ref().cloned());
        } else if !looks_like_option(word) {
            parsed.arguments.push(word.clone());
        } else {
            let mut next = || words.clone().next().filter(|word| is_value(word)).cloned();
            match option(grammar, word, &mut next, &mut parsed)? {
                Read::Option => {}
                Read::OptionAndValue => drop(words.next()),
                Read::Nothing if word.contains(' ') => parsed.arguments.push(word.clone()),
                Read::Nothing => unknown.push(word.clone()),
            }
        }
    }
    let there = parsed.arguments.len();
    if there < least.min(grammar.arguments.len()) {
        return Err(Stop::Wrong(required(&grammar.arguments[there..])));
    }
    if !grammar.more && there > grammar.arguments.len() {
        unknown.extend(parsed.arguments.split_off(grammar.arguments.len()));
    }
    match unknown.is_empty() {
        true => Ok(parsed),
        false => Err(Stop::Wrong(format!(
            "unrecognized arguments: {}",
            unknown.join(" ")
        ))),
    }
}

/// What a word was.
enum Read {
    Option,
    OptionAndValue,
    Nothing,
}

/// Negative numbers are arguments, as no option looks like one.
fn looks_like_option(word: &str) -> bool {
    let Some(rest) = word.strip_prefix('-') else {
        return false;
    };
    let digit = |c: char| c.is_ascii_digit();
    let number = rest.starts_with(digit) && rest.chars().all(|c| digit(c) || c == '.');
    !rest.is_empty() && !number
}

fn is_value(word: &str) -> bool {
    word != "--" && (!looks_like_option(word) || word.contains(' '))
}

fn option(
    grammar: &Grammar,
    word: &str,
    next: &mut dyn FnMut() -> Option<String>,
    parsed: &mut Parsed,
) -> Result<Read, Stop> {
    match word.strip_prefix("--") {
        Some(_) => long(grammar, word, next, parsed),
        None => short(grammar, word, next, parsed),
    }
}

/// `--name`, `--name=value`, or the beginning of the name if no other begins so.
fn long(
    grammar: &Grammar,
    word: &str,
    next: &mut dyn FnMut() -> Option<String>,
    parsed: &mut Parsed,
) -> Result<Read, Stop> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    let names = || {
        let all = grammar.options.iter();
        all.flat_map(|option| option.names.iter().map(move |name| (*name, option)))
    };
    let exact = names().find(|(known, _)| *known == name);
    let found: Vec<_> = match exact {
        Some(found) => vec![found],
        None => names()
            .filter(|(known, _)| known.starts_with(name))
            .collect(),
    };
    match found.as_slice() {
        [] => Ok(Read::Nothing),
        [(name, option)] => take(name, option, value, next, parsed),
        several => {
            let could: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
            let could = could.join(", ");
            Err(Stop::Wrong(format!(
                "ambiguous option: {name} could match {could}"
            )))
        }
    }
}

/// `-n`, `-nv`, `-pPORT`, `-p PORT`, `-p=PORT`.
fn short(
    grammar: &Grammar,
    word: &str,
    next: &mut dyn FnMut() -> Option<String>,
    parsed: &mut Parsed,
) -> Result<Read, Stop> {
    let mut rest = &word[1..];
    let mut before: Option<&Opt> = None;
    while let Some(letter) = rest.chars().next() {
        let found = grammar.options.iter().find_map(|option| {
            let name = option.names.iter().find(|name| {
                name.strip_prefix('-')
                    .is_some_and(|n| n == letter.to_string())
            })?;
            Some((*name, option))
        });
        let Some((name, option)) = found else {
            return match before {
                None => Ok(Read::Nothing),
                Some(option) => Err(ignored(option, rest)),
            };
        };
        let first = before.is_none();
        rest = &rest[letter.len_utf8()..];
        if option.takes_value || (first && rest.starts_with('=')) {
            let value = (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest));
            return take(name, option, value.map(str::to_owned), next, parsed);
        }
        take(name, option, None, next, parsed)?;
        before = Some(option);
    }
    Ok(Read::Option)
}

fn take(
    name: &'static str,
    option: &Opt,
    value: Option<String>,
    next: &mut dyn FnMut() -> Option<String>,
    parsed: &mut Parsed,
) -> Result<Read, Stop> {
    match (option.takes_value, value) {
        (false, Some(value)) => Err(ignored(option, &value)),
        (false, None) => {
            match option.names.last() {
                Some(&"--help") => return Err(Stop::Help),
                Some(&"--version") => return Err(Stop::Version),
                _ => parsed.options.push((name, String::new())),
            }
            Ok(Read::Option)
        }
        (true, Some(value)) => {
            parsed.options.push((name, value));
            Ok(Read::Option)
        }
        (true, None) => {
            let value = next().ok_or_else(|| {
                let names = option.names.join("/");
                Stop::Wrong(format!("argument {names}: expected one argument"))
            })?;
            parsed.options.push((name, value));
            Ok(Read::OptionAndValue)
        }
    }
}

fn ignored(option: &Opt, value: &str) -> Stop {
    let names = option.names.join("/");
    Stop::Wrong(format!(
        "argument {names}: ignored explicit argument '{value}'"
    ))
}
