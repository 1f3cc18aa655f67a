// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a hostile pusher serves at our end of the tunnel: a web server that sends whatever it is told.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oxtree_format::Checksum;

use crate::conversation::{COMMIT, COMMIT_META, DIRMETA, DIRTREE, Object};
use crate::objects::{bytes, gvariant};

/// What is sent for a file.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The file, with its length.
    File(Vec<u8>),
    /// The file without its length, to the end of the connection.
    Unannounced(Vec<u8>),
    /// The first so many bytes of a file, all of which was promised.
    Torn(Vec<u8>, usize),
    /// The first bytes, and then the others again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// It is somewhere else.
    Elsewhere(String),
    /// Another status than that all is well.
    Status(&'static str),
    /// Nothing, while the connection stays open.
    Silence,
}

/// A server, which stops with the process.
pub(crate) struct Web {
    port: u16,
    /// How many requests have come.
    requests: Arc<AtomicUsize>,
}

impl Web {
    /// Serves these files; others are not there.
    pub(crate) fn serve(files: HashMap<String, Answer>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let requests = Arc::new(AtomicUsize::new(0));
        let shared = (Arc::new(files), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, requests) = shared.clone();
                // That the other side has gone is no matter.
                std::thread::spawn(move || drop(answer(&stream, &files, &requests)));
            }
        });
        Self { port, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn answer(
    mut stream: &TcpStream,
    files: &HashMap<String, Answer>,
    requests: &AtomicUsize,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    requests.fetch_add(1, Ordering::Relaxed);
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    let mut say = |head: &str, body: &[u8]| {
        stream.write_all(format!("HTTP/1.0 {head}\r\n\r\n").as_bytes())?;
        stream.write_all(body)
    };
    let with_length = |len: usize| format!("200 OK\r\nContent-Length: {len}");
    match files.get(path.trim_start_matches('/')) {
        None => say("404 Not Found", b""),
        Some(Answer::File(bytes)) => say(&with_length(bytes.len()), bytes),
        Some(Answer::Unannounced(bytes)) => say("200 OK", bytes),
        Some(Answer::Torn(bytes, at)) => say(&with_length(bytes.len()), &bytes[..*at]),
        Some(Answer::Endless(first, again)) => {
            say("200 OK", first)?;
            loop {
                stream.write_all(again)?;
            }
        }
        Some(Answer::Elsewhere(url)) => say(&format!("302 Found\r\nLocation: {url}"), b""),
        Some(Answer::Status(status)) => say(status, b""),
        Some(Answer::Silence) => {
            std::thread::sleep(std::time::Duration::from_secs(120));
            Ok(())
        }
    }
}

/// Where an object is below a repository.
pub(crate) fn path(object: &Object) -> String {
    let name = name_of(object);
    format!("objects/{}/{}", &name[..2], &name[2..])
}

/// What an object of an archive is called.
pub(crate) fn name_of(object: &Object) -> String {
    let suffix = match object.kind {
        DIRTREE => "dirtree",
        DIRMETA => "dirmeta",
        COMMIT => "commit",
        COMMIT_META => "commitmeta",
        _ => "filez",
    };
    format!("{}.{suffix}", object.name)
}

/// The summary of a repository with these refs.
pub(crate) fn summary(refs: &[(&str, Checksum)]) -> Vec<u8> {
    let refs: Vec<String> = refs
        .iter()
        .map(|(name, commit)| format!("('{name}', (100, {}, {{}}))", bytes(commit)))
        .collect();
    gvariant(&format!(
        "@(a(s(taya{{sv}}))a{{sv}}) ([{}], {{}})",
        refs.join(",")
    ))
}

/// A repository whose ref `evil` is at the last of these objects.
pub(crate) fn repository(objects: &[Object]) -> HashMap<String, Answer> {
    let commit = objects.last().expect("a commit").name;
    let files = objects
        .iter()
        .map(|object| (path(object), object.bytes.clone()));
    let summary = [("summary".to_owned(), summary(&[("evil", commit)]))];
    let files = files.chain(summary);
    files
        .map(|(path, bytes)| (path, Answer::File(bytes)))
        .collect()
}
