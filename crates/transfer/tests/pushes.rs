// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes that consist of many requests. Whatever several clients ask for in whatever order, with
//! restarts in between: only what is complete is ever published, and nothing is left in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, FileId, ObjectId, ObjectKind};
use oxtree_repo::commit::{CommitBuilder, CommitModifier, tree_from_dir};
use oxtree_repo::{Mode, RefUpdate, Repo, Transaction, traverse};
use oxtree_transfer::Error;
use oxtree_transfer::local::LocalDestination;
use oxtree_transfer::protocol::frame::{self, FrameKind};
use oxtree_transfer::protocol::message::{Status, WireCommit, WireRef, WireUpdate};
use oxtree_transfer::protocol::stream::{Form, Record, pack};
use oxtree_transfer::receive::push::{Intent, Opened, Pushes};
use oxtree_transfer::room::Room;
use proptest::prelude::*;

const CLIENTS: usize = 3;
const LIFETIME: u64 = 100;

/// A commit on top of another, with what is new in it.
struct Version {
    commit: CommitId,
    objects: Vec<(Record, Vec<u8>)>,
}

/// What each client has to push: two commits, one after the other, with a file that all have.
struct Client {
    name: RefName,
    versions: [Version; 2],
}

fn client(dir: &Path, number: usize) -> Client {
    let repo = Repo::create(&dir.join(format!("source-{number}")), Mode::Archive, None).unwrap();
    let name: RefName = format!("os/client-{number}").parse().unwrap();
    let mut parent = None;
    let mut seen = BTreeSet::new();
    let versions = [1, 2].map(|version| {
        let tree = dir.join(format!("tree-{number}-{version}"));
        std::fs::create_dir_all(tree.join("dir")).unwrap();
        std::fs::write(tree.join("same"), "the same for all").unwrap();
        std::fs::write(tree.join("dir/own"), format!("{number} {version}")).unwrap();
        let transaction = Transaction::begin(&repo).unwrap();
        let modifier = CommitModifier {
            canonical_permissions: true,
            ..CommitModifier::default()
        };
        let root = tree_from_dir(&tree, &modifier, &transaction).unwrap();
        let root = root.write(&transaction).unwrap();
        let builder = CommitBuilder {
            timestamp: version,
            parent,
            ..CommitBuilder::default()
        };
        let commit = builder.write(root, &transaction).unwrap();
        let update = RefUpdate::set(name.clone().into(), commit);
        transaction.commit(&[update]).unwrap();
        parent = Some(commit);
        let ids = traverse::all_objects(&repo, commit).unwrap();
        let new = ids.into_iter().filter(|id| seen.insert(*id));
        let objects = new.map(|id| stored(&repo, id)).collect();
        Version { commit, objects }
    });
    Client { name, versions }
}

fn stored(repo: &Repo, object: ObjectId) -> (Record, Vec<u8>) {
    let (form, bytes) = match object.kind {
        ObjectKind::File => {
            let (mut file, _) = repo.open_filez(FileId(object.checksum)).unwrap().unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            (Form::Filez, bytes)
        }
        _ => (Form::Metadata, repo.load_metadata(&object).unwrap()),
    };
    let len = bytes.len() as u64;
    (Record { object, form, len }, bytes)
}

fn stream<'o>(objects: impl IntoIterator<Item = &'o (Record, Vec<u8>)>) -> Vec<u8> {
    let mut records = Vec::new();
    for (record, bytes) in objects {
        record.put(&mut records);
        records.extend_from_slice(bytes);
    }
    let mut frames = Vec::new();
    for piece in records.chunks(500) {
        frame::write(&mut frames, FrameKind::Data, &pack(piece, Some(1))).unwrap();
    }
    frames
}

/// What a client does next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Open { forward: bool, dry_run: bool },
    Ask,
    Send(u32),
    SendBroken(usize),
    Put(usize),
    Finish,
    Abort,
    Restart,
    Wait(u64),
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let step = prop_oneof![
        3 => (any::<bool>(), 0..8u8).prop_map(|(forward, n)| Step::Open { forward, dry_run: n == 0 }),
        2 => Just(Step::Ask),
        5 => any::<u32>().prop_map(Step::Send),
        1 => (0..64usize).prop_map(Step::SendBroken),
        2 => (0..64usize).prop_map(Step::Put),
        4 => Just(Step::Finish),
        1 => Just(Step::Abort),
        1 => Just(Step::Restart),
        1 => (0..150u64).prop_map(Step::Wait),
    ];
    (0..CLIENTS, step)
}

