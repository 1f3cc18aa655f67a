// SPDX-License-Identifier: MIT OR Apache-2.0
//! A far side that is older, newer, odd, or dies; and pushers of that kind.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use oxtree_testkit::{BinDir, Output, Snapshot, trees};
use serde_json::{Value, json};

use crate::fixture::{Fixture, OXTREE, assert_error, check_published, number, oxtree};

/// A control frame.
fn frame(message: &Value) -> Vec<u8> {
    let payload = message.to_string().into_bytes();
    let length = u32::try_from(payload.len()).expect("a short message");
    [&b"C"[..], &length.to_be_bytes(), &payload].concat()
}

/// Pushes to a far side that says `answer` and waits for the other to go.
fn answered(answer: &[u8], said: &[&str]) {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    std::fs::write(fixture.at("answer"), answer).expect("write");
    let command = format!("--command=cat {} - #", fixture.at("answer").display());
    fixture.push_refused(&source, &dest, &[&command], said);
}

fn receiver(versions: &[u32]) -> Vec<u8> {
    let receiver = json!({
        "type": "receiver", "versions": versions, "agent": "some oxtree",
        "capabilities": ["time-travel"], "mode": "archive",
    });
    let refs = json!({"type": "refs", "refs": [], "more": false});
    [b"OXTREE-RECEIVE\n".to_vec(), frame(&receiver), frame(&refs)].concat()
}

#[test]
fn a_receiver_of_another_version() {
    answered(
        &receiver(&[0]),
        &["version 0", "speaks 1", "update the oxtree on the far side"],
    );
    answered(&receiver(&[]), &["version", "update"]);
    answered(
        &receiver(&[2, 3]),
        &["version 2, 3", "speaks 1", "update this oxtree"],
    );
}

#[test]
fn a_receiver_that_breaks_the_rules() {
    for (answer, said) in [
        (&b"SSH-2.0-OpenSSH_9.2p1\r\n"[..], "SSH-2.0"),
        (b"OXTREE-RECEIVE\nD\0\0\0\x01x", "Data frame"),
        (b"OXTREE-RECEIVE\nX\0\0\0\x01x", "unknown kind of frame"),
        (
            b"OXTREE-RECEIVE\nC\xff\xff\xff\xffx",
            "a frame of 4294967295",
        ),
        (b"OXTREE-RECEIVE\nC\0\0\0\x01x", "invalid control message"),
        (&frame(&json!({"type": "refs"})), "does not speak"),
    ] {
        answered(answer, &[said]);
    }
    let dance = [
        b"OXTREE-RECEIVE\n".to_vec(),
        frame(&json!({"type": "dance"})),
    ]
    .concat();
    answered(&dance, &["dance"]);
    let gives_up = frame(&json!({"type": "error", "text": "the moon is in the wrong place"}));
    answered(
        &[receiver(&[1]), gives_up].concat(),
        &["the moon is in the wrong place"],
    );
}

#[test]
fn a_far_side_that_fails() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    for (command, said) in [
        (
            "echo the disk is on fire >&2; exit 3 #",
            &["exit status 3", "the disk is on fire"][..],
        ),
        ("exit 0 #", &["ended before the push was answered"]),
        ("kill -9 $$ #", &["killed", "lost", "push again"]),
        ("printf 'OXTREE-RECEIVE\\n'; exit 4 #", &["exit status 4"]),
    ] {
        fixture.push_refused(&source, &dest, &[&format!("--command={command}")], said);
    }
}

