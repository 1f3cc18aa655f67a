// SPDX-License-Identifier: MIT OR Apache-2.0
//! A signed summary never becomes an unsigned one.

use std::collections::BTreeMap;
use std::fs;

use oxtree_testkit::{GpgHome, Repo, ed25519_keys};
use serde_json::{Value, json};

use crate::fixture::{Fixture, Push, Served, curl, oxtree, path, until, wish};

/// What flatpak and libostree keep of a summary, and the refs that are made with it.
const FILES: [&str; 5] = [
    "summary",
    "summary.sig",
    "summary.idx",
    "summary.idx.sig",
    "refs/heads/appstream/x86_64",
];

fn state(store: &Repo) -> BTreeMap<&'static str, Option<Vec<u8>>> {
    let read = |name| (name, fs::read(store.path().join(name)).ok());
    FILES.into_iter().map(read).collect()
}

struct Stage {
    fixture: Fixture,
    source: Repo,
    store: Repo,
    home: GpgHome,
    key: String,
}

impl Stage {
    /// A repository whose summary is signed with GPG.
    fn new() -> Self {
        let fixture = Fixture::new();
        let (source, store) = (fixture.repo("source"), fixture.repo("store"));
        fixture.commit(&store, "os/main", 1);
        let home = GpgHome::new();
        let key = home.generate("test@example.com", "ed25519");
        let stage = Self {
            fixture,
            source,
            store,
            home,
            key,
        };
        stage.sign(&stage.gpg());
        stage
    }

    fn gpg(&self) -> Vec<String> {
        let home = format!("--gpg-homedir={}", path(self.home.path()));
        vec![format!("--gpg-sign={}", self.key), home]
    }

    fn sign(&self, options: &[String]) {
        let words = ["-u".to_owned()].into_iter().chain(options.iter().cloned());
        self.store.ok("summary", words);
    }

    /// A server with these keys for the repository in its configuration.
    fn serve(&self, keys: &str) -> Served {
        let conf = format!(
            "listen: 127.0.0.1:0\nallow_anonymous_push: yes\nrepos: {{/: {{path: {}, {keys}}}}}\n",
            path(self.store.path())
        );
        let at = self.fixture.at("conf");
        fs::write(&at, conf).unwrap();
        Served::run(&mut oxtree().command(["serve", "--config", path(&at)]), 1)
    }

    /// Pushes a new commit, and returns the warnings.
    fn push(&self, server: &Served, branch: &str, seed: u64) -> String {
        self.fixture.commit(&self.source, branch, seed);
        let there = self.store.refs().iter().any(|name| name == branch);
        let old = there.then(|| self.store.rev_parse(branch));
        let wish = wish(&self.source, branch, old.as_deref());
        let push = Push::open(server.url(), None, &wish).unwrap();
        let outcome = push.go(&self.source);
        assert_eq!(outcome.status, 200, "{outcome:?}");
        assert_eq!(self.store.rev_parse(branch), self.source.rev_parse(branch));
        outcome.json()["warnings"].to_string()
    }

    fn listed(&self, branch: &str) -> bool {
        self.store.ok("summary", ["-v"]).contains(branch)
    }
}

fn jobs(server: &Served) -> Value {
    curl(&[&format!("{}api/v1/jobs", server.url())]).json()["jobs"].clone()
}

#[test]
fn without_the_key_all_of_it_stays_and_everybody_is_told() {
    let stage = Stage::new();
    for name in ["summary.idx", "summary.idx.sig"] {
        fs::write(stage.store.path().join(name), "flatpak's").unwrap();
    }
    stage
        .store
        .ok("refs", ["--create=appstream/x86_64", "os/main"]);
    let before = state(&stage.store);
    let server = stage.serve("webhooks: []");
    let warnings = stage.push(&server, "os/new", 2);
    let text = "the summary stays as it was: summary.sig is signed with GPG";
    assert!(warnings.contains(text), "{warnings}");
    assert_eq!(state(&stage.store), before);
    let skipped = jobs(&server);
    assert_eq!(
        [
            &skipped[0]["kind"],
            &skipped[0]["state"],
            &skipped[0]["refs"]
        ],
        [&json!("derive"), &json!("skipped"), &json!(["os/new"])]
    );
    let reason = skipped[0]["reason"].as_str().unwrap();
    assert!(reason.contains("no GPG key here"), "{reason}");
    let numbers = curl(&[&format!("{}metrics", server.url())]).text();
    let number = "oxtree_jobs{repo=\"\",kind=\"derive\",state=\"skipped\"} 1";
    assert!(numbers.contains(number), "{numbers}");

    // What others do in the repository, too; and deletions.
    stage.fixture.commit(&stage.store, "os/other", 3);
    until("the change is not noticed", || {
        jobs(&server)[0]["refs"] == json!(["os/new", "os/other"])
    });
    let old = stage.store.rev_parse("os/other");
    let gone = json!({"updates": [{"ref": "os/other", "old": old, "new": null, "force": true}]});
    let deleted = Push::open(server.url(), None, &gone).unwrap().finish();
    assert_eq!(deleted.status, 200, "{deleted:?}");
    assert!(deleted.text().contains(text), "{deleted:?}");
    assert_eq!(state(&stage.store), before);

    // The next server still reports it, until a new one is signed.
    drop(server);
    let server = stage.serve("webhooks: []");
    assert_eq!(jobs(&server)[0]["state"], "skipped");
    std::thread::sleep(std::time::Duration::from_millis(20));
    stage.sign(&stage.gpg());
    assert!(stage.listed("os/new"));
    until("the job stays", || jobs(&server) == json!([]));
    assert!(stage.store.path().join("summary.sig").exists());
}

