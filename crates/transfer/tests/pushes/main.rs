// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes that consist of many requests. Whatever several clients ask for in whatever order and at the same
//! time, of refs of their own and of all, with restarts in between: only what is complete is ever published,
//! all refs of a push change or none, no change is lost, and nothing is left in the end.

mod client;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oxtree_format::refs::RefName;
use oxtree_format::{CommitId, ObjectId};
use oxtree_repo::{Mode, Repo, traverse};
use oxtree_transfer::Error;
use oxtree_transfer::protocol::message::{Outcome, Status, WireCommit, WireRef, WireUpdate};
use oxtree_transfer::protocol::stream::Record;
use oxtree_transfer::receive::LocalReceiver;
use oxtree_transfer::receive::push::{Intent, Opened, Push, Pushes};
use oxtree_transfer::semaphore::ClientSemaphore;
use proptest::prelude::*;

use self::client::{Client, client, stream};

const CLIENTS: usize = 3;
/// Refs that all clients push to.
const SHARED: [&str; 2] = ["os/shared", "os/shared-too"];
const LIFETIME: u64 = 100;

/// What a client does next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Open(Wish),
    Ask,
    Send(u32),
    SendBroken(usize),
    Put(usize),
    Finish,
    /// All clients at once, while the last one still sends.
    FinishAll,
    Abort,
    Restart,
    Wait(u64),
}

/// What a push is to do.
#[derive(Clone, Debug)]
struct Wish {
    /// For the client's own ref and the shared ones: a version, [`GONE`], or nothing.
    to: [Option<usize>; 3],
    force: bool,
    dry_run: bool,
}

/// The ref is deleted.
const GONE: usize = 2;

/// A push of a version to the client's own ref.
fn of_own(version: usize) -> Wish {
    Wish {
        to: [Some(version), None, None],
        force: false,
        dry_run: false,
    }
}

fn wish() -> impl Strategy<Value = Wish> {
    let to = || prop_oneof![2 => Just(None), 2 => Just(Some(0)), 3 => Just(Some(1)), 1 => Just(Some(GONE))];
    let to = (to(), to(), to()).prop_filter("nothing to do", |(a, b, c)| a.or(*b).or(*c).is_some());
    (to, 0..3u8, 0..8u8).prop_map(|((a, b, c), force, dry_run)| Wish {
        to: [a, b, c],
        force: force == 0,
        dry_run: dry_run == 0,
    })
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let step = prop_oneof![
        3 => wish().prop_map(Step::Open),
        2 => Just(Step::Ask),
        5 => any::<u32>().prop_map(Step::Send),
        1 => (0..64usize).prop_map(Step::SendBroken),
        2 => (0..64usize).prop_map(Step::Put),
        4 => Just(Step::Finish),
        2 => Just(Step::FinishAll),
        1 => Just(Step::Abort),
        1 => Just(Step::Restart),
        1 => (0..150u64).prop_map(Step::Wait),
    ];
    (0..CLIENTS, step)
}

