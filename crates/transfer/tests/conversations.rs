// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two ends as a whole, each in a conversation that was recorded and has gone wrong since:
//! messages lost, doubled, swapped, cut, with wrong bits. They have to come to an end, and nothing
//! is to become public that is not complete.

mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oxtree_format::CommitId;
use oxtree_format::refs::RefName;
use oxtree_repo::fsck::{self, Fsck};
use oxtree_repo::{Mode, Repo};
use oxtree_testkit::{Tool, temp_dir, trees};
use oxtree_transfer::protocol::frame::{self, Frame};
use oxtree_transfer::protocol::{PUSHER_GREETING, RECEIVER_GREETING};
use oxtree_transfer::push::push;
use oxtree_transfer::receive::LocalReceiver;
use oxtree_transfer::receive::receive;
use oxtree_transfer::transport::local::push_local;
use oxtree_transfer::{PushObserver, PushOptions, Result};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use self::faults::{Fault, apply, fault};

/// How long an end may take over what it hears.
const PATIENCE: Duration = Duration::from_secs(60);

/// A push of two refs to an empty repository, and all that was said.
struct Recording {
    dir: tempfile::TempDir,
    refs: BTreeMap<RefName, CommitId>,
    pusher: Vec<Frame>,
    receiver: Vec<Frame>,
}

impl Recording {
    fn make() -> Self {
        let dir = temp_dir();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).expect("mkdir");
        trees::many(&tree, 30, 1);
        // Larger than what is sent in one piece.
        trees::incompressible(&tree.join("large"), 2 << 20, 1);
        let source = Tool::ostree()
            .repo(dir.path().join("source"))
            .init("archive");
        source.commit("main", &tree, &["--canonical-permissions"]);
        std::fs::create_dir(tree.join("more")).expect("mkdir");
        trees::many(&tree.join("more"), 30, 2);
        source.commit("os/second", &tree, &["--canonical-permissions"]);
        let repo = Repo::open(source.path()).expect("open the source");
        let refs = repo.local_refs().expect("refs");
        let (pusher, receiver) = record(&repo, &dir.path().join("first"));
        let pusher = frames(&pusher, PUSHER_GREETING);
        let receiver = frames(&receiver, RECEIVER_GREETING);
        Self {
            dir,
            refs,
            pusher,
            receiver,
        }
    }

    fn source(&self) -> Repo {
        Repo::open(self.dir.path().join("source")).expect("open the source")
    }
}

/// Writes down what goes through.
struct Recorder<W>(W, Arc<Mutex<Vec<u8>>>);

impl<W: Write> Write for Recorder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.0.write(bytes)?;
        self.1
            .lock()
            .expect("the recording")
            .extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn record(source: &Repo, to: &Path) -> (Vec<u8>, Vec<u8>) {
    let dest = destination(to);
    let (here, there) = UnixStream::pair().expect("a connection");
    let from = here.try_clone().expect("its other direction");
    let said = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
    std::thread::scope(|scope| {
        let to = Recorder(&there, Arc::clone(&said[1]));
        scope.spawn(|| receive(|| Ok(dest), &there, to, "test").expect("received"));
        let to = Recorder(&here, Arc::clone(&said[0]));
        let report = push(
            source,
            &PushOptions::default(),
            from,
            to,
            PushObserver::NONE,
        );
        assert!(report.expect("pushed").outcome.is_ok());
    });
    let [pusher, receiver] = said.map(|said| said.lock().expect("the recording").clone());
    (pusher, receiver)
}

/// A repository to push to, new if it is not there yet.
fn destination(path: &Path) -> LocalReceiver {
    LocalReceiver::new(repository(path))
}

fn repository(path: &Path) -> Repo {
    if !path.exists() {
        Repo::create(path, Mode::Archive, None).expect("make the destination");
        // Nothing loses power here.
        let config = path.join("config");
        let text = std::fs::read_to_string(&config).expect("read the config");
        let text = text.replace("[core]\n", "[core]\nfsync=false\n");
        std::fs::write(config, text).expect("write the config");
    }
    Repo::open(path).expect("open the destination")
}

fn frames(said: &[u8], greeting: &[u8]) -> Vec<Frame> {
    let mut left = said.strip_prefix(greeting).expect("a greeting");
    std::iter::from_fn(|| frame::read(&mut left).expect("a frame")).collect()
}

