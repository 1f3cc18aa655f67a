// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many push to one server, each its own ref, while the server and those who push are killed.
//! `make load` does it for five minutes with the release binary and tells its figures.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use oxtree_testkit::{Dice, Output, Repo, Serve, Tool, kill, trees};

use crate::fixture::{Fixture, OXTREE, check};

/// How many push at once, and for how many seconds. In the first half the server is killed, too.
const SHORT: (usize, u64) = (24, 6);

/// How many push where `OXTREE_LOAD_SECONDS` says for how long.
const CLIENTS: usize = 64;

/// How much memory the server may take.
const MEMORY: u64 = 300 << 20;

/// After so long, the server forgets pushes that nobody goes on with.
const LIFETIME: Duration = Duration::from_secs(5);

/// The binary, unless `OXTREE_LOAD_BINARY` names another one.
fn binary() -> PathBuf {
    std::env::var_os("OXTREE_LOAD_BINARY").map_or_else(|| OXTREE.into(), Into::into)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happened how often.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<String, u32>>);

impl Tally {
    fn count(&self, what: &str) {
        *lock(&self.0).entry(what.to_owned()).or_default() += 1;
    }

    fn get(&self, what: &str) -> u32 {
        lock(&self.0).get(what).copied().unwrap_or_default()
    }
}

/// Who pushes one ref, over and over.
struct Client<'l> {
    load: &'l Load,
    number: usize,
    name: String,
    repo: Repo,
    tree: PathBuf,
    /// What the server may have: what was last said to be there, and what may have come since.
    possible: Vec<String>,
    published: Vec<String>,
}

impl<'l> Client<'l> {
    fn new(load: &'l Load, number: usize) -> Self {
        let repo = load.fixture.repo(&format!("source-{number}"));
        let tree = load.fixture.tree(number as u64);
        Self {
            load,
            number,
            name: format!("load/{number}"),
            repo: Tool::new(binary()).repo(repo.path()),
            tree,
            possible: vec![String::new()],
            published: Vec::new(),
        }
    }

    /// A new version of the tree: a new small file, and at times a large one.
    fn commit(&mut self, version: u64) -> String {
        let size = lock(&self.load.dice).pick(&[10, 10, 10, 100, 100, 3000]) << 10;
        let seed = 1000 * version + self.number as u64;
        let file = self.tree.join("newest");
        trees::incompressible(&file, size, seed);
        let time = format!("--timestamp=@{}", 1_700_000_000 + version);
        let args = ["--canonical-permissions", &time];
        self.repo.commit(&self.name, &self.tree, &args)
    }

    /// `oxtree push`, or what a client of ostree-upload asks.
    fn push(&self, url: &str) -> Command {
        let path = self.repo.path().to_str().expect("UTF-8");
        if self.number % 4 == 3 {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crowd/old_upload.py");
            return Tool::new("/usr/bin/python3").command([script, url, path, &self.name]);
        }
        let repo = format!("--repo={path}");
        Tool::new(binary()).command(["push", "--quiet", &repo, url, &self.name])
    }

    fn there(&self) -> String {
        let path = self.load.dest.path().join("refs/heads").join(&self.name);
        fs::read_to_string(path).map_or(String::new(), |text| text.trim().to_owned())
    }

    fn go(&mut self, until: Instant) {
        for version in 1.. {
            let new = self.commit(version);
            let mut command = self.push(&self.load.url);
            let begun = Instant::now();
            let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
            let child = command.spawn().expect("start a push");
            let last = begun > until;
            let doomed = !last && lock(&self.load.dice).percent(25);
            if doomed {
                let time = lock(&self.load.dice).time(Duration::from_millis(1500));
                std::thread::sleep(time);
                kill(child.id());
            }
            let ended = child.wait_with_output().expect("its end");
            let said = String::from_utf8_lossy(&ended.stderr);
            self.judge(&new, ended.status.code(), &said);
            let mut longest = lock(&self.load.longest);
            *longest = longest.max(begun.elapsed());
            drop(longest);
            // In the end, everybody gets through.
            if last && ended.status.success() {
                return;
            }
        }
    }

