// SPDX-License-Identifier: MIT OR Apache-2.0
//! A web server that serves a directory, a connection a request, and plays tricks with some files.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is done instead of sending a file.
#[derive(Clone, Debug)]
pub(crate) enum Trick {
    /// Something else is sent.
    Instead(Vec<u8>),
    /// Half of it, as if that were all.
    Half,
    /// Half of it, though all was promised.
    Torn,
    /// Half of it the first time; then, whatever is asked for.
    TornOnce(Arc<std::sync::atomic::AtomicBool>),
    /// Zeroes without end.
    Endless,
    /// It is where it is.
    Loop,
    /// This status.
    Status(u16),
    /// Nothing, and the connection stays open.
    Silence,
    /// What is not there is a web page.
    Pages,
}

/// A server, which stops with the process.
pub(crate) struct Server {
    port: u16,
}

impl Server {
    /// Serves `root`; files whose path contains the word get the trick.
    pub(crate) fn start(root: &Path, word: &str, trick: Trick) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let shared = Arc::new((root.to_owned(), word.to_owned(), trick));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // That the other side has gone is no matter.
                std::thread::spawn(move || drop(answer(&stream, &shared)));
            }
        });
        Self { port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/repo", self.port)
    }
}

fn answer(mut stream: &TcpStream, shared: &(PathBuf, String, Trick)) -> std::io::Result<()> {
    let (root, word, trick) = shared;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut from = 0;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap_or(0);
        }
        if line.is_empty() {
            break;
        }
    }
    let Ok(file) = fs::read(root.join(path.trim_start_matches('/'))) else {
        return stream.write_all(match trick {
            Trick::Pages => b"HTTP/1.0 200 OK\r\n\r\n<!DOCTYPE html><title>Not here</title>",
            _ => b"HTTP/1.0 404 Not Found\r\n\r\n",
        });
    };
    let head = |len: usize| format!("HTTP/1.0 200 OK\r\nContent-Length: {len}\r\n\r\n");
    let half = file.len() / 2;
    match trick {
        Trick::Pages => stream.write_all(&[head(file.len()).as_bytes(), &file].concat()),
        _ if !path.contains(word.as_str()) => {
            stream.write_all(&[head(file.len()).as_bytes(), &file].concat())
        }
        Trick::Instead(other) => stream.write_all(&[head(other.len()).as_bytes(), other].concat()),
        Trick::Half => stream.write_all(&[head(half).as_bytes(), &file[..half]].concat()),
        Trick::Torn => stream.write_all(&[head(file.len()).as_bytes(), &file[..half]].concat()),
        Trick::TornOnce(done) => {
            if !done.swap(true, std::sync::atomic::Ordering::Relaxed) {
                return stream.write_all(&[head(file.len()).as_bytes(), &file[..half]].concat());
            }
            let len = file.len();
            let range = format!(
                "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Range: bytes \
                 {from}-{}/{len}\r\nContent-Length: {}\r\n\r\n",
                len - 1,
                len - from
            );
            stream.write_all(&[range.as_bytes(), &file[from..]].concat())
        }
        Trick::Endless => {
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n")?;
            loop {
                stream.write_all(&[0; 1 << 16])?;
            }
        }
        Trick::Loop => {
            let head = format!("HTTP/1.0 302 Found\r\nLocation: {path}\r\n\r\n");
            stream.write_all(head.as_bytes())
        }
        Trick::Status(status) => {
            stream.write_all(format!("HTTP/1.0 {status} Odd\r\n\r\n").as_bytes())
        }
        Trick::Silence => {
            std::thread::sleep(std::time::Duration::from_secs(60));
            Ok(())
        }
    }
}
