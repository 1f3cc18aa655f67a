// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors of the standard library and of decoders, in words that a user understands.

use std::borrow::Cow;

/// What libraries say, and what it means.
const WORDS: [(&str, &str); 17] = [
    ("failed to fill whole buffer", "it ends too early"),
    ("unexpected end of file", "it ends too early"),
    ("unexpected EOF", "it ends too early"),
    ("early eof", "it ends too early"),
    ("incomplete deflate stream", "its content ends too early"),
    ("corrupt deflate stream", "its content is damaged"),
    ("deflate decompression error", "its content is damaged"),
    ("entity not found", "there is no such file"),
    (
        "stream did not contain valid UTF-8",
        "it is not text in UTF-8",
    ),
    (
        "invalid digit found in string",
        "that is not a whole number",
    ),
    (
        "cannot parse integer from empty string",
        "a number is missing",
    ),
    (
        "number too large to fit in target type",
        "the number is too large",
    ),
    (
        "number too small to fit in target type",
        "the number is too small",
    ),
    (
        "number would be zero for non-zero type",
        "the number must not be 0",
    ),
    ("invalid float literal", "that is not a number"),
    (
        "provided string was not `true` or `false`",
        "that is neither true nor false",
    ),
    (
        "out of range integral type conversion attempted",
        "the number is out of range",
    ),
];

/// `text` without the inner words of libraries.
pub fn plain(text: &str) -> Cow<'_, str> {
    let mut plain = Cow::Borrowed(text);
    for (theirs, ours) in WORDS {
        if plain.contains(theirs) {
            plain = Cow::Owned(plain.replace(theirs, ours));
        }
    }
    for start in [
        "invalid utf-8 sequence of ",
        "incomplete utf-8 byte sequence from index ",
    ] {
        if let Some(from) = plain.find(start) {
            let rest = &plain[from..];
            let end = rest.find([':', ',', ')', '\n']).unwrap_or(rest.len());
            let (before, after) = (&plain[..from], &rest[end..]);
            plain = Cow::Owned(format!("{before}it is not text in UTF-8{after}"));
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_words_are_replaced() {
        let short: &[u8] = b"";
        let read = std::io::Read::read_exact(&mut &*short, &mut [0]).unwrap_err();
        let eof = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        for error in [read, eof] {
            assert_eq!(plain(&error.to_string()), "it ends too early");
        }
        let number = |text: &str| text.parse::<u8>().unwrap_err().to_string();
        assert_eq!(plain(&number("x")), "that is not a whole number");
        assert_eq!(plain(&number("")), "a number is missing");
        assert_eq!(plain(&number("300")), "the number is too large");
        let small = "-1000".parse::<i8>().unwrap_err().to_string();
        assert_eq!(plain(&small), "the number is too small");
        let text = String::from_utf8(b"a\xffb".to_vec())
            .unwrap_err()
            .to_string();
        assert_eq!(
            plain(&format!("x: {text}: y")),
            "x: it is not text in UTF-8: y"
        );
        let text = String::from_utf8(b"a\xc3".to_vec())
            .unwrap_err()
            .to_string();
        assert_eq!(plain(&text), "it is not text in UTF-8");
        let file = std::io::Error::from(std::io::ErrorKind::NotFound).to_string();
        assert_eq!(plain(&file), "there is no such file");
        let flag = "x".parse::<bool>().unwrap_err().to_string();
        assert_eq!(plain(&flag), "that is neither true nor false");
        assert_eq!(plain("Permission denied"), "Permission denied");
    }
}
