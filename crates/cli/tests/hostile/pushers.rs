// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushers that lie about objects and refs, or that do not keep to the protocol.

use oxtree_format::Checksum;
use serde_json::{Value, json};

use crate::conversation::{
    COMMIT, DIRMETA, DIRTREE, FILEZ, METADATA, MIB, Object, PLAIN, Talk, control,
};
use crate::doors::told_over_http;
use crate::floods::zstd;
use crate::objects::{Header, commit, commit_of, deflated, dirmeta, dirtree, file, with_root};
use crate::victim::{Victim, says};

/// What a pusher says, and words of the error that it gets; where these are others over HTTP, they follow after a
/// line.
type Case = (&'static str, Talk, &'static str);

/// What is answered to those who push what is wrong.
const STATUSES: [u16; 5] = [400, 404, 409, 413, 422];

/// Each of these is refused at each door, with these words, and nothing comes of it.
fn all_refused(cases: Vec<Case>) {
    let victim = Victim::new();
    let mut wrong = Vec::new();
    for (name, talk, words) in &cases {
        let told = told_over_http(&victim, &[], "", talk);
        if !told.is(words) || !STATUSES.contains(&told.status) {
            wrong.push(format!("{name}, over HTTP: no {words:?} in {told:?}"));
        }
    }
    wrong.extend(wrong_over_ssh(&victim, cases));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Those that are not refused over ssh, or with other words.
fn wrong_over_ssh(victim: &Victim, cases: Vec<Case>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, talk, words) in cases {
        let told = victim.hears(&victim.repo(&[]), talk.parts).told();
        if !says(&told, words) {
            wrong.push(format!("{name}: no {words:?} in {told:?}"));
        }
    }
    wrong
}

/// A push of one file in a commit, where the file is sent in this way.
fn with_file(sent: Object) -> Talk {
    Talk::push(&commit_of(&[("file", &sent)]))
}

/// A push of `object` under the name of another kind.
fn as_kind(object: Object, kind: u8) -> Talk {
    let claimed = Object { kind, ..object };
    let commit = commit(&claimed.name, &claimed.name);
    Talk::push(&[claimed, commit])
}

fn checksum(text: &str) -> Checksum {
    Checksum::of(text.as_bytes())
}

#[test]
fn objects_that_are_not_what_they_are_called() {
    let content = b"some content\n";
    let good = file(content);
    let plain = Header::default().plain(content);
    let other = checksum("something else");
    let renamed = |object: &Object| Object {
        name: other,
        ..object.clone()
    };
    let commit_bytes = commit(&other, &other);
    all_refused(vec![
        ("filez", with_file(renamed(&good)), "checksum expected"),
        ("plain", with_file(renamed(&plain)), "checksum expected"),
        (
            "dirmeta",
            as_kind(renamed(&dirmeta(0o40_755)), DIRMETA),
            "checksum expected",
        ),
        (
            "commit",
            Talk::push(&[renamed(&commit_bytes)]),
            "checksum expected",
        ),
        (
            "tree as meta",
            as_kind(dirtree(&[], &[]), DIRMETA),
            "dirmeta",
        ),
        (
            "meta as tree",
            as_kind(dirmeta(0o40_755), DIRTREE),
            "dirtree",
        ),
        (
            "commit as tree",
            as_kind(commit_bytes.clone(), DIRTREE),
            "dirtree",
        ),
        (
            "tree as commit",
            as_kind(dirtree(&[], &[]), COMMIT),
            "commit",
        ),
        (
            "a file in the form of metadata",
            with_file(Object {
                form: METADATA,
                ..good.clone()
            }),
            "unknown form",
        ),
        (
            "metadata in the form of a file",
            as_kind(
                Object {
                    form: PLAIN,
                    ..dirmeta(0o40_755)
                },
                DIRMETA,
            ),
            "unknown form",
        ),
        (
            "a filez in plain form",
            with_file(Object {
                form: PLAIN,
                ..good.clone()
            }),
            "file",
        ),
        (
            "a plain file as a filez",
            with_file(Object {
                form: FILEZ,
                ..plain
            }),
            "file",
        ),
        ("no kind", as_kind(good.clone(), 9), "object id"),
        ("a tombstone", as_kind(good, 5), "object id"),
    ]);
}

