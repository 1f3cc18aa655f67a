// SPDX-License-Identifier: MIT OR Apache-2.0
//! Identities of ssh may do what tokens with the same permissions may.

use std::os::unix::fs::PermissionsExt;

use crate::access::create;
use crate::fixture::{Served, oxtree, path};
use crate::signed::{Stage, refused};

/// What a pusher of `app/x` with these permissions is told: to go back by force, to delete, to go back by both.
fn moves(stage: &Stage, push: &dyn Fn(&[&str]) -> oxtree_testkit::Output) -> [bool; 3] {
    let old = stage.commit("app/x", 1, &[]);
    let new = stage.commit("app/x", 2, &[]);
    let reset = |to: &str| drop(stage.source.ok("reset", ["app/x", to]));
    let at = || stage.at("app/x");
    let _ = stage.store.run("refs", ["--delete", "app/x"]);
    assert_eq!(push(&["app/x"]).code, Some(0));
    reset(&old);
    let forced = push(&["--force", "app/x"]).code == Some(0);
    assert_eq!(at().as_ref() == Some(&old), forced);
    reset(&new);
    assert_eq!(push(&["app/x"]).code, Some(0));
    let deleted = push(&["--delete", "app/x"]).code == Some(0);
    assert_eq!(at().is_none(), deleted);
    reset(&old);
    push(&["app/x"]);
    [forced, deleted, at().as_ref() == Some(&old)]
}

#[test]
fn the_same_permissions_as_tokens() {
    for (number, (allow, expected)) in [
        ("push", [false, false, false]),
        ("push force", [true, false, false]),
        ("push delete", [false, true, true]),
        ("push force delete", [true, true, true]),
    ]
    .into_iter()
    .enumerate()
    {
        let stage = Stage::new();
        let list = allow.replace(' ', ", ");
        let ssh = stage.ssh(&format!(
            "identities: {{ci: {{refs: [app/*], allow: [{list}]}}}}"
        ));
        let found = moves(&stage, &|args| stage.push_over(&ssh, args));
        assert_eq!(found, expected, "{allow}");
        if number == 0 {
            let ssh = stage.ssh("identities: {ci: {refs: [app/*]}}");
            assert_eq!(moves(&stage, &|args| stage.push_over(&ssh, args)), expected);
        }
        let words = allow
            .replace("push", "--allow push")
            .replace(" force", " --allow force");
        let words = words.replace(" delete", " --allow delete");
        let token = create(&stage.fixture, "ci", &format!("{words} --ref app/*"));
        let server = stage.serve("");
        let found = moves(&stage, &|args| stage.push(server.url(), &token, args));
        assert_eq!(found, expected, "{allow} as a token");
    }
}

/// Where nobody may go back, nobody may delete and push again, unless that is said.
#[test]
fn allow_force_is_a_bound_for_all() {
    let stage = Stage::new();
    let token = create(
        &stage.fixture,
        "ci",
        "--allow push --allow force --allow delete",
    );
    for (conf, expected) in [
        ("allow_force: no", [false, false, false]),
        ("allow_force: no, allow_delete: yes", [false, true, true]),
        ("allow_delete: no", [true, false, false]),
    ] {
        let server = stage.serve(conf);
        let found = moves(&stage, &|args| stage.push(server.url(), &token, args));
        assert_eq!(found, expected, "{conf}");
        let lines = conf.replace(", ", "\n");
        let all = "allow: [push, force, delete]";
        let ssh = stage.ssh(&format!("{lines}\nidentities: {{ci: {{{all}}}}}"));
        let found = moves(&stage, &|args| stage.push_over(&ssh, args));
        assert_eq!(found, expected, "{conf}");
    }
}

#[test]
fn who_may_promote_brings_nothing() {
    let stage = Stage::new();
    let first = stage.commit("app/x", 1, &["--bind-ref=app/y"]);
    let ssh = stage.ssh("identities: {ci: {refs: [app/*]}}");
    stage.push_over(&ssh, &["app/x"]).expect_ok();
    let ssh = stage.ssh("identities: {ci: {allow: [promote]}}");
    stage.source.ok("refs", ["--create=app/y", &first]);
    stage.push_over(&ssh, &["app/y"]).expect_ok();
    assert_eq!(stage.at("app/y"), Some(first));
    stage.commit("app/x", 2, &[]);
    let pushed = stage.push_over(&ssh, &["app/x"]);
    refused(&pushed, &["ci may only set refs to commits that are here"]);
    let ssh = stage.ssh("identities: {ci: {allow: []}}");
    let pushed = stage.push_over(&ssh, &["app/x"]);
    refused(&pushed, &["ci may not change anything here"]);
}

/// The owner of the receiver is told that other users can read its keys.
#[test]
fn open_secret_keys_are_told_of() {
    let stage = Stage::new();
    let key = stage.key("secret");
    let (tls, tls_key) = stage.fixture.certificate("tls");
    let conf = stage.fixture.at("conf");
    let text = format!(
        "listen_tls: 127.0.0.1:0\ntls_certificate: {}\ntls_key: {}\n\
         repos: {{/: {{path: {}, receive: {{sign_keyfiles: [{key}]}}}}}}\n",
        path(&tls),
        path(&tls_key),
        path(stage.store.path()),
    );
    std::fs::write(&conf, text).unwrap();
    let ssh = stage.ssh(&format!("identities: {{ci: }}\nsign_keyfiles: [{key}]"));
    for (mode, tells) in [(0o644, true), (0o640, false)] {
        let permissions = || std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&key, permissions()).unwrap();
        std::fs::set_permissions(&tls_key, permissions()).unwrap();
        let said = stage.fixture.at("said");
        let file = std::fs::File::create(&said).unwrap();
        let mut command = oxtree().command(["serve", "--config", path(&conf)]);
        drop(Served::run(command.stderr(file), 1));
        let served = std::fs::read_to_string(&said).unwrap();
        // A pusher is not shown it, unless it asks for all that is said there.
        let received = oxtree_testkit::Tool::new(&ssh).run([""; 0]).stderr();
        let secret = format!("secret key {key}: run chmod");
        let private = format!("private key {}: run chmod", path(&tls_key));
        assert_eq!(served.contains(&secret), tells, "{served}");
        assert_eq!(served.contains(&private), tells, "{served}");
        assert_eq!(received.contains(&secret), tells, "{received}");
    }
}
