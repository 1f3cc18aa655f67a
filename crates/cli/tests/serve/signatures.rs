// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures that come later than the commit, or that others have put there before.

use std::path::Path;

use oxtree_testkit::{BinDir, Output, Repo, ed25519_keys};
use serde_json::json;

use crate::access::create;
use crate::fixture::{Fixture, OXTREE, Push, Served, oxtree, path};
use crate::signed::{Stage, refused};

/// Signs a commit with the stage's key, or with another.
fn sign(stage: &Stage, repo: &Repo, commit: &str, key: &str) {
    let file = format!("--keys-file={key}");
    repo.ok("sign", ["--sign-type=ed25519", &file, commit]);
    let _ = stage;
}

/// Another key pair.
fn other_key(stage: &Stage) -> (String, String) {
    let dir = stage.fixture.at("others");
    if !dir.exists() {
        std::fs::create_dir(&dir).unwrap();
        ed25519_keys(&dir);
    }
    let [secret, public] = ["secret", "public"].map(|name| path(&dir.join(name)).to_owned());
    (secret, public)
}

fn verifies(repo: &Repo, commit: &str, public: &str) -> bool {
    let keys = format!("--keys-file={public}");
    let args = ["--verify", "--sign-type=ed25519", &keys, commit];
    repo.run("sign", args).code == Some(0)
}

/// A push in one of these ways, with its arguments.
type PushWith = Box<dyn Fn(&[&str]) -> Output>;

/// Pushes in each way there is: to a path, over ssh, over HTTP.
fn ways(stage: &Stage, server: &Served, token: &str) -> Vec<PushWith> {
    let from = format!("--repo={}", path(stage.source.path()));
    let words = |to: &str| vec!["push".to_owned(), from.clone(), to.to_owned()];
    let run = |words: Vec<String>, token: String| -> PushWith {
        Box::new(move |args| {
            let args = args.iter().map(|&arg| arg.to_owned());
            let words = words.clone().into_iter().chain(args);
            oxtree().env("OXTREE_TOKEN", &token).run(words)
        })
    };
    let ssh = stage.ssh("identities: {ci: {allow: [push, force, delete]}}");
    let mut over = words("host:x");
    over.insert(2, format!("--ssh-command={}", path(&ssh)));
    let none = String::new;
    vec![
        run(words(path(stage.store.path())), none()),
        run(over, none()),
        run(words(server.url()), token.to_owned()),
    ]
}

/// A commit is pushed, then signed: with another ref, or the same one, its signature arrives.
#[test]
fn a_signature_arrives_with_the_next_push() {
    let stage = Stage::new();
    let token = create(
        &stage.fixture,
        "ci",
        "--allow push --allow force --allow delete",
    );
    let server = stage.serve("");
    let public = stage.key("public");
    for (way, push) in ways(&stage, &server, &token).into_iter().enumerate() {
        for (number, same_ref) in [true, false].into_iter().enumerate() {
            let seed = (way * 10 + number) as u64;
            let name = format!("testing/{seed}");
            let commit = stage.commit(&name, seed, &[]);
            push(&[&name]).expect_ok();
            assert!(push(&[&name]).expect_ok().stdout().contains("up to date"));
            sign(&stage, &stage.source, &commit, &stage.key("secret"));
            let next = match same_ref {
                true => name.clone(),
                false => format!("stable/{seed}"),
            };
            if !same_ref {
                stage
                    .source
                    .ok("refs", [&format!("--create={next}"), &commit]);
            }
            let dry = push(&["--dry-run", &next]).expect_ok();
            assert!(dry.stdout().contains("Would send 1 of"), "{dry:?}");
            assert!(!verifies(&stage.store, &commit, &public));
            let pushed = push(&[&next]).expect_ok();
            assert!(
                verifies(&stage.store, &commit, &public),
                "{way} {same_ref}: {pushed:?}"
            );
            if same_ref {
                assert!(pushed.stdout().contains("were added"), "{pushed:?}");
            }
            // All is there now.
            let again = push(&[&next]).expect_ok();
            assert!(!again.stdout().contains("were added"), "{again:?}");
            assert!(
                push(&["--dry-run"])
                    .expect_ok()
                    .stdout()
                    .contains("Would send 0 of")
            );
        }
    }
    stage.store.fsck();
}