/// What is said when all these faults have come over it: frames first, and then, sometimes, the
/// bytes end somewhere.
fn faulty(greeting: &[u8], frames: &[Frame], faults: &[Fault], cut: Option<u16>) -> Vec<u8> {
    let mut frames = frames.to_vec();
    faults.iter().for_each(|fault| apply(&mut frames, fault));
    let mut bytes = greeting.to_vec();
    for one in frames {
        frame::write(&mut bytes, one.kind, &one.payload).expect("write to memory");
    }
    if let Some(cut) = cut {
        bytes.truncate(bytes.len() * usize::from(cut) / usize::from(u16::MAX));
    }
    bytes
}

/// Does it in a thread of its own, and does not wait for ever.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = channel();
    let worker = std::thread::spawn(move || drop(done.send(work())));
    let result = result.recv_timeout(PATIENCE);
    if result.is_err() && worker.is_finished() {
        worker.join().expect("it has panicked");
    }
    result.expect("it comes to an end")
}

/// Whatever is public is in order, and of the refs all are there or none. Says which.
fn check(path: &Path, recording: &Recording) -> bool {
    let repo = repository(path);
    let mut fsck = Fsck::new(&repo, fsck::Options::default()).expect("look at it");
    let found = [
        fsck.refs(),
        fsck.commits(),
        fsck.find_objects(),
        fsck.verify(&()),
    ];
    let problems = found.map(|problems| problems.expect("checked"));
    assert!(problems.iter().all(Vec::is_empty), "{problems:?}");
    let refs = repo.local_refs().expect("refs");
    // A fault may make another name of a ref's, which is as good as any, and stays when the right one comes.
    let commits = |refs: &BTreeMap<RefName, CommitId>| -> BTreeSet<CommitId> {
        refs.values().copied().collect()
    };
    let all = commits(&refs) == commits(&recording.refs);
    assert!(refs.is_empty() || all, "{refs:?}");
    !refs.is_empty()
}

fn hear(path: PathBuf, says: Vec<u8>) -> Result<()> {
    in_time(move || receive(|| Ok(destination(&path)), &says[..], Vec::new(), "test").map(drop))
}

/// Tries it with values of all kinds.
fn for_all<S: Strategy>(what: &S, test: impl Fn(S::Value)) {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(100)
    };
    let done = TestRunner::new(config).run(what, |value| {
        test(value);
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_receiver_publishes_all_or_nothing() {
    let recording = Recording::make();
    let pushes = vec((vec(fault(), 0..4), any::<Option<u16>>()), 1..4);
    for_all(&pushes, |pushes| {
        let dir = temp_dir();
        let path = dir.path().join("repo");
        for (faults, cut) in &pushes {
            let says = faulty(PUSHER_GREETING, &recording.pusher, faults, *cut);
            // What it says to that does not matter.
            let _ = hear(path.clone(), says);
            check(&path, &recording);
        }
        // Whatever they have left there, it is in nobody's way.
        let options = PushOptions::default();
        let report = push_local(&recording.source(), &path, &options, PushObserver::NONE);
        assert!(report.expect("pushed").outcome.is_ok());
        assert!(check(&path, &recording));
    });
}

#[test]
fn a_pusher_comes_to_an_end() {
    let recording = Recording::make();
    let faults = (vec(fault(), 0..4), any::<Option<u16>>());
    for_all(&faults, |(faults, cut)| {
        let says = faulty(RECEIVER_GREETING, &recording.receiver, &faults, cut);
        let whole = faults.is_empty() && cut.is_none();
        let source = recording.source();
        let done = in_time(move || {
            let from: Box<dyn Read + Send> = Box::new(Cursor::new(says));
            push(
                &source,
                &PushOptions::default(),
                from,
                io::sink(),
                PushObserver::NONE,
            )
        });
        assert!(!whole || done.is_ok_and(|report| report.outcome.is_ok()));
    });
}

#[test]
fn the_recording_is_a_push() {
    let recording = Recording::make();
    let dir = temp_dir();
    let path = dir.path().join("repo");
    let says = faulty(PUSHER_GREETING, &recording.pusher, &[], None);
    hear(path.clone(), says.clone()).expect("received");
    assert!(check(&path, &recording));
    // The same once more changes nothing.
    let _ = hear(path.clone(), says);
    assert!(check(&path, &recording));
}
