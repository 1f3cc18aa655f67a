// SPDX-License-Identifier: MIT OR Apache-2.0
//! A server of the Go program ostree-upload as the reference describes it: what it answers, and how it
//! publishes, without any of the checks that it lacks. (The program itself cannot be built from packages.)

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use oxtree_testkit::Repo;
use serde_json::{Value, json};

/// What goes wrong with the next upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// It is done, and answered with 504.
    TakesLong,
    /// A checksum is said to be wrong.
    Refuses,
    /// There is no answer.
    HangsUp,
}

struct State {
    repo: PathBuf,
    token: String,
    queue: HashMap<String, Value>,
    trouble: Trouble,
    deleted: usize,
}

pub(crate) struct OldServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl OldServer {
    pub(crate) fn start(repo: &Repo, token: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State {
            repo: repo.path().to_owned(),
            token: token.to_owned(),
            queue: HashMap::new(),
            trouble: Trouble::None,
            deleted: 0,
        }));
        fs::create_dir(repo.path().join("tmp/ostree-upload")).expect("mkdir");
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                thread::spawn(move || while answer(&client, &state).is_some() {});
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn will(&self, trouble: Trouble) {
        self.state.lock().expect("no panic").trouble = trouble;
    }

    /// How many pushes were given up.
    pub(crate) fn deleted(&self) -> usize {
        self.state.lock().expect("no panic").deleted
    }
}

/// Answers a request; [`None`] at the end of the connection.
fn answer(client: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut from = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        from.read_line(&mut head).ok().filter(|len| *len > 0)?;
    }
    let header = |name: &str| {
        let line = head
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with(name))?;
        Some(line[name.len()..].trim().to_owned())
    };
    let mut body = Vec::new();
    if header("transfer-encoding:").is_some() {
        loop {
            let mut size = String::new();
            from.read_line(&mut size).ok()?;
            let size = u64::from_str_radix(size.trim(), 16).ok()?;
            (&mut from).take(size).read_to_end(&mut body).ok()?;
            from.read_line(&mut String::new()).ok()?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = header("content-length:") {
        (&mut from)
            .take(length.parse().ok()?)
            .read_to_end(&mut body)
            .ok()?;
    }
    let mut state = state.lock().expect("no panic");
    let mut words = head.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let shown = header("authorization:").unwrap_or_default();
    let (status, text) = match shown.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && token == state.token => {
            state.answer(
                method,
                path,
                &header("content-type:").unwrap_or_default(),
                &body,
            )?
        }
        _ => (401, "Unauthorized\n".to_owned()),
    };
    let len = text.len();
    let mut to = client;
    write!(
        to,
        "HTTP/1.1 {status} X\r\nContent-Length: {len}\r\n\r\n{text}"
    )
    .ok()
}

impl State {
    fn answer(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        body: &[u8],
    ) -> Option<(u16, String)> {
        let id = path.strip_prefix("/api/v1/queue/").unwrap_or_default();
        let known = self.queue.get(id).cloned();
        Some(match (method, path, known) {
            ("GET", "/api/v1/info", _) => {
                let mut revs = HashMap::new();
                refs(&self.repo.join("refs/heads"), "", &mut revs);
                (200, json!({"mode": "archive", "revs": revs}).to_string())
            }
            ("POST", "/api/v1/queue", _) => {
                let list: Value = serde_json::from_slice(body).expect("JSON");
                let busy = |name: &String| {
                    self.queue
                        .values()
                        .any(|other| other["refs"].get(name).is_some())
                };
                let names = list["refs"].as_object().expect("refs").keys();
                if let Some(name) = names.into_iter().find(|name| busy(name)) {
                    return Some((500, format!("branch \"{name}\" is already being updated\n")));
                }
                let id = format!("~0Ab-{}_", self.queue.len() + self.deleted);
                self.queue.insert(id.clone(), list);
                (200, json!({"id": id}).to_string())
            }
            ("GET", _, Some(list)) => {
                let names = list["objects"].as_array().expect("objects").iter();
                let missing = names.filter(|name| {
                    let name = name.as_str().expect("a name");
                    !self.tmp(name).exists() && !self.object(name).exists()
                });
                (
                    200,
                    json!({"objects": missing.collect::<Vec<_>>()}).to_string(),
                )
            }
            ("PUT", _, Some(list)) => {
                let trouble = std::mem::replace(&mut self.trouble, Trouble::None);
                match trouble {
                    Trouble::HangsUp => return None,
                    Trouble::Refuses => return Some((422, "bad checksum for x\n".to_owned())),
                    _ => {}
                }
                self.upload(kind, body);
                self.publish(&list);
                self.queue.remove(id);
                match trouble {
                    Trouble::TakesLong => (504, String::new()),
                    _ => (200, String::new()),
                }
            }
            ("DELETE", _, Some(_)) => {
                self.queue.remove(id);
                self.deleted += 1;
                (200, String::new())
            }
            _ => (404, "404 page not found\n".to_owned()),
        })
    }