/// None is lost: the one that was there, the one that comes, and one that was made there.
#[test]
fn signatures_are_joined() {
    let stage = Stage::new();
    let (foreign, foreign_public) = other_key(&stage);
    let token = create(
        &stage.fixture,
        "ci",
        "--allow push --allow force --allow delete",
    );
    let server = stage.serve("");
    for (way, push) in ways(&stage, &server, &token).into_iter().enumerate() {
        let name = format!("os/{way}");
        let commit = stage.commit(&name, way as u64, &[]);
        // Another pusher publishes it first, with a signature and a key of its own.
        let elsewhere = stage.fixture.repo(&format!("elsewhere-{way}"));
        elsewhere.ok(
            "pull-local",
            [stage.source.path().as_os_str(), name.as_ref()],
        );
        sign(&stage, &elsewhere, &commit, &foreign);
        let evil = format!("evil/{way}");
        elsewhere.ok("refs", [&format!("--create={evil}"), &commit]);
        let from = format!("--repo={}", path(elsewhere.path()));
        oxtree().ok(["push", &from, path(stage.store.path()), &evil]);
        assert!(verifies(&stage.store, &commit, &foreign_public));

        sign(&stage, &stage.source, &commit, &stage.key("secret"));
        push(&[&name]).expect_ok();
        for public in [&stage.key("public"), &foreign_public] {
            assert!(verifies(&stage.store, &commit, public), "{way}");
        }
        // Nor is one of those that the source has never had.
        push(&[&name]).expect_ok();
        assert!(verifies(&stage.store, &commit, &foreign_public));
    }
}

/// The receiver's own signature stays, too, and nothing is sent again because of it.
#[test]
fn the_receivers_signature_stays() {
    let stage = Stage::new();
    let (own, own_public) = other_key(&stage);
    let token = create(&stage.fixture, "ci", "--allow push");
    let server = stage.serve(&format!("sign_keyfiles: [{own}]"));
    let commit = stage.commit("main", 1, &[]);
    stage.push(server.url(), &token, &["main"]).expect_ok();
    sign(&stage, &stage.source, &commit, &stage.key("secret"));
    let pushed = stage.push(server.url(), &token, &["main"]).expect_ok();
    assert!(pushed.stdout().contains("were added"), "{pushed:?}");
    for public in [&stage.key("public"), &own_public] {
        assert!(verifies(&stage.store, &commit, public));
    }
    let again = stage
        .push(server.url(), &token, &["--dry-run", "main"])
        .expect_ok();
    assert!(again.stdout().contains("Would send 0 of"), "{again:?}");
}

/// Who may not write a ref adds nothing beside its commit, and is told so; the rest of the push goes on.
#[test]
fn only_those_add_who_may_write_the_ref() {
    let stage = Stage::new();
    let boss = create(&stage.fixture, "boss", "--allow push");
    let token = create(&stage.fixture, "ci", "--allow push --ref app/*");
    let server = stage.serve("");
    let commit = stage.commit("os/x", 1, &[]);
    stage.push(server.url(), &boss, &["os/x"]).expect_ok();
    sign(&stage, &stage.source, &commit, &stage.key("secret"));
    let public = stage.key("public");
    let said = "os/x: detached metadata (signatures) of commit";

    let ssh = stage.ssh("identities: {ci: {refs: [app/*]}}");
    let pushed = stage.push_over(&ssh, &["os/x"]);
    refused(&pushed, &["may not change this ref"]);
    let ssh = stage.ssh("identities: {ci: {allow: [promote]}}");
    let pushed = stage.push_over(&ssh, &["os/x"]);
    assert!(pushed.stderr().contains(said), "{pushed:?}");
    pushed.expect_ok();
    let ssh = stage.ssh("identities: {ci: {read_only: yes}}");
    stage.push_over(&ssh, &["os/x"]).expect_ok();
    // A token is not even told that the ref is there.
    let pushed = stage.push(server.url(), &token, &["os/x"]);
    refused(&pushed, &["may not change this ref"]);
    // One that may only set refs to what is there brings nothing.
    let promotes = create(&stage.fixture, "release", "--allow promote");
    let pushed = stage.push(server.url(), &promotes, &["os/x"]).expect_ok();
    assert!(pushed.stderr().contains(said), "{pushed:?}");
    assert!(!verifies(&stage.store, &commit, &public));
    let reads = create(&stage.fixture, "reader", "--allow read");
    stage.push(server.url(), &reads, &["os/x"]).expect_ok();
    assert!(!verifies(&stage.store, &commit, &public));
    stage.push(server.url(), &boss, &["os/x"]).expect_ok();
    assert!(verifies(&stage.store, &commit, &public));
}

