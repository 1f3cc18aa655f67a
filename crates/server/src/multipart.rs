// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bodies of the type `multipart/form-data` (RFC 7578), as a stream: one part after the other, of
//! which nothing but what is being read is in memory.

use std::io::{self, Read};

/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

/// The longest boundary, as RFC 2046 has it, in bytes.
const MAX_BOUNDARY: usize = 70;

/// The longest head of a part, in bytes.
const MAX_HEAD: usize = 4 << 10;

/// The boundary that a `Content-Type` tells; [`None`] if it is another type, or tells none.
pub fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters, "boundary")?;
    let is_one = boundary.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    (is_one && !boundary.is_empty() && boundary.len() <= MAX_BOUNDARY).then_some(boundary)
}

/// The value of a parameter in a list of `name=value` and `name="value"`.
fn parameter(list: &str, wanted: &str) -> Option<String> {
    let mut rest = list.trim_start_matches([';', ' ', '\t']);
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=')?;
        let mut text = String::new();
        rest = match value.strip_prefix('"') {
            None => {
                let (word, after) = value.split_at(value.find(';').unwrap_or(value.len()));
                text.push_str(word.trim());
                after
            }
            Some(quoted) => {
                let mut chars = quoted.char_indices();
                loop {
                    match chars.next()? {
                        (at, '"') => break &quoted[at + 1..],
                        (_, '\\') => text.push(chars.next()?.1),
                        (_, c) => text.push(c),
                    }
                }
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = rest.trim_start_matches([';', ' ', '\t']);
    }
    None
}

/// The header of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The field's name.
    pub name: String,
    /// The file's name, if it is a file.
    pub file_name: Option<String>,
}

/// A body.
#[derive(Debug)]
pub struct Multipart<R> {
    from: R,
    /// The end of a part: a line break, two dashes and the boundary.
    delimiter: Vec<u8>,
    buffer: Vec<u8>,
    /// Where in the buffer that begins which nobody has read.
    at: usize,
    in_part: bool,
    failed: Option<(io::ErrorKind, String)>,
}

impl<R: Read> Multipart<R> {
    /// Reads a body with this boundary.
    pub fn new(from: R, boundary: &str) -> Self {
        Self {
            from,
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            // As if a line had ended before, since the body may begin with a delimiter. Bytes before
            // the first delimiter are no part.
            buffer: b"\r\n".to_vec(),
            at: 0,
            in_part: true,
            failed: None,
        }
    }

    /// The fault in the body, if that was why it could not be read: then the client is at fault, not the
    /// code that used the body.
    pub fn failed(&self) -> Option<(io::ErrorKind, &str)> {
        let (kind, reason) = self.failed.as_ref()?;
        Some((*kind, reason))
    }

    fn noted<T>(&mut self, read: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &read {
            let failed = || (error.kind(), error.to_string());
            self.failed.get_or_insert_with(failed);
        }
        read
    }

    /// The head of the next part; what is left of the one before is skipped. [`None`] after the last.
    pub fn next_part(&mut self) -> io::Result<Option<Head>> {
        let next = self.find_part();
        self.noted(next)
    }

    fn find_part(&mut self) -> io::Result<Option<Head>> {
        while self.in_part {
            let mut rest = [0; 4096];
            self.read_part(&mut rest)?;
        }
        let mut end = [0; 2];
        self.read_exact(&mut end)?;
        match &end {
            b"--" => Ok(None),
            b"\r\n" => {
                let head = self.head()?;
                self.in_part = true;
                Ok(Some(head))
            }
            _ => Err(wrong("a boundary does not end")),
        }
    }

    /// The next bytes of the part's content; 0 at its end.
    pub fn read_part(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.content(to);
        self.noted(read)
    }

    fn content(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if !self.in_part || to.is_empty() {
            return Ok(0);
        }
        loop {
            let there = &self.buffer[self.at..];
            let (content, ended) = self.split(there);
            if content > 0 {
                let len = content.min(to.len());
                to[..len].copy_from_slice(&there[..len]);
                self.at += len;
                return Ok(len);
            }
            if ended {
                self.at += self.delimiter.len();
                self.in_part = false;
                return Ok(0);
            }
            self.fill()?;
        }
    }

