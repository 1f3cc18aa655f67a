// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file of tokens, `ostree-upload.yaml`: a list of `{token, created}` below `tokens`. They are in it
//! as they are shown, so nobody else may read it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::yaml::{self, Value};

/// Where the file is if nobody says so.
pub(super) const DEFAULT: &str = "ostree-upload.yaml";

/// The largest file that is read, in bytes.
const MAX: u64 = 1 << 20;

/// Bytes of a token before it is text.
const LEN: usize = 64;

/// A token as it stands in the file.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// What a client shows.
    pub(super) secret: String,
    /// When it was made, as RFC 3339 has it.
    created: String,
}

impl Token {
    /// A new one, by chance.
    pub(super) fn new(now: Timestamp) -> Result<Self> {
        Ok(Self {
            secret: STANDARD.encode(oxtree_server::random::<LEN>()?),
            created: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        })
    }
}

/// The tokens in a file; [`None`] if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<Token>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.with_context(|| format!("opening {}", path.display()))?,
    };
    let mut text = String::new();
    file.take(MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("reading {}", path.display()))?;
    if text.len() as u64 > MAX {
        // A part of it, written back, would be the end of the others.
        bail!("{} has more than {MAX} bytes", path.display());
    }
    let tokens = parse(&text).with_context(|| format!("{}", path.display()))?;
    Ok(Some(tokens))
}

/// No error quotes what is in the file.
fn parse(text: &str) -> Result<Vec<Token>> {
    let Ok(document) = yaml::parse(text) else {
        bail!("this is no valid YAML");
    };
    let entries = match document {
        Value::Null => return Ok(Vec::new()),
        Value::Map(entries) => entries,
        _ => bail!("expected a map with the key `tokens`"),
    };
    let mut tokens = Vec::new();
    for (key, value) in entries {
        match (key.as_word(), value) {
            (Some("tokens"), Value::List(items)) => {
                for item in items {
                    tokens.push(token(item)?);
                }
            }
            (Some("tokens"), Value::Null) => {}
            _ => bail!("expected nothing but a list below the key `tokens`"),
        }
    }
    Ok(tokens)
}

fn token(item: Value) -> Result<Token> {
    let (mut secret, mut created) = (None, String::new());
    if let Value::Map(entries) = item {
        for (key, value) in entries {
            let text = value.as_word().map(str::to_owned);
            match (key.as_word(), text) {
                (Some("token"), Some(text)) => secret = Some(text),
                (Some("created"), Some(text)) => created = text,
                _ => bail!("expected nothing but texts at `token` and `created`"),
            }
        }
    }
    match secret.filter(|secret| !secret.is_empty()) {
        Some(secret) => Ok(Token { secret, created }),
        None => bail!("a token of the list is empty"),
    }
}

/// Writes the file anew, for its owner's eyes only.
pub(super) fn write(path: &Path, tokens: &[Token]) -> Result<()> {
    let mut text = String::from("tokens:\n");
    for Token { secret, created } in tokens {
        text += &format!(
            "- token: {}\n  created: {}\n",
            scalar(secret),
            scalar(created)
        );
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path))
        .inspect_err(|_| drop(fs::remove_file(&new)));
    written.with_context(|| format!("writing {}", path.display()))
}

/// A text in YAML: without quotes where it is a token or a time, as the original takes no time in quotes.
fn scalar(text: &str) -> String {
    let base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    let token = text.ends_with('=') && text.chars().all(base64) && !text.starts_with('=');
    match token || text.parse::<Timestamp>().is_ok() {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_original_writes_is_read() {
        let text = "tokens:\n- token: ab+/c==\n  created: \"2020-07-14T10:11:12Z\"\n- created: x\n  token: '1'\n";
        let tokens = parse(text).unwrap();
        assert_eq!(tokens[0].secret, "ab+/c==");
        assert_eq!(tokens[1].secret, "1");
        for empty in ["", "tokens: []", "tokens:", "---\n"] {
            assert_eq!(parse(empty).unwrap().len(), 0, "{empty}");
        }
        for bad in [
            "x",
            "[]",
            "tokens: 1",
            "tokens: [x]",
            "tokens: [{token: ''}]",
            "other: 1",
            "a: [",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.yaml");
        assert!(read(&path).unwrap().is_none());
        let now = Timestamp::from_second(1_600_000_000).unwrap();
        let tokens = [Token::new(now).unwrap(), Token::new(now).unwrap()];
        assert!(tokens[0] != tokens[1]);
        assert_eq!(tokens[0].secret.len(), 88);
        assert_eq!(tokens[0].created, "2020-09-13T12:26:40Z");
        write(&path, &tokens).unwrap();
        assert!(read(&path).unwrap().unwrap() == tokens);
        let text = fs::read_to_string(&path).unwrap();
        let [first, second] = tokens.each_ref().map(|token| &token.secret);
        let time = "created: 2020-09-13T12:26:40Z";
        let plain = format!("tokens:\n- token: {first}\n  {time}\n- token: {second}\n  {time}\n");
        assert_eq!(text, plain);
        for text in ["1", "true", "=", "a: b", "x' y=", "it's", "", "~"] {
            assert!(scalar(text).starts_with('\''), "{text}");
        }
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
