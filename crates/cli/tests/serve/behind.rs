// SPDX-License-Identifier: MIT OR Apache-2.0
//! Behind nginx.

use std::path::Path;

use oxtree_testkit::WebServer;
use serde_json::Value;

use crate::fixture::{Fixture, Push, Served, curl, oxtree, path, until, wish};

fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).expect("a log");
    let lines = text.lines().map(serde_json::from_str);
    lines.map(|line| line.expect("JSON")).collect()
}

#[test]
fn who_asks_is_seen_through_a_trusted_proxy() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "os/main", 1);
    let (conf, log, audit) = (fixture.at("conf"), fixture.at("log"), fixture.at("audit"));
    let tokens = fixture.at("tokens.json");
    let words = ["token", "create", "ci", "--allow", "admin", "--tokens"];
    let token = oxtree().ok([&words[..], &[path(&tokens)]].concat());
    let text = format!(
        "listen: 127.0.0.1:0\naccess_log: {}\ntokens: {}\ntrusted_proxies: [127.0.0.1, 10.0.0.0/8]\n\
         repos: {{a/b: {{path: {}, receive: {{audit_log: {}}}}}}}\n",
        log.display(),
        tokens.display(),
        store.path().display(),
        audit.display()
    );
    std::fs::write(&conf, text).unwrap();
    let server = Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1);
    // As docs/serve.md has it, below another path, with another name.
    let nginx = WebServer::with(&format!(
        "listen 127.0.0.1:PORT; location /other/ {{ proxy_pass {}a/; proxy_http_version 1.1; \
         proxy_request_buffering off; proxy_buffering off; client_max_body_size 0; \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; \
         proxy_set_header X-Forwarded-Proto https; proxy_set_header Host evil.example; \
         proxy_set_header Forwarded \"\"; }}",
        server.url()
    ));
    let front = format!("{}other/b/", nginx.url());
    let direct = format!("{}a/b/", server.url());
    let seen = |url: &str, from: &str, headers: &[&str]| {
        let url = format!("{url}config");
        let mut args = vec!["--interface", from];
        headers
            .iter()
            .for_each(|header| args.extend(["-H", header]));
        args.push(&url);
        let before = lines(&log).len();
        let status = curl(&args).status;
        // It is written when the answer is over.
        until("it is not logged", || lines(&log).len() > before);
        let last = lines(&log).pop().expect("a line");
        let remote = last["remote"].as_str().expect("an address").to_owned();
        (status, remote, last["tls"] == true)
    };
    let spoofed = [
        "X-Forwarded-For: 192.0.2.7",
        "Forwarded: for=192.0.2.7;proto=https",
    ];
    for (url, from, headers, expected) in [
        (&front, "127.0.0.2", &[][..], ("127.0.0.2", true)),
        (&front, "127.0.0.2", &spoofed, ("127.0.0.2", true)),
        (
            &front,
            "127.0.0.2",
            &["X-Forwarded-For: 10.1.1.1"],
            ("127.0.0.2", true),
        ),
        (&direct, "127.0.0.2", &spoofed, ("127.0.0.2", false)),
        // One proxy behind another.
        (
            &direct,
            "127.0.0.1",
            &["X-Forwarded-For: 192.0.2.7, 10.3.2.1"],
            ("192.0.2.7", false),
        ),
    ] {
        let (status, remote, tls) = seen(url, from, headers);
        assert_eq!(
            (status, (remote.as_str(), tls)),
            (200, expected),
            "{url} {from} {headers:?}"
        );
    }

    // One who tries out tokens is in the way of nobody else.
    let wrong = ["Authorization: Bearer oxtree_0"];
    let tried: Vec<u16> = (0..12)
        .map(|_| seen(&front, "127.0.0.3", &wrong).0)
        .collect();
    assert_eq!((tried[9], tried[11]), (401, 429));
    assert_eq!(seen(&front, "127.0.0.4", &wrong).0, 401);

    let push = Push::open(
        &front,
        Some(token.trim_end()),
        &wish(&source, "os/main", None),
    );
    let done = push.unwrap().go(&source);
    assert_eq!(done.status, 200, "{done:?}");
    let answers = [&front, &direct].map(|url| curl(&[&format!("{url}api/v1/repo")]));
    assert_eq!(answers[0].body, answers[1].body);
    for answer in &answers {
        let all = format!("{}{}", answer.headers, answer.text());
        assert!(
            !all.contains("evil.example") && !all.contains("127.0.0.1"),
            "{all}"
        );
    }
    let audit = lines(&audit).pop().expect("a line");
    assert_eq!(
        (&audit["identity"], &audit["client"]),
        (&"ci".into(), &"127.0.0.1".into())
    );
}

