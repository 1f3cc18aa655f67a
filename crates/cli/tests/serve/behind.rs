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

/// Where all on this machine may push without a token, those who come through a proxy may not.
#[test]
fn a_proxy_opens_no_door_to_the_world() {
    let fixture = Fixture::new();
    let store = fixture.repo("store");
    let server = Served::open(&store);
    let url = format!("{}api/v1/pushes", server.url());
    for header in [
        "Via: 1.1 front",
        "X-Forwarded-For: 192.0.2.7",
        "Forwarded: for=192.0.2.7",
    ] {
        let status = curl(&["-H", header, "-d", r#"{"updates":[]}"#, &url]).status;
        assert_eq!(status, 401, "{header}");
    }
    assert_eq!(curl(&["-d", r#"{"updates":[]}"#, &url]).status, 201);
    drop(server);
    let conf = fixture.at("conf");
    let text = format!(
        "listen: 127.0.0.1:0\ntrusted_proxies: 127.0.0.1\nrepos: {{/: {{path: {}}}}}\n",
        store.path().display()
    );
    std::fs::write(&conf, text).unwrap();
    let server = Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1);
    let url = format!("{}api/v1/pushes", server.url());
    assert_eq!(curl(&["-d", r#"{"updates":[]}"#, &url]).status, 401);
}