    /// How many of these bytes are content for sure, and whether a delimiter follows.
    fn split(&self, bytes: &[u8]) -> (usize, bool) {
        let mut from = 0;
        while let Some(at) = bytes[from..].iter().position(|byte| *byte == b'\r') {
            let at = from + at;
            let rest = &bytes[at..];
            if rest.starts_with(&self.delimiter) {
                return (at, true);
            }
            if self.delimiter.starts_with(rest) {
                return (at, false);
            }
            from = at + 1;
        }
        (bytes.len(), false)
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let len = self.buffer.len();
        self.buffer.resize(len + BUFFER, 0);
        let read = loop {
            match self.from.read(&mut self.buffer[len..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(len + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the body ends in the middle of a part",
            )),
            _ => Ok(()),
        }
    }

    fn read_exact(&mut self, to: &mut [u8]) -> io::Result<()> {
        while self.buffer.len() - self.at < to.len() {
            self.fill()?;
        }
        to.copy_from_slice(&self.buffer[self.at..self.at + to.len()]);
        self.at += to.len();
        Ok(())
    }

    fn head(&mut self) -> io::Result<Head> {
        let mut lines = Vec::new();
        while !lines.ends_with(b"\r\n\r\n") && lines != b"\r\n" {
            let mut byte = [0];
            self.read_exact(&mut byte)?;
            lines.push(byte[0]);
            if lines.len() > MAX_HEAD {
                return Err(wrong("the head of a part is too long"));
            }
        }
        let lines = String::from_utf8(lines).map_err(|_| wrong("the head of a part is no text"))?;
        for line in lines.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            if !name.eq_ignore_ascii_case("content-disposition") {
                continue;
            }
            let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
            if !kind.trim().eq_ignore_ascii_case("form-data") {
                return Err(wrong("a part is no field of a form"));
            }
            return Ok(Head {
                name: parameter(parameters, "name").unwrap_or_default(),
                file_name: parameter(parameters, "filename"),
            });
        }
        Err(wrong("a part has no name"))
    }
}

/// The content of the part that is being read.
impl<R: Read> Read for Multipart<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.read_part(to)
    }
}

fn wrong(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn boundaries() {
        for (text, found) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            (
                "Multipart/Form-Data;charset=x; Boundary=\"a b\\\"c\"",
                Some("a b\"c"),
            ),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"open", None),
            ("multipart/mixed; boundary=abc", None),
            ("application/json; boundary=abc", None),
        ] {
            assert_eq!(boundary(text).as_deref(), found, "{text}");
        }
        assert_eq!(
            boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))),
            None
        );
    }

    #[test]
    fn what_is_wrong_with_a_body() {
        for body in [
            "",
            "--B",
            "--B--",
            "--B\r\n",
            "--B\r\n\r\n\r\n--B--",
            "--B\r\nContent-Disposition: attachment; name=x\r\n\r\n\r\n--B--",
            "--B\r\nContent-Disposition: form-data; name=x\r\n\r\ncontent",
            "--B\r\nContent-Disposition: form-data; name=x\r\n\r\ncontent\r\n--Bxx",
        ] {
            let mut multipart = Multipart::new(body.as_bytes(), "B");
            let ended = loop {
                match multipart.next_part() {
                    Ok(Some(_)) => {}
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            };
            assert_eq!(ended, body == "--B--", "{body}");
            assert_eq!(multipart.failed().is_none(), ended, "{body}");
        }
        let long = format!("--B\r\n{}", "x".repeat(MAX_HEAD + 9));
        assert!(Multipart::new(long.as_bytes(), "B").next_part().is_err());
    }

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let len = to.len().min(self.1).min(self.0.len());
            to[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    proptest! {
        #[test]
        fn parts_are_what_they_were(
            parts in prop::collection::vec(("[a-z]{0,5}", "[-\r\nB x]{0,60}"), 0..6),
            step in 1usize..70,
            before in "[a-z\r\n]{0,9}",
        ) {
            let mut body = format!("{before}\r\n");
            let parts: Vec<_> = parts.into_iter().filter(|(_, text)| !text.contains("\r\n--B")).collect();
            for (name, text) in &parts {
                body += &format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"; ");
                body += &format!("filename=f\r\nX: y\r\n\r\n{text}\r\n");
            }
            body += "--B--\r\n";
            let mut multipart = Multipart::new(Slow(body.as_bytes(), step), "B");
            for (name, text) in &parts {
                // A text that begins like a delimiter is one: what is before it is the line break
                // of the head.
                let head = multipart.next_part().unwrap().unwrap();
                prop_assert_eq!(&head.name, name);
                prop_assert_eq!(head.file_name.as_deref(), Some("f"));
                let mut content = String::new();
                multipart.read_to_string(&mut content).unwrap();
                prop_assert_eq!(&content, text);
            }
            prop_assert_eq!(multipart.next_part().unwrap(), None);
        }

        #[test]
        fn noise_does_no_harm(body in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut multipart = Multipart::new(&body[..], "B");
            while let Ok(Some(_)) = multipart.next_part() {}
        }
    }
}
