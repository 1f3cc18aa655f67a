// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushes that are cut off, give up, or stall: what is left of them, and how it is seen, used and
//! cleaned up.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oxtree_testkit::{Repo, Tool, trees};
use serde_json::{Value, json};

use crate::fixture::{
    Fixture, OXTREE, assert_error, check_public, check_published, json as report_of, number, oxtree,
};

/// A source of `count` files that cannot be packed, of 50 kB each.
fn noise(fixture: &Fixture, name: &str, count: u64) -> Repo {
    let tree = fixture.at(&format!("{name}-tree"));
    std::fs::create_dir(&tree).expect("mkdir");
    for number in 0..count {
        trees::incompressible(&tree.join(number.to_string()), 50_000, number);
    }
    let source = fixture.repo(name, "archive");
    source.commit("main", &tree, &["--canonical-permissions"]);
    source
}

fn status(fixture: &Fixture, dest: &Repo) -> Vec<Value> {
    let words = fixture.words(dest, dest.path(), &["--status", "--json"]);
    let report = report_of(&oxtree().run(words).expect_ok());
    report["unfinished"].as_array().expect("a list").clone()
}

/// A push over ssh that goes on for a while.
fn begin(fixture: &Fixture, source: &Repo, dest: &Repo) -> Child {
    let words = fixture.words(source, dest.path(), &["--limit-rate=300K"]);
    let mut command = oxtree().command(words);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("start a push")
}

/// Waits for something to be so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_was_cut_off_is_seen_continued_by_another_push_and_cleaned_up() {
    let fixture = Fixture::new();
    let source = noise(&fixture, "source", 60);
    let dest = fixture.repo("dest", "archive");
    assert!(status(&fixture, &dest).is_empty());
    let words = fixture.words(&dest, dest.path(), &["--status"]);
    let text = oxtree().run(words.clone()).expect_ok().stdout();
    assert!(text.contains("no unfinished pushes"), "{text}");

    let mut push = begin(&fixture, &source, &dest);
    until("objects come in", || {
        let found = status(&fixture, &dest);
        found.len() == 1 && number(&found[0], "objects") > 10
    });
    let found = status(&fixture, &dest);
    assert_eq!(found[0]["running"], true, "{found:?}");
    let local = oxtree().run(["push", "--status", dest.path().to_str().expect("UTF-8")]);
    assert!(local.expect_ok().stdout().contains("running, "));
    // What is running is left alone.
    let path = dest.path().to_str().expect("UTF-8").to_owned();
    let report = report_of(
        &oxtree()
            .run(["receive", "--cleanup", "--json", &path])
            .expect_ok(),
    );
    assert_eq!(
        report["deleted"].as_array().map(Vec::len),
        Some(0),
        "{report}"
    );
    assert_eq!(report["left"][0]["running"], true, "{report}");
    push.kill().expect("kill the push");
    push.wait().expect("its end");
    until("the receiver sees the end", || {
        status(&fixture, &dest)
            .iter()
            .all(|one| one["running"] == false)
    });
    let found = status(&fixture, &dest);
    let (objects, bytes) = (number(&found[0], "objects"), number(&found[0], "bytes"));
    assert!(objects > 10 && bytes > 10 * 50_000, "{found:?}");
    assert!(number(&found[0], "age") < 60, "{found:?}");
    let text = oxtree().run(words).expect_ok().stdout();
    assert!(
        text.contains("cut off, ") && text.contains(" ago"),
        "{text}"
    );
    let output = oxtree().run(["receive", "--cleanup", "--older-than=1h", &path]);
    let text = output.expect_ok().stdout();
    assert!(
        text.contains("0 interrupted") && text.contains("Left alone"),
        "{text}"
    );

    // Another commit, in another repository, with most of the same files.
    let other = noise(&fixture, "other", 50);
    assert_ne!(other.rev_parse("main"), source.rev_parse("main"));
    let report = fixture.push_ok(&other, &dest, &[]);
    let (missing, sent) = (
        number(&report, "objects_missing"),
        number(&report, "bytes_sent"),
    );
    assert!(missing + objects <= 55, "{report}");
    assert!(sent < missing * 50_000 + 20_000, "{report}");
    check_public(&other, &dest, &["main"]);
    // Of what was left, that which nobody has asked for did not become public, and is still there.
    let unreached = dest.ok("prune", ["--refs-only", "--no-prune"]);
    assert!(unreached.contains("No unreachable objects"), "{unreached}");
    let found = status(&fixture, &dest);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(number(&found[0], "objects") < objects, "{found:?}");
    fixture.push_ok(&source, &dest, &["--force"]);
    check_published(&source, &dest, &["main"]);

    let mut push = begin(&fixture, &source, &fixture.repo("second", "archive"));
    let second = fixture.at("second").to_str().expect("UTF-8").to_owned();
    let second = Tool::ostree().repo(second);
    until("objects come in", || {
        status(&fixture, &second)
            .iter()
            .any(|one| number(one, "objects") > 3)
    });
    push.kill().expect("kill the push");
    push.wait().expect("its end");
    until("the receiver sees the end", || {
        status(&fixture, &second)
            .iter()
            .all(|one| one["running"] == false)
    });
    let path = second.path().to_str().expect("UTF-8");
    let text = oxtree()
        .run(["receive", "--cleanup", path])
        .expect_ok()
        .stdout();
    assert!(text.contains("1 interrupted"), "{text}");
    assert!(status(&fixture, &second).is_empty());
}

