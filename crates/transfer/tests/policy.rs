// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a receiver's owner asks of pushes: copies, what is stale, who may what, hooks, the log.

use std::fs::{File, OpenOptions};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use oxtree_format::gvariant::Entry;
use oxtree_format::{Commit, CommitId};
use oxtree_repo::{Mode, Repo};
use oxtree_testkit::Repo as TestRepo;
use oxtree_testkit::{Tool, temp_dir};
use oxtree_transfer::protocol::message::{Outcome, Status};
use oxtree_transfer::push::push;
use oxtree_transfer::receive::LocalReceiver;
use oxtree_transfer::receive::audit::Audit;
use oxtree_transfer::receive::hook::Hook;
use oxtree_transfer::receive::policy::{Commits, Derive, Force, Future, Identity, Policy, Stale};
use oxtree_transfer::receive::receive;
use oxtree_transfer::{PushObserver, PushOptions, PushRequest};

/// A repository to push from, and one to push to.
struct Pair {
    dir: tempfile::TempDir,
    source: TestRepo,
}

impl Pair {
    fn new() -> Self {
        let dir = temp_dir();
        std::fs::create_dir(dir.path().join("tree")).expect("mkdir");
        let source = Tool::ostree()
            .repo(dir.path().join("source"))
            .init("archive");
        Repo::create(&dir.path().join("dest"), Mode::Archive, None).expect("make the destination");
        Self { dir, source }
    }

    fn commit(&self, name: &str, content: &str, time: u32) -> CommitId {
        let tree = self.dir.path().join("tree");
        std::fs::write(tree.join("file"), content).expect("write");
        let time = format!("--timestamp=@{time}");
        let args = [
            "--canonical-permissions",
            &time,
            "--add-metadata-string=zz=1",
        ];
        self.source
            .commit(name, &tree, &args)
            .parse()
            .expect("a checksum")
    }

    fn dest(&self) -> Repo {
        Repo::open(self.dir.path().join("dest")).expect("open the destination")
    }

    fn at(&self, name: &str) -> Option<CommitId> {
        self.dest().local_refs().expect("refs").get(name).copied()
    }

    fn push(&self, policy: Policy, names: &[&str], force: bool) -> (Outcome, Vec<String>) {
        let source = Repo::open(self.source.path()).expect("open the source");
        let destination = LocalReceiver::with_policy(self.dest(), policy);
        let refs = names.iter().map(|name| name.parse().expect("a name"));
        let options = PushOptions {
            request: PushRequest {
                refs: refs.collect(),
                force,
                ..PushRequest::default()
            },
            ..PushOptions::default()
        };
        let heard = std::sync::Mutex::new(Vec::new());
        let notice = |text: &str| heard.lock().expect("notices").push(text.to_owned());
        let audience = PushObserver {
            progress: &(),
            notice: &notice,
        };
        let (here, there) = UnixStream::pair().expect("a connection");
        let from = here.try_clone().expect("its other direction");
        let report = std::thread::scope(|scope| {
            scope.spawn(|| receive(|| Ok(destination), &there, &there, "test").expect("received"));
            push(&source, &options, from, &here, audience).expect("pushed")
        });
        let heard = heard.into_inner().expect("notices");
        (report.outcome, heard)
    }
}

fn skipping() -> Policy {
    Policy {
        commits: Commits::Copy,
        stale: Stale::Skip,
        no_generated_refs: true,
        ..Policy::default()
    }
}

/// The status and the reason of each ref.
fn said(outcome: &Outcome) -> Vec<(String, Status, String)> {
    let refs = outcome.refs.iter();
    refs.map(|r| {
        let reason = r.reason.clone().unwrap_or_default();
        (r.name.to_string(), r.status, reason)
    })
    .collect()
}

