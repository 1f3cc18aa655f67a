// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes, killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use oxtree_testkit::{Dice, Output, Repo, Sshd, descendants, is_running, kill};

use crate::look::{Look, objects, quarantines};
use crate::rig::{Link, PATIENCE, Place, Rig, Version};

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Pusher,
    Receiver,
    /// What is between the two.
    Connection,
    /// Both ends, as if the machine they are on had stopped.
    Both,
}

/// Something to be seen at the destination while a push is going on.
#[derive(Clone, Copy, Debug)]
enum Sign {
    Receiver,
    Quarantine,
    HalfStaged,
    AllStaged,
    Publishing,
    Published,
    RefMoved,
}

const SIGNS: [Sign; 7] = [
    Sign::Receiver,
    Sign::Quarantine,
    Sign::HalfStaged,
    Sign::AllStaged,
    Sign::Publishing,
    Sign::Published,
    Sign::RefMoved,
];

/// When somebody is killed: so long after the push has begun, or after a sign is seen. The first
/// is spread over the whole push, the second finds the parts of it that are short.
#[derive(Clone, Copy, Debug)]
enum When {
    After(Duration),
    Seen(Sign, Duration),
}

/// What the destination was like when all was quiet again; how often.
type Phases = BTreeMap<&'static str, usize>;

/// One push that is killed.
struct Killing<'r> {
    rig: &'r Rig,
    dest: &'r Repo,
    version: &'r Version,
    before: Look,
    lacking: usize,
}

impl<'r> Killing<'r> {
    fn new(rig: &'r Rig, dest: &'r Repo, version: &'r Version) -> Self {
        let before = Look::at(dest.path());
        let lacking = version.missing(&before).0.len() + before.staged.len();
        Self {
            rig,
            dest,
            version,
            before,
            lacking,
        }
    }

    /// Kills a push, waits until all is quiet, and checks what is left. Says whether anybody was
    /// there to be killed.
    fn kill(&self, victim: Victim, (when, pace): (When, &str), phases: &mut Phases) -> bool {
        self.rig.forget_receiver(self.dest);
        let said = self.rig.place.at("said");
        let log = File::create(&said).expect("create a file");
        let mut command = self.rig.push(self.version, self.dest, &["--quiet", pace]);
        let begun = Instant::now();
        let mut pusher = command
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start a push");
        self.wait_for(when, begun, &mut pusher);
        let done = self.strike(victim, &mut pusher);
        let status = pusher.wait().expect("the end of the push");
        self.rig.wait_until_quiet(self.dest);
        let said = std::fs::read_to_string(said).expect("what the pusher has said");
        let about = format!("{victim:?} {when:?} {pace}: {status}, {said}");
        assert!(!said.contains("panicked"), "{about}");
        assert!(done || status.success(), "{about}");
        // A server that was started again goes on where it was.
        let goes_on = self.rig.is_served() && matches!(victim, Victim::Receiver);
        assert!(!goes_on || status.success(), "{about}");
        let look = self.rig.check(self.dest, &self.before, self.version);
        *phases.entry(self.phase(&look)).or_default() += usize::from(done);
        done
    }

    fn wait_for(&self, when: When, begun: Instant, pusher: &mut Child) {
        let ended = |pusher: &mut Child| pusher.try_wait().expect("ask after it").is_some();
        match when {
            When::After(time) => std::thread::sleep(time.saturating_sub(begun.elapsed())),
            When::Seen(sign, time) => {
                while !self.is_seen(sign) && !ended(pusher) {
                    assert!(begun.elapsed() < PATIENCE, "{sign:?} does not come");
                    std::thread::sleep(Duration::from_micros(100));
                }
                std::thread::sleep(time);
            }
        }
    }

    fn is_seen(&self, sign: Sign) -> bool {
        let path = self.dest.path();
        let quarantines = || quarantines(path);
        let staged = || -> usize { quarantines().iter().map(|dir| objects(dir).len()).sum() };
        let published = || objects(&path.join("objects")).len() > self.before.public.len();
        match sign {
            Sign::Receiver => self.rig.receiver(self.dest).is_some(),
            Sign::Quarantine => !quarantines().is_empty(),
            Sign::HalfStaged => staged() >= self.lacking / 2,
            Sign::AllStaged => staged() >= self.lacking,
            Sign::Publishing => published(),
            Sign::Published => published() && quarantines().is_empty(),
            Sign::RefMoved => Look::at(path).refs != self.before.refs,
        }
    }

    /// Kills what there is of the victim. False if it was too late.
    fn strike(&self, victim: Victim, pusher: &mut Child) -> bool {
        if pusher.try_wait().expect("ask after it").is_some() {
            return false;
        }
        let receiver = self.rig.receiver(self.dest);
        match victim {
            Victim::Receiver | Victim::Both if self.rig.is_served() => {
                if let Victim::Both = victim {
                    kill(pusher.id());
                }
                self.rig.stop_server();
                self.rig.serve(self.dest);
            }
            Victim::Pusher => kill(pusher.id()),
            // One that has not begun yet cannot be killed either.
            Victim::Receiver => {
                return receiver.filter(|pid| is_running(*pid)).is_some_and(|pid| {
                    kill(pid);
                    true
                });
            }
            Victim::Connection => {
                let between = descendants(pusher.id());
                let between = between.into_iter().filter(|pid| Some(*pid) != receiver);
                between.for_each(kill);
            }
            Victim::Both => {
                kill(pusher.id());
                receiver.into_iter().for_each(kill);
            }
        }
        true
    }

