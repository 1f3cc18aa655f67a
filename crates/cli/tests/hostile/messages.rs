// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushers of the messages before version 0.1.1, and what is wrong with them.

use crate::asked::Answer;
use crate::conversation::{FILE, MIB, Object};
use crate::doors::{
    NONE, done, message, messages, put, send, survives_messages, told_in_messages, wants,
};
use crate::objects::{Header, commit_of, file};
use crate::victim::{Victim, still_says};

/// What is called otherwise than an object of an archive, of which this is the checksum of one.
fn names_of_no_object(hex: &str) -> Vec<String> {
    let names = [
        "../../../other",
        "/etc/passwd",
        "..",
        "",
        "a/b",
        hex,
        "config",
    ];
    let made = [
        format!("{hex}.filez/../../../other"),
        format!("../{hex}.filez"),
        format!("{hex}.tombstone-commit"),
        format!("{}.filez", hex.to_uppercase()),
    ];
    names
        .map(ToOwned::to_owned)
        .into_iter()
        .chain(made)
        .collect()
}

const NAMES_OF_NO_REF: [&str; 8] = [
    "../../evil",
    "..",
    "/etc/evil",
    "",
    "a//b",
    "a b",
    "-x/.",
    "origin:main",
];

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
    for name in names_of_no_object(&hex) {
        let all = [begun(), put(&name, 4), b"evil".to_vec(), done()].concat();
        told(all, "is no object's name");
    }
    for name in NAMES_OF_NO_REF {
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

/// The same in the requests of ostree-upload's client.
#[test]
fn uploads_that_are_wrong() {
    let victim = Victim::new();
    let site = victim.site();
    let good = file(b"x");
    let objects = commit_of(&[("file", &good)]);
    let commit = objects[3].name.to_string();
    let main = site.repo.rev_parse("main");
    let refused = |words: &str, status: u16, upload: &dyn Fn() -> Answer| {
        let told = site.survives(upload);
        assert!(told.is(words) && told.status == status, "{words}: {told:?}");
    };
    let hex = good.name.to_string();
    for name in names_of_no_object(&hex) {
        let files = [(name, &b"evil"[..])];
        refused("no name of an object", 422, &|| {
            site.upload_files("evil", None, &commit, &files)
        });
    }
    for name in NAMES_OF_NO_REF {
        refused("makes no sense|Invalid ref name", 400, &|| {
            site.upload(name, None, &commit, &objects)
        });
    }
    for (name, old, new, words, status) in [
        ("main", None, &commit[..], "main", 409),
        ("main", Some(&commit[..]), &commit, "main", 409),
        ("main/x", None, &commit, "conflict with main", 409),
        ("evil", None, "abc", "makes no sense|Invalid checksum", 400),
        (
            "evil",
            Some("../x"),
            &commit,
            "makes no sense|Invalid checksum",
            400,
        ),
        // A commit of another history.
        ("main", Some(&main), &commit, "main", 409),
        // At what is not there, or is something else.
        ("evil", None, &hex, "No such metadata object", 409),
        (
            "evil",
            None,
            &objects[2].name.to_string(),
            "No such metadata object",
            409,
        ),
    ] {
        refused(words, status, &|| site.upload(name, old, new, &objects));
    }
    // Another content under a right name.
    let (kind, form, name) = (FILE, good.form, good.name);
    let bytes = file(b"y").bytes;
    let poisoned = [
        &[Object {
            kind,
            form,
            name,
            bytes,
        }],
        &objects[1..],
    ]
    .concat();
    refused("checksum expected", 422, &|| {
        site.upload("evil", None, &commit, &poisoned)
    });
    for (config, words) in [
        ([("receive.max-objects", "2")], "receive.max-objects"),
        ([("receive.max-bytes", "100")], "receive.max-bytes"),
    ] {
        site.configure(&config, "");
        refused(words, 413, &|| site.upload("evil", None, &commit, &objects));
    }
    // Content without end.
    site.configure(&[("receive.max-bytes", "8M")], "");
    let hollow = [0, 0, 0, 0xff, 0xff].repeat(4_000_000);
    let endless = [Header::default().bytes(Some(5)), hollow].concat();
    let files = [(format!("{hex}.filez"), &endless[..])];
    let told = site.survives(|| site.upload_files("evil", None, &commit, &files));
    assert!(matches!(told.status, 413 | 422), "{told:?}");
    let metadata = vec![0; 64 * MIB];
    let files = [(format!("{hex}.dirtree"), &metadata[..])];
    let told = site.survives(|| site.upload_files("evil", None, &commit, &files));
    assert!(matches!(told.status, 413 | 422), "{told:?}");
    // What is right goes through: nothing is refused for another reason.
    site.configure(&[], "");
    let taken = site.upload("evil", None, &commit, &objects);
    assert_eq!(
        (taken.status, site.repo.rev_parse("evil")),
        (200, commit),
        "{taken:?}"
    );
}