#[test]
fn wrong_usage() {
    let fixture = Fixture::new();
    let dest = fixture.repo("dest", "archive");
    let path = dest.path().to_str().expect("UTF-8");
    for words in [
        &["push", "--status", path, "main"][..],
        &["push", "--status", "--force", path],
        &["push", "--timeout=soon", path],
        &["receive", "--older-than=1h", path],
        &["receive", "--cleanup", "--older-than=soon", path],
    ] {
        assert_error(&oxtree().run(words), 2, &["--help"]);
    }
    let none = fixture.at("none");
    let none = none.to_str().expect("UTF-8");
    assert_error(&oxtree().run(["receive", "--cleanup", none]), 1, &[none]);
    assert_error(&oxtree().run(["push", "--status", none]), 1, &[none]);
}

/// A receiver that is fed by hand.
fn receiver(dest: &Repo) -> Child {
    let mut command = Command::new(OXTREE);
    command.arg("receive").arg(dest.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().expect("start it")
}

fn text(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("read");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_pusher_that_says_nothing_is_dropped() {
    let fixture = Fixture::new();
    for (key, said) in [
        ("idle-timeout", &b""[..]),
        ("idle-timeout", b"OXTREE-PU"),
        ("timeout", b"OXTREE-PUSH\n"),
    ] {
        let dest = fixture.repo(&format!("dest-{key}-{}", said.len()), "archive");
        let key = format!("receive.{key}");
        dest.ok("config", ["set", &key, "1s"]);
        let started = Instant::now();
        let mut child = receiver(&dest);
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(said).expect("write");
        let answer = text(child.stdout.take().expect("a pipe"));
        let error = text(child.stderr.take().expect("a pipe"));
        assert_eq!(child.wait().expect("its end").code(), Some(1));
        assert!(started.elapsed() < Duration::from_secs(30));
        for text in [answer, error] {
            assert!(
                text.contains("gave up waiting") && text.contains(&key),
                "{text}"
            );
        }
    }
}

#[test]
fn a_pusher_that_stalls_in_the_middle_leaves_what_can_be_continued() {
    let fixture = Fixture::new();
    let source = noise(&fixture, "source", 60);
    let dest = fixture.repo("dest", "archive");
    dest.ok("config", ["set", "receive.idle-timeout", "1s"]);
    let mut push = begin(&fixture, &source, &dest);
    until("objects come in", || {
        status(&fixture, &dest)
            .iter()
            .any(|one| number(one, "objects") > 5)
    });
    // Its ssh is there, but nothing comes any more.
    signal(&push, "STOP");
    until("the receiver drops it", || {
        status(&fixture, &dest)
            .iter()
            .any(|one| one["running"] == false)
    });
    signal(&push, "CONT");
    assert_eq!(push.wait().expect("its end").code(), Some(1));
    let error = text(push.stderr.take().expect("a pipe"));
    assert!(error.contains("receive.idle-timeout"), "{error}");
    let had = number(&status(&fixture, &dest)[0], "objects");
    let report = fixture.push_ok(&source, &dest, &[]);
    assert!(number(&report, "objects_missing") + had <= 63, "{report}");
    check_published(&source, &dest, &["main"]);
}

fn signal(child: &Child, name: &str) {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).arg(child.id().to_string());
    assert!(kill.status().expect("run kill").success());
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    [&[kind][..], &length.to_be_bytes(), payload].concat()
}

#[test]
fn a_receiver_that_says_or_takes_nothing_is_given_up() {
    let fixture = Fixture::new();
    let source = noise(&fixture, "source", 120);
    let dest = fixture.repo("dest", "archive");
    let report = fixture.push_ok(&source, &dest, &["--dry-run"]);
    let offered = usize::try_from(number(&report, "objects_offered")).expect("a number");
    // Asks for everything, and then takes nothing.
    let receiver = json!({
        "type": "receiver", "versions": [1], "agent": "x", "mode": "archive",
    });
    let refs = json!({"type": "refs", "refs": [], "more": false});
    let answer = [
        b"OXTREE-RECEIVE\n".to_vec(),
        frame(b'C', receiver.to_string().as_bytes()),
        frame(b'C', refs.to_string().as_bytes()),
        frame(b'B', &vec![0xff; offered.div_ceil(8)]),
    ];
    let path = fixture.at("answer");
    std::fs::write(&path, answer.concat()).expect("write");
    for (command, said) in [
        ("sleep 60 #".to_owned(), "nothing has come"),
        (
            format!("cat {}; sleep 60 #", path.display()),
            "has taken nothing",
        ),
    ] {
        let started = Instant::now();
        let args = [format!("--command={command}"), "--timeout=2s".to_owned()];
        let output = fixture.push(&source, &dest, &[&args[0], &args[1]]);
        assert!(started.elapsed() < Duration::from_secs(40));
        assert_error(&output, 1, &["gave up waiting", said, "2 s", "--timeout"]);
    }
}

#[test]
fn a_pusher_that_gives_up_says_why() {
    let fixture = Fixture::new();
    let source = noise(&fixture, "source", 40);
    let dest = fixture.repo("dest", "archive");
    // One of its objects has become shorter.
    let objects = source.path().join("objects");
    let broken = find(&objects, ".filez");
    let len = std::fs::metadata(&broken).expect("stat").len();
    let file = std::fs::File::options().write(true).open(&broken);
    file.and_then(|file| file.set_len(20)).expect("cut it off");
    assert!(len > 20);
    let log = fixture.at("log");
    let command = format!(
        "--command=receive() {{ {OXTREE} receive \"$@\" 2>{}; }}; receive",
        log.display()
    );
    let output = fixture.push(&source, &dest, &[&command]);
    assert_eq!(output.code, Some(1), "{output:?}");
    until("the receiver has seen the end", || {
        std::fs::read_to_string(&log).is_ok_and(|text| !text.is_empty())
    });
    let said = std::fs::read_to_string(&log).expect("read the log");
    // Which side notices first is a matter of luck; that nobody speaks of a lost connection is not.
    assert!(!said.contains("lost"), "{said}");
    assert!(
        said.contains("has given up") || said.contains("object"),
        "{said}"
    );
}

fn find(dir: &std::path::Path, suffix: &str) -> std::path::PathBuf {
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).expect("read a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                return path;
            }
        }
    }
    panic!("nothing ends with {suffix}");
}

