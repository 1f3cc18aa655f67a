// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushers that lie about objects.

use oxtree_format::Checksum;

use crate::conversation::{COMMIT, DIRMETA, DIRTREE, FILEZ, METADATA, Object, PLAIN, Talk};
use crate::doors::told_over_http;
use crate::objects::{Header, commit, commit_of, dirmeta, dirtree, file, with_root};
use crate::victim::{Victim, says};

/// What a pusher says, and words of the error that it gets; where these are others over HTTP, they follow after a
/// line.
pub(crate) type Case = (&'static str, Talk, &'static str);

/// What is answered to those who push what is wrong.
const STATUSES: [u16; 5] = [400, 404, 409, 413, 422];

/// Each of these is refused at each door, with these words, and nothing comes of it.
pub(crate) fn all_refused(cases: Vec<Case>) {
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
pub(crate) fn wrong_over_ssh(victim: &Victim, cases: Vec<Case>) -> Vec<String> {
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

pub(crate) fn checksum(text: &str) -> Checksum {
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
            "its content ends too early",
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