#[test]
fn with_keys_of_each_kind_it_is_signed_again() {
    let stage = Stage::new();
    let at = |name: &str| stage.fixture.at(name);
    ed25519_keys(&at(""));
    let secret = fs::read_to_string(at("secret")).unwrap();
    let ed25519 = format!("sign_keyfiles: [{}]", path(&at("secret")));
    let home = path(stage.home.path());
    let gpg = format!("gpg_sign: [{}], gpg_homedir: {home}", stage.key);
    let signatures = || fs::read(stage.store.path().join("summary.sig")).unwrap();

    let server = stage.serve(&format!("receive: {{{gpg}}}"));
    let before = signatures();
    assert_eq!(stage.push(&server, "os/a", 2), "[]");
    assert!(stage.listed("os/a"));
    let made = stage.store.ok("summary", ["-v"]);
    assert!(before != signatures(), "{made}");
    drop(server);

    // Both kinds: one key is not enough, two are.
    let mut both = stage.gpg();
    both.extend([
        "--sign-type=ed25519".to_owned(),
        format!("--sign={}", secret.trim()),
    ]);
    stage.sign(&both);
    for (at, (keys, missing)) in [(&gpg, "ed25519"), (&ed25519, "GPG")].iter().enumerate() {
        let server = stage.serve(&format!("receive: {{{keys}}}"));
        let before = state(&stage.store);
        let warnings = stage.push(&server, "os/b", 3 + at as u64);
        let text = format!("signed with {missing}, and there is no {missing} key here");
        assert!(warnings.contains(&text), "{warnings}");
        assert_eq!(state(&stage.store), before);
    }
    let server = stage.serve(&format!("receive: {{{gpg}, {ed25519}}}"));
    assert_eq!(stage.push(&server, "os/b", 5), "[]");
    assert!(stage.listed("os/b"));
    let signatures = signatures();
    for kind in ["ostree.gpgsigs", "ostree.sign.ed25519"] {
        let is_there = signatures
            .windows(kind.len())
            .any(|part| part == kind.as_bytes());
        assert!(is_there, "{kind}");
    }
}

#[test]
fn updates_can_be_turned_off_and_the_nearest_word_counts() {
    let stage = Stage::new();
    fs::remove_file(stage.store.path().join("summary.sig")).unwrap();
    let auto = |value: &str| {
        stage
            .store
            .ok("config", ["set", "core.auto-update-summary", value]);
    };
    let mut seed = 2;
    let mut updates = |keys: &str| {
        let server = stage.serve(keys);
        let before = state(&stage.store);
        seed += 1;
        assert_eq!(stage.push(&server, "os/main", seed), "[]", "{keys}");
        state(&stage.store) != before
    };
    assert!(updates("webhooks: []"));
    assert!(!updates("update: no"));
    assert!(!updates("receive: {update: no}"));
    auto("false");
    assert!(!updates("webhooks: []"));
    assert!(updates("update: yes"));
    auto("true");
    assert!(updates("webhooks: []"));
    assert!(!updates("update: no"));

    // For all repositories by an option; and others' changes are none of its business then.
    stage
        .store
        .ok("config", ["unset", "core.auto-update-summary"]);
    let words = [
        "--allow-anonymous-push",
        "--no-update",
        path(stage.store.path()),
    ];
    let server = Served::start(&words);
    let before = state(&stage.store);
    assert_eq!(stage.push(&server, "os/main", 20), "[]");
    assert_eq!(state(&stage.store), before);

    let conf = format!(
        "repos: {{/: {{path: {}, update: no, receive: {{update: yes}}}}}}\n",
        "/x"
    );
    fs::write(stage.fixture.at("conf"), conf).unwrap();
    let conf = stage.fixture.at("conf");
    let refused = oxtree()
        .run(["serve", "--config", path(&conf)])
        .expect_failure();
    assert!(
        refused.stderr().contains("update stands beside receive"),
        "{refused:?}"
    );
}

