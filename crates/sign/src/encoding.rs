// SPDX-License-Identifier: MIT OR Apache-2.0
//! How keys are written down: base64, one a line, or PEM blocks.
//!
//! A file of keys is either lines, each of which is the base64 of a key, or (when it has a line
//! `-----BEGIN LABEL-----`) PEM blocks: base64 in lines up to `-----END LABEL-----`. Text
//! outside the blocks and blank lines are ignored. PEM headers (`Proc-Type: …`) mean
//! an encrypted key, which cannot be used.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// The largest key, in bytes: an RSA key of 16384 bits with all its secret parts has 9.5 KB.
pub const MAX_KEY: usize = 16 << 10;

/// The most keys in a file.
pub const MAX_KEYS: usize = 10_000;

/// Padding is not insisted on.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key as bytes. It may be secret, so it is wiped when it is dropped.
pub type Bytes = Zeroizing<Vec<u8>>;

/// Decodes the base64 of a key, without regard to white space. [`None`] if it is something else, or
/// too long.
pub fn base64(text: &str) -> Option<Bytes> {
    decode(text, MAX_KEY)
}

/// [`base64`] of something that may have other lengths.
pub(crate) fn decode(text: &str, max: usize) -> Option<Bytes> {
    let text: Zeroizing<String> =
        Zeroizing::new(text.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    if text.len() / 4 > max / 3 {
        return None;
    }
    BASE64.decode(text.as_bytes()).ok().map(Zeroizing::new)
}

/// Encodes base64.
pub fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// A key in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The label of a PEM block; [`None`] for a line of base64.
    pub label: Option<String>,
    /// The key; [`None`] where there is no base64.
    pub key: Option<Bytes>,
}

/// The keys in a file, in order: at most [`MAX_KEYS`] of them.
pub fn entries(text: &str) -> Vec<Entry> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_pem = lines.clone().any(|line| begin(line).is_some());
    match is_pem {
        true => pem(lines),
        false => lines
            .take(MAX_KEYS)
            .map(|line| Entry {
                label: None,
                key: base64(line),
            })
            .collect(),
    }
}

fn begin(line: &str) -> Option<&str> {
    line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")
}

fn pem<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut open: Option<(&str, Zeroizing<String>)> = None;
    for line in lines {
        if found.len() == MAX_KEYS {
            break;
        }
        if let Some(label) = begin(line) {
            open = Some((label, Zeroizing::new(String::new())));
            continue;
        }
        let Some((label, body)) = &mut open else {
            continue;
        };
        let end = line
            .strip_prefix("-----END ")
            .and_then(|line| line.strip_suffix("-----"));
        match end {
            Some(end) => {
                let key = (end == *label).then(|| base64(body)).flatten();
                found.push(Entry {
                    label: Some((*label).to_owned()),
                    key,
                });
                open = None;
            }
            // Too much is noticed by what decodes it; it need not be kept for that.
            None if body.len() <= MAX_KEY * 2 => body.push_str(line),
            None => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &str) -> Vec<(Option<String>, Option<Vec<u8>>)> {
        let entries = entries(text).into_iter();
        entries
            .map(|entry| (entry.label, entry.key.map(|key| key.to_vec())))
            .collect()
    }

    #[test]
    fn lines_and_blocks() {
        assert_eq!(
            plain("aGk=\n\n aGk \n!\n"),
            [
                (None, Some(b"hi".to_vec())),
                (None, Some(b"hi".to_vec())),
                (None, None)
            ]
        );
        let text = "noise\n-----BEGIN PUBLIC KEY-----\naG\nk=\n-----END PUBLIC KEY-----\n\
                    -----BEGIN A-----\naGk=\n-----END B-----\n-----BEGIN C-----\n";
        assert_eq!(
            plain(text),
            [
                (Some("PUBLIC KEY".to_owned()), Some(b"hi".to_vec())),
                (Some("A".to_owned()), None)
            ]
        );
        assert_eq!(base64(&"A".repeat(MAX_KEY * 2)), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(key in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = to_base64(&key);
            prop_assert_eq!(base64(&text).unwrap().to_vec(), key.clone());
            if !key.is_empty() {
                prop_assert_eq!(plain(&format!("{text}\r\n")), [(None, Some(key.clone()))]);
            }
            let block = format!("-----BEGIN X-----\n{text}\n-----END X-----");
            prop_assert_eq!(plain(&block), [(Some("X".to_owned()), Some(key))]);
        }

        #[test]
        fn any_text_is_read(text in "[-A-Za-z=+/ \n]{0,300}|\\PC{0,100}") {
            prop_assert!(entries(&text).len() <= text.lines().count());
        }
    }
}
