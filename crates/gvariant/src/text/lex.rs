// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text to words.

use super::{ParseError, ParseErrorKind as Kind};

/// One word of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// Begins like a number; not checked.
    Number(&'t str),
    /// Lower-case letter, then letters and digits.
    Word(&'t str),
    /// The text between quotes, with its escapes.
    Quoted(&'t str),
    /// The same with a `b` before.
    ByteQuoted(&'t str),
    /// The type string after an `@`.
    Type(&'t str),
    /// Any other character.
    Sign(char),
    End,
}

/// The words of a text, one at a time.
#[derive(Debug)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    /// Where the current token begins.
    at: usize,
    /// Where the next one may begin.
    end: usize,
    token: Token<'t>,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Result<Self, ParseError> {
        let mut lexer = Lexer {
            text,
            at: 0,
            end: 0,
            token: Token::End,
        };
        lexer.advance()?;
        Ok(lexer)
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn token(&self) -> Token<'t> {
        self.token
    }

    /// Goes on to the next token.
    pub(super) fn advance(&mut self) -> Result<(), ParseError> {
        let rest = &self.text[self.end..];
        let rest = rest.trim_start_matches(is_space);
        self.at = self.text.len() - rest.len();
        let (token, len) = scan(rest).map_err(|kind| kind.at(self.at))?;
        self.token = token;
        self.end = self.at + len;
        Ok(())
    }

    /// Takes the sign `c` if it comes next.
    pub(super) fn take(&mut self, c: char) -> Result<bool, ParseError> {
        let found = self.token == Token::Sign(c);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    /// Takes the sign `c`, which has to come next.
    pub(super) fn require(&mut self, c: char, expected: &'static str) -> Result<(), ParseError> {
        if self.take(c)? {
            Ok(())
        } else {
            Err(Kind::Expected(expected).at(self.at))
        }
    }
}

/// What C's `isspace` says, in ASCII; vertical tabs are not space to GLib.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0c' | '\r')
}

/// The token at the front, and its length.
fn scan(rest: &str) -> Result<(Token<'_>, usize), Kind> {
    let Some(first) = rest.chars().next() else {
        return Ok((Token::End, 0));
    };
    let length = |part: fn(char) -> bool| rest.find(|c| !part(c)).unwrap_or(rest.len());
    let (token, len) = match first {
        '0'..='9' | '-' | '+' | '.' => {
            let len = length(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
            (Token::Number(&rest[..len]), len)
        }
        '\'' | '"' => {
            let body = quoted(rest)?;
            (Token::Quoted(body), body.len() + 2)
        }
        'b' if rest[1..].starts_with(['\'', '"']) => {
            let body = quoted(&rest[1..])?;
            (Token::ByteQuoted(body), body.len() + 3)
        }
        'a'..='z' => {
            let len = length(|c| c.is_ascii_alphanumeric());
            (Token::Word(&rest[..len]), len)
        }
        '@' => {
            let len = type_length(&rest[1..]);
            (Token::Type(&rest[1..=len]), len + 1)
        }
        _ => (Token::Sign(first), first.len_utf8()),
    };
    Ok((token, len))
}

/// The text between the quote at the beginning of `rest` and the next quote of the same kind.
fn quoted(rest: &str) -> Result<&str, Kind> {
    let bytes = rest.as_bytes();
    let mut i = 1;
    while let Some(byte) = bytes.get(i) {
        match byte {
            b if *b == bytes[0] => return Ok(&rest[1..i]),
            0 => break,
            // Whatever is escaped does not end the text, except a zero byte.
            b'\\' if bytes.get(i + 1) != Some(&0) => i += 2,
            _ => i += 1,
        }
    }
    Err(Kind::Unterminated)
}

/// Length of the type string after an `@`: up to space, or what cannot be part of it.
fn type_length(rest: &str) -> usize {
    let mut open = 0_usize;
    for (i, c) in rest.char_indices() {
        match c {
            '(' | '{' => open += 1,
            ')' | '}' if open == 0 => return i,
            ')' | '}' => open -= 1,
            ',' | ':' | '>' | ']' | '\0' => return i,
            c if is_space(c) => return i,
            _ => {}
        }
    }
    rest.len()
}

/// Undoes the escapes of a string.
pub(super) fn unescape(body: &str) -> Result<String, Kind> {
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.push_str(plain);
        let Some(c) = escaped.chars().next() else {
            return Err(Kind::Unterminated);
        };
        rest = &escaped[c.len_utf8()..];
        let digits = match c {
            'u' => 4,
            'U' => 8,
            '\n' => continue,
            _ => {
                out.push(control(c).unwrap_or(c));
                continue;
            }
        };
        let hex = rest.get(..digits).ok_or(Kind::BadEscape)?;
        out.push(code_point(hex).ok_or(Kind::BadEscape)?);
        rest = &rest[digits..];
    }
    out.push_str(rest);
    Ok(out)
}

fn code_point(hex: &str) -> Option<char> {
    if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(hex, 16)
        .ok()
        .and_then(char::from_u32)
        .filter(|c| *c != '\0')
}

/// Undoes the escapes of a byte string and appends its zero byte. A zero byte within ends it, as in
/// C.
pub(super) fn unescape_bytes(body: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 1);
    let mut bytes = body.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            None | Some(b'\n') => {}
            Some(digit @ b'0'..=b'7') => {
                let mut value = digit - b'0';
                for _ in 0..2 {
                    if let Some(digit) = bytes.next_if(|b| matches!(b, b'0'..=b'7')) {
                        // Like C's `unsigned char`, `\777` is 255.
                        value = (value << 3) | (digit - b'0');
                    }
                }
                out.push(value);
            }
            Some(other) => {
                let c = control(other.into()).and_then(|c| u8::try_from(c).ok());
                out.push(c.unwrap_or(other));
            }
        }
    }
    let end = out.iter().position(|b| *b == 0).unwrap_or(out.len());
    out.truncate(end);
    out.push(0);
    out
}