#[test]
fn objects_that_are_cut_off_or_too_long() {
    let content = [b'x'; 5000];
    let (good, plain) = (file(&content), Header::default().plain(&content));
    let with = |object: &Object, change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = object.clone();
        change(&mut changed.bytes);
        with_file(changed)
    };
    let shorter = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);
    let longer = |bytes: &mut Vec<u8>| bytes.push(0);
    let without_content = |bytes: &mut Vec<u8>| bytes.truncate(20);
    let empty = |bytes: &mut Vec<u8>| bytes.clear();
    let cut_in_the_stream = {
        let objects = commit_of(&[("file", &good)]);
        let talk = Talk::wants(&objects[3].name).offer(&objects);
        talk.data(&good.record(1 << 20)).sent(4)
    };
    all_refused(vec![
        (
            "short filez",
            with(&good, &shorter),
            "incomplete deflate stream",
        ),
        (
            "long filez",
            with(&good, &longer),
            "bytes after the end of the content",
        ),
        (
            "half a header",
            with(&good, &without_content),
            "header longer than the object",
        ),
        ("an empty filez", with(&good, &empty), "Corrupted object"),
        ("short plain", with(&plain, &shorter), "checksum expected"),
        ("long plain", with(&plain, &longer), "checksum expected"),
        (
            "half a plain header",
            with(&plain, &without_content),
            "header longer than the object",
        ),
        ("an empty plain", with(&plain, &empty), "Corrupted object"),
        (
            "less than its record says",
            cut_in_the_stream,
            "missing|in the middle of one",
        ),
        (
            "a long commit",
            {
                let mut objects = commit_of(&[]);
                objects[2].bytes.extend([0; 8]);
                Talk::push(&objects)
            },
            "checksum expected",
        ),
    ]);
}

#[test]
fn headers_that_lie() {
    let content = b"some content\n";
    let link = |content: &[u8]| {
        let header = Header {
            mode: 0o120_777,
            target: "elsewhere",
            ..Header::default()
        };
        (
            header.plain(content),
            header.filez(content, content.len() as u64),
        )
    };
    let mode = |mode| Header {
        mode,
        ..Header::default()
    };
    let device = Header {
        device: 259,
        ..Header::default()
    };
    let target = Header {
        target: "elsewhere",
        ..Header::default()
    };
    let unsorted = Header {
        xattrs: "[(b'user.b', b'1'), (b'user.a', b'2')]",
        ..Header::default()
    };
    all_refused(vec![
        (
            "a smaller size",
            with_file(Header::default().filez(content, 3)),
            "content is longer than 3 bytes",
        ),
        (
            "a larger size",
            with_file(Header::default().filez(content, 1 << 30)),
            "content is too short",
        ),
        (
            "the largest size",
            with_file(Header::default().filez(content, u64::MAX)),
            "limit",
        ),
        (
            "a link with content",
            with_file(link(content).0),
            "symbolic link",
        ),
        (
            "a link with deflated content",
            with_file(link(content).1),
            "a symbolic link with a size",
        ),
        (
            "a directory as a file",
            with_file(mode(0o40_755).plain(content)),
            "invalid mode",
        ),
        (
            "a device",
            with_file(mode(0o60_644).plain(content)),
            "invalid mode",
        ),
        (
            "a fifo",
            with_file(mode(0o10_644).filez(content, 13)),
            "invalid mode",
        ),
        (
            "a device number",
            with_file(device.plain(content)),
            "invalid device number 259",
        ),
        (
            "a target of a file",
            with_file(target.plain(content)),
            "a link target in a regular file",
        ),
        (
            "unsorted attributes",
            with_file(unsorted.plain(content)),
            "out of order",
        ),
        (
            "a directory that is a file",
            Talk::push(&with_root(Vec::new(), dirmeta(0o100_644))),
            "invalid mode",
        ),
    ]);
}

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
