// SPDX-License-Identifier: MIT OR Apache-2.0
//! Round trips, counted on the wire.

use oxtree_testkit::{Piece, Repo, Wiretap, trees, turns};
use serde_json::Value;

use crate::fixture::{Fixture, check_published, json, number, oxtree};

/// Bytes of a frame's head: its kind and its length.
const HEAD: usize = 5;

/// Whether this is nothing but reports of progress, which nobody waits for. They come after half
/// a second, so that only a slow machine has any.
fn is_progress(piece: &Piece) -> bool {
    let mut left = &piece.bytes[..];
    while let Some((head, rest)) = left.split_first_chunk::<HEAD>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            return false;
        };
        let message: Value = match head[0] {
            b'C' => serde_json::from_slice(payload).expect("a message"),
            _ => return false,
        };
        if message["type"] != "progress" {
            return false;
        }
        left = rest;
    }
    left.is_empty() && !piece.outgoing
}

/// Pushes, and counts how often the direction changes: what `--json` says, which has to be what
/// was heard on the wire.
fn counted(fixture: &Fixture, source: &Repo, dest: &Repo, args: &[&str]) -> (usize, Value) {
    let tap = Wiretap::new();
    let ssh = tap.command(&fixture.sshd.ssh_command());
    let url = fixture.sshd.scp_style(dest.path());
    let words = [&["--json", "--ssh-command", &ssh, &url], args].concat();
    let report = json(&oxtree().repo(source.path()).run("push", words));
    let pieces = tap.pieces();
    let heard = turns(pieces.iter().filter(|piece| !is_progress(piece)));
    assert_eq!(number(&report, "turns"), heard as u64, "{report}");
    let bytes = |outgoing: bool| -> u64 {
        let pieces = pieces.iter().filter(|piece| piece.outgoing == outgoing);
        pieces.map(|piece| piece.bytes.len() as u64).sum()
    };
    assert_eq!(number(&report, "bytes_sent"), bytes(true), "{report}");
    assert_eq!(number(&report, "bytes_received"), bytes(false), "{report}");
    (heard, report)
}

#[test]
fn four_at_most_however_many_objects_and_one_for_nothing() {
    let fixture = Fixture::new();
    for count in [1, 1000, 100_000] {
        let tree = fixture.at(&format!("tree-{count}"));
        std::fs::create_dir(&tree).expect("mkdir");
        trees::many(&tree, count, 1);
        // The disk need not be waited for: what is counted is what goes over the wire.
        let repo = |name: &str| {
            fixture
                .repo(&format!("{name}-{count}"), "archive")
                .without_fsync()
        };
        let (source, dest) = (repo("source"), repo("dest"));
        let path = tree.display().to_string();
        let words = ["--branch=main", "--canonical-permissions", &path];
        oxtree().repo(source.path()).ok("commit", words);
        let (dry, _) = counted(&fixture, &source, &dest, &["--dry-run"]);
        assert_eq!(dry, 2, "a dry run of {count}");
        let (first, report) = counted(&fixture, &source, &dest, &[]);
        assert_eq!(first, 4, "{count} objects");
        assert!(number(&report, "objects_missing") as usize > count);
        let (again, _) = counted(&fixture, &source, &dest, &[]);
        assert_eq!(again, 1, "nothing to do");
        match count {
            // A hundred thousand would only be slow.
            ..=1000 => check_published(&source, &dest, &["main"]),
            _ => assert_eq!(dest.rev_parse("main"), source.rev_parse("main")),
        }
    }
}

#[test]
fn what_needs_no_objects_needs_two() {
    let fixture = Fixture::new();
    let source = fixture.source(&["main", "old"]);
    let dest = fixture.repo("dest", "archive");
    fixture.push_ok(&source, &dest, &[]);
    let (deleted, _) = counted(&fixture, &source, &dest, &["--delete=old"]);
    assert_eq!(deleted, 2);
    fixture.commit(&dest, "main", 50);
    let (refused, report) = counted(&fixture, &source, &dest, &["main"]);
    assert_eq!((refused, &report["ok"]), (2, &false.into()));
}
