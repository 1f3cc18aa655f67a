// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client of HTTP/2 that sends the frames that a test wants, and takes only as much as it says.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use crate::fixture::until_within;

pub(crate) const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const DATA: u8 = 0;
const RESET: u8 = 3;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The status 200, as header blocks begin with it.
pub(crate) const OK: u8 = 0x88;

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = len[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// How a connection of HTTP/2 begins, in which answers are taken so far as `window` says.
pub(crate) fn preface(window: u32) -> Vec<u8> {
    const INITIAL_WINDOW: u16 = 4;
    let setting = [&INITIAL_WINDOW.to_be_bytes()[..], &window.to_be_bytes()].concat();
    let settings = frame(SETTINGS, 0, 0, &setting);
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), settings].concat()
}

/// Text in a header block, not packed.
fn text(text: &str) -> Vec<u8> {
    let mut len = text.len();
    let mut bytes = vec![u8::try_from(len.min(127)).unwrap()];
    if len >= 127 {
        len -= 127;
        while len >= 128 {
            bytes.push(u8::try_from(len % 128).unwrap() | 128);
            len /= 128;
        }
        bytes.push(u8::try_from(len).unwrap());
    }
    bytes.extend(text.as_bytes());
    bytes
}

/// The header block of a request.
pub(crate) fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    // By their numbers in the table: the name of the method, the scheme http, the names of the path and the host.
    let mut block = [&[0x02][..], &text(method), &[0x86, 0x04], &text(path)].concat();
    block.extend([&[0x01][..], &text("x")].concat());
    for (name, value) in more {
        block.extend([&[0x00][..], &text(name), &text(value)].concat());
    }
    block
}

/// `GET` of a path.
pub(crate) fn get(path: &str) -> Vec<u8> {
    request("GET", path, &[])
}

/// What has come of an answer.
#[derive(Debug, Default)]
pub(crate) struct Came {
    /// The header block, once it is there.
    pub(crate) head: Option<Vec<u8>>,
    /// Bytes of the body.
    pub(crate) bytes: usize,
    /// Whether all of it is there.
    pub(crate) whole: bool,
    /// Whether the server has given it up.
    pub(crate) reset: bool,
}

/// How a connection ends when the test is done with it.
enum End {
    Socket(TcpStream),
    Program(Child),
}

/// A connection.
pub(crate) struct H2 {
    write: Box<dyn Write>,
    read: Receiver<Vec<u8>>,
    end: End,
    bytes: Vec<u8>,
    next: u32,
    pings: usize,
    answers: HashMap<u32, Came>,
    /// Whether the server has ended it, or is about to.
    pub(crate) closed: bool,
}

impl H2 {
    /// To a port of this machine. Each answer is taken so far as `window` says.
    pub(crate) fn plain(port: u16, window: u32) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        let patience = Some(Duration::from_secs(20));
        stream.set_write_timeout(patience).expect("set a timeout");
        let clone = || stream.try_clone().expect("one more");
        Self::begin(Box::new(clone()), clone(), End::Socket(stream), window)
    }

    /// The same by TLS.
    pub(crate) fn tls(port: u16, window: u32) -> Self {
        let mut program = Command::new("openssl")
            .args(["s_client", "-quiet", "-alpn", "h2", "-connect"])
            .arg(format!("127.0.0.1:{port}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("run openssl");
        let write = program.stdin.take().expect("it was piped");
        let read = program.stdout.take().expect("it was piped");
        Self::begin(Box::new(write), read, End::Program(program), window)
    }

    fn begin(
        write: Box<dyn Write>,
        mut from: impl Read + Send + 'static,
        end: End,
        window: u32,
    ) -> Self {
        let (to, read) = channel();
        std::thread::spawn(move || {
            let mut piece = vec![0; 64 << 10];
            while let Ok(len @ 1..) = from.read(&mut piece) {
                if to.send(piece[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut connection = Self {
            write,
            read,
            end,
            bytes: Vec::new(),
            next: 1,
            pings: 0,
            answers: HashMap::new(),
            closed: false,
        };
        connection.send(&preface(window));
        connection
    }

    /// Sends frames. The server may have ended the connection.
    pub(crate) fn send(&mut self, frames: &[u8]) {
        let sent = self.write.write_all(frames);
        self.closed |= sent.and_then(|()| self.write.flush()).is_err();
    }

    /// Asks for something; returns the stream.
    pub(crate) fn ask(&mut self, block: &[u8]) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.answers.insert(stream, Came::default());
        self.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, block));
        stream
    }

    /// Asks for a path in this number of streams.
    pub(crate) fn get_often(&mut self, path: &str, streams: usize) {
        let block = get(path);
        let frames = (0..streams).flat_map(|_| {
            let stream = self.next;
            self.next += 2;
            self.answers.insert(stream, Came::default());
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
        });
        let frames: Vec<u8> = frames.collect();
        self.send(&frames);
    }

    /// Takes this number of bytes more of a stream; of the connection, if it is 0.
    pub(crate) fn take(&mut self, stream: u32, bytes: u32) {
        self.send(&frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()));
    }

    /// What has come of an answer until now.
    pub(crate) fn answer(&mut self, stream: u32) -> &Came {
        self.look();
        &self.answers[&stream]
    }

    /// How many answers have begun, or were given up.
    pub(crate) fn answered(&mut self) -> usize {
        self.look();
        let answers = self.answers.values();
        answers
            .filter(|came| came.head.is_some() || came.reset)
            .count()
    }

    /// How many answers have begun with this status.
    pub(crate) fn begun_with(&mut self, status: u8) -> usize {
        self.look();
        let heads = self.answers.values().filter_map(|came| came.head.as_ref());
        heads.filter(|head| head.first() == Some(&status)).count()
    }

    /// Waits until the server has read all that was sent.
    pub(crate) fn is_read(&mut self) {
        let pings = self.pings;
        self.send(&frame(PING, 0, 0, &[7; 8]));
        until_within(300, "a PING is answered", || {
            self.look();
            self.closed || self.pings > pings
        });
    }

    /// Takes in what has come, and answers as a client that is alive.
    pub(crate) fn look(&mut self) {
        loop {
            match self.read.try_recv() {
                Ok(piece) => self.bytes.extend(piece),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.closed = true;
                    break;
                }
            }
        }
        while let Some(head) = self.bytes.first_chunk::<9>() {
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if self.bytes.len() < 9 + len {
                break;
            }
            let rest = self.bytes.split_off(9 + len);
            let payload = std::mem::replace(&mut self.bytes, rest).split_off(9);
            self.one(kind, flags, stream, payload);
        }
    }

    fn one(&mut self, kind: u8, flags: u8, stream: u32, payload: Vec<u8>) {
        match kind {
            SETTINGS if flags & ACK == 0 => self.send(&frame(SETTINGS, ACK, 0, &[])),
            PING if flags & ACK == 0 => self.send(&frame(PING, ACK, 0, &payload)),
            PING => self.pings += 1,
            GOAWAY => self.closed = true,
            _ => {}
        }
        if let Some(came) = self.answers.get_mut(&stream) {
            came.whole |= matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0;
            match kind {
                DATA => came.bytes += payload.len(),
                RESET => came.reset = true,
                HEADERS => came.head = Some(payload),
                _ => {}
            }
        }
    }
}

impl Drop for H2 {
    fn drop(&mut self) {
        match &mut self.end {
            End::Socket(stream) => drop(stream.shutdown(Shutdown::Both)),
            End::Program(program) => {
                let _ = program.kill();
                let _ = program.wait();
            }
        }
    }
}