/// A proxy that adds no header, as nginx does by default, looks like a client on this machine. So nobody pushes
/// without a token unless the operator has said so.
#[test]
fn a_proxy_opens_no_door_to_the_world() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "main", 1);
    fixture.commit(&source, "app/x", 1);
    let repo = format!("--repo={}", source.path().display());
    let push = |server: &Served, words: &[&str]| {
        let proxy = format!(
            "listen 127.0.0.1:PORT; location / {{ proxy_pass {}; }}",
            server.url()
        );
        let nginx = WebServer::with(&proxy);
        let urls = [server.url().to_owned(), nginx.url()];
        urls.map(|url| {
            oxtree().run([&["push", &repo, "--network-retries=0", &url], words].concat())
        })
    };
    let log = fixture.at("log");
    let words = ["serve", "--listen", "127.0.0.1:0", path(store.path())];
    let mut command = oxtree().command(words);
    let server = Served::run(command.stderr(std::fs::File::create(&log).unwrap()), 1);
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.contains("--allow-anonymous-push"), "{told}");
    for refused in push(&server, &["main"]) {
        let text = refused.stderr();
        assert!(
            refused.code != Some(0) && text.contains("oxtree token create"),
            "{text}"
        );
    }
    assert!(!store.path().join("refs/heads/main").exists());
    drop(server);

    let server = Served::open(&store);
    for done in push(&server, &["main"]) {
        done.expect_ok();
    }
    drop(server);
    // The same in a file, for some refs.
    let conf = fixture.at("conf");
    let serve = |lines: &str| {
        let store = store.path().display();
        let text = format!("listen: 127.0.0.1:0\n{lines}\nrepos: {{/: {{path: {store}}}}}\n");
        std::fs::write(&conf, text).unwrap();
        oxtree().command(["serve", "--config", path(&conf)])
    };
    let server = Served::run(
        &mut serve("allow_anonymous_push: yes\nanonymous: [app/*]"),
        1,
    );
    for refused in push(&server, &["--delete", "main"]) {
        refused.expect_failure();
    }
    for done in push(&server, &["app/x"]) {
        done.expect_ok();
    }
    drop(server);
    for (lines, text) in [
        (
            "allow_anonymous_push: yes\nanonymous: none",
            "anonymous: none",
        ),
        ("anonymous: [read, push]", "allow_anonymous_push"),
        ("anonymous: push", "allow_anonymous_push"),
    ] {
        serve(lines);
        let refused = oxtree().fails(["serve", "--config", path(&conf)]);
        assert!(refused.contains(text), "{refused}");
    }
}

/// A cache that stores what it may: what depends on the token, or on the moment, is never stored.
#[test]
fn a_cache_gives_one_clients_answer_to_no_other() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    fixture.commit(&store, "open/x", 1);
    let tokens = fixture.at("tokens.json");
    let words = ["token", "create", "boss", "--allow", "admin", "--tokens"];
    let token = oxtree().ok([&words[..], &[path(&tokens)]].concat());
    let token = format!("Authorization: Bearer {}", token.trim_end());
    let conf = fixture.at("conf");
    let text = format!(
        "listen: 127.0.0.1:0\ntokens: {}\nanonymous: [open/*]\nrepos: {{r: {{path: {}}}}}\n",
        tokens.display(),
        store.path().display()
    );
    std::fs::write(&conf, text).unwrap();
    let server = Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1);
    let nginx = WebServer::with(&format!(
        "listen 127.0.0.1:PORT; location / {{ proxy_pass {}; proxy_cache all; \
         proxy_cache_methods GET HEAD; proxy_cache_valid any 1h; }}",
        server.url()
    ));
    let ask = |path: &str, headers: &[&str]| {
        let mut args = Vec::new();
        headers
            .iter()
            .for_each(|header| args.extend(["-H", header]));
        let url = format!("{}{path}", nginx.url());
        args.push(&url);
        curl(&args)
    };
    let commit = fixture.commit(&store, "secret/x", 2);
    let (folder, name) = commit.split_at(2);
    let object = format!("r/objects/{folder}/{name}.commit");
    let all = [
        "r/api/v1/repo",
        "r/api/v1/pushes",
        "r/api/v1/jobs",
        "r/api/v1/info",
        "r/api/v1/nothing",
        "r/api/v1/pushes/x",
        "api/v1/repos",
        "api/v1/tokens",
        "api/v1/openapi.json",
        "metrics",
        "readyz",
        "healthz",
        "nothing",
        "r/refs/heads/secret/x",
        "r/refs/heads/none/x",
        "r/summary",
        object.as_str(),
    ];
    for path in all {
        let mine = ask(path, &[&token]);
        let others = ask(path, &[]);
        let private = [
            "r/api/v1/repo",
            "r/api/v1/pushes",
            "r/api/v1/info",
            "api/v1/tokens",
            &object,
        ];
        if private.contains(&path) || path.contains("secret") {
            assert_ne!(
                (mine.status, &mine.body),
                (others.status, &others.body),
                "{path}"
            );
        }
        for answer in [&mine, &others] {
            let cache = answer.header("cache-control").unwrap_or_default();
            let stays = cache.starts_with("private") || cache == "no-store";
            assert!(stays, "{path}: {} {cache:?}", answer.status);
            let varies = answer.header("vary").unwrap_or_default();
            assert_eq!(varies, "authorization", "{path}: {}", answer.status);
        }
    }
    // And the other way round: a client that may read the file does not get the stored refusal.
    let hidden = "r/refs/heads/secret/y";
    fixture.commit(&store, "secret/y", 3);
    assert_eq!(ask(hidden, &[]).status, 404);
    assert_eq!(ask(hidden, &[&token]).status, 200);
    // A range that cannot be had says nothing of the file, and a method that there is not nothing of the others.
    for args in [["-H", "Range: bytes=999999-"], ["-X", "PATCH"]] {
        let url = format!("{}{object}", server.url());
        let answer = curl(&[&args[..], &["-H", &token, &url]].concat());
        assert!([405, 416].contains(&answer.status), "{answer:?}");
        assert_eq!(
            answer.header("cache-control"),
            Some("no-store"),
            "{answer:?}"
        );
    }
}
