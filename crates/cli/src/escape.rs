// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text of others on a terminal: subjects, names, messages. A terminal takes control characters for commands, and
//! some characters without a width of their own make a text look like another one. They are shown as
//! `\u{1b}`, and bytes that are not UTF-8 as `\x9b`.
//!
//! `output.rs` does that with all that goes to a terminal. What goes to a file or a pipe stays as it is.

use std::borrow::Cow;

/// What a control character is, but for line ends and tabs.
fn is_control(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

/// The same, and what hides text, changes its order or ends lines unseen. Characters that scripts need for
/// joining letters (U+200C, U+200D) are none of these.
fn is_deceiving(c: char) -> bool {
    match c {
        // Almost all text.
        ' '..='~' => false,
        // The direction of text.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            true
        }
        // Lines and paragraphs.
        '\u{2028}' | '\u{2029}' => true,
        // Without a width: hyphens, joiners, operators, old formats, byte order marks, notes, tags.
        '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' => {
            true
        }
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        c => is_control(c),
    }
}

fn escaped(text: &str, harmful: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match harmful(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// The text without control characters; line ends and tabs stay.
pub(crate) fn without_controls(text: &str) -> Cow<'_, str> {
    escaped(text, is_control)
}

/// The text as a terminal may have it. Line ends and tabs stay.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    escaped(text, is_deceiving)
}

/// The same for a part of a line: line ends are escaped, too, so that it cannot pass itself off as several lines.
pub(crate) fn harmless_line(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || is_deceiving(c))
}

/// Bytes as a terminal may have them.
pub(crate) fn harmless_bytes(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut chunks = bytes.utf8_chunks();
    if let (Some(only), None) = (chunks.next(), chunks.next())
        && only.invalid().is_empty()
    {
        return match harmless(only.valid()) {
            Cow::Borrowed(_) => Cow::Borrowed(bytes),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
    }
    let mut shown = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        shown += &harmless(chunk.valid());
        for byte in chunk.invalid() {
            shown += &format!("\\x{byte:02x}");
        }
    }
    Cow::Owned(shown.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_command_to_a_terminal() {
        assert_eq!(harmless("ümlaut:\n\tx"), "ümlaut:\n\tx");
        let bad = "a\u{1b}[2Jb\u{7}\r\u{9b}\u{7f}";
        let shown = "a\\u{1b}[2Jb\\u{7}\\r\\u{9b}\\u{7f}";
        assert_eq!(harmless(bad), shown);
        assert_eq!(without_controls(bad), shown);
        assert_eq!(harmless_line("a\nb\tc"), "a\\nb\tc");
    }

    #[test]
    fn nothing_is_hidden_or_turned_around() {
        for range in [
            '\u{202a}'..='\u{202e}',
            '\u{2066}'..='\u{2069}',
            '\u{200e}'..='\u{200f}',
            '\u{2028}'..='\u{2029}',
            '\u{61c}'..='\u{61c}',
            '\u{feff}'..='\u{feff}',
        ] {
            for c in range {
                let text = format!("a{c}b");
                assert_eq!(harmless(&text), format!("a\\u{{{:x}}}b", u32::from(c)));
                assert_eq!(without_controls(&text), text);
            }
        }
        // Persian, and a family of emoji, need these.
        let joined = "می\u{200c}خواهم 👩\u{200d}👧";
        assert_eq!(harmless(joined), joined);
    }

    #[test]
    fn bytes_that_are_not_text() {
        let shown = harmless_bytes(b"a\xffb\x9b\x1b\n");
        assert_eq!(*shown, *b"a\\xffb\\x9b\\u{1b}\n");
        assert!(matches!(
            harmless_bytes("ä b\n".as_bytes()),
            Cow::Borrowed(_)
        ));
    }
}
