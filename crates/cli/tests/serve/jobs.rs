// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done after a push.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use oxtree_testkit::{Dice, Repo};
use serde_json::Value;

use crate::fixture::{Fixture, Push, Served, curl, openssl, oxtree, path, until, wish};

/// Somebody who wants to be told: where, and what they hear. The first answers are these.
fn listen(moods: &'static [&'static str]) -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = format!("http://{}/hook", listener.local_addr().unwrap());
    let (told, heard) = channel();
    std::thread::spawn(move || {
        let mut moods = moods.iter();
        for stream in listener.incoming() {
            // Who is killed in the middle of it comes again.
            let Some((head, body)) = stream.ok().and_then(|mut stream| {
                let mut reader = BufReader::new(stream.try_clone().ok()?);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    (reader.read_line(&mut head).ok()? > 0).then_some(())?;
                }
                let head = head.to_lowercase();
                let length = head.split("content-length: ").nth(1)?;
                let mut body = vec![0; length.lines().next()?.trim().parse().ok()?];
                reader.read_exact(&mut body).ok()?;
                let status = moods.next().unwrap_or(&"204 Yes");
                let answer = "Content-Length: 0\r\nConnection: close\r\n\r\n";
                write!(stream, "HTTP/1.1 {status}\r\n{answer}").ok()?;
                Some((head, body))
            }) else {
                continue;
            };
            if told.send((head, body)).is_err() {
                return;
            }
        }
    });
    (hook, heard)
}

/// A configuration with a webhook for `os/*`.
fn conf(fixture: &Fixture, store: &Repo, hook: &str, more: &str) -> PathBuf {
    let conf = format!(
        "listen: 127.0.0.1:0\nallow_anonymous_push: yes\nrepos:\n  /:\n    path: {}\n    webhooks:\n\
        \x20   - {{url: '{hook}', refs: [os/*]{more}}}\n",
        store.path().display(),
    );
    std::fs::write(fixture.at("conf"), conf).unwrap();
    fixture.at("conf")
}

#[test]
fn those_who_want_to_be_told_are_told_until_they_have_it() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    let commit = fixture.commit(&source, "os/main", 1);
    // The first time it is not in the mood.
    let (hook, heard) = listen(&["500 No"]);
    std::fs::write(fixture.at("secret"), "sesame\n").unwrap();
    let secret = format!(", secret_file: {}", fixture.at("secret").display());
    let conf = conf(&fixture, &store, &hook, &secret);
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
    let numbers = curl(&[&format!("{}metrics", server.url())]).text();
    for number in [
        "oxtree_jobs_failed_total{repo=\"\",kind=\"webhook\"} 1",
        "oxtree_jobs{repo=\"\",kind=\"webhook\",state=\"failed\"} 1",
        "oxtree_request_duration_seconds_count{class=\"finish\"} 1",
    ] {
        assert!(numbers.contains(number), "{number}: {numbers}");
    }
    // That is nobody's business who only looks.
    let looked = curl(&["-H", "Origin: https://page.example", &jobs]);
    assert_eq!(
        (looked.status, &looked.json()["jobs"][0]["kind"]),
        (200, &"webhook".into())
    );
    assert!(
        !looked.text().contains(&hook) && !looked.text().contains("500"),
        "{looked:?}"
    );
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

/// One that does not answer keeps none of the others waiting, and each is told with its own secret.
#[test]
fn who_does_not_answer_keeps_nobody_waiting() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    fixture.commit(&source, "os/main", 1);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (hook, heard) = listen(&[]);
    for secret in ["one", "two"] {
        std::fs::write(fixture.at(secret), secret).unwrap();
    }
    let conf = format!(
        "listen: 127.0.0.1:0\nallow_anonymous_push: yes\nrepos:\n  /:\n    path: {}\n    webhooks:\n\
        \x20   - {{url: 'http://{}/'}}\n\
        \x20   - {{url: '{hook}', secret_file: {}}}\n\
        \x20   - {{url: '{hook}', secret_file: {}, refs: [os/*]}}\n",
        store.path().display(),
        silent.local_addr().unwrap(),
        fixture.at("one").display(),
        fixture.at("two").display(),
    );
    std::fs::write(fixture.at("conf"), conf).unwrap();
    let conf = fixture.at("conf");
    let server = Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1);
    let push = Push::open(server.url(), None, &wish(&source, "os/main", None)).unwrap();
    assert_eq!(push.go(&source).status, 200);
    let mut secrets = Vec::new();
    for _ in 0..2 {
        let (head, body) = heard.recv_timeout(Duration::from_secs(15)).unwrap();
        std::fs::write(fixture.at("body"), &body).unwrap();
        for secret in ["one", "two"] {
            let words = format!("dgst -sha256 -hmac {secret} -r");
            let sum = openssl(&words, &[path(&fixture.at("body"))]);
            if head.contains(std::str::from_utf8(&sum[..64]).unwrap()) {
                secrets.push(secret);
            }
        }
    }
    secrets.sort_unstable();
    assert_eq!(secrets, ["one", "two"]);
    until("the one that hangs is not to be seen", || {
        let jobs = curl(&[&format!("{}api/v1/jobs", server.url())]).json();
        let all = jobs["jobs"].as_array().unwrap();
        all.len() == 1 && all[0]["state"] == "running"
    });
}