    /// What a push says has to be so.
    fn judge(&mut self, new: &str, code: Option<i32>, said: &str) {
        let door = if self.number % 4 == 3 { "old" } else { "new" };
        let about = format!("{}: {said}", self.name);
        assert!(!said.contains("panicked"), "{about}");
        let there = self.there();
        let what = match code {
            Some(0) => {
                assert_eq!(there, new, "{about}");
                self.possible = vec![new.to_owned()];
                self.published.push(new.to_owned());
                "published"
            }
            None => {
                self.possible.push(new.to_owned());
                "killed"
            }
            Some(2) if door == "old" => {
                self.possible.push(new.to_owned());
                "cut off"
            }
            Some(_) if said.contains("has changed meanwhile") => "overtaken",
            Some(_) => panic!("{about}"),
        };
        assert!(self.possible.contains(&there), "{about}: at {there}");
        self.load.tally.count(&format!("{door}: {what}"));
    }

    /// All that was said to be published is in the history of what is there.
    fn check(&self) {
        assert!(
            !self.published.is_empty(),
            "{}: none got through",
            self.name
        );
        let dest = Tool::ostree().repo(self.load.dest.path());
        let log = dest.ok("log", [&self.name]);
        for commit in &self.published {
            assert!(log.contains(commit), "{}: {commit} is lost", self.name);
        }
    }
}

/// What a server's process takes.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    memory: u64,
    peak: u64,
    files: usize,
}

impl Look {
    fn at(server: &Serve) -> Self {
        let proc = PathBuf::from(format!("/proc/{}", server.pid()));
        let status = fs::read_to_string(proc.join("status")).expect("a process");
        let value = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let number = line.and_then(|line| line.split_whitespace().next());
            let kib: u64 = number.and_then(|n| n.parse().ok()).expect("a number");
            1024 * kib
        };
        Self {
            memory: value("VmRSS:"),
            peak: value("VmHWM:"),
            files: fs::read_dir(proc.join("fd")).expect("its files").count(),
        }
    }
}

struct Load {
    fixture: Fixture,
    dest: Repo,
    url: String,
    tally: Tally,
    longest: Mutex<Duration>,
    dice: Mutex<Dice>,
}

impl Load {
    fn serve(fixture: &Fixture, dest: &Repo, address: &str) -> Serve {
        let conf = fixture.at("serve.yaml");
        let text = format!(
            "listen: ['{address}']\npush_lifetime: {}s\nallow_anonymous_push: yes\nrepos: {{/: {{path: {}}}}}\n",
            LIFETIME.as_secs(),
            dest.path().display()
        );
        fs::write(&conf, text).expect("write");
        let conf = conf.to_str().expect("UTF-8");
        Serve::start(binary(), &["serve", "--config", conf], fixture.at("log"))
    }

    /// Lets the clients push; kills the server now and then in the first half. What it took at each
    /// look since it was left alone, and at most.
    fn watch(&self, mut server: Serve, seconds: u64) -> (Serve, Vec<Look>, u64) {
        let (begun, half) = (Instant::now(), Duration::from_secs(seconds) / 2);
        let pause = Duration::from_secs((seconds / 10).max(2));
        let mut next = lock(&self.dice).time(pause);
        let (mut looks, mut peak) = (Vec::new(), 0);
        while begun.elapsed() < 2 * half {
            std::thread::sleep(Duration::from_millis(200));
            let look = Look::at(&server);
            peak = peak.max(look.peak);
            if begun.elapsed() > half {
                looks.push(look);
            } else if begun.elapsed() > next {
                let address = server.address().to_string();
                drop(server);
                server = Self::serve(&self.fixture, &self.dest, &address);
                self.tally.count("servers killed");
                next = begun.elapsed() + lock(&self.dice).time(pause);
            }
        }
        (server, looks, peak)
    }

    /// What is left in a folder of the repository.
    fn left(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dest.path().join(dir)).into_iter();
        let names = entries
            .flatten()
            .map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        names.filter(|name| name != "cache").collect()
    }
}

/// The mean of one figure.
fn mean(looks: &[Look], figure: impl Fn(&Look) -> u64) -> u64 {
    looks.iter().map(figure).sum::<u64>() / looks.len().max(1) as u64
}

