// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done after a push.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value;

use crate::fixture::{Fixture, Push, Served, curl, openssl, oxtree, path, until, wish};

#[test]
fn those_who_want_to_be_told_are_told_until_they_have_it() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    let commit = fixture.commit(&source, "os/main", 1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = format!("http://{}/hook", listener.local_addr().unwrap());
    let (told, heard) = channel();
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                reader.read_line(&mut head).unwrap();
            }
            let head = head.to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length = length.lines().next().unwrap().trim().parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            // The first time it is not in the mood.
            let status = if at == 0 { "500 No" } else { "204 Yes" };
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .unwrap();
            told.send((head, body)).unwrap();
        }
    });
    std::fs::write(fixture.at("secret"), "sesame\n").unwrap();
    let conf = format!(
        "listen: 127.0.0.1:0\nrepos:\n  /:\n    path: {}\n    webhooks:\n\
        \x20   - {{url: '{hook}', secret_file: {}, refs: [os/*]}}\n",
        store.path().display(),
        fixture.at("secret").display()
    );
    std::fs::write(fixture.at("conf"), conf).unwrap();
    let conf = fixture.at("conf");
    let words = ["serve", "--config", path(&conf)];
    let start = || Served::run(&mut oxtree().command(words), 1);
    let server = start();
    let push = Push::open(server.url(), None, &wish(&source, "os/main", None)).unwrap();
    assert_eq!(push.go(&source).status, 200);
    let (_, first) = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    let jobs = format!("{}api/v1/jobs", server.url());
    until("the failure is not to be seen", || {
        curl(&[&jobs]).text().contains("\"state\":\"failed\"")
    });
    // It is not forgotten with the server.
    drop(server);
    let server = start();
    let (head, second) = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(first, second);
    let body: Value = serde_json::from_slice(&second).unwrap();
    assert_eq!(
        (&body["refs"][0]["ref"], &body["refs"][0]["new"]),
        (&"os/main".into(), &commit.into())
    );
    std::fs::write(fixture.at("body"), &second).unwrap();
    let expected = openssl("dgst -sha256 -hmac sesame -r", &[path(&fixture.at("body"))]);
    let expected = String::from_utf8(expected).unwrap();
    let expected = format!("x-oxtree-signature: sha256={}", &expected[..64]);
    assert!(head.contains(&expected), "{head}\n{expected}");
    until("the job does not end", || {
        curl(&[&format!("{}api/v1/jobs", server.url())]).json()["jobs"] == Value::Array(Vec::new())
    });
}

#[test]
fn what_is_too_old_goes_and_the_summary_is_kept() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    let first = fixture.commit(&source, "os/main", 1);
    let second = fixture.commit(&source, "os/main", 2);
    let conf = format!(
        "listen: 127.0.0.1:0\nrepos:\n  /:\n    path: {}\n    retention: {{os/*: {{keep_last: 1}}}}\n\
        \x20   retention_grace: 0\n",
        store.path().display()
    );
    std::fs::write(fixture.at("conf"), conf).unwrap();
    let conf = fixture.at("conf");
    let words = ["serve", "--config", path(&conf)];
    let server = Served::run(&mut oxtree().command(words), 1);
    let push = Push::open(server.url(), None, &wish(&source, "os/main", None)).unwrap();
    assert_eq!(push.go(&source).status, 200);
    let summary = store.ok("summary", ["-v"]);
    assert!(summary.contains(&second), "{summary}");
    let old = store.object(&first, "commit");
    until("the old commit stays", || !old.exists());
    store.fsck();
    assert!(store.object(&second, "commit").exists());
}

/// A summary that cannot be made is a warning, and made later.
#[test]
fn what_fails_is_done_again() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "os/main", 1);
    let hook = fixture.at("hook");
    let script = format!(
        "#!/bin/sh\ntest -e {} || {{ echo not yet >&2; exit 1; }}\necho $OSTREE_RECEIVE_REFS >{}\n",
        fixture.at("now").display(),
        fixture.at("done").display()
    );
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let conf = format!(
        "listen: 127.0.0.1:0\nrepos:\n  /:\n    path: {}\n    receive: {{update_hook: {}}}\n",
        store.path().display(),
        hook.display()
    );
    std::fs::write(fixture.at("conf"), conf).unwrap();
    let conf = fixture.at("conf");
    let words = ["serve", "--config", path(&conf)];
    let server = Served::run(&mut oxtree().command(words), 1);
    let push = Push::open(server.url(), None, &wish(&source, "os/main", None)).unwrap();
    let outcome = push.go(&source);
    assert_eq!(outcome.status, 200);
    let warnings = outcome.json()["warnings"].to_string();
    assert!(
        warnings.contains("not yet") && warnings.contains("api/v1/jobs"),
        "{warnings}"
    );
    std::fs::write(fixture.at("now"), "").unwrap();
    until("the hook is not run again", || fixture.at("done").exists());
    until("its words are not there", || {
        fixture.text("done") == "os/main\n"
    });
}