    fn tmp(&self, name: &str) -> PathBuf {
        self.repo.join("tmp/ostree-upload").join(name)
    }

    fn object(&self, name: &str) -> PathBuf {
        self.repo.join("objects").join(&name[..2]).join(&name[2..])
    }

    /// Parts: files, each followed by a field with its checksum.
    fn upload(&self, kind: &str, body: &[u8]) {
        let boundary = kind
            .strip_prefix("multipart/form-data; boundary=")
            .expect("its type");
        let delimiter = format!("--{boundary}");
        let mut last = String::new();
        let mut rest = body.strip_prefix(delimiter.as_bytes()).expect("a boundary");
        while let Some(part) = rest.strip_prefix(b"\r\n") {
            let end = find(part, format!("\r\n{delimiter}").as_bytes()).expect("an end");
            let head_end = find(part, b"\r\n\r\n").expect("a head");
            let head = String::from_utf8_lossy(&part[..head_end]).into_owned();
            let content = &part[head_end + 4..end];
            if head.contains("name=\"file\"") {
                let (_, name) = head.split_once("filename=\"").expect("a name");
                last = name.split('"').next().expect("a name").to_owned();
                fs::write(self.tmp(&last), content).expect("write an object");
            } else {
                assert!(head.contains("name=\"checksum\""), "{head}");
                let sum = oxtree_testkit::Tool::new("sha256sum")
                    .run([self.tmp(&last)])
                    .stdout();
                assert_eq!(
                    String::from_utf8_lossy(content),
                    format!("{last}:{}", &sum[..64])
                );
            }
            rest = &part[end + 2 + delimiter.len()..];
        }
        assert_eq!(rest, b"--\r\n");
    }

    fn publish(&self, list: &Value) {
        for name in list["objects"].as_array().expect("objects") {
            let name = name.as_str().expect("a name");
            if !self.object(name).exists() {
                fs::create_dir_all(self.object(name).parent().expect("a folder")).expect("mkdir");
                fs::copy(self.tmp(name), self.object(name)).expect("copy an object");
                fs::remove_file(self.tmp(name)).expect("unlink");
            }
        }
        for (name, pair) in list["refs"].as_object().expect("refs") {
            let path = self.repo.join("refs/heads").join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("mkdir");
            fs::write(
                path,
                format!("{}\n", pair["client"].as_str().expect("a commit")),
            )
            .expect("a ref");
        }
    }
}

fn refs(folder: &Path, prefix: &str, found: &mut HashMap<String, String>) {
    for entry in fs::read_dir(folder)
        .expect("read refs")
        .map(|entry| entry.expect("an entry"))
    {
        let name = format!("{prefix}{}", entry.file_name().display());
        match entry.path().is_dir() {
            true => refs(&entry.path(), &format!("{name}/"), found),
            false => {
                let rev = fs::read_to_string(entry.path()).expect("a ref");
                found.insert(name, rev.trim().to_owned());
            }
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
