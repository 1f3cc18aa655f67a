// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hooks are told who pushes, whichever way a push comes, and never what the environment of the server or
//! of sshd says.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use oxtree_testkit::{Repo, Tool};

use crate::access::create;
use crate::fixture::{Fixture, OXTREE, Push, Served, oxtree, path, until, wish};

struct Stage {
    fixture: Fixture,
    source: Repo,
    store: Repo,
    hook: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let fixture = Fixture::new();
        let (source, store) = (fixture.repo("source"), fixture.repo("store"));
        for (seed, name) in ["a", "b", "c", "d"].iter().enumerate() {
            fixture.commit(&source, name, seed as u64);
        }
        let stage = Self {
            hook: fixture.at("hook"),
            fixture,
            source,
            store,
        };
        // The hook that asks has the refs on its standard input, the other one in a variable.
        let told = stage.fixture.at("told");
        stage.script(
            "hook",
            &format!(
                "echo $1 ${{OSTREE_RECEIVE_IDENTITY-nobody}} ${{OSTREE_RECEIVE_REFS-none}} >>{}",
                told.display()
            ),
        );
        stage
    }

    fn script(&self, name: &str, script: &str) -> PathBuf {
        let file = self.fixture.at(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    /// Our tool in an environment that names another pusher and other refs.
    fn tool(&self) -> Tool {
        oxtree()
            .env("OSTREE_RECEIVE_IDENTITY", "boss")
            .env("OSTREE_RECEIVE_REFS", "os/stable")
    }

    /// Both hooks, as the keys of a configuration.
    fn hooks(&self, indent: &str) -> String {
        let hook = self.hook.display();
        format!("{indent}receive_hook: {hook} before\n{indent}update_hook: {hook} after\n")
    }

    /// What the hooks were told of one push.
    fn told(&self) -> String {
        let told = self.fixture.at("told");
        until("both hooks run", || {
            std::fs::read_to_string(&told).is_ok_and(|text| text.lines().count() == 2)
        });
        let text = self.fixture.text("told");
        std::fs::remove_file(told).unwrap();
        text
    }
}

#[test]
fn over_http_hooks_are_told_the_name_of_the_token() {
    let stage = Stage::new();
    let token = create(&stage.fixture, "ci", "--allow push");
    let conf = format!(
        "listen: 127.0.0.1:0\ntokens: {}\nallow_anonymous_push: yes\nrepos:\n  /:\n    path: {}\n    receive:\n{}",
        stage.fixture.at("tokens.json").display(),
        stage.store.path().display(),
        stage.hooks("      ")
    );
    std::fs::write(stage.fixture.at("conf"), conf).unwrap();
    let conf = stage.fixture.at("conf");
    let words = ["serve", "--config", path(&conf)];
    let server = Served::run(&mut stage.tool().command(words), 1);
    for (token, name, pusher) in [(Some(&token), "a", "ci"), (None, "b", "nobody")] {
        let wish = wish(&stage.source, name, None);
        let push = Push::open(server.url(), token.map(String::as_str), &wish).unwrap();
        assert_eq!(push.go(&stage.source).status, 200);
        let expected = format!("before {pusher} none\nafter {pusher} {name}\n");
        assert_eq!(stage.told(), expected);
    }
}

#[test]
fn over_ssh_hooks_are_told_the_identity() {
    let stage = Stage::new();
    let conf = stage.fixture.at("conf");
    let push = |name: &str, receive: &str| {
        let ssh = format!(
            "OSTREE_RECEIVE_CONF={} exec {OXTREE} receive {receive} {}",
            path(&conf),
            path(stage.store.path())
        );
        let ssh = stage.script("ssh", &ssh);
        let from = format!("--repo={}", path(stage.source.path()));
        let words = [
            "push",
            &from,
            "--ssh-command",
            path(&ssh),
            "host:store",
            name,
        ];
        stage.tool().ok(words);
        stage.told()
    };
    std::fs::write(&conf, stage.hooks("")).unwrap();
    assert_eq!(push("c", ""), "before nobody none\nafter nobody c\n");
    let text = stage.hooks("") + "identities: {ci: {}}\n";
    std::fs::write(&conf, text).unwrap();
    assert_eq!(push("d", "--identity ci"), "before ci none\nafter ci d\n");
}