/// The control character that a letter after a backslash stands for.
fn control(letter: char) -> Option<char> {
    Some(match letter {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
        let mut lexer = Lexer::new(text)?;
        let mut tokens = Vec::new();
        while lexer.token() != Token::End {
            tokens.push(lexer.token());
            lexer.advance()?;
        }
        Ok(tokens)
    }

    #[test]
    fn words() {
        use Token::{ByteQuoted, Number, Quoted, Sign, Type, Word};
        assert_eq!(
            tokens(" {@a{sv} {}: -0x1f, b'\\'' \"é\" just\tB}").unwrap(),
            [
                Sign('{'),
                Type("a{sv}"),
                Sign('{'),
                Sign('}'),
                Sign(':'),
                Number("-0x1f"),
                Sign(','),
                ByteQuoted("\\'"),
                Quoted("é"),
                Word("just"),
                Sign('B'),
                Sign('}'),
            ]
        );
        for text in ["'", "'\\'", "b\"x", "'a\0'", "'\\\0'"] {
            assert_eq!(tokens(text), Err(Kind::Unterminated.at(0)), "{text:?}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(
            unescape(r"a\n\u00e9\U0001f600\'\z\\"),
            Ok("a\né😀'z\\".to_owned())
        );
        assert_eq!(unescape("a\\\nb"), Ok("ab".to_owned()));
        for bad in [
            r"\u12",
            r"\u0000",
            r"\ud800",
            r"\U00110000",
            r"\u+123",
            r"\u12é",
        ] {
            assert_eq!(unescape(bad), Err(Kind::BadEscape), "{bad}");
        }
        assert_eq!(unescape_bytes(r"a\0011\777\t\q"), b"a\x011\xff\tq\0");
        assert_eq!(unescape_bytes(r"a\0b"), b"a\0");
    }
}