#[test]
fn copies_are_bound_to_the_ref_and_follow_what_is_there() {
    let pair = Pair::new();
    let first = pair.commit("app/a", "1", 100);
    pair.commit("ostree-metadata", "x", 100);
    let (outcome, _) = pair.push(skipping(), &[], false);
    assert!(outcome.is_ok(), "{outcome:?}");
    let copied = pair.at("app/a").expect("it is there");
    assert_ne!(copied, first);
    assert_eq!(outcome.refs[0].new.as_ref().map(|new| new.0), Some(copied));
    assert_eq!(pair.at("ostree-metadata"), None);
    // What was pushed is not left lying about.
    let dest = pair.dest();
    assert!(!dest.has_object(&first.object()).expect("looked for"));
    let source = Repo::open(pair.source.path()).expect("open the source");
    let old = source.load_commit(first).expect("read");
    let new = dest.load_commit(copied).expect("read");
    let (old, new) = (Commit::parse(&old), Commit::parse(&new));
    let (old, new) = (old.expect("a commit"), new.expect("a commit"));
    assert_eq!((new.root, new.timestamp, new.parent), (old.root, 100, None));
    assert_eq!((new.subject, new.body), (old.subject, old.body));
    let mut keys: Vec<&str> = new.metadata.iter().map(|Entry(key, _)| key).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["ostree.ref-binding", "xa.from_commit", "xa.ref", "zz"]
    );
    assert_eq!(
        new.metadata_str("xa.from_commit"),
        Some(&*first.to_string())
    );

    // The same again is not newer; newer with the same content is no step either.
    let (outcome, _) = pair.push(skipping(), &["app/a"], false);
    let reason = format!(
        "received app/a commit {first} is not newer than current app/a commit {copied}\n\
         received app/a commit {first} has the same content as current app/a commit {copied}"
    );
    assert_eq!(
        said(&outcome),
        [("app/a".to_owned(), Status::Unchanged, reason)]
    );
    assert!(outcome.is_ok());
    let same = pair.commit("app/a", "1", 101);
    let (outcome, _) = pair.push(skipping(), &["app/a"], false);
    let reason = format!(
        "received app/a commit {same} has the same content as current app/a commit {copied}"
    );
    assert_eq!(
        said(&outcome),
        [("app/a".to_owned(), Status::Unchanged, reason.clone())]
    );
    // Another ref goes on; with force both do.
    pair.commit("main", "2", 100);
    let (outcome, _) = pair.push(skipping(), &["app/a", "main"], false);
    assert_eq!(outcome.refs[0].status, Status::Unchanged);
    assert_eq!(outcome.refs[1].status, Status::Created);
    let (outcome, _) = pair.push(skipping(), &["app/a"], true);
    assert_eq!(
        said(&outcome),
        [("app/a".to_owned(), Status::Updated, reason)]
    );
    let parent = pair
        .dest()
        .load_commit(pair.at("app/a").expect("there"))
        .expect("read");
    assert_eq!(
        Commit::parse(&parent).expect("a commit").parent,
        Some(copied)
    );
    Tool::ostree()
        .repo(pair.dir.path().join("dest"))
        .run("fsck", [""; 0])
        .expect_ok();
}

