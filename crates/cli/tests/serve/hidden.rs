// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits that a pusher may not read: they are not told of them, and cannot publish them.

use oxtree_testkit::Repo;
use serde_json::json;

use crate::access::create;
use crate::fixture::{
    Answer, Fixture, OXTREE, Push, Served, curl, loose, oxtree, path, until, wish,
};

struct Stage {
    fixture: Fixture,
    store: Repo,
    /// The commits of `secret/x`, the first and its child.
    secret: [String; 2],
    /// For `app/*`.
    token: String,
}

impl Stage {
    fn new(allow: &str) -> Self {
        let fixture = Fixture::new();
        let store = fixture.repo("store");
        let first = fixture.commit_with(&store, "secret/x", 1, &["--no-bindings"]);
        let second = fixture.commit_with(&store, "secret/x", 2, &["--no-bindings"]);
        let token = create(&fixture, "app", &format!("{allow} --ref app/*"));
        Self {
            fixture,
            store,
            secret: [first, second],
            token,
        }
    }

    fn serve(&self, more: &[&str]) -> Served {
        let tokens = self.fixture.at("tokens.json");
        let args = [more, &["--tokens", path(&tokens), path(self.store.path())]].concat();
        Served::start(&args)
    }

    fn open(&self, server: &Served, name: &str, new: &str) -> Result<Push, Answer> {
        let wish = json!({"updates": [{"ref": name, "old": null, "new": new}]});
        Push::open(server.url(), Some(&self.token), &wish)
    }

    fn read(&self, server: &Served, commit: &str) -> u16 {
        let bearer = format!("Authorization: Bearer {}", self.token);
        let url = format!("{}{}", server.url(), loose(&format!("{commit}.commit")));
        curl(&["-H", &bearer, &url]).status
    }
}

#[test]
fn who_does_not_bring_a_hidden_commit_neither_learns_of_it_nor_publishes_it() {
    let stage = Stage::new("--allow push --allow read");
    let server = stage.serve(&["--private"]);
    let [first, second] = &stage.secret;
    std::fs::write(stage.store.object(second, "commitmeta"), "").unwrap();
    let none = "0".repeat(64);

    // It is missing as one that is not there, in each form of the question.
    let refused = |commit: &str| {
        let push = stage.open(&server, "app/steal", commit).unwrap();
        let asked =
            json!({"objects": [format!("{commit}.commit"), format!("{commit}.commitmeta")]});
        let told = push.ask("POST", "/missing", &["--json", &asked.to_string()]);
        assert_eq!(told.json()["missing"], asked["objects"], "{commit}");
        let ids = stage.fixture.at("ids");
        let digits = commit.as_bytes().chunks(2);
        let digits = digits.map(|two| std::str::from_utf8(two).unwrap());
        let bytes = digits.map(|two| u8::from_str_radix(two, 16).unwrap());
        std::fs::write(&ids, [4].into_iter().chain(bytes).collect::<Vec<u8>>()).unwrap();
        let data = format!("@{}", path(&ids));
        let kind = "Content-Type: application/octet-stream";
        let told = push.ask("POST", "/missing", &["-H", kind, "--data-binary", &data]);
        assert_eq!((told.status, &told.body[..]), (200, &[1][..]), "{commit}");
        // What is not that commit does not bring it.
        let odd = ["commit", "commitmeta"].map(|kind| {
            let odd = ["--data-binary", "odd"];
            let odd = push.ask("PUT", &format!("/objects/{commit}.{kind}"), &odd);
            assert_eq!(odd.status, 422, "{odd:?}");
            odd.text()
        });
        let answer = push.finish();
        assert_eq!(answer.status, 409, "{answer:?}");
        assert_eq!(push.ask("DELETE", "", &[]).status, 204);
        [&odd[0], &odd[1], &answer.text()].map(|text| text.replace(commit, "COMMIT"))
    };
    assert_eq!(refused(second), refused(&none));

    // Nor by a commit that follows it: those who may not see it are not led there.
    let source = stage.fixture.repo("source");
    let tree = stage.fixture.at("tree-3");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "3").unwrap();
    let parent = format!("--parent={second}");
    let bound = "--bind-ref=app/copy";
    let args = ["--canonical-permissions", &parent, bound];
    let child = source.commit("app/child", &tree, &args);
    let push = Push::open(
        server.url(),
        Some(&stage.token),
        &wish(&source, "app/child", None),
    );
    assert_eq!(push.unwrap().go(&source).status, 200);
    let copy = stage.open(&server, "app/copy", &child).unwrap();
    assert_eq!(copy.finish().status, 200);
    let seen = |server: &Served| [&child, second, first].map(|commit| stage.read(server, commit));
    assert_eq!(seen(&server), [200, 404, 404]);
    drop(server);
    let server = stage.serve(&["--private"]);
    assert_eq!(seen(&server), [200, 404, 404]);

    // Who has it can push it as any other.
    let from = format!("--repo={}", source.path().display());
    oxtree().ok(["pull-local", &from, path(stage.store.path()), "secret/x"]);
    let push = stage.open(&server, "app/own", second).unwrap();
    assert_eq!(push.go(&source).status, 200);
    assert_eq!(seen(&server), [200, 200, 404]);
    stage.store.fsck();
}

