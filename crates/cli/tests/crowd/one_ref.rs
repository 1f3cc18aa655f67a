// SPDX-License-Identifier: MIT OR Apache-2.0
//! All push the same ref.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oxtree_format::ObjectId;
use oxtree_testkit::{BinDir, Output, Repo, Tool, WebServer};
use oxtree_transfer::protocol::legacy::{Change, Request};

use crate::fixture::{CROWD, Fixture, OXTREE, Running, check};

/// Keeps everybody from changing refs, until it is dropped. In a process of its own: locks of this
/// kind end when any file of the same process is closed.
struct RefsLock(Child);

impl RefsLock {
    fn take(repo: &Repo) -> Self {
        let script = "import fcntl, sys; f = open(sys.argv[1], 'a+'); \
                      fcntl.lockf(f, fcntl.LOCK_EX); \
                      print('held', flush=True); sys.stdin.read()";
        let mut holder = Command::new("/usr/bin/python3")
            .args(["-c", script])
            .arg(repo.path().join(".refs-lock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start python");
        let mut held = [0; 5];
        let stdout = holder.stdout.as_mut().expect("a pipe");
        stdout.read_exact(&mut held).expect("the lock");
        Self(holder)
    }
}

impl Drop for RefsLock {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("the end of python");
    }
}

/// Whether a commit has come in, be it public or not. Its receiver has looked at the refs then.
fn has_arrived(repo: &Repo, commit: &str) -> bool {
    let (first, rest) = commit.split_at(2);
    let inside = format!("{first}/{rest}.commit");
    let tmp = std::fs::read_dir(repo.path().join("tmp")).expect("read tmp/");
    let quarantines = tmp.map(|entry| entry.expect("an entry").path());
    let mut places = quarantines.chain([repo.path().join("objects")]);
    places.any(|place| place.join(&inside).exists())
}

/// All those who want to set `main` of one repository.
struct Race {
    fixture: Fixture,
    dest: Repo,
    sources: Vec<Repo>,
}

impl Race {
    fn new() -> Self {
        let fixture = Fixture::new();
        let dest = fixture.repo("dest");
        fixture.commit(&dest, "main", 0, 0);
        let source = |number| fixture.repo(&format!("source-{number}"));
        let sources = (0..CROWD).map(source).collect();
        Self {
            fixture,
            dest,
            sources,
        }
    }

