// SPDX-License-Identifier: MIT OR Apache-2.0
//! What allows us to push. It is shown to nobody but the server.

use std::fmt;

use crate::error::{Error, Result};

/// More is no token, in bytes.
const MAX_LEN: usize = 16 << 10;

/// A secret that the server knows us by.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token as somebody has written it down: without the white space around it.
    pub fn new(text: &str) -> Result<Self> {
        let text = text.trim();
        let is_one = text.bytes().all(|byte| byte.is_ascii_graphic());
        match is_one && !text.is_empty() && text.len() <= MAX_LEN {
            true => Ok(Self(text.to_owned())),
            false => Err(Error::Destination(
                "this is no token: it has to be one word of printable ASCII".to_owned(),
            )),
        }
    }

    /// What a request's `Authorization` says.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// A text without the token.
    pub(super) fn hide_in(&self, text: &str) -> String {
        text.replace(&self.0, "…")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_that_is_not_shown() {
        let token = Token::new(" s3cret=\n").unwrap();
        assert_eq!(token.bearer(), "Bearer s3cret=");
        assert_eq!(token.hide_in("no s3cret= here"), "no … here");
        assert!(!format!("{token:?}").contains("s3cret"));
        for bad in [
            "",
            " ",
            "two words",
            "line\nbreak",
            "ümlaut",
            &"x".repeat(MAX_LEN + 1),
        ] {
            assert!(Token::new(bad).is_err(), "{bad}");
        }
    }
}