/// A receiver and its clients, and what each knows.
struct World {
    clients: Vec<Client>,
    repo: Arc<Repo>,
    pushes: Pushes<LocalDestination>,
    /// The push that each has open, and which version it brings.
    open: Vec<Option<(String, usize)>>,
    now: u64,
    ids: u64,
}

impl World {
    /// One with a push of the first client's, of which nothing has come yet: its id and version.
    fn with_a_push(dir: &Path) -> (Self, String, usize) {
        let mut world = Self::new(dir);
        world.open(0, true, false);
        let (id, version) = world.open[0].clone().unwrap();
        (world, id, version)
    }

    fn new(dir: &Path) -> Self {
        let path = dir.join("repo");
        Repo::create(&path, Mode::Archive, None).unwrap();
        let config = std::fs::read_to_string(path.join("config")).unwrap();
        std::fs::write(path.join("config"), config + "fsync=false\n").unwrap();
        let repo = Arc::new(Repo::open(&path).unwrap());
        Self {
            clients: (0..CLIENTS).map(|number| client(dir, number)).collect(),
            pushes: Pushes::load(Arc::clone(&repo) as _, LIFETIME).unwrap(),
            repo,
            open: vec![None; CLIENTS],
            now: 1000,
            ids: 0,
        }
    }

    fn destination(&self) -> LocalDestination {
        LocalDestination::new(Repo::open(self.repo.path()).unwrap())
    }

    fn refs(&self) -> BTreeMap<RefName, CommitId> {
        self.repo.local_refs().unwrap()
    }

    fn go(&mut self, who: usize, step: &Step) {
        let destination = self.destination();
        match step {
            Step::Open { forward, dry_run } => self.open(who, *forward, *dry_run),
            Step::Restart => {
                // As if it had been killed: nobody says goodbye.
                self.pushes = Pushes::load(Arc::clone(&self.repo) as _, LIFETIME).unwrap();
            }
            Step::Wait(time) => {
                self.now += time;
                self.pushes.expire(self.now).unwrap();
            }
            step => {
                let Some((id, version)) = self.open[who].clone() else {
                    return;
                };
                let objects = self.objects(who, version);
                let Some(push) = self.pushes.get(&id, self.now) else {
                    self.open[who] = None;
                    return;
                };
                let ids: Vec<ObjectId> = objects.iter().map(|(record, _)| record.object).collect();
                match step {
                    Step::Ask => drop(push.missing(&destination, &ids)),
                    Step::Send(which) => {
                        let some = objects.iter().enumerate();
                        let some = some.filter(|(at, _)| which >> (at % 32) & 1 == 1);
                        let sent = stream(some.map(|(_, object)| *object));
                        let _ = push.take(&destination, &mut &sent[..], &Room::new(1));
                    }
                    Step::SendBroken(at) => {
                        let sent = stream(objects.iter().copied());
                        // Cut off, or a byte is another.
                        let mut cut = sent[..sent.len() - 1 - at % (sent.len() - 1)].to_vec();
                        if at % 2 == 0 {
                            cut = sent;
                            let place = at * 31 % cut.len();
                            cut[place] ^= 0x40;
                        }
                        let _ = push.take(&destination, &mut &cut[..], &Room::new(1));
                    }
                    Step::Put(at) => {
                        let (record, bytes) = objects[at % objects.len()];
                        let mut from = &bytes[..];
                        let _ = push.put(&destination, record.object, record.len, &mut from);
                    }
                    Step::Finish => self.finish(who, version),
                    Step::Abort => {
                        self.pushes.abort(&id).unwrap();
                        self.open[who] = None;
                    }
                    _ => {}
                }
            }
        }
    }

    /// All that a client would have to send for this version.
    fn objects(&self, who: usize, version: usize) -> Vec<&(Record, Vec<u8>)> {
        let versions = &self.clients[who].versions[..=version];
        versions
            .iter()
            .flat_map(|version| &version.objects)
            .collect()
    }

