// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushers that want of refs what cannot be, or that do not keep to the protocol.

use serde_json::{Value, json};

use crate::conversation::{MIB, Object, Talk, control};
use crate::floods::zstd;
use crate::objects::{commit_of, deflated, file};
use crate::pushers::{all_refused, checksum, wrong_over_ssh};
use crate::victim::Victim;

#[test]
fn refs_with_names_that_lead_elsewhere() {
    let objects = commit_of(&[]);
    let commit = json!(objects[2].name.to_string());
    let long = "x".repeat(300);
    let names = [
        "../../evil",
        "..",
        "a/../../evil",
        "a/..",
        "/etc/evil",
        "/",
        "",
        ".",
        "./a",
        "a//b",
        "a/",
        ".hidden",
        "new\nline",
        "nul\0byte",
        "bell\u{7}",
        "escape\u{1b}[31m",
        "-option",
        "a b",
        "origin:main",
        "a/.b",
        &long,
    ];
    let pushes = names.iter().map(|name| {
        let talk = Talk::hello().update(&json!(name), &Value::Null, &commit);
        let talk = objects.iter().fold(talk.offer(&objects), Talk::send);
        (
            "a ref's name",
            talk.sent(3),
            "invalid control message|Invalid ref name|too long",
        )
    });
    all_refused(pushes.collect());
}

#[test]
fn updates_that_cannot_be() {
    let objects = commit_of(&[]);
    let known = checksum("nobody has this");
    let new = objects[2].name.to_string();
    let update = |name: &str, old: Value, new: Value| {
        let talk = Talk::hello().update(&json!(name), &old, &new);
        objects
            .iter()
            .fold(talk.offer(&objects), Talk::send)
            .sent(3)
    };
    let never_sent = Talk::wants(&known).offer(&objects);
    let tree = Talk::wants(&objects[1].name).offer(&objects[..2]);
    all_refused(vec![
        (
            "a commit that was never sent",
            objects.iter().fold(never_sent, Talk::send).sent(3),
            "No such metadata object",
        ),
        (
            "a ref at a tree",
            objects[..2].iter().fold(tree, Talk::send).sent(2),
            "No such metadata object",
        ),
        (
            "an old commit",
            update("main", json!(known.to_string()), json!(new)),
            "changed meanwhile",
        ),
        (
            "a ref that is there",
            update("main", Value::Null, json!(new)),
            "changed meanwhile",
        ),
        (
            "a folder that is a ref",
            update("main/x", Value::Null, json!(new)),
            "conflict with main",
        ),
        (
            "no checksum",
            update("evil", Value::Null, json!("abc")),
            "invalid control message|Invalid checksum",
        ),
        (
            "an upper-case one",
            update("evil", Value::Null, json!(new.to_uppercase())),
            "message|Invalid checksum",
        ),
        (
            "a ref twice",
            Talk::hello().say(&json!({
                "type": "update", "dry_run": false, "more": false,
                "updates": [{"ref": "a", "old": null, "new": null}, {"ref": "a", "old": null, "new": new}],
            })),
            "twice",
        ),
    ]);
}

#[test]
fn pushers_that_do_not_keep_to_the_rules() {
    let objects = commit_of(&[]);
    let offered = || Talk::wants(&objects[2].name).offer(&objects);
    let sent = |talk: Talk| objects.iter().fold(talk, Talk::send);
    let ids: Vec<u8> = objects.iter().flat_map(Object::id).collect();
    let offer_of = |count: usize| control(&json!({"type": "offered", "count": count}));
    let wants = || Talk::wants(&objects[2].name);
    let twice = [&objects[..], &objects[..1]].concat();
    all_refused(vec![
        (
            "ids before all",
            Talk::hello().frame(b'I', &ids),
            "unexpected|no such push",
        ),
        (
            "data before all",
            Talk::hello().data(b"x"),
            "unexpected|no such push",
        ),
        ("a bitmap", offered().frame(b'B', &[255]), "unexpected"),
        (
            "an unknown frame",
            offered().frame(b'Z', b"x"),
            "unknown kind of frame",
        ),
        (
            "an unknown message",
            offered().say(&json!({"type": "dance"})),
            "dance|unexpected Control frame",
        ),
        (
            "no message",
            offered().frame(b'C', b"\xff{"),
            "invalid control message|unexpected Control frame",
        ),
        (
            "a message of a receiver",
            offered().say(&json!({"type": "outcome", "refs": [], "more": false})),
            "unexpected",
        ),
        (
            "hello twice",
            Talk::hello().raw(&Talk::hello().bytes()[12..]),
            "unexpected|no such push",
        ),
        (
            "half an id",
            wants().frame(b'I', &ids[1..]),
            "no list of ids",
        ),
        (
            "ids of no kind",
            wants().frame(b'I', &[0; 33]),
            "invalid object id",
        ),
        (
            "an object too few",
            offered().send(&objects[0]).sent(3),
            "missing|No such metadata object",
        ),
        ("unknown packing", offered().frame(b'D', b"\x09x"), "packed"),
        ("nothing packed", offered().frame(b'D', b""), "data frame"),
        (
            "no deflate",
            offered().frame(b'D', b"\x01\xff\xff\xff"),
            "data frame",
        ),
        (
            "a bomb",
            offered().frame(b'D', &[&[1], &deflated(&vec![0; 64 * MIB])[..]].concat()),
            "frame",
        ),
        (
            "a bomb in zstd",
            offered().and(zstd(512, true, true)),
            "data frame",
        ),
        (
            "a window of terabytes",
            offered().frame(b'D', b"\x02\x28\xb5\x2f\xfd\0\xf8\x02\0\x10\0"),
            "data frame",
        ),
        (
            "no zstd",
            offered().frame(b'D', b"\x02\xff\xff\xff"),
            "data frame",
        ),
        (
            "the largest frame",
            offered().raw(b"D\xff\xff\xff\xff"),
            "a frame of 4294967295",
        ),
        (
            "a frame too large",
            offered().raw(&[b'D', 0, 0x10, 0, 1]),
            "a frame of 1048577",
        ),
    ]);
    // Requests have no turns to keep to, and may bring what is there already.
    let cases = vec![
        (
            "another program",
            Talk::greeting(b"GET / HTTP/1.1\r\n"),
            "no push of oxtree",
        ),
        (
            "refs twice",
            wants().say(&json!({
                "type": "update", "updates": [], "dry_run": false, "more": false,
            })),
            "unexpected",
        ),
        (
            "data before the answer",
            wants().frame(b'I', &ids).data(b"x"),
            "unexpected",
        ),
        (
            "too few ids",
            wants().frame(b'I', &ids).raw(&offer_of(4)),
            "count of ids",
        ),
        ("an id twice", wants().offer(&twice), "offered twice"),
        (
            "an object twice",
            sent(offered()).send(&objects[0]).sent(4),
            "not asked for",
        ),
        (
            "an object too many",
            sent(offered()).send(&file(b"x")).sent(4),
            "not asked for",
        ),
        ("a wrong count", sent(offered()).sent(4), "missing"),
        (
            "an old version",
            Talk::greeting(b"OXTREE-PUSH\n").say(&json!({
                "type": "pusher", "version": 0, "agent": "old", "capabilities": [],
            })),
            "version 0",
        ),
        (
            "words after the end",
            Talk::hello().say(&json!({"type": "bye"})).data(b"x"),
            "",
        ),
    ];
    let wrong = wrong_over_ssh(&Victim::new(), cases);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
