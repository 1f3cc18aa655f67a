// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receivers that say what they should not, against the real `oxtree push`.

use std::fs;
use std::time::{Duration, Instant};

use oxtree_format::Checksum;
use oxtree_testkit::{BinDir, Repo, Snapshot, Tool};
use serde_json::{Value, json};

use crate::conversation::{MIB, control, frame};
use crate::victim::{MEMORY, Victim, scratch};

/// What a receiver says first: who it is, and its refs.
fn hello(refs: &Value, more: bool) -> Vec<u8> {
    let receiver = json!({"type": "receiver", "versions": [1], "agent": "somebody"});
    let refs = json!({"type": "refs", "refs": refs, "more": more});
    [
        b"OXTREE-RECEIVE\n".to_vec(),
        control(&receiver),
        control(&refs),
    ]
    .concat()
}

/// As long as a message can be.
fn long_text() -> String {
    "x".repeat(900_000)
}

/// A push to a receiver that says `first`, and then `again` without end, fails with these words.
fn fails(victim: &Victim, what: &str, first: &[u8], again: &[u8], words: &str) -> String {
    let source = source(victim);
    let before = Snapshot::of_repo(source.path());
    let bins = BinDir::empty();
    let say = |name: &str, bytes: &[u8]| {
        let path = scratch(victim, name);
        fs::write(&path, bytes).expect("write what it says");
        path.display().to_string()
    };
    let (first, repeat) = (say("first", first), say("again", again));
    // What the pusher says is heard, so that it does not wait for that.
    let talk = match again {
        [] => format!("cat {first}; exec sleep 600"),
        _ => format!("cat {first}; while cat {repeat}; do :; done"),
    };
    let ssh = bins.script("ssh", &format!("exec 3<&0; cat <&3 >/dev/null & {talk}"));
    let begun = Instant::now();
    let words_of_push = [
        "--quiet".to_owned(),
        format!("--ssh-command={}", ssh.display()),
        "far:/repo".to_owned(),
    ];
    let tool = Tool::new(victim.meter().program("oxtree"));
    let output = tool.repo(source.path()).run("push", words_of_push);
    let took = begun.elapsed();
    assert!(
        took < Duration::from_secs(60),
        "{what}: {took:?}, {output:?}"
    );
    assert_eq!(output.code, Some(1), "{what}: {output:?}");
    let stderr = output.stderr();
    assert!(
        stderr.contains(words) && !stderr.contains("panicked"),
        "{what}: {output:?}"
    );
    let peak = victim.meter().peaks().pop().expect("a run");
    assert!(peak < MEMORY, "{what}: the pusher has taken {peak} bytes");
    before.assert_unchanged(&Snapshot::of_repo(source.path()));
    stderr
}

fn source(victim: &Victim) -> Repo {
    let repo = Tool::ostree().repo(scratch(victim, "source"));
    assert_eq!(repo.refs(), ["main"]);
    repo
}

#[test]
fn answers_that_fit_no_question() {
    let victim = Victim::new();
    let none = json!([]);
    let after_hello = |rest: &[u8]| [hello(&none, false), rest.to_vec()].concat();
    let bitmap = |bytes: &[u8]| after_hello(&frame(b'B', bytes));
    let refs = control(&json!({"type": "refs", "refs": [], "more": false}));
    let name = |name: &str| json!([[name, Checksum::of(b"x").to_string()]]);
    let no_message = "invalid control message";
    for (what, says, words) in [
        ("a bitmap of many more", bitmap(&[255; 4000]), "bitmap"),
        ("a bitmap of a few more", bitmap(&[255; 3]), "bitmap"),
        ("ids", after_hello(&frame(b'I', &[1; 33])), "unexpected"),
        ("data", after_hello(&frame(b'D', b"\0x")), "unexpected"),
        (
            "the largest frame",
            after_hello(b"C\xff\xff\xff\xff"),
            "a frame of 4294967295",
        ),
        (
            "an unknown frame",
            after_hello(b"Z\0\0\0\0"),
            "unknown kind of frame",
        ),
        ("refs twice", after_hello(&refs), "unexpected"),
        (
            "who it is twice",
            after_hello(&hello(&none, false)[15..]),
            "unexpected",
        ),
        (
            "a ref that leads elsewhere",
            hello(&name("../../evil"), false),
            no_message,
        ),
        (
            "a ref with an escape",
            hello(&name("evil\u{1b}[2J"), false),
            no_message,
        ),
    ] {
        fails(&victim, what, &says, &[], words);
    }
}

#[test]
fn the_same_without_end() {
    let victim = Victim::new();
    let none = json!([]);
    let text = long_text();
    let notice = control(&json!({"type": "notice", "text": text}));
    let short_notice = control(&json!({"type": "notice", "text": "x"})).repeat(10_000);
    let refs: Vec<Value> = (0..9000)
        .map(|n| json!([format!("ref/{n}"), Checksum::of(b"x").to_string()]))
        .collect();
    let refs = control(&json!({"type": "refs", "refs": refs, "more": true}));
    let empty = control(&json!({"type": "refs", "refs": [], "more": true})).repeat(10_000);
    let results = control(&json!({"type": "outcome", "refs": [], "more": true})).repeat(10_000);
    let bits = frame(b'B', &[]).repeat(10_000);
    for (what, first, again, words) in [
        ("notices", hello(&none, false), &notice, "bytes in notices"),
        (
            "short notices",
            hello(&none, false),
            &short_notice,
            "is over the limit",
        ),
        (
            "notices among refs",
            hello(&none, true),
            &notice,
            "bytes in notices",
        ),
        ("refs", hello(&none, true), &refs, "a conversation in bytes"),
        ("no refs", hello(&none, true), &empty, "a number of frames"),
        (
            "results",
            hello(&none, false),
            &results,
            "a number of frames",
        ),
        ("bits", hello(&none, false), &bits, "a number of frames"),
        (
            "a greeting",
            b"OXTREE-RECEIVE".to_vec(),
            &vec![b'x'; MIB],
            "does not speak",
        ),
    ] {
        fails(&victim, what, &first, again, words);
    }
}

#[test]
fn an_error_is_told_safely() {
    let victim = Victim::new();
    let error = json!({"type": "error", "text": "\u{1b}]0;evil\u{7}\u{1b}[2Jgone\r\nfake: line"});
    let says = [hello(&json!([]), false), control(&error)].concat();
    let stderr = fails(&victim, "an error", &says, &[], "gone");
    assert!(
        !stderr.contains('\u{1b}') && !stderr.contains('\u{7}'),
        "{stderr:?}"
    );
}