/// Nobody can fill up what is kept beside a commit, or keep the owner's signature out of it.
#[test]
fn there_is_always_room_for_the_owner() {
    let stage = Stage::new();
    let token = create(&stage.fixture, "ci", "--allow push --ref app/* --ref os/*");
    let boss = create(&stage.fixture, "boss", "--allow push");
    let server = stage.serve("");
    let commit = stage.commit("os/x", 1, &["--no-bindings"]);
    for number in 0..33 {
        let dir = stage.fixture.at(&format!("k{number}"));
        std::fs::create_dir(&dir).unwrap();
        ed25519_keys(&dir);
        sign(&stage, &stage.source, &commit, path(&dir.join("secret")));
    }
    let full = [
        "too many signatures of the kind ostree.sign.ed25519",
        "at most 32",
    ];
    refused(&stage.push(server.url(), &token, &["os/x"]), &full);
    assert_eq!(stage.at("os/x"), None);
    stage.push(server.url(), &boss, &["os/x"]).expect_ok();
    sign(&stage, &stage.source, &commit, &stage.key("secret"));
    let pushed = stage.push(server.url(), &token, &["os/x"]).expect_ok();
    assert!(
        full.iter().all(|word| pushed.stderr().contains(word)),
        "{pushed:?}"
    );
    stage.push(server.url(), &boss, &["os/x"]).expect_ok();
    assert!(verifies(&stage.store, &commit, &stage.key("public")));
    // Existing metadata is no reason to refuse a pusher that adds nothing.
    stage.push(server.url(), &token, &["os/x"]).expect_ok();
}

/// Other values beside a commit stay, and the pusher is told what was not taken.
#[test]
fn other_values_stay() {
    let stage = Stage::new();
    let token = create(&stage.fixture, "ci", "--allow push");
    let server = stage.serve("");
    let value = |text: &str| format!("--add-detached-metadata-string=who={text}");
    let commit = stage.commit("a", 1, &["--no-bindings", &value("ours")]);
    stage.push(server.url(), &token, &["a"]).expect_ok();
    let other = Fixture::new();
    let source = other.repo("source");
    let tree = stage.fixture.at("small-1");
    let time = format!("--timestamp=@{}", 1_767_323_040 + 1);
    let args = [
        "--canonical-permissions",
        "--no-bindings",
        &time,
        &value("theirs"),
        "--add-detached-metadata-string=more=yes",
    ];
    assert_eq!(source.commit("b", tree, &args), commit);
    let from = format!("--repo={}", path(source.path()));
    let push = || {
        oxtree()
            .env("OXTREE_TOKEN", &token)
            .run(["push", &from, server.url(), "b"])
    };
    let pushed = push().expect_ok();
    assert!(
        pushed
            .stderr()
            .contains("who has another value here, which stays"),
        "{pushed:?}"
    );
    let show = |key: &str| {
        let key = format!("--print-detached-metadata-key={key}");
        stage.store.ok("show", [&key, &commit]).trim().to_owned()
    };
    assert_eq!(
        (show("who"), show("more")),
        ("'ours'".to_owned(), "'yes'".to_owned())
    );
    push().expect_ok();
    assert_eq!(show("who"), "'ours'");
}

