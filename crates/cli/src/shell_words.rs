// SPDX-License-Identifier: MIT OR Apache-2.0
//! Splits a line into words as a POSIX shell does, and does nothing else that a shell does:
//! `$`, backquotes, `;`, `*` and `~` are characters like any other.

/// Why a line has no words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfinished {
    /// A quotation mark without its partner.
    #[error("No closing quotation")]
    Quotation,
    /// A backslash at the end.
    #[error("No escaped character")]
    Escape,
}

/// The words of `line`. Between single quotes everything stands for itself; between double quotes
/// and outside, a backslash takes its meaning from what follows (between double quotes only from
/// `"` and `\`). Words are separated by blanks, tabs and line ends.
pub(crate) fn split(line: &str) -> Result<Vec<String>, Unfinished> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => single_quoted(&mut chars, word.get_or_insert_default())?,
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => {
                let escaped = chars.next().ok_or(Unfinished::Escape)?;
                word.get_or_insert_default().push(escaped);
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), Unfinished> {
    loop {
        match chars.next().ok_or(Unfinished::Quotation)? {
            '\'' => return Ok(()),
            c => word.push(c),
        }
    }
}

fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), Unfinished> {
    loop {
        match chars.next().ok_or(Unfinished::Quotation)? {
            '"' => return Ok(()),
            '\\' => match chars.next().ok_or(Unfinished::Escape)? {
                c @ ('"' | '\\') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python's `shlex.split` makes of the same lines.
    #[test]
    fn words() {
        let cases: [(&str, &[&str]); 16] = [
            ("", &[]),
            (" \t\r\n ", &[]),
            ("a b\tc\nd", &["a", "b", "c", "d"]),
            ("'a b' \"c d\"", &["a b", "c d"]),
            ("a'b'\"c\"d", &["abcd"]),
            ("'' \"\"", &["", ""]),
            (r"a\ b \'c", &["a b", "'c"]),
            (r#""a\"b\\c\d\$e""#, &[r#"a"b\c\d\$e"#]),
            (r"'a\b'", &[r"a\b"]),
            (
                "a;b $(c) `d` | e > f & *",
                &["a;b", "$(c)", "`d`", "|", "e", ">", "f", "&", "*"],
            ),
            ("~/x $HOME # y", &["~/x", "$HOME", "#", "y"]),
            ("it''s", &["its"]),
            ("'\n'", &["\n"]),
            ("a\\\nb", &["a\nb"]),
            ("ü\u{a0}x", &["ü\u{a0}x"]),
            ("'a'\\''b'", &["a'b"]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line).unwrap(), words, "{line:?}");
        }
    }

    proptest::proptest! {
        /// Quoted as a shell wants it, words come back as they were.
        #[test]
        fn quoted_words_come_back(words in proptest::collection::vec("\\PC{0,9}", 0..5)) {
            let quoted = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''")));
            let line = quoted.collect::<Vec<_>>().join(" ");
            proptest::prop_assert_eq!(split(&line).unwrap(), words);
        }

        #[test]
        fn any_line(line in ".{0,40}") {
            let _ = split(&line);
        }
    }

    #[test]
    fn what_is_not_finished_is_an_error() {
        for line in ["'", "\"", "a 'b", "a \"b\\\""] {
            assert_eq!(split(line), Err(Unfinished::Quotation), "{line:?}");
        }
        for line in ["a\\", "\"\\"] {
            assert_eq!(split(line), Err(Unfinished::Escape), "{line:?}");
        }
    }
}
