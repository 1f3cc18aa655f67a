// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receivers that sign, or that allow a pusher some refs only: what a commit may be bound to.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use oxtree_testkit::{Output, Repo, ed25519_keys};
use serde_json::json;

use crate::access::create;
use crate::fixture::{Fixture, OXTREE, Push, Served, oxtree, path};

pub(crate) struct Stage {
    pub(crate) fixture: Fixture,
    pub(crate) store: Repo,
    pub(crate) source: Repo,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let fixture = Fixture::new();
        let (store, source) = (fixture.repo("store"), fixture.repo("source"));
        std::fs::create_dir(fixture.at("keys")).unwrap();
        ed25519_keys(&fixture.at("keys"));
        Self {
            fixture,
            store,
            source,
        }
    }

    /// Commits something to the source, which differs with `seed`.
    pub(crate) fn commit(&self, branch: &str, seed: u64, args: &[&str]) -> String {
        let tree = self.fixture.at(&format!("small-{seed}"));
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join("file"), seed.to_string()).unwrap();
        let time = format!("--timestamp=@{}", 1_767_323_040 + seed);
        let args = [&["--canonical-permissions", &time][..], args].concat();
        self.source.commit(branch, tree, &args)
    }

    pub(crate) fn key(&self, name: &str) -> String {
        path(&self.fixture.at("keys").join(name)).to_owned()
    }

    pub(crate) fn is_signed(&self, repo: &Repo, commit: &str) -> bool {
        let keys = format!("--keys-file={}", self.key("public"));
        let args = ["--verify", "--sign-type=ed25519", &keys, commit];
        repo.run("sign", args).code == Some(0)
    }

    /// Serves the store, with these keys of `receive`.
    pub(crate) fn serve(&self, receive: &str) -> Served {
        let conf = self.fixture.at("serve.yaml");
        let (tokens, store) = (self.fixture.at("tokens.json"), path(self.store.path()));
        let text = format!(
            "listen: 127.0.0.1:0\ntokens: {}\nrepos: {{/: {{path: {store}, receive: {{{receive}}}}}}}\n",
            path(&tokens)
        );
        std::fs::write(&conf, text).unwrap();
        Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1)
    }

    /// What plays ssh, and runs a receiver for the identity `ci` with this configuration.
    pub(crate) fn ssh(&self, conf: &str) -> PathBuf {
        let (file, script) = (self.fixture.at("receive.yaml"), self.fixture.at("ssh"));
        std::fs::write(&file, conf).unwrap();
        let text = format!(
            "#!/bin/sh\nOSTREE_RECEIVE_CONF={} exec {OXTREE} receive --identity ci {}\n",
            path(&file),
            path(self.store.path())
        );
        std::fs::write(&script, text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        script
    }

    pub(crate) fn push(&self, to: &str, token: &str, refs: &[&str]) -> Output {
        let from = format!("--repo={}", path(self.source.path()));
        let tool = oxtree().env("OXTREE_TOKEN", token);
        tool.run([&["push", &from, to][..], refs].concat())
    }

    pub(crate) fn push_over(&self, ssh: &std::path::Path, args: &[&str]) -> Output {
        let from = format!("--repo={}", path(self.source.path()));
        let words = ["push", "--ssh-command", path(ssh), &from, "host:x"];
        oxtree().run([&words, args].concat())
    }

    pub(crate) fn at(&self, name: &str) -> Option<String> {
        let file = self.store.path().join("refs/heads").join(name);
        std::fs::read_to_string(file)
            .ok()
            .map(|text| text.trim().to_owned())
    }
}

/// The refusal in all it says on standard error.
pub(crate) fn refused(output: &Output, words: &[&str]) {
    assert_eq!(output.code, Some(1), "{output:?}");
    for word in words {
        assert!(output.stderr().contains(word), "{word}: {output:?}");
    }
}