#[test]
fn a_far_side_that_is_killed_publishes_nothing_and_the_next_push_goes_on() {
    let fixture = Fixture::new();
    let tree = fixture.at("many");
    std::fs::create_dir(&tree).expect("mkdir");
    for number in 0..60 {
        trees::incompressible(&tree.join(number.to_string()), 50_000, number);
    }
    let source = fixture.source(&[]);
    source.commit("main", &tree, &["--canonical-permissions"]);
    let dest = fixture.repo("dest", "archive");
    let public = |name: &str| dest.path().join(name);
    let before = [
        Snapshot::of(public("objects")),
        Snapshot::of(public("refs")),
    ];
    let bins = BinDir::empty();
    let wrapper = bins.script(
        "dies",
        &format!(
            "exec 3<&0; {OXTREE} receive \"$1\" <&3 & victim=$!\n\
             while kill -0 $victim && [ $(find \"$1\"/tmp/oxtree-push-* -name '*.filez' | wc -l) -lt 20 ]; do sleep 0.02; done 2>/dev/null\n\
             kill -9 $victim; wait $victim"
        ),
    );
    let command = format!("--command={}", wrapper.display());
    let started = Instant::now();
    let output = fixture.push(&source, &dest, &[&command, "--limit-rate=1M"]);
    assert_error(&output, 1, &["pushing to", "exit status 137"]);
    assert!(started.elapsed() < Duration::from_secs(60));
    before[0].assert_unchanged(&Snapshot::of(public("objects")));
    before[1].assert_unchanged(&Snapshot::of(public("refs")));

    // After a restart of the machine, as it were: what came is still good, and is not sent again.
    let command = format!("--command=env OSTREE_BOOTID=another {OXTREE} receive");
    let report = fixture.push_ok(&source, &dest, &[&command]);
    let (missing, offered) = (
        number(&report, "objects_missing"),
        number(&report, "objects_offered"),
    );
    assert!(missing + 20 <= offered, "{report}");
    // None of the files can be packed any smaller.
    let sent = number(&report, "bytes_sent");
    assert!(sent < missing * 50_000 + 20_000, "{report}");
    check_published(&source, &dest, &["main"]);
}

/// Feeds `oxtree receive` by hand.
fn receive(fixture: &Fixture, input: &[u8]) -> Output {
    let dest = fixture.at("dest");
    let mut command = oxtree().command(["receive".as_ref(), dest.as_os_str()]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the receiver");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It may have seen enough before the end.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("the receiver's end");
    Output {
        command: "oxtree receive".to_owned(),
        code: output.status.code(),
        stdout_bytes: output.stdout,
        stderr_bytes: output.stderr,
    }
}

#[test]
fn a_pusher_that_breaks_the_rules_is_told_and_changes_nothing() {
    let fixture = Fixture::new();
    let dest = fixture.repo("dest", "archive");
    let pusher = |version: u32| {
        let message = json!({
            "type": "pusher", "version": version, "agent": "x", "capabilities": ["y"],
        });
        [b"OXTREE-PUSH\n".to_vec(), frame(&message)].concat()
    };
    let then = |rest: &[&[u8]]| [&pusher(1)[..], &rest.concat()].concat();
    let update = frame(&json!({
        "type": "update", "dry_run": false, "more": false,
        "updates": [{"ref": "main", "old": null, "new": "0".repeat(64)}],
    }));
    let offered = |count: u64| frame(&json!({"type": "offered", "count": count}));
    let sent = frame(&json!({"type": "sent", "count": 0}));
    let bad_ref = frame(&json!({
        "type": "update", "dry_run": false, "more": false,
        "updates": [{"ref": "../../x", "old": null, "new": "0".repeat(64)}],
    }));
    let an_id = [&b"I\0\0\0\x21\x04"[..], &[0; 32]].concat();
    let before = Snapshot::of_repo(dest.path());
    for (input, said) in [
        (pusher(0), "version 0"),
        (pusher(2), "version 2"),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            "no push of oxtree",
        ),
        (Vec::new(), "left"),
        (b"OXTREE-PUSH\n".to_vec(), "left"),
        (then(&[&update]), "left"),
        (then(&[&sent]), "unexpected message"),
        (then(&[&bad_ref]), "invalid control message"),
        (then(&[&update, &offered(1)]), "count of ids"),
        (then(&[&update, b"I\0\0\0\x02xx"]), "no list of ids"),
        (then(&[&update, b"D\0\0\0\x02xx"]), "Data frame"),
        // The commit is neither sent nor there.
        (then(&[&update, &offered(0)]), "No such metadata object"),
        (then(&[&update, &an_id, &offered(1)]), "left"),
        (
            then(&[&update, &an_id, &an_id, &offered(2)]),
            "offered twice",
        ),
        (then(&[&update, &an_id, &offered(1), &sent]), "is missing"),
    ] {
        let output = receive(&fixture, &input);
        assert_error(&output, 1, &[said]);
        let answer = output.stdout();
        assert!(
            answer.contains("\"type\":\"error\"") && answer.contains(said),
            "{answer}"
        );
        before.assert_unchanged(&Snapshot::of_repo(dest.path()));
    }
    // One that finds nothing to do.
    let output = receive(&fixture, &then(&[&frame(&json!({"type": "bye"}))]));
    assert_eq!((output.code, output.stderr()), (Some(0), String::new()));
    before.assert_unchanged(&Snapshot::of_repo(dest.path()));
}