    fn open(&mut self, who: usize, forward: bool, dry_run: bool) {
        let client = &self.clients[who];
        let version = usize::from(forward);
        let update = WireUpdate {
            name: WireRef(client.name.clone()),
            old: self.refs().get(&client.name).copied().map(WireCommit),
            new: Some(WireCommit(client.versions[version].commit)),
            force: false,
            timestamp: version as u64 + 1,
            fast_forward: true,
        };
        self.ids += 1;
        let id = format!("push-{}", self.ids);
        let intent = Intent {
            owner: Some(client.name.to_string()),
            updates: vec![update],
            dry_run,
        };
        let opened = self.pushes.open(id, &self.destination(), intent, self.now);
        if let Opened::Open(push) = opened.unwrap() {
            self.open[who] = Some((push.id().to_owned(), version));
        }
    }

    fn finish(&mut self, who: usize, version: usize) {
        let Some((id, _)) = self.open[who].clone() else {
            return;
        };
        let Some(push) = self.pushes.get(&id, self.now) else {
            return;
        };
        let before = self.refs();
        let finished = push.finish(&self.destination(), &mut |_| {});
        match finished {
            Ok(outcome) => {
                let again = push.finish(&self.destination(), &mut |_| {}).unwrap();
                assert_eq!(again, outcome);
                let changed = outcome.refs[0].status;
                let info = self.pushes.info(&push, self.now);
                let client = &self.clients[who];
                let changes = matches!(changed, Status::Created | Status::Updated);
                if changes && !info.dry_run {
                    let commit = client.versions[version].commit;
                    assert_eq!(self.refs().get(&client.name), Some(&commit));
                } else {
                    assert_eq!(self.refs(), before, "{outcome:?}");
                }
                self.open[who] = None;
            }
            // Something is missing: it can be sent, and nothing has changed.
            Err(Error::Repo(error)) => {
                assert!(error.is_incomplete(), "{error}");
                assert_eq!(self.refs(), before);
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// What each reader relies on.
    fn check(&self) {
        for (name, commit) in self.refs() {
            let complete = traverse::check_complete(&*self.repo, commit, None);
            assert!(complete.is_ok(), "{name}: {complete:?}");
        }
        // Nor is a commit public that no reader could check out.
        for commit in self.commits() {
            let complete = traverse::check_complete(&*self.repo, commit, None);
            assert!(complete.is_ok(), "{commit}: {complete:?}");
        }
    }

    /// All commits that a reader could find.
    fn commits(&self) -> Vec<CommitId> {
        let mut commits = Vec::new();
        for folder in std::fs::read_dir(self.repo.path().join("objects")).unwrap() {
            let folder = folder.unwrap();
            let first = folder.file_name().into_string().unwrap();
            for file in std::fs::read_dir(folder.path()).unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                if let Some(rest) = name.strip_suffix(".commit") {
                    commits.push(format!("{first}{rest}").parse().unwrap());
                }
            }
        }
        commits
    }

    /// After all have gone for long enough, nothing is held, and nothing is left but what the next push
    /// may find.
    fn end(&mut self) {
        self.now += LIFETIME + 1;
        self.pushes.expire(self.now).unwrap();
        assert_eq!(self.pushes.list(self.now, |_| true), []);
        assert_eq!(self.repo.notes("pushes").unwrap(), []);
        assert!(
            self.repo
                .unfinished()
                .unwrap()
                .iter()
                .all(|left| !left.running)
        );
        self.repo.delete_unfinished(Duration::ZERO).unwrap();
        let left = std::fs::read_dir(self.repo.path().join("tmp")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "cache"), "{left:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn only_what_is_complete_is_published(steps in proptest::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::new(dir.path());
        for (who, step) in &steps {
            world.go(*who, step);
            world.check();
        }
        world.end();
    }
}

/// The straight way: opened, asked, sent in two halves by two threads, restarted, finished.
#[test]
fn a_push_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, id, version) = World::with_a_push(dir.path());
    let destination = world.destination();
    let objects: Vec<(Record, Vec<u8>)> = world.objects(0, version).into_iter().cloned().collect();
    let (some, rest) = objects.split_at(objects.len() / 2);
    let push = world.pushes.get(&id, 1000).unwrap();
    std::thread::scope(|scope| {
        for half in some.chunks(some.len().div_ceil(2)) {
            let (push, destination) = (&push, &destination);
            scope.spawn(move || {
                let sent = stream(half);
                push.take(destination, &mut &sent[..], &Room::new(1))
                    .unwrap();
            });
        }
    });
    let incomplete = push.finish(&destination, &mut |_| {});
    assert!(matches!(incomplete, Err(Error::Repo(error)) if error.is_incomplete()));
    drop(push);
    world.go(0, &Step::Restart);
    let push = world.pushes.get(&id, 1000).unwrap();
    let ids: Vec<ObjectId> = objects.iter().map(|(record, _)| record.object).collect();
    let missing = push.missing(&destination, &ids).unwrap();
    let wanted: Vec<bool> = ids
        .iter()
        .map(|id| rest.iter().any(|(r, _)| r.object == *id))
        .collect();
    assert_eq!(missing, wanted);
    let sent = stream(rest);
    push.take(&destination, &mut &sent[..], &Room::new(1))
        .unwrap();
    let outcome = push.finish(&destination, &mut |_| {}).unwrap();
    assert!(outcome.is_ok(), "{outcome:?}");
    drop(push);
    // The history has come along, and the answer outlives the next restart, too.
    world.check();
    assert!(
        world
            .repo
            .has_object(&world.clients[0].versions[0].commit.object())
            .unwrap()
    );
    world.go(0, &Step::Restart);
    let push = world.pushes.get(&id, 1000).unwrap();
    assert_eq!(push.finish(&destination, &mut |_| {}).unwrap(), outcome);
    drop(push);
    world.end();
}