/// Finishes a push. [`None`] if something is missing: then it is open as before.
fn end(push: &Push, destination: &LocalReceiver) -> Option<Outcome> {
    match push.finish(destination, &mut |_| {}) {
        Ok(outcome) => {
            let again = push.finish(destination, &mut |_| {}).unwrap();
            assert_eq!(again, outcome);
            Some(outcome)
        }
        Err(Error::Repo(error)) => {
            assert!(error.is_incomplete(), "{error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// What the refs are after an outcome; [`None`] if they cannot have been like this before.
fn apply(outcome: &Outcome, dry_run: bool, refs: &mut BTreeMap<RefName, CommitId>) -> Option<()> {
    let is_change = |status| matches!(status, Status::Created | Status::Updated | Status::Deleted);
    let refused = outcome.refs.iter().any(|it| it.status == Status::Rejected);
    for it in &outcome.refs {
        assert!(
            !(refused && is_change(it.status)),
            "all or none: {outcome:?}"
        );
        if dry_run || !is_change(it.status) {
            continue;
        }
        let old = it.old.as_ref().map(|old| old.0);
        let new = it.new.as_ref().map(|new| new.0);
        // Another push at the same moment may have done the same.
        let actual = refs.get(&it.name.0).copied();
        if actual != old && actual != new {
            return None;
        }
        match &it.new {
            Some(new) => refs.insert(it.name.0.clone(), new.0),
            None => refs.remove(&it.name.0),
        };
    }
    Some(())
}

/// Whether the refs are what these outcomes make of them, in some order.
fn explains(
    outcomes: &[(Outcome, bool)],
    before: &BTreeMap<RefName, CommitId>,
    after: &BTreeMap<RefName, CommitId>,
) -> bool {
    if outcomes.is_empty() {
        return before == after;
    }
    (0..outcomes.len()).any(|first| {
        let mut left = outcomes.to_vec();
        let (outcome, dry_run) = left.remove(first);
        let mut refs = before.clone();
        apply(&outcome, dry_run, &mut refs).is_some() && explains(&left, &refs, after)
    })
}

/// A receiver and its clients, and what each knows.
struct World {
    clients: Vec<Client>,
    repo: Arc<Repo>,
    pushes: Pushes,
    /// The push that each has open, and the latest version that it brings.
    open: Vec<Option<(String, usize)>>,
    now: u64,
    ids: u64,
}

impl World {
    /// One with a push of the first client's, of which nothing has come yet: its id and version.
    fn with_a_push(dir: &Path) -> (Self, String, usize) {
        let mut world = Self::new(dir);
        world.open(0, &of_own(1));
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

    fn destination(&self) -> LocalReceiver {
        LocalReceiver::new(Repo::open(self.repo.path()).unwrap())
    }

    fn refs(&self) -> BTreeMap<RefName, CommitId> {
        self.repo.local_refs().unwrap()
    }

    fn go(&mut self, who: usize, step: &Step) {
        let destination = self.destination();
        match step {
            Step::Open(wish) => self.open(who, wish),
            Step::FinishAll => self.finish_all(),
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
                        let _ =
                            push.take(&destination, &mut &sent[..], &ClientSemaphore::new(1, 1));
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
                        let _ = push.take(&destination, &mut &cut[..], &ClientSemaphore::new(1, 1));
                    }
                    Step::Put(at) => {
                        let (record, bytes) = objects[at % objects.len()];
                        let mut from = &bytes[..];
                        let _ = push.put(&destination, record.object, record.len, &mut from);
                    }
                    Step::Finish => self.finish(who),
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

    fn open(&mut self, who: usize, wish: &Wish) {
        let client = &self.clients[who];
        let shared = SHARED.map(|name| name.parse::<RefName>().unwrap());
        let names = [client.name.clone()].into_iter().chain(shared);
        let refs = self.refs();
        let updates = names.zip(wish.to).filter_map(|(name, to)| {
            let version = to?;
            let old = refs.get(&name).copied().map(WireCommit);
            let new = client.versions.get(version);
            Some(WireUpdate {
                name: WireRef(name),
                old,
                new: new.map(|version| WireCommit(version.commit)),
                force: wish.force,
                timestamp: 0,
                fast_forward: false,
                detached: None,
            })
        });
        self.ids += 1;
        let id = format!("push-{}", self.ids);
        let intent = Intent {
            owner: Some(client.name.to_string()),
            owner_id: None,
            updates: updates.collect(),
            dry_run: wish.dry_run,
        };
        let opened = self.pushes.open(id, &self.destination(), intent, self.now);
        if let Opened::Open(push) = opened.unwrap() {
            let versions = wish.to.into_iter().flatten();
            let last = versions.filter(|to| *to != GONE).max().unwrap_or(0);
            self.open[who] = Some((push.id().to_owned(), last));
        }
    }

    fn finish(&mut self, who: usize) {
        let Some((id, _)) = self.open[who].clone() else {
            return;
        };
        let Some(push) = self.pushes.get(&id, self.now) else {
            return;
        };
        let mut refs = self.refs();
        let outcome = end(&push, &self.destination());
        if let Some(outcome) = outcome {
            apply(
                &outcome,
                self.pushes.info(&push, self.now).dry_run,
                &mut refs,
            )
            .unwrap();
            self.open[who] = None;
        }
        assert_eq!(self.refs(), refs);
    }

    /// Several finish at once, and one of them is still sending. It must be as if one had come after the
    /// other.
    fn finish_all(&mut self) {
        let before = self.refs();
        let destination = self.destination();
        let open = self.open.iter().enumerate();
        let pushes: Vec<_> = open
            .filter_map(|(who, open)| {
                let (id, version) = open.clone()?;
                Some((who, self.pushes.get(&id, self.now)?, version))
            })
            .collect();
        let ended: Vec<_> = std::thread::scope(|scope| {
            if let Some((who, push, version)) = pushes.last() {
                let sent = stream(self.objects(*who, *version));
                let destination = &destination;
                scope.spawn(move || {
                    let _ = push.take(destination, &mut &sent[..], &ClientSemaphore::new(1, 1));
                });
            }
            let ending = pushes.iter().map(|(who, push, _)| {
                let destination = &destination;
                (*who, push, scope.spawn(move || end(push, destination)))
            });
            let ending: Vec<_> = ending.collect();
            ending
                .into_iter()
                .filter_map(|(who, push, ended)| Some((who, push, ended.join().unwrap()?)))
                .collect()
        });
        let mut outcomes = Vec::new();
        for (who, push, outcome) in ended {
            outcomes.push((outcome, self.pushes.info(push, self.now).dry_run));
            self.open[who] = None;
        }
        assert!(
            explains(&outcomes, &before, &self.refs()),
            "{outcomes:?}: {before:?} has become {:?}",
            self.refs()
        );
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
    #![proptest_config(ProptestConfig::with_cases(48))]

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
                push.take(destination, &mut &sent[..], &ClientSemaphore::new(1, 1))
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
    push.take(&destination, &mut &sent[..], &ClientSemaphore::new(1, 1))
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
    push.take(&destination, &mut &sent[..], &ClientSemaphore::new(1, 1))
        .unwrap();
    drop(push);
    let open_for = |world: &mut World, version: usize| {
        let client = &world.clients[0];
        let intent = Intent {
            owner: Some(client.name.to_string()),
            owner_id: None,
            updates: vec![WireUpdate {
                name: WireRef(client.name.clone()),
                old: None,
                new: Some(WireCommit(client.versions[version].commit)),
                force: false,
                timestamp: 0,
                fast_forward: false,
                detached: None,
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

/// How pushes have ended is remembered for a while, but not of all of them.
#[test]
fn those_that_have_ended_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, ..) = World::with_a_push(dir.path());
    let destination = world.destination();
    let mut finish = |owner: &str, number: u64| {
        let intent = Intent {
            owner: Some(owner.to_owned()),
            owner_id: None,
            updates: vec![WireUpdate {
                name: WireRef("os/none".parse().unwrap()),
                old: None,
                new: Some(WireCommit(world.clients[0].versions[0].commit)),
                force: false,
                timestamp: 1,
                fast_forward: true,
                detached: None,
            }],
            dry_run: true,
        };
        world.now += 1;
        let id = format!("{owner}-{number}");
        let opened = world.pushes.open(id, &destination, intent, world.now);
        let Ok(Opened::Open(push)) = opened else {
            panic!("{opened:?}");
        };
        push.finish(&destination, &mut |_| {}).unwrap();
    };
    finish("other", 0);
    (0..210).for_each(|number| finish("one", number));
    let there = |owner: &str, number| {
        let id = format!("{owner}-{number}");
        world.pushes.get(&id, 0).is_some()
    };
    assert!(there("other", 0) && there("one", 209) && there("one", 10));
    assert!(!there("one", 0) && !there("one", 9));
}
