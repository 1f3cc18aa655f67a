// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receivers of ostree-push's pushers, killed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oxtree_format::ObjectId;
use oxtree_testkit::{BinDir, Dice, Repo, Tool, WebServer, kill};
use oxtree_transfer::protocol::legacy::{Change, Request};

use crate::look::{Look, objects, quarantines};
use crate::rig::{Link, OXTREE, Place, Rig, Version};

/// How long a receiver may take that nobody kills.
const PATIENCE: Duration = Duration::from_secs(30);

/// What stands at a door.
struct Door<'r> {
    rig: &'r Rig,
    bins: BinDir,
    /// Serves what is pushed; none where it comes on standard input.
    web: Option<WebServer>,
}

impl<'r> Door<'r> {
    fn new(rig: &'r Rig, web: Option<WebServer>) -> Self {
        let bins = BinDir::linked(OXTREE, &["ostree-receive-0", "ostree-receive-1"]);
        Self { rig, bins, web }
    }

    /// A receiver of what is pushed.
    fn receiver(&self, version: &Version, dest: &Repo) -> Command {
        let conf = self.rig.place.at("conf.yaml");
        fs::write(&conf, "commits: keep\n").expect("write");
        let receiver =
            |name: &str| Tool::new(self.bins.path().join(name)).env("OSTREE_RECEIVE_CONF", &conf);
        let path = dest.path().display();
        let mut command = match &self.web {
            Some(web) => {
                let name = version.repo.path().file_name().expect("a name");
                let url = format!("{}{}", web.url(), name.display());
                receiver("ostree-receive-1").command([path.to_string(), url])
            }
            None => {
                let said = self.rig.place.at("said");
                fs::write(&said, messages(version, &Look::at(dest.path()))).expect("write");
                let mut command = receiver("ostree-receive-0").command([format!("--repo={path}")]);
                command.stdin(File::open(&said).expect("open"));
                command
            }
        };
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Lets a receiver do its work, and says how long that takes.
    fn finish(&self, version: &Version, dest: &Repo) -> Duration {
        let begun = Instant::now();
        let output = self.receiver(version, dest).output().expect("run it");
        assert!(output.status.success(), "{output:?}");
        let now = Look::at(dest.path());
        assert_eq!(now.refs, version.refs, "{output:?}");
        assert!(version.missing(&now).0.is_empty(), "{output:?}");
        assert_eq!(
            quarantines(dest.path()),
            [""; 0].map(Into::<std::path::PathBuf>::into)
        );
        dest.fsck();
        begun.elapsed()
    }

    /// Kills a receiver, at a random time or when so much has been received, and checks what it
    /// leaves. Says which part of the work it was in.
    fn kill(
        &self,
        version: &Version,
        dest: &Repo,
        dice: &mut Dice,
        longest: Duration,
    ) -> &'static str {
        let before = Look::at(dest.path());
        let lacking = version.missing(&before).0.len();
        let enough = dice
            .percent(50)
            .then(|| usize::try_from(dice.below(lacking as u64 + 1)).expect("few"));
        let after = dice.time(if enough.is_some() {
            Duration::from_millis(3)
        } else {
            longest
        });
        let begun = Instant::now();
        let mut receiver = self.receiver(version, dest).spawn().expect("start it");
        let ended = |child: &mut std::process::Child| child.try_wait().expect("ask").is_some();
        while enough.is_some_and(|enough| received(dest.path(), &before) < enough)
            && !ended(&mut receiver)
        {
            assert!(begun.elapsed() < PATIENCE, "nothing is received");
            std::thread::sleep(Duration::from_micros(100));
        }
        std::thread::sleep(after);
        kill(receiver.id());
        let output = receiver.wait_with_output().expect("its end");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{said}");
        let look = self.rig.check(dest, &before, version);
        match look {
            _ if look.refs != before.refs => "refs",
            _ if look.public != before.public => "published",
            _ if look.staged.len() > before.staged.len() => "staged",
            _ => "nothing new",
        }
    }
}

/// How many objects are there, public or not, that were not.
fn received(repo: &Path, before: &Look) -> usize {
    let staged = quarantines(repo)
        .iter()
        .map(|dir| objects(dir).len())
        .sum::<usize>();
    let public = objects(&repo.join("objects")).len() - before.public.len();
    staged + public
}

/// All that an old pusher says.
fn messages(version: &Version, there: &Look) -> Vec<u8> {
    let change = |(name, commit): (&String, &String)| Change {
        name: name.parse().expect("a ref"),
        from: there
            .refs
            .get(name)
            .map(|now| now.parse().expect("a commit")),
        to: commit.parse().expect("a commit"),
    };
    let moves = version
        .refs
        .iter()
        .filter(|(name, commit)| there.refs.get(*name) != Some(*commit));
    let mut said = Request::Update(moves.map(change).collect()).to_bytes();
    let dir = version.repo.path().join("objects");
    for path in objects(&dir) {
        let bytes = fs::read(dir.join(&path)).expect("read");
        let (fanout, file) = path.split_once('/').expect("a folder");
        let object = ObjectId::from_loose(fanout, file, true).expect("an object");
        let size = bytes.len() as u64;
        said.extend(Request::Put { object, size }.to_bytes());
        said.extend(bytes);
    }
    said.extend(Request::Done.to_bytes());
    said
}

fn kill_receivers(door: &Door<'_>, kills: usize) {
    let mut dice = Dice::new();
    let rig = door.rig;
    let longest = door.finish(&rig.versions[0], &rig.destination());
    let mut phases = BTreeSet::new();
    for _ in 0..kills {
        let dest = rig.destination();
        for version in &rig.versions {
            phases.insert(door.kill(version, &dest, &mut dice, longest));
            if Look::at(dest.path()).refs != version.refs {
                door.finish(version, &dest);
            }
        }
    }
    assert!(phases.len() >= 2, "when they were killed: {phases:?}");
}

#[test]
fn receivers_that_fetch() {
    let rig = Rig::new(Place::in_memory(), Link::Near, &["a", "main"]);
    for version in &rig.versions {
        version.repo.ok("summary", ["-u"]);
    }
    let web = WebServer::serve(rig.versions[0].repo.path().parent().expect("a parent"));
    kill_receivers(&Door::new(&rig, Some(web)), 8);
}

#[test]
fn receivers_of_messages() {
    let rig = Rig::new(Place::in_memory(), Link::Near, &["a", "main"]);
    kill_receivers(&Door::new(&rig, None), 8);
}