#[test]
fn what_is_signed_is_bound_to_refs_of_its_pusher() {
    let stage = Stage::new();
    let token = create(&stage.fixture, "ci", "--allow push --ref app/*");
    let all = create(&stage.fixture, "all", "--allow push --allow promote");
    let foreign = stage.commit("app/x", 1, &["--bind-ref=os/stable"]);
    let unbound = stage.commit("app/unbound", 2, &["--no-bindings"]);
    stage.commit("app/own", 3, &["--bind-ref=app/other"]);
    stage.commit(
        "app/collection",
        4,
        &["--add-metadata-string=ostree.collection-binding=org.x"],
    );
    stage
        .source
        .ok("refs", ["--create=app/elsewhere", "app/own"]);
    let signs = format!("sign_keyfiles: [{}]", stage.key("secret"));
    let server = stage.serve(&signs);
    let push = |token: &str, name: &str| stage.push(server.url(), token, &[name]);

    let said = push(&token, "app/x");
    refused(
        &said,
        &[
            "os/stable",
            "ci may not write",
            "--bind-ref=os/stable",
            "commits: copy",
        ],
    );
    refused(
        &push(&token, "app/unbound"),
        &["no ostree.ref-binding", "--no-bindings"],
    );
    refused(
        &push(&token, "app/collection"),
        &["is org.x", "has no collection"],
    );
    for token in [&token, &all] {
        let said = push(token, "app/elsewhere");
        refused(&said, &["app/other, app/own", "--bind-ref=app/elsewhere"]);
    }
    assert_eq!(stage.store.refs(), [""; 0]);
    push(&token, "app/own").expect_ok();
    assert!(stage.is_signed(&stage.store, &stage.at("app/own").unwrap()));
    // A pusher that may write all refs may bind to all.
    push(&all, "app/x").expect_ok();
    push(&all, "app/unbound").expect_ok();
    for commit in [&foreign, &unbound] {
        assert!(stage.is_signed(&stage.store, commit));
    }

    // What is there already gets no new name that it is not bound to, either.
    let promotes = create(&stage.fixture, "release", "--allow promote");
    let own = stage.at("app/own").unwrap();
    let promote = |name: &str, token: &str, commit: &str| {
        let wish = json!({"updates": [{"ref": name, "old": null, "new": commit}]});
        Push::open(server.url(), Some(token), &wish).map(|push| push.finish())
    };
    let answer = promote("stable", &promotes, &own).unwrap_err();
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.text().contains("--bind-ref=stable"), "{answer:?}");
    assert_eq!(promote("app/other", &promotes, &own).unwrap().status, 200);
    let answer = promote("app/z", &token, &own).unwrap_err();
    assert_eq!(answer.status, 409, "{answer:?}");
}

/// The door of an identity, and copies.
#[test]
fn copies_are_bound_by_the_receiver() {
    let stage = Stage::new();
    stage.commit("app/x", 1, &["--bind-ref=os/stable"]);
    let limited = "identities: {ci: {refs: [app/*]}}";
    // Also where nothing is signed.
    for (conf, taken) in [
        (limited.to_owned(), false),
        (
            format!("{limited}\nsign_keyfiles: [{}]", stage.key("secret")),
            false,
        ),
        (
            format!(
                "{limited}\nsign_keyfiles: [{}]\ncommits: copy",
                stage.key("secret")
            ),
            true,
        ),
    ] {
        let ssh = stage.ssh(&conf);
        let pushed = stage.push_over(&ssh, &["app/x"]);
        match taken {
            false => refused(&pushed, &["os/stable", "ci may not write"]),
            true => drop(pushed.expect_ok()),
        }
        assert_eq!(stage.at("app/x").is_some(), taken);
    }
    let copy = stage.at("app/x").unwrap();
    assert!(stage.is_signed(&stage.store, &copy));
    let key = "--print-metadata-key=ostree.ref-binding";
    assert_eq!(stage.store.ok("show", [key, &copy]).trim(), "['app/x']");
}

/// Bindings to a collection are judged as clients of it do.
#[test]
fn commits_belong_to_the_collection_of_the_repository() {
    let stage = Stage::new();
    stage
        .store
        .ok("config", ["set", "core.collection-id", "org.example.Store"]);
    let server = stage.serve(&format!("sign_keyfiles: [{}]", stage.key("secret")));
    let token = create(&stage.fixture, "ci", "--allow push");
    stage.commit(
        "other",
        1,
        &["--add-metadata-string=ostree.collection-binding=org.x"],
    );
    stage.commit("lacks", 2, &[]);
    stage.commit("unbound", 3, &["--no-bindings"]);
    let own = "--add-metadata-string=ostree.collection-binding=org.example.Store";
    stage.commit("own", 4, &[own]);
    let push = |name: &str| stage.push(server.url(), &token, &[name]);
    refused(
        &push("other"),
        &["is org.x", "collection is org.example.Store"],
    );
    // Of no collection, it is none of another.
    push("lacks").expect_ok();
    refused(
        &push("unbound"),
        &["no ostree.ref-binding", "clients of the collection"],
    );
    push("own").expect_ok();
    assert!(stage.is_signed(&stage.store, &stage.at("own").unwrap()));
}