#[test]
fn who_may_what_is_said_before_anything_is_sent() {
    let pair = Pair::new();
    pair.commit("os/a", "1", 100);
    pair.commit("other", "2", 100);
    let identity = |refs: &[&str], dry_run_only| {
        Some(Identity {
            name: "ci".to_owned(),
            refs: Some(refs.iter().map(|&r| r.to_owned()).collect()),
            dry_run_only,
            ..Identity::default()
        })
    };
    let policy = |identity| Policy {
        identity,
        ..Policy::default()
    };
    let (outcome, _) = pair.push(policy(identity(&["os/*"], false)), &[], false);
    assert!(!outcome.is_ok());
    let refused = &said(&outcome)[1];
    assert_eq!((refused.0.as_str(), refused.1), ("other", Status::Rejected));
    assert!(
        refused.2.contains("ci may not change this ref"),
        "{}",
        refused.2
    );
    assert_eq!((outcome.objects, pair.at("os/a")), (0, None));
    let (outcome, _) = pair.push(policy(identity(&["os/*"], true)), &["os/a"], false);
    assert_eq!(outcome.refs[0].status, Status::Rejected);
    let (outcome, _) = pair.push(policy(identity(&["os/*"], false)), &["os/a"], false);
    assert!(outcome.is_ok() && pair.at("os/a").is_some());

    // Force is the owner's word.
    pair.commit("os/a", "0", 50);
    let orphan = |force| Policy {
        force,
        ..Policy::default()
    };
    pair.source.run("reset", ["os/a", "os/a^"]).expect_ok();
    let old = pair.commit("sideways", "0", 50);
    let old = old.to_string();
    pair.source.run("refs", ["--delete", "os/a"]).expect_ok();
    pair.source.run("refs", ["--create=os/a", &old]).expect_ok();
    let (outcome, _) = pair.push(orphan(Force::Never), &["os/a"], true);
    let reason = said(&outcome)[0].2.clone();
    assert!(reason.contains("--force is not allowed here"), "{reason}");
    let (outcome, _) = pair.push(orphan(Force::Always), &["os/a"], false);
    assert_eq!(outcome.refs[0].status, Status::Updated);
}

#[test]
fn the_future_the_hook_and_the_log() {
    let pair = Pair::new();
    let new = pair.commit("main", "1", 2000);
    let log = pair.dir.path().join("audit.log");
    let policy = |bound: u64, script: &str| Policy {
        future: Some(Future {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1000),
            bound: Duration::from_secs(bound),
        }),
        hook: Some(Hook {
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: Vec::new(),
        }),
        audit: Some(audit(&log)),
        derive: Derive::By(Box::new(|repo, changed, _| {
            assert_eq!(changed.refs.len(), 1);
            std::fs::write(repo.local().unwrap().path().join("derived"), "")
                .map_err(|error| error.to_string())?;
            Err("the mirror is away".to_owned())
        })),
        ..Policy::default()
    };
    let (outcome, _) = pair.push(policy(999, "true"), &[], false);
    let reason = said(&outcome)[0].2.clone();
    assert!(reason.contains("1000 seconds ahead"), "{reason}");
    let (outcome, heard) = pair.push(policy(1000, "cat; echo not on Fridays; exit 1"), &[], false);
    assert_eq!(
        heard,
        [format!("{} {new} main\nnot on Fridays", "0".repeat(64))]
    );
    let reason = said(&outcome)[0].2.clone();
    assert!(
        reason.ends_with("not on Fridays") && pair.at("main").is_none(),
        "{reason}"
    );
    assert!(!pair.dir.path().join("dest/derived").exists());
    let (outcome, heard) = pair.push(policy(1000, "grep -q main"), &[], false);
    assert_eq!(
        (outcome.is_ok(), heard.len(), pair.at("main")),
        (true, 0, Some(new))
    );
    assert_eq!(
        outcome.warnings,
        ["published, but then: the mirror is away"]
    );

    let lines = std::fs::read_to_string(&log).expect("the log");
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    let results: Vec<_> = lines
        .iter()
        .map(|line| line["result"].as_str().expect("text"))
        .collect();
    assert_eq!(results, ["rejected", "rejected", "created"]);
    assert_eq!(lines[2]["identity"], "ci");
    assert_eq!(
        (&lines[2]["time"], &lines[2]["ref"]),
        (&7.into(), &"main".into())
    );
    assert_eq!(lines[2]["new"], new.to_string());
}

fn audit(path: &Path) -> Audit {
    let file: File = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .expect("a log");
    Audit {
        file,
        identity: Some("ci".to_owned()),
        client: None,
        now: || SystemTime::UNIX_EPOCH + Duration::from_secs(7),
    }
}
