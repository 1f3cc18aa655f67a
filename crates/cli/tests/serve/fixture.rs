// SPDX-License-Identifier: MIT OR Apache-2.0
//! A server of ours, and curl.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oxtree_testkit::wait_for_end;
use oxtree_testkit::{Repo, Tool, temp_dir, trees};
use serde_json::{Value, json};

use crate::openapi;

/// The binary under test.
pub(crate) const OXTREE: &str = env!("CARGO_BIN_EXE_oxtree");

/// Our tool, of which nothing outside of the test is asked.
pub(crate) fn oxtree() -> Tool {
    Tool::new(OXTREE)
}

/// A place for the repositories of one test.
pub(crate) struct Fixture(tempfile::TempDir);

impl Fixture {
    pub(crate) fn new() -> Self {
        Self(temp_dir())
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn repo(&self, name: &str) -> Repo {
        oxtree().repo(self.at(name)).init("archive").without_fsync()
    }

    /// A repository with a commit of a small tree, which differs with `seed`, on this branch.
    pub(crate) fn commit(&self, repo: &Repo, branch: &str, seed: u64) -> String {
        self.commit_with(repo, branch, seed, &[])
    }

    /// The same with more options.
    pub(crate) fn commit_with(
        &self,
        repo: &Repo,
        branch: &str,
        seed: u64,
        args: &[&str],
    ) -> String {
        let tree = self.at(&format!("tree-{seed}"));
        if !tree.exists() {
            fs::create_dir(&tree).expect("mkdir");
            trees::small(&tree, seed);
        }
        let time = format!("--timestamp=@{}", 1_767_323_040 + seed);
        let args = [&["--canonical-permissions", &time][..], args].concat();
        repo.commit(branch, tree, &args)
    }

    /// What a text file holds.
    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// A certificate for this machine, and its key.
    pub(crate) fn certificate(&self, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = (
            self.at(&format!("{name}.pem")),
            self.at(&format!("{name}.key")),
        );
        openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=here \
             -addext subjectAltName=DNS:localhost,IP:127.0.0.1",
            &["-keyout", path(&key), "-out", path(&cert)],
        );
        (cert, key)
    }
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Runs openssl; returns what it prints.
pub(crate) fn openssl(words: &str, more: &[&str]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(words.split_whitespace()).args(more);
    oxtree_testkit::Output::of(&mut command)
        .expect_ok()
        .stdout_bytes
}

/// A server; it is killed on drop.
pub(crate) struct Served {
    child: Child,
    urls: Vec<String>,
}

impl Served {
    /// Starts `oxtree serve` with these options, on a port that the system chooses.
    pub(crate) fn start<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Self {
        let words = ["serve", "--listen", "127.0.0.1:0"].map(std::ffi::OsStr::new);
        let words = words.into_iter().chain(args.iter().map(AsRef::as_ref));
        Self::run(&mut oxtree().command(words), 1)
    }

    /// Starts a server that tells so many URLs.
    pub(crate) fn run(command: &mut Command, urls: usize) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("start oxtree serve");
        let stdout = child.stdout.take().expect("it was piped");
        let lines = BufReader::new(stdout).lines().take(urls);
        let urls: Vec<String> = lines.map(|line| line.expect("a line")).collect();
        assert!(!urls.is_empty(), "the server says nothing");
        Self { child, urls }
    }

    /// A repository at the root, which everybody may push to.
    pub(crate) fn open(repo: &Repo) -> Self {
        Self::start(&["--allow-anonymous-push".as_ref(), repo.path()])
    }

