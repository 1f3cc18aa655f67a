// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushers that try to use up the receiver's memory, disk or time.

use std::io::Write;

use oxtree_format::Checksum;
use serde_json::{Value, json};

use crate::conversation::{FILE, FILEZ, MIB, Object, PLAIN, Talk, control, frame};
use crate::objects::{Header, commit_of, deflated, file};
use crate::victim::{Answer, Victim, say, still_says};

/// Hears this and answers with this error.
pub(crate) fn refused(
    victim: &Victim,
    config: &[(&str, &str)],
    words: &str,
    talk: impl FnOnce(&mut dyn Write) + Send,
) -> Answer {
    let answer = victim.hears(&victim.repo(config), talk);
    let [error] = answer.errors.as_slice() else {
        panic!("not one error: {answer:?}");
    };
    assert!(error.contains(words), "no {words:?} in {error:?}");
    answer
}

/// An offer of a file under this name, and all that comes before.
fn offer_of(name: Checksum) -> Talk {
    let (kind, form, bytes) = (FILE, FILEZ, Vec::new());
    Talk::wants(&name).offer(&[Object {
        kind,
        form,
        name,
        bytes,
    }])
}

#[test]
fn ten_million_ids() {
    let victim = Victim::new();
    ids(&victim, &[("receive.max-memory", "64M")]);
    // What a receiver allows itself if nobody says otherwise.
    ids(&victim, &[]);
}

/// Offers ten million files, or as many as the receiver can hear of.
fn ids(victim: &Victim, config: &[(&str, &str)]) {
    refused(victim, config, "receive.max-ids", |to| {
        let talk = Talk::wants(&Checksum::of(b"x"));
        let mut ids = Vec::with_capacity(MIB);
        let mut going = still_says(to, &talk.0);
        let mut number = 0_u64;
        while going && number < 10_000_000 {
            ids.clear();
            for _ in 0..MIB / 33 {
                number += 1;
                ids.push(FILE);
                ids.extend_from_slice(&number.to_be_bytes());
                ids.extend_from_slice(&[7; 24]);
            }
            going = still_says(to, &frame(b'I', &ids));
        }
        if going {
            say(to, &control(&json!({"type": "offered", "count": number})));
        }
    });
}

#[test]
fn refs_without_end() {
    let victim = Victim::new();
    refused(&victim, &[], "limit", |to| {
        let mut going = still_says(to, &Talk::hello().0);
        for batch in 0..10_000 {
            let update =
                |n: u32| json!({"ref": format!("evil/{batch}/{n}"), "old": null, "new": null});
            let updates: Vec<Value> = (0..1000).map(update).collect();
            let more =
                json!({"type": "update", "updates": updates, "dry_run": false, "more": true});
            going = going && still_says(to, &control(&more));
        }
        assert!(!going, "ten million refs were heard");
    });
}

#[test]
fn a_file_that_unpacks_to_more_than_it_says() {
    let victim = Victim::new();
    let content = vec![0; 600 * MIB];
    let bomb = Header::default().filez(&content, 10);
    drop(content);
    assert!(bomb.bytes.len() < MIB);
    let talk = Talk::push(&commit_of(&[("file", &bomb)]));
    refused(&victim, &[], "content is longer than 10 bytes", |to| {
        say(to, &talk.0);
    });
}

#[test]
fn zeros_without_end_in_packed_frames() {
    let victim = Victim::new();
    let name = Checksum::of(b"another file");
    let (kind, form) = (FILE, PLAIN);
    let length = 300 * MIB as u64;
    refused(&victim, &[], "checksum expected", |to| {
        let header = Header::default().bytes(None);
        let left = length - header.len() as u64;
        let file = Object {
            kind,
            form,
            name,
            bytes: header,
        };
        let mut going = still_says(to, &offer_of(name).data(&file.record(length)).0);
        let piece = MIB - 2048;
        let zeros = frame(b'D', &[&[1], &deflated(&vec![0; piece])[..]].concat());
        for _ in 0..left / piece as u64 {
            going = going && still_says(to, &zeros);
        }
        let rest = usize::try_from(left).expect("a length") % piece;
        let end = Talk(Vec::new()).data(&vec![0; rest]).sent(1);
        if going {
            say(to, &end.0);
        }
    });
}

#[test]
fn an_object_as_long_as_a_number_can_be() {
    let victim = Victim::new();
    for length in [u64::MAX, 1 << 62] {
        for (form, words) in [(FILEZ, "limit"), (PLAIN, "limit")] {
            let mut object = file(b"x");
            object.form = form;
            let talk = offer_of(object.name).data(&object.record(length));
            refused(&victim, &[], words, |to| say(to, &talk.0));
        }
    }
}