#[test]
fn the_other_doors_know_no_more() {
    let stage = Stage::new("--allow push");
    let server = stage.serve(&["--private"]);
    let second = &stage.secret[1];
    let bearer = format!("Authorization: Bearer {}", stage.token);
    let queue = format!("{}api/v1/queue", server.url());
    let name = format!("{second}.commit");
    let wish = json!({"refs": {"app/steal": {"server": "", "client": second}}, "objects": [name]});
    let opened = curl(&["-H", &bearer, "--json", &wish.to_string(), &queue]).json();
    let entry = format!("{queue}/{}", opened["id"].as_str().unwrap());
    let missing = curl(&["-H", &bearer, &entry]).json();
    assert_eq!(missing["objects"], json!([name]));
    let kind = "Content-Type: multipart/form-data; boundary=b";
    let body = [
        "-X",
        "PUT",
        "-H",
        &bearer,
        "-H",
        kind,
        "-d",
        "--b--\r\n",
        &entry,
    ];
    let sent = curl(&body);
    assert_eq!(sent.status, 409, "{sent:?}");

    // Whoever may only set refs to what is there is not told either.
    let promoter = create(&stage.fixture, "promoter", "--allow promote --ref app/*");
    let steal = json!({"updates": [{"ref": "app/steal", "old": null, "new": second}]});
    let refused = Push::open(server.url(), Some(&promoter), &steal).err();
    assert_eq!(refused.map(|answer| answer.status), Some(403));

    // Where all may be read without a token, nothing is hidden.
    drop(server);
    let server = stage.serve(&[]);
    let push = Push::open(server.url(), Some(&promoter), &steal).unwrap();
    assert_eq!(push.finish().status, 200);
    assert_eq!(stage.store.rev_parse("app/steal"), *second);
}

/// Pushes with our own client, through a stand-in for ssh, as an identity for `app/*`.
fn push_over_ssh(stage: &Stage, source: &Repo, name: &str) {
    let conf = stage.fixture.at("receive.conf");
    std::fs::write(&conf, "identities: {ci: {refs: [app/*]}}\n").unwrap();
    let script = format!(
        "#!/bin/sh\nOSTREE_RECEIVE_CONF={} exec {OXTREE} receive --identity ci {}\n",
        path(&conf),
        path(stage.store.path())
    );
    let ssh = stage.fixture.at("ssh");
    std::fs::write(&ssh, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&ssh, mode).unwrap();
    let from = format!("--repo={}", path(source.path()));
    oxtree().ok([
        "push",
        &from,
        "--ssh-command",
        path(&ssh),
        "host:store",
        name,
    ]);
}

impl Stage {
    /// A commit of a tree that nobody has, after the second hidden one, which its author does not have.
    fn child(&self, source: &Repo, name: &str) -> String {
        let tree = self
            .fixture
            .at(&format!("tree-of-{}", name.replace('/', "-")));
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("file"), name).unwrap();
        let parent = format!("--parent={}", self.secret[1]);
        source.commit(name, &tree, &["--canonical-permissions", &parent])
    }

    /// Which of these commits a token may read.
    fn reads<const N: usize>(&self, server: &Served, token: &str, all: [&String; N]) -> [u16; N] {
        let bearer = format!("Authorization: Bearer {token}");
        all.map(|commit| {
            let url = format!("{}{}", server.url(), loose(&format!("{commit}.commit")));
            curl(&["-H", &bearer, &url]).status
        })
    }
}