/// What the signed summary lists stays, since clients still fetch it.
#[test]
fn what_a_signed_summary_lists_is_not_too_old() {
    let stage = Stage::new();
    let old = stage.store.rev_parse("os/main");
    let retention = "retention: {'*': {keep_last: 1}}, retention_grace: 0";
    let server = stage.serve(retention);
    stage.push(&server, "os/main", 2);
    until("retention does not wait", || {
        let jobs = jobs(&server);
        let mut all = jobs.as_array().into_iter().flatten();
        all.any(|job| job["kind"] == "retention" && job["next"].as_u64() > Some(3000))
    });
    assert_eq!(jobs(&server)[0]["state"], "skipped");
    let listed = stage.store.object(&old, "commit");
    assert!(listed.exists());
    // It goes once a newer one is signed.
    drop(server);
    std::thread::sleep(std::time::Duration::from_millis(20));
    stage.sign(&stage.gpg());
    let note = stage.store.path().join("state/oxtree-jobs/retention");
    fs::write(note, "{\"next\": 1}").unwrap();
    let server = stage.serve(retention);
    until("the old commit stays", || !listed.exists());
    drop(server);
}

/// Nobody has asked for an update by a commit, or by a push to a path: `summary -u` alone is the user's own word.
#[test]
fn the_other_ways_to_change_a_ref_leave_it_alone_too() {
    let stage = Stage::new();
    stage
        .store
        .ok("config", ["set", "core.auto-update-summary", "true"]);
    let before = state(&stage.store);
    let said = |output: oxtree_testkit::Output| {
        let output = output.expect_ok();
        assert!(output.stderr().contains("signed with GPG"), "{output:?}");
    };
    stage.fixture.commit(&stage.source, "os/main", 2);
    let from = format!("--repo={}", path(stage.source.path()));
    said(oxtree().run([
        "push",
        &from,
        "--force",
        path(stage.store.path()),
        "os/main",
    ]));
    said(stage.store.run("refs", ["--create=os/copy", "os/main"]));
    said(stage.store.run("refs", ["--delete", "os/copy"]));
    said(
        stage
            .store
            .run("reset", ["os/main", &stage.store.rev_parse("os/main")]),
    );
    let tree = stage.fixture.at("tree-2");
    said(stage.store.run("commit", ["-b", "os/more", path(&tree)]));
    assert_eq!(state(&stage.store), before);
    stage.store.ok("summary", ["-u"]);
    assert!(!stage.store.path().join("summary.sig").exists());
    stage.store.ok("refs", ["--delete", "os/more"]);
    assert!(!stage.listed("os/more"));
}

/// The metadata commit of a collection is signed as the summary is, and stays if it cannot be.
#[test]
fn the_commit_that_goes_with_it_is_signed_too() {
    let stage = Stage::new();
    stage
        .store
        .ok("config", ["set", "core.collection-id", "org.example.Os"]);
    stage.sign(&stage.gpg());
    let metadata = || stage.store.rev_parse("ostree-metadata");
    let is_signed = |commit: &str| stage.store.object(commit, "commitmeta").exists();
    assert!(is_signed(&metadata()));
    // Even if the summary is not signed any more.
    fs::remove_file(stage.store.path().join("summary.sig")).unwrap();
    let before = (metadata(), state(&stage.store));
    let server = stage.serve("webhooks: []");
    let warnings = stage.push(&server, "os/new", 2);
    let text = "the commit of ostree-metadata is signed with GPG";
    assert!(warnings.contains(text), "{warnings}");
    assert_eq!((metadata(), state(&stage.store)), before);
    drop(server);
    let home = path(stage.home.path());
    let keys = format!(
        "receive: {{gpg_sign: [{}], gpg_homedir: {home}}}",
        stage.key
    );
    let server = stage.serve(&keys);
    assert_eq!(stage.push(&server, "os/new", 3), "[]");
    assert!(metadata() != before.0 && is_signed(&metadata()));
}