#[expect(clippy::print_stderr, reason = "figures for those who ask for them")]
#[test]
fn nothing_is_lost_or_left_when_all_are_killed() {
    let (clients, seconds) = match std::env::var("OXTREE_LOAD_SECONDS") {
        Ok(seconds) => (CLIENTS, seconds.parse().expect("seconds")),
        Err(_) => SHORT,
    };
    let fixture = Fixture::new();
    let dest = fixture.repo("dest");
    let server = Load::serve(&fixture, &dest, "127.0.0.1:0");
    let idle = Look::at(&server);
    let load = Load {
        url: server.url().to_owned(),
        fixture,
        dest,
        tally: Tally::default(),
        longest: Mutex::default(),
        dice: Mutex::default(),
    };
    let mut clients: Vec<Client<'_>> = (0..clients).map(|n| Client::new(&load, n)).collect();
    let until = Instant::now() + Duration::from_secs(seconds);
    let (server, looks, peak) = std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(move || client.go(until));
        }
        load.watch(server, seconds)
    });
    // Everybody has gone home.
    let patience = Instant::now() + 4 * LIFETIME + Duration::from_secs(20);
    let open = |look: &Look| look.files > idle.files + 8;
    while open(&Look::at(&server)) {
        assert!(
            Instant::now() < patience,
            "{:?} of {idle:?}",
            Look::at(&server)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    eprintln!(
        "longest push {:?}; {:#?}",
        *lock(&load.longest),
        lock(&load.tally.0)
    );
    eprintln!("a server that nobody knows yet: {idle:?}");
    for part in looks.chunks(looks.len().div_ceil(10)) {
        let files = part.iter().map(|look| look.files).max();
        let memory = mean(part, |look| look.memory) >> 20;
        eprintln!(
            "mean memory {memory} MiB, most files {}",
            files.unwrap_or_default()
        );
    }
    eprintln!(
        "memory at most {} MiB; at the end {:?}",
        peak >> 20,
        Look::at(&server)
    );
    assert!(load.tally.get("servers killed") > 0);
    for what in ["new: published", "new: killed", "old: published"] {
        assert!(load.tally.get(what) > 0, "none was {what}");
    }
    assert!(peak < MEMORY, "{peak} bytes of memory");
    let (early, late) = looks.split_at(looks.len() / 2);
    let [early, late] = [early, late].map(|part| mean(part, |look| look.memory));
    assert!(
        late < early + early / 2 + (64 << 20),
        "from {early} to {late} bytes"
    );
    for client in &clients {
        client.check();
    }
    let names: Vec<String> = clients.iter().map(|client| client.name.clone()).collect();
    let patience = Instant::now() + Duration::from_secs(30);
    let summary = || load.dest.ok("summary", ["-v"]);
    while names
        .iter()
        .any(|name| !summary().contains(&load.dest.rev_parse(name)))
    {
        assert!(Instant::now() < patience, "the summary is old");
        std::thread::sleep(Duration::from_millis(500));
    }
    check(&load.dest, &names);
    let unused = load.dest.ok("prune", ["--refs-only", "--no-prune"]);
    eprintln!("{}", unused.trim());
    // What was cut off is kept for those who come back, for a while.
    let pushes = || load.left("state/oxtree-pushes");
    eprintln!(
        "left: {} files, {} pushes",
        load.left("tmp").len(),
        pushes().len()
    );
    load.dest.ok("config", ["set", "core.tmp-expiry-secs", "1"]);
    drop(server);
    let server = Load::serve(&load.fixture, &load.dest, "127.0.0.1:0");
    let patience = Instant::now() + LIFETIME + Duration::from_secs(30);
    while !pushes().is_empty() {
        assert!(Instant::now() < patience, "{:?}", pushes());
        std::thread::sleep(Duration::from_secs(1));
    }
    clients[0].commit(9999);
    Output::of(&mut clients[0].push(server.url())).expect_ok();
    assert_eq!(load.left("tmp"), [""; 0]);
    let said = server.said();
    assert!(!said.contains("panicked"), "{said}");
}