#[test]
fn a_commit_that_lacks_something_at_the_receiver_is_made_whole() {
    let fixture = Fixture::new();
    let source = noise(&fixture, "source", 5);
    let damage = |name: &str| {
        let dest = fixture.repo(name, "archive");
        fixture.push_ok(&source, &dest, &[]);
        let broken = find(&dest.path().join("objects"), ".filez");
        std::fs::write(&broken, "x").expect("damage it");
        let output = Tool::ostree().repo(dest.path()).run("fsck", ["--delete"]);
        assert_ne!(output.code, Some(0), "{output:?}");
        assert!(!broken.exists());
        dest
    };
    let same = damage("same");
    let report = fixture.push_ok(&source, &same, &[]);
    assert_eq!(number(&report, "objects_missing"), 1, "{report}");
    check_published(&source, &same, &["main"]);
    // A ref more at the same commit, and a commit after it.
    let more = damage("more");
    source.ok("refs", ["--create=other", "main"]);
    fixture.push_ok(&source, &more, &["other"]);
    let more = Tool::ostree().repo(more.path());
    assert_eq!(more.rev_parse("other"), source.rev_parse("main"));
    more.fsck();
    let next = damage("next");
    let tree = fixture.at("source-tree");
    std::fs::write(tree.join("new"), "new").expect("write");
    source.commit("main", &tree, &["--canonical-permissions"]);
    fixture.push_ok(&source, &next, &["main"]);
    let next = Tool::ostree().repo(next.path());
    assert_eq!(next.rev_parse("main"), source.rev_parse("main"));
    next.checkout("main", fixture.at("copy"), &[]);
}