/// Those who push by another door, or work in the repository itself, do not have to tell the server.
#[test]
fn what_others_do_to_refs_is_noticed() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    let (hook, heard) = listen(&[]);
    let old = fixture.commit(&store, "os/other", 1);
    fixture.commit(&store, "os/other", 2);
    let conf = conf(&fixture, &store, &hook, "");
    let more = "    retention: {os/*: {keep_last: 1}}\n    retention_grace: 0\n";
    let all = std::fs::read_to_string(&conf).unwrap() + more;
    std::fs::write(&conf, all).unwrap();
    let start = || Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1);
    let jobs = |server: &Served| curl(&[&format!("{}api/v1/jobs", server.url())]).json();
    let server = start();
    let retention = jobs(&server)["jobs"][0].clone();
    assert_eq!(retention["kind"], "retention");
    assert!(retention["next"].as_u64().unwrap() > 3000, "{retention}");
    // Its time comes without a push, also while no server runs.
    assert!(server.stop());
    let note = store.path().join("state/oxtree-jobs/retention");
    let text = std::fs::read_to_string(&note).unwrap();
    assert!(text.contains("\"next\":"), "{text}");
    std::fs::write(&note, "{\"next\": 1}").unwrap();
    let server = start();
    let old = store.object(&old, "commit");
    until("the old commit stays", || !old.exists());
    until("it is not to be seen to again", || {
        jobs(&server)["jobs"][0]["next"].as_u64() > Some(3000)
    });

    // Ours, and then that of somebody else, who makes no summary.
    let ours = fixture.commit(&source, "os/main", 3);
    let push = Push::open(server.url(), None, &wish(&source, "os/main", None)).unwrap();
    assert_eq!(push.go(&source).status, 200);
    let theirs = fixture.commit(&store, "os/theirs", 4);
    for (name, new) in [("os/main", ours), ("os/theirs", theirs.clone())] {
        let (_, body) = heard.recv_timeout(Duration::from_secs(20)).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&body["user"], &body["refs"].as_array().unwrap().len()),
            (&Value::Null, &1)
        );
        let change = &body["refs"][0];
        let told = [&change["ref"], &change["new"], &change["status"]];
        assert_eq!(told, [name, new.as_str(), "created"], "{body}");
    }
    until("the summary stays old", || {
        store.run("summary", ["-v"]).stdout().contains(&theirs)
    });
    // Once is enough.
    assert!(heard.recv_timeout(Duration::from_secs(11)).is_err());
    store.fsck();
}

/// What has to be done after a push is not lost with the server, whenever that is killed.
#[test]
fn who_was_to_be_told_is_told_by_the_next_server() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    let (hook, heard) = listen(&[]);
    let conf = conf(&fixture, &store, &hook, "");
    let start = || Served::run(&mut oxtree().command(["serve", "--config", path(&conf)]), 1);
    let announced = || {
        let notes = std::fs::read_dir(store.path().join("state/oxtree-jobs"));
        let mut names = notes
            .into_iter()
            .flatten()
            .flatten()
            .map(|note| note.file_name());
        names.any(|name| name.to_string_lossy().starts_with("announced-"))
    };
    let mut dice = Dice::new();
    let (mut old, mut published) = (None, 0);
    for round in 0..12 {
        let new = fixture.commit(&source, "os/main", 1 + round);
        let server = start();
        let push = Push::open(
            server.url(),
            None,
            &wish(&source, "os/main", old.as_deref()),
        );
        let push = push.unwrap();
        for object in push.missing(&source) {
            assert_eq!(push.put(&source, &object).status, 204);
        }
        std::thread::scope(|scope| {
            let finish = scope.spawn(|| {
                let url = format!("{}/finish", push.url);
                let mut curl = std::process::Command::new("curl");
                curl.args(["-s", "-q", "-X", "POST", &url]);
                oxtree_testkit::Output::of(&mut curl).code
            });
            while !announced() && !finish.is_finished() {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_micros(dice.below(4000)));
            drop(server);
        });
        let is_there = store.refs().len() == 1 && store.rev_parse("os/main") == new;
        let server = start();
        if is_there {
            published += 1;
            let told = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap();
            // Perhaps more than once.
            until("nobody is told of a push", || {
                let heard = heard.recv_timeout(Duration::from_secs(20)).unwrap();
                told(&heard.1)["refs"][0]["new"] == new.as_str()
            });
            until("the summary stays old", || {
                let summary = store.run("summary", ["-v"]);
                summary.stdout().contains(&new)
            });
            old = Some(new);
        } else {
            // Nothing is told of what did not happen.
            let jobs = curl(&[&format!("{}api/v1/jobs", server.url())]).json();
            assert_eq!(jobs["jobs"], Value::Array(Vec::new()));
        }
        assert!(!announced(), "round {round}");
    }
    assert!(heard.try_recv().is_err() || published > 0);
    store.fsck();
}

#[test]
fn what_is_too_old_goes_and_the_summary_is_kept() {
    let fixture = Fixture::new();
    let (source, store) = (fixture.repo("source"), fixture.repo("store"));
    let first = fixture.commit(&source, "os/main", 1);
    let second = fixture.commit(&source, "os/main", 2);
    let conf = format!(
        "listen: 127.0.0.1:0\nallow_anonymous_push: yes\nrepos:\n  /:\n    path: {}\n    retention: {{os/*: {{keep_last: 1}}}}\n\
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
        "listen: 127.0.0.1:0\nallow_anonymous_push: yes\nrepos:\n  /:\n    path: {}\n    receive: {{update_hook: {}}}\n",
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