/// A push that goes on after the server was started again, or in which a signature was not sent, does not say that all
/// is well without it.
#[test]
fn a_promised_signature_has_to_come() {
    let stage = Stage::new();
    let token = create(&stage.fixture, "ci", "--allow push");
    let commit = stage.commit("main", 1, &[]);
    sign(&stage, &stage.source, &commit, &stage.key("secret"));
    let item = "ab".repeat(16);
    let wish =
        json!({"updates": [{"ref": "main", "old": null, "new": commit, "detached": [item]}]});
    let server = stage.serve("");
    let push = Push::open(server.url(), Some(&token), &wish).unwrap();
    let missing = push.missing(&stage.source);
    let meta = format!("{commit}.commitmeta");
    assert!(missing.contains(&meta));
    for object in missing.iter().filter(|object| **object != meta) {
        assert_eq!(push.put(&stage.source, object).status, 204);
    }
    let answer = push.finish();
    assert!(
        answer.status >= 400 && answer.text().contains("commitmeta"),
        "{answer:?}"
    );
    assert_eq!(push.missing(&stage.source), std::slice::from_ref(&meta));
    assert_eq!(push.put(&stage.source, &meta).status, 204);
    assert_eq!(push.missing(&stage.source), [""; 0]);
    let answer = push.finish();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(verifies(&stage.store, &commit, &stage.key("public")));
}

/// The doors of ostree-push.
#[test]
fn by_the_url_of_the_pusher() {
    let stage = Stage::new();
    let commit = stage.commit("main", 1, &[]);
    stage.source.ok("summary", ["-u"]);
    let source = Served::start(&[stage.source.path()]);
    let bins = BinDir::linked(Path::new(OXTREE), &["ostree-receive-1"]);
    let conf = stage.fixture.at("receive.yaml");
    std::fs::write(&conf, "commits: keep\n").unwrap();
    let receive = |args: &[&str]| {
        let tool = oxtree_testkit::Tool::new(bins.path().join("ostree-receive-1"));
        let tool = tool.env("OSTREE_RECEIVE_CONF", &conf);
        let words = [
            args,
            &[path(stage.store.path()), source.url().trim_end_matches('/')],
        ]
        .concat();
        tool.run(words).expect_ok()
    };
    receive(&[]);
    assert_eq!(stage.at("main").as_ref(), Some(&commit));
    receive(&[]);
    let (foreign, foreign_public) = other_key(&stage);
    sign(&stage, &stage.store, &commit, &foreign);
    sign(&stage, &stage.source, &commit, &stage.key("secret"));
    let said = receive(&["-n"]);
    assert!(
        !verifies(&stage.store, &commit, &stage.key("public")),
        "{said:?}"
    );
    let said = receive(&[]);
    assert!(
        verifies(&stage.store, &commit, &stage.key("public")),
        "{said:?}"
    );
    assert!(verifies(&stage.store, &commit, &foreign_public), "{said:?}");
}

/// A pull takes what is beside the commit as it is at the source, also of a commit that is here.
#[test]
fn a_pull_takes_signatures_that_came_later() {
    let stage = Stage::new();
    let commit = stage.commit("main", 1, &[]);
    let server = Served::start(&[stage.source.path()]);
    let dest = stage.fixture.repo("dest");
    dest.ok(
        "remote",
        [
            "add",
            "--no-sign-verify",
            "--no-gpg-verify",
            "o",
            server.url(),
        ],
    );
    let local = stage.fixture.repo("local");
    let source = path(stage.source.path());
    let pull = || {
        dest.ok("pull", ["o", "main"]);
        dest.ok("pull", ["--mirror", "o", "main"]);
        local.ok("pull-local", [source, "main"]);
    };
    pull();
    sign(&stage, &stage.source, &commit, &stage.key("secret"));
    pull();
    for repo in [&dest, &local] {
        assert!(verifies(repo, &commit, &stage.key("public")));
    }
}
