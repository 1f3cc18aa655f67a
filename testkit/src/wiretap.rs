// SPDX-License-Identifier: MIT OR Apache-2.0
//! Listening to what a program says to the other side of an ssh connection, and the answers.

use std::fs;
use std::path::PathBuf;

/// A proxy that can stand before a command such as `ssh`, and writes down all that goes through.
#[derive(Debug)]
pub struct Wiretap {
    dir: tempfile::TempDir,
}

/// A piece of what was said, as it came out of one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// It went to the far side.
    pub outgoing: bool,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Wiretap {
    /// A proxy that has heard nothing yet.
    ///
    /// # Panics
    /// When it cannot be written down.
    #[must_use]
    pub fn new() -> Wiretap {
        let dir = crate::temp_dir();
        fs::write(dir.path().join("wiretap.py"), include_str!("wiretap.py"))
            .expect("write the proxy");
        Wiretap { dir }
    }

    /// `command` behind the proxy, its words separated by spaces.
    #[must_use]
    pub fn command(&self, command: &str) -> String {
        let script = self.dir.path().join("wiretap.py");
        let log = self.log();
        format!(
            "/usr/bin/python3 {} {} {command}",
            script.display(),
            log.display()
        )
    }

    /// All that was said, in order.
    ///
    /// # Panics
    /// When the proxy has not been run.
    #[must_use]
    pub fn pieces(&self) -> Vec<Piece> {
        let log = fs::read(self.log()).expect("a proxy that was run");
        let mut left = &log[..];
        let mut pieces = Vec::new();
        while let Some((head, rest)) = left.split_first_chunk::<5>() {
            let [direction, length @ ..] = *head;
            let length = u32::from_be_bytes(length) as usize;
            let (bytes, rest) = rest.split_at(length);
            pieces.push(Piece {
                outgoing: direction == b'>',
                bytes: bytes.to_vec(),
            });
            left = rest;
        }
        pieces
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Default for Wiretap {
    fn default() -> Self {
        Self::new()
    }
}

/// How often the direction changes in these pieces.
pub fn turns<'p>(pieces: impl IntoIterator<Item = &'p Piece>) -> usize {
    let directions: Vec<bool> = pieces.into_iter().map(|piece| piece.outgoing).collect();
    directions
        .windows(2)
        .filter(|pair| pair[0] != pair[1])
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn a_conversation_is_heard_in_order() {
        let tap = Wiretap::new();
        let bins = crate::BinDir::empty();
        let far = bins.script("far", "echo hello; read a; echo \"you said $a\"; exit 3");
        let command = tap.command(&far.display().to_string());
        let mut child = Command::new("sh")
            .args(["-c", &command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the proxy");
        let mut stdin = child.stdin.take().expect("a pipe");
        let mut first = [0; 6];
        let mut stdout = child.stdout.take().expect("a pipe");
        std::io::Read::read_exact(&mut stdout, &mut first).expect("a greeting");
        stdin.write_all(b"yes\n").expect("answer");
        assert_eq!(child.wait().expect("the proxy's end").code(), Some(3));
        let pieces = tap.pieces();
        let said: Vec<(bool, &[u8])> = pieces.iter().map(|p| (p.outgoing, &p.bytes[..])).collect();
        let expected: [(bool, &[u8]); 3] = [
            (false, b"hello\n"),
            (true, b"yes\n"),
            (false, b"you said yes\n"),
        ];
        assert_eq!(said, expected);
        assert_eq!(turns(&pieces), 2);
    }
}
