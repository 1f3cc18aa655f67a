// SPDX-License-Identifier: MIT OR Apache-2.0
//! Web pages in place of files. Some servers (of single-page applications, say), and networks that want to be
//! logged in to, answer any request with a page and the status 200. What they are asked for is not there.

/// How a page begins, in lower case.
const BEGINNINGS: [&str; 10] = [
    "<!doctype html",
    "<html",
    "<head",
    "<title",
    "<meta",
    "<script",
    "<body",
    "<center",
    "<h1",
    "<p",
];

/// Bytes that are looked at.
const LOOKED_AT: usize = 4096;

/// Whether these are the beginning of an HTML page. The `Content-Type` says nothing: it may be `text/html` for
/// whatever has no suffix.
pub(crate) fn is_page(bytes: &[u8]) -> bool {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if !matches!(first, Some(b'<' | 0xef)) {
        return false;
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LOOKED_AT)]).to_ascii_lowercase();
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    // A page may also be XML, and there may be comments.
    for (begin, end) in [("<?xml", "?>"), ("<!--", "-->")] {
        while let Some((_, after)) = rest
            .strip_prefix(begin)
            .and_then(|rest| rest.split_once(end))
        {
            rest = after.trim_start();
        }
    }
    // `<metalink>` is no `<meta>`.
    let is_whole = |after: &str| !after.starts_with(|c: char| c.is_alphanumeric() || c == '-');
    let after = |begin: &&str| rest.strip_prefix(*begin);
    BEGINNINGS.iter().filter_map(after).any(is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_files() {
        for page in [
            "<!DOCTYPE html><title>Not here</title>",
            "\r\n <HTML lang=en>",
            "\u{feff}<!doctype HTML>",
            "<title>x",
            "<?xml version=\"1.0\"?>\n<!DOCTYPE html PUBLIC>",
            "<!-- a -->\n<!-- b --><html>",
            "<h1>Not found</h1>",
        ] {
            assert!(is_page(page.as_bytes()), "{page}");
        }
        for file in [
            &b""[..],
            b"[core]\nmode=archive-z2\n",
            b"<",
            b"<?xml version='1.0'?><metalink xmlns='x'><files>",
            b"<metalink>",
            b"\0\0\0\x10<html>",
            b"https://example.org/repo\n",
            b"\xef\xbb",
            &[b'<'; 5000],
        ] {
            assert!(!is_page(file), "{}", String::from_utf8_lossy(file));
        }
    }
}
