// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushers of the messages before version 0.1.1, and what is wrong with them.

use crate::conversation::{FILE, MIB, Object};
use crate::doors::{
    NONE, done, message, messages, put, send, survives_messages, told_in_messages, wants,
};
use crate::objects::{Header, commit_of, file};
use crate::victim::{Victim, still_says};

/// What the old receiver does without a look: names that are paths, sizes that are none, and more.
#[test]
fn messages_that_are_wrong() {
    let victim = Victim::new();
    let good = file(b"x");
    let objects = commit_of(&[("file", &good)]);
    let commit = objects[3].name.to_string();
    let begun = || wants("evil", NONE, &commit);
    let hex = good.name.to_string();
    let told = |all: Vec<u8>, words: &str| told_in_messages(&victim, &[], "", &all, words);
    for name in [
        "../../../other",
        "/etc/passwd",
        "..",
        "",
        "a/b",
        &hex,
        "config",
        &format!("{hex}.filez/../../../other"),
        &format!("../{hex}.filez"),
        &format!("{hex}.tombstone-commit"),
        &format!("{}.filez", hex.to_uppercase()),
    ] {
        let all = [begun(), put(name, 4), b"evil".to_vec(), done()].concat();
        told(all, "is no object's name");
    }
    for name in [
        "../../evil",
        "..",
        "/etc/evil",
        "",
        "a//b",
        "a b",
        "-x/.",
        "origin:main",
    ] {
        told([wants(name, NONE, &commit), done()].concat(), "wrong");
    }
    for (all, words) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "byte order"),
        (b"l\x01\0\0\0".to_vec(), "version 1"),
        (b"l\0\x09\0\0".to_vec(), "unknown kind"),
        (b"l\0\x01\x05\0\xff\xff\xff\xff\xff".to_vec(), "wrong"),
        (b"l\0\0\0\0".to_vec(), "a receiver's"),
        (b"B\0\x01\0\x01\xff".to_vec(), "wrong"),
        (message(2, &[]), "it has no"),
        (put(&format!("{hex}.filez"), 1), "out of turn"),
        ([begun(), begun()].concat(), "out of turn"),
        (wants("evil", NONE, "abc"), "is no commit"),
        (
            [wants("main", NONE, &commit), done()].concat(),
            "Branch main is at",
        ),
        (
            [wants("evil", &commit, &commit), done()].concat(),
            "Invalid from commit",
        ),
        (
            [wants("main/x", NONE, &commit), done()].concat(),
            "conflict with main",
        ),
        (
            [begun(), put(&format!("{hex}.filez"), u64::MAX)].concat(),
            "limit",
        ),
        (
            [begun(), put(&format!("{hex}.filez"), 1 << 62)].concat(),
            "limit",
        ),
        (
            [
                begun(),
                put(&format!("{hex}.dirtree"), 1 << 32),
                vec![0; 1 << 20],
            ]
            .concat(),
            "limit",
        ),
        // A ref at what is not there, or is something else.
        (
            [begun(), send(&good), done()].concat(),
            "No such metadata object",
        ),
        (
            [
                wants("evil", NONE, &objects[2].name.to_string()),
                objects[..3].iter().flat_map(send).collect(),
                done(),
            ]
            .concat(),
            "No such metadata object",
        ),
    ] {
        told(all, words);
    }
    // Another content under a right name.
    let (kind, form) = (FILE, good.form);
    let evil = Object {
        kind,
        form,
        name: good.name,
        bytes: file(b"y").bytes,
    };
    let poisoned = [&[evil], &objects[1..]].concat();
    told(messages(&poisoned), "checksum expected");
    // Half of all, then nothing.
    let all = messages(&objects);
    let half = all.len() / 2;
    let idle = [("receive.idle-timeout", "1s")];
    for (config, words) in [
        (&idle[..], "receive.idle-timeout"),
        (&[("receive.timeout", "1s")], "receive.timeout"),
    ] {
        told_in_messages(&victim, config, "", &all[..half], words);
    }
    let small = [("receive.max-objects", "2")];
    told_in_messages(&victim, &small, "", &all, "receive.max-objects");
    let small = [("receive.max-bytes", "100")];
    told_in_messages(&victim, &small, "", &all, "receive.max-bytes");
    // Content without end, in one object and in many.
    let zeros = vec![0; MIB];
    let large = [("receive.max-bytes", "64M"), ("receive.idle-timeout", "1s")];
    survives_messages(&victim, &large, "", |to| {
        let start = [
            begun(),
            put(&format!("{hex}.filez"), 60 << 20),
            Header::default().bytes(Some(5)),
        ]
        .concat();
        let hollow = [0, 0, 0, 0xff, 0xff].repeat(200_000);
        let mut going = still_says(to, &start);
        for _ in 0..60 {
            going = going && still_says(to, &hollow);
        }
    });
    survives_messages(&victim, &large, "", |to| {
        let mut going = still_says(to, &begun());
        for number in 0..100_u64 {
            let name = format!("{number:064x}.commitmeta");
            going = going && still_says(to, &put(&name, MIB as u64)) && still_says(to, &zeros);
        }
        assert!(!going, "100 MB were heard");
    });
}
