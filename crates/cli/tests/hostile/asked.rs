// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests of HTTP/1.1, a connection each.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::victim::says;

/// How long a server may take to see that something is wrong.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a server has answered; 0 if it has hung up without a word.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_default(),
            body: body.to_owned(),
        }
    }

    /// Whether it says one of these words.
    pub(crate) fn is(&self, words: &str) -> bool {
        says(&self.body, words)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A request whose body is being sent.
pub(crate) struct Request {
    stream: TcpStream,
    answer: JoinHandle<Vec<u8>>,
    chunked: bool,
    /// Whether the server still listens.
    pub(crate) going: bool,
}

impl Request {
    /// Sends the head. A body whose length is not known goes in chunks.
    pub(crate) fn begin(
        to: SocketAddr,
        method: &str,
        path: &str,
        kind: &str,
        length: Option<u64>,
    ) -> Self {
        let stream = TcpStream::connect(to).expect("connect");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("set a timeout");
        let mut from = stream.try_clone().expect("a second handle");
        let answer = std::thread::spawn(move || {
            let mut heard = Vec::new();
            // It may hang up on who is still talking. What it has said before that counts.
            let _ = from.read_to_end(&mut heard);
            heard
        });
        let mut request = Self {
            stream,
            answer,
            chunked: length.is_none(),
            going: true,
        };
        let length = match length {
            Some(length) => format!("Content-Length: {length}"),
            None => "Transfer-Encoding: chunked".to_owned(),
        };
        let kind = match kind {
            "" => String::new(),
            kind => format!("Content-Type: {kind}\r\n"),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{kind}{length}\r\n\r\n"
        );
        request.raw(head.as_bytes());
        request
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.going = self.going && self.stream.write_all(bytes).is_ok();
    }

    /// Sends more of the body.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match self.chunked {
            true if bytes.is_empty() => {}
            true => {
                let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
                self.raw(&chunk);
            }
            false => self.raw(bytes),
        }
    }

    /// Ends the body.
    pub(crate) fn end(mut self) -> Answer {
        if self.chunked {
            self.raw(b"0\r\n\r\n");
        }
        self.wait()
    }

    /// Waits for the answer, whether the body has ended or not.
    pub(crate) fn wait(self) -> Answer {
        let heard = self.answer.join().expect("the answer");
        Answer::parse(&heard)
    }
}