/// A client that was killed opens the same push again, and need not send anything twice; and those that
/// never come back do not keep others out.
#[test]
fn what_was_left_is_taken_up_or_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, id, version) = World::with_a_push(dir.path());
    let destination = world.destination();
    let objects: Vec<(Record, Vec<u8>)> = world.objects(0, version).into_iter().cloned().collect();
    let push = world.pushes.get(&id, world.now).unwrap();
    let sent = stream(&objects);
    push.take(&destination, &mut &sent[..], &Room::new(1))
        .unwrap();
    drop(push);
    let open_for = |world: &mut World, version: usize| {
        let client = &world.clients[0];
        let intent = Intent {
            owner: Some(client.name.to_string()),
            updates: vec![WireUpdate {
                name: WireRef(client.name.clone()),
                old: None,
                new: Some(WireCommit(client.versions[version].commit)),
                force: false,
                timestamp: version as u64 + 1,
                fast_forward: true,
            }],
            dry_run: false,
        };
        world.ids += 1;
        let id = format!("push-{}", world.ids);
        match world.pushes.open(id, &destination, intent, world.now) {
            Ok(Opened::Open(push)) => Some(push.id().to_owned()),
            Ok(Opened::Refused(outcome)) => panic!("{outcome:?}"),
            Err(Error::Busy(_)) => None,
            Err(error) => panic!("{error}"),
        }
    };
    let open = |world: &mut World| open_for(world, version);
    // It may be another client with the same wish, which is still there.
    assert_ne!(open(&mut world).unwrap(), id);
    world.now += 60;
    assert_eq!(open(&mut world).unwrap(), id);
    let push = world.pushes.get(&id, world.now).unwrap();
    let ids: Vec<ObjectId> = objects.iter().map(|(record, _)| record.object).collect();
    let missing = push.missing(&world.destination(), &ids).unwrap();
    assert!(!missing.contains(&true));
    drop(push);
    // For another commit of the same ref it is given up, and what it has brought counts.
    world.now += 60;
    let other = open_for(&mut world, 0).unwrap();
    assert!(world.pushes.get(&id, world.now).is_none());
    let push = world.pushes.get(&other, world.now).unwrap();
    let missing = push.missing(&world.destination(), &ids).unwrap();
    assert!(!missing.contains(&true));
    drop(push);
    // Without end, one after the other: until there are too many that may still be used.
    let opened = (0..1000).take_while(|_| open(&mut world).is_some()).count();
    assert!((100..1000).contains(&opened), "{opened}");
    world.now += 60;
    assert!(open(&mut world).is_some());
    world.end();
}