    pub(crate) fn url(&self) -> &str {
        &self.urls[0]
    }

    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    pub(crate) fn port(&self) -> u16 {
        let port = self.url().trim_end_matches('/').rsplit(':').next();
        port.and_then(|port| port.parse().ok()).expect("a port")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as systemd does, and returns whether it has ended well.
    pub(crate) fn stop(mut self) -> bool {
        self.signal("TERM");
        wait_for_end(self.child.id(), Duration::from_secs(40));
        self.child.wait().expect("its end").success()
    }

    pub(crate) fn signal(&self, name: &str) {
        Tool::new("/bin/kill").ok([format!("-{name}"), self.child.id().to_string()]);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, holds: impl FnMut() -> bool) {
    until_within(30, what, holds);
}

/// The same where a busy machine may need this number of seconds.
pub(crate) fn until_within(seconds: u64, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.lines();
        let mut found = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.next().map(str::trim)
    }
}

/// Asks with curl. What is answered has to be what the server's document says.
pub(crate) fn curl(args: &[&str]) -> Answer {
    let answer = ask(args);
    openapi::check(args, &answer);
    answer
}

fn ask(args: &[&str]) -> Answer {
    let mut command = Command::new("curl");
    command.args([
        "-s",
        "-S",
        "-q",
        "--path-as-is",
        "--noproxy",
        "*",
        "-D",
        "/dev/stderr",
    ]);
    command.args(args).stdin(Stdio::null());
    let output = oxtree_testkit::Output::of(&mut command);
    let headers = output.stderr();
    // Those of an answer that says `continue` come first.
    let last = headers
        .trim_end()
        .rsplit("\r\n\r\n")
        .next()
        .unwrap_or_default();
    let status = last
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok());
    let Some(status) = status else {
        panic!("{}: {headers}", output.command);
    };
    Answer {
        status,
        headers: last.to_lowercase(),
        body: output.stdout_bytes,
    }
}

/// A push with nothing but curl, a request an object.
pub(crate) struct Push {
    pub(crate) url: String,
    token: Option<String>,
}

impl Push {
    /// Opens it.
    pub(crate) fn open(url: &str, token: Option<&str>, wish: &Value) -> Result<Self, Answer> {
        let mut push = Self {
            url: format!("{url}api/v1/pushes"),
            token: token.map(str::to_owned),
        };
        let answer = push.ask("POST", "", &["--json", &wish.to_string()]);
        if answer.status != 201 {
            return Err(answer);
        }
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        push.url = format!("{}/{id}", push.url);
        Ok(push)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, args: &[&str]) -> Answer {
        let bearer = self
            .token
            .as_ref()
            .map(|token| format!("Authorization: Bearer {token}"));
        let url = format!("{}{path}", self.url);
        let mut all = vec!["-X", method, &url];
        if let Some(bearer) = &bearer {
            all.extend(["-H", bearer]);
        }
        all.extend(args);
        curl(&all)
    }

    /// The names of those objects of a repository that are missing.
    pub(crate) fn missing(&self, source: &Repo) -> Vec<String> {
        let list = json!({"objects": objects(source)}).to_string();
        let answer = self.ask("POST", "/missing", &["--json", &list]);
        assert_eq!(answer.status, 200, "{answer:?}");
        let missing = answer.json()["missing"].clone();
        serde_json::from_value(missing).expect("names")
    }

    pub(crate) fn put(&self, source: &Repo, object: &str) -> Answer {
        let file = source.path().join(loose(object));
        self.ask("PUT", &format!("/objects/{object}"), &["-T", path(&file)])
    }

    pub(crate) fn finish(&self) -> Answer {
        self.ask("POST", "/finish", &[])
    }

    /// Asks, sends, finishes.
    pub(crate) fn go(&self, source: &Repo) -> Answer {
        for object in self.missing(source) {
            let answer = self.put(source, &object);
            assert_eq!(answer.status, 204, "{answer:?}");
        }
        self.finish()
    }
}

/// What is asked for when a ref is to be set to what it is in `source`.
pub(crate) fn wish(source: &Repo, branch: &str, old: Option<&str>) -> Value {
    json!({"updates": [{"ref": branch, "old": old, "new": source.rev_parse(branch)}]})
}

/// Writes a file of this size in bytes, a multiple of four, that packing does not make smaller.
pub(crate) fn large_file(path: &Path, bytes: usize) {
    let mut state = 1_u32;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    });
    let bytes: Vec<u8> = words.take(bytes / 4).flatten().collect();
    fs::write(path, bytes).expect("write a large file");
}

/// Lets this process open as many files as it may.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("raise the limit of open files");
}

/// The objects of an archive, as `CHECKSUM.TYPE`.
pub(crate) fn objects(repo: &Repo) -> Vec<String> {
    let mut all = Vec::new();
    let read = |path: &Path| {
        let entries = fs::read_dir(path).expect("read objects/");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.into_string().expect("a name in UTF-8"))
            .collect::<Vec<_>>()
    };
    let root = repo.path().join("objects");
    for folder in read(&root) {
        all.extend(
            read(&root.join(&folder))
                .iter()
                .map(|name| format!("{folder}{name}")),
        );
    }
    all
}

/// The path of an object.
pub(crate) fn loose(object: &str) -> String {
    let (folder, name) = object.split_at(2);
    format!("objects/{folder}/{name}")
}