    /// All have a commit of their own on top of what is there, and all have sent it before one of them may
    /// publish it. One wins, and the others are told where the ref is now. Says who has won.
    fn run(&self, round: u64, start: impl Fn(usize, &Repo) -> Running) -> usize {
        let Self {
            fixture,
            dest,
            sources,
        } = self;
        let before = dest.rev_parse("main");
        let path = dest.path().to_str().expect("a path in UTF-8");
        for (number, source) in (0..).zip(sources) {
            source.ok("pull-local", [path, "main"]);
            fixture.commit(source, "main", 100 * round + number, 1000 * round + number);
        }
        let lock = RefsLock::take(dest);
        let running: Vec<Running> = sources
            .iter()
            .enumerate()
            .map(|(number, source)| start(number, source))
            .collect();
        let begun = Instant::now();
        let commits: Vec<String> = sources.iter().map(|one| one.rev_parse("main")).collect();
        while !commits.iter().all(|commit| has_arrived(dest, commit)) {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "not all have come in"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(lock);
        let ends: Vec<Output> = running.into_iter().map(Running::end).collect();
        let now = dest.rev_parse("main");
        let told = format!("it has changed meanwhile and is now at {now}");
        let mut winners = Vec::new();
        for (number, end) in ends.iter().enumerate() {
            let won = end.code == Some(0);
            assert!(won || end.code == Some(1), "{number}: {end:?}");
            assert_eq!(end.stderr().contains(&told), !won, "{number}: {end:?}");
            winners.extend(won.then_some(number));
        }
        let [winner] = winners[..] else {
            panic!("{winners:?} have won: {ends:?}");
        };
        let root = |repo: &Repo| repo.ok("ls", ["-dC", "main"]);
        assert_eq!(root(dest), root(&sources[winner]));
        assert_eq!(dest.rev_parse("main^"), before);
        check(dest, &["main".to_owned()]);
        winner
    }
}

#[test]
fn one_wins_and_the_others_are_told_where_it_is_now() {
    let race = Race::new();
    let (fixture, dest) = (&race.fixture, &race.dest);
    for round in 1..=3 {
        let start = |number, source: &Repo| fixture.start(number, source, dest, "main");
        let winner = race.run(round, start);
        let won = race.sources[winner].rev_parse("main");
        assert_eq!(dest.rev_parse("main"), won);
    }
    // Who was told can push again what is newer still.
    let last = &race.sources[CROWD - 1];
    last.ok(
        "pull-local",
        [dest.path().to_str().expect("a path"), "main"],
    );
    let commit = fixture.commit(last, "main", 999, 9999);
    fixture.start(0, last, dest, "main").end().expect_ok();
    assert_eq!(dest.rev_parse("main"), commit);
}

/// The same for pushers of ostree-push 1.2.0, of which each serves its repository...
#[test]
fn one_of_those_who_are_fetched_from_wins() {
    let race = Race::new();
    let bins = BinDir::linked(OXTREE, &["ostree-receive-1"]);
    let web = WebServer::serve(race.sources[0].path().parent().expect("a parent"));
    let dest = race.dest.path().display().to_string();
    for round in 1..=2 {
        race.run(round, |_, source| {
            source.ok("summary", ["-u"]);
            let name = source.path().file_name().expect("a name").display();
            let words = [&dest, &format!("{}{name}", web.url()), "main"];
            Running::start(&mut tool(&bins, "ostree-receive-1").command(words))
        });
    }
}

/// ...and of the protocol before version 0.1.1.
#[test]
fn one_of_those_who_send_messages_wins() {
    let race = Race::new();
    let bins = BinDir::linked(OXTREE, &["ostree-receive-0"]);
    let dest = format!("--repo={}", race.dest.path().display());
    for round in 1..=2 {
        let winner = race.run(round, |number, source| {
            let said = race.fixture.at(&format!("said-{number}"));
            fs::write(&said, messages(source, &race.dest)).expect("write");
            let mut command = tool(&bins, "ostree-receive-0").command([&dest]);
            command.stdin(File::open(&said).expect("open"));
            Running::start(&mut command)
        });
        let won = race.sources[winner].rev_parse("main");
        assert_eq!(race.dest.rev_parse("main"), won);
    }
}

fn tool(bins: &BinDir, name: &str) -> Tool {
    // Nothing of this machine's configuration.
    Tool::new(bins.path().join(name)).env("OSTREE_RECEIVE_CONF", "/nonexistent")
}

/// All that an old pusher says.
fn messages(source: &Repo, dest: &Repo) -> Vec<u8> {
    let change = Change {
        name: "main".parse().expect("a ref"),
        from: Some(dest.rev_parse("main").parse().expect("a commit")),
        to: source.rev_parse("main").parse().expect("a commit"),
    };
    let mut said = Request::Update(vec![change]).to_bytes();
    let names = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).expect("read objects/");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.into_string().expect("UTF-8"))
            .collect()
    };
    let objects = source.path().join("objects");
    for folder in names(&objects) {
        for file in names(&objects.join(&folder)) {
            let object = ObjectId::from_loose(&folder, &file, true).expect("an object");
            let bytes = fs::read(objects.join(&folder).join(&file)).expect("read");
            let size = bytes.len() as u64;
            said.extend(Request::Put { object, size }.to_bytes());
            said.extend(bytes);
        }
    }
    said.extend(Request::Done.to_bytes());
    said
}