    fn phase(&self, look: &Look) -> &'static str {
        let new = look.public.difference(&self.before.public).count();
        match (look.staged.len(), new) {
            _ if look.refs == self.version.refs => "all done",
            _ if look.refs != self.before.refs => "some refs",
            (0, 0) => "nothing yet",
            (0, _) => "all published, no refs",
            (_, 1..) => "some published",
            (staged, 0) if staged < self.lacking => "some staged",
            _ => "all staged",
        }
    }
}

/// How fast pushes go: over a slow link, most of the time is sending.
const PACES: [&str; 2] = ["--limit-rate=100G", "--limit-rate=6M"];

/// How long a push takes that nobody kills.
fn undisturbed(rig: &Rig, pace: &str) -> Duration {
    let dest = rig.destination();
    let begun = Instant::now();
    Output::of(&mut rig.push(&rig.versions[0], &dest, &[pace])).expect_ok();
    begun.elapsed()
}

/// When to strike, and how fast the push goes. `longest`: how long one of each pace takes.
fn an_instant(dice: &mut Dice, longest: &[Duration; 2]) -> (When, &'static str) {
    let pace = usize::from(dice.percent(60));
    let when = match dice.percent(50) {
        true => When::After(dice.time(longest[pace])),
        false => When::Seen(dice.pick(&SIGNS), dice.time(Duration::from_millis(4))),
    };
    (when, PACES[pace])
}

/// Kills so many pushes. Each is pushed again, sometimes to be killed again, until it is done.
fn kill_pushes(rig: &Rig, victims: &[Victim], kills: usize) -> Phases {
    let mut dice = Dice::new();
    let longest = PACES.map(|pace| undisturbed(rig, pace));
    let mut phases = Phases::new();
    let (mut killed, mut tries) = (0, 0);
    while killed < kills {
        let dest = rig.destination();
        for version in &rig.versions {
            tries += 1;
            assert!(tries < 20 * kills, "too few could be killed: {phases:?}");
            let mut again = true;
            while again {
                let killing = Killing::new(rig, &dest, version);
                let how = an_instant(&mut dice, &longest);
                killed += usize::from(killing.kill(dice.pick(victims), how, &mut phases));
                again = dice.percent(30);
            }
            if dice.percent(50) {
                rig.stop_server();
            }
            rig.push_rest(version, &dest, &Look::at(dest.path()));
        }
    }
    phases
}

/// The instants were spread over more than one thing that a push does.
fn assert_spread(phases: &Phases, at_least: usize) {
    assert!(
        phases.len() >= at_least,
        "when they were killed: {phases:?}"
    );
}

#[test]
fn pushers() {
    let rig = Rig::new(Place::in_memory(), Link::Near, &["main"]);
    assert_spread(&kill_pushes(&rig, &[Victim::Pusher], 50), 3);
}

#[test]
fn receivers() {
    let rig = Rig::new(Place::in_memory(), Link::Near, &["main"]);
    assert_spread(&kill_pushes(&rig, &[Victim::Receiver], 50), 3);
}

#[test]
fn connections() {
    let rig = Rig::new(Place::in_memory(), Link::Near, &["main"]);
    assert_spread(&kill_pushes(&rig, &[Victim::Connection], 40), 3);
}

#[test]
fn of_several_refs_all_change_or_none() {
    let rig = Rig::new(Place::in_memory(), Link::Near, &["a", "main", "os/test"]);
    let victims = [
        Victim::Receiver,
        Victim::Receiver,
        Victim::Both,
        Victim::Connection,
    ];
    assert_spread(&kill_pushes(&rig, &victims, 40), 3);
}

#[test]
fn over_http() {
    let rig = Rig::new(Place::in_memory(), Link::Http, &["main"]);
    let victims = [Victim::Pusher, Victim::Receiver, Victim::Both];
    assert_spread(&kill_pushes(&rig, &victims, 40), 3);
}

#[test]
fn of_several_refs_over_http_on_a_disk() {
    let rig = Rig::new(Place::on_disk(), Link::Http, &["a", "main", "os/test"]);
    let victims = [Victim::Pusher, Victim::Receiver, Victim::Both];
    assert_spread(&kill_pushes(&rig, &victims, 16), 3);
}

#[test]
fn over_ssh_on_a_disk() {
    let link = Link::Ssh(Box::new(Sshd::builder().start()));
    let rig = Rig::new(Place::on_disk(), link, &["main"]);
    let victims = [
        Victim::Pusher,
        Victim::Receiver,
        Victim::Connection,
        Victim::Both,
    ];
    assert_spread(&kill_pushes(&rig, &victims, 20), 2);
}