/// The history of a commit ends with it if its pusher does not see its parent, whichever client
/// sets whichever ref to it later.
#[test]
fn where_a_history_ends_is_known_of_the_commit() {
    let stage = Stage::new("--allow push --allow read");
    let admin = create(&stage.fixture, "boss", "--allow admin");
    let secret = create(&stage.fixture, "secret", "--allow read --ref secret/*");
    let all = create(
        &stage.fixture,
        "rest",
        "--allow read --ref app/* --ref os/*",
    );
    let source = stage.fixture.repo("source");
    let server = stage.serve(&["--private"]);
    let by_token = stage.child(&source, "app/token");
    let wish = wish(&source, "app/token", None);
    let push = Push::open(server.url(), Some(&stage.token), &wish).unwrap();
    assert_eq!(push.go(&source).status, 200);
    let by_identity = stage.child(&source, "app/ssh");
    push_over_ssh(&stage, &source, "app/ssh");

    let [first, second] = &stage.secret;
    for (number, commit) in [&by_token, &by_identity].into_iter().enumerate() {
        let reads = |server: &Served, token| stage.reads(server, token, [commit, second, first]);
        assert_eq!(reads(&server, &stage.token), [200, 404, 404]);

        // By promotion, by a copy of the ref in the repository itself, by a commit on top of it.
        let (promoted, on_top) = (format!("os/promoted-{number}"), format!("os/top-{number}"));
        let promote = json!({"updates": [{"ref": promoted, "old": null, "new": commit}]});
        let push = Push::open(server.url(), Some(&admin), &promote).unwrap();
        assert_eq!(push.finish().status, 200);
        let create = format!("--create=os/copied-{number}");
        stage.store.ok("refs", [create.as_str(), commit]);
        let parent = format!("--parent={commit}");
        let tree = stage.fixture.at("tree-1");
        let top = stage.store.commit(&on_top, tree, &[parent.as_str()]);
        assert_eq!(reads(&server, &all), [200, 404, 404]);
        assert_eq!(stage.reads(&server, &all, [&top]), [200]);
        // Those who see it by its own ref still do.
        assert_eq!(reads(&server, &secret), [404, 200, 200]);
        assert_eq!(reads(&server, &admin), [200, 200, 200]);
    }
    drop(server);
    // Not by a restart, nor by a prune.
    stage.store.ok("prune", ["--refs-only"]);
    let server = stage.serve(&["--private"]);
    for commit in [&by_token, &by_identity] {
        let reads = stage.reads(&server, &all, [commit, second, first]);
        assert_eq!(reads, [200, 404, 404]);
    }
}

/// A pusher of a hidden commit without its history does not hide that history from clients that see more.
#[test]
fn refs_that_lead_on_already_still_do() {
    let stage = Stage::new("--allow push --allow read");
    let secret = create(&stage.fixture, "secret", "--allow read --ref secret/*");
    let source = stage.fixture.repo("source");
    let from = format!("--repo={}", path(source.path()));
    oxtree().ok(["pull-local", &from, path(stage.store.path()), "secret/x"]);
    let [first, second] = &stage.secret;
    let server = stage.serve(&["--private"]);
    let push = stage.open(&server, "app/own", second).unwrap();
    assert_eq!(push.go(&source).status, 200);
    assert_eq!(
        stage.reads(&server, &stage.token, [second, first]),
        [200, 404]
    );
    assert_eq!(stage.reads(&server, &secret, [second, first]), [200, 200]);
    // Also when that ref has gone on.
    let third = stage.fixture.commit(&stage.store, "secret/x", 3);
    let all = [&third, second, first];
    assert_eq!(stage.reads(&server, &secret, all), [200, 200, 200]);
    assert_eq!(stage.reads(&server, &stage.token, all), [404, 200, 404]);
}

/// What changes refs, in whatever way, counts at once, or very soon if no program of OSTree has done it.
#[test]
fn what_is_visible_follows_the_refs() {
    let stage = Stage::new("--allow read");
    let server = stage.serve(&["--private"]);
    let [first, second] = &stage.secret;
    let reads = || stage.reads(&server, &stage.token, [second, first]);
    assert_eq!(reads(), [404, 404]);
    stage.store.ok("refs", ["--create=app/x", second.as_str()]);
    assert_eq!(reads(), [200, 200]);
    stage.store.ok("refs", ["--delete", "app/x"]);
    assert_eq!(reads(), [404, 404]);
    stage.store.ok("refs", ["--create=app/x", first.as_str()]);
    assert_eq!(reads(), [404, 200]);
    let file = stage.store.path().join("refs/heads/app/x");
    std::fs::write(&file, format!("{second}\n")).unwrap();
    until("a ref that is written in place counts", || {
        reads() == [200, 200]
    });
    std::fs::remove_file(&file).unwrap();
    until("a ref that is gone does not count", || {
        reads() == [404, 404]
    });
    // What is not visible is not told from what is not there.
    let none = "0".repeat(64);
    for kind in ["commit", "commitmeta", "tombstone-commit"] {
        let answer = |commit: &String| {
            let bearer = format!("Authorization: Bearer {}", stage.token);
            let url = format!("{}{}", server.url(), loose(&format!("{commit}.{kind}")));
            let answer = curl(&["-H", &bearer, &url]);
            (answer.status, answer.text())
        };
        assert_eq!(answer(second), answer(&none), "{kind}");
    }
}
