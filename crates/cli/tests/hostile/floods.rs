// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pushers that try to use up the receiver's memory, disk or time.

use oxtree_format::Checksum;
use serde_json::{Value, json};

use crate::conversation::{FILE, FILEZ, MIB, Object, PLAIN, Part, Talk};
use crate::doors::over_http;
use crate::objects::{Header, commit_of, deflated, file};
use crate::victim::{Victim, says};

/// Hears this and answers with this error.
pub(crate) fn refused(
    victim: &Victim,
    config: &[(&str, &str)],
    words: &str,
    parts: impl IntoIterator<Item = Part, IntoIter: Send>,
) {
    let answer = victim.hears(&victim.repo(config), parts);
    let [error] = answer.errors.as_slice() else {
        panic!("not one error: {answer:?}");
    };
    assert!(says(error, words), "no {words:?} in {error:?}");
}

/// The same at each door; `flood` makes what is said.
fn refused_at_each<F: Iterator<Item = Part> + Send>(
    victim: &Victim,
    config: &[(&str, &str)],
    words: &str,
    flood: impl Fn() -> F,
) {
    refused(victim, config, words, flood());
    victim.site().configure(config, "");
    let told = victim.site().hears(flood());
    assert!(told.is(words), "no {words:?} in {told:?}");
    assert_eq!(
        told.status,
        if words == "checksum expected" {
            422
        } else {
            413
        }
    );
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
    // The second is what a receiver allows itself if nobody says otherwise.
    for config in [&[("receive.max-memory", "64M")][..], &[]] {
        refused_at_each(&victim, config, "receive.max-ids|larger than", ids);
    }
}

/// Offers ten million files, or as many as the receiver can hear of.
fn ids() -> impl Iterator<Item = Part> {
    const MANY: u64 = 10_000_000;
    let numbers: Vec<u64> = (0..MANY).step_by(MIB / 33).collect();
    let pieces = numbers.into_iter().map(|first| {
        let mut ids = Vec::with_capacity(MIB);
        for number in first..first + MIB as u64 / 33 {
            ids.push(FILE);
            ids.extend_from_slice(&number.to_be_bytes());
            ids.extend_from_slice(&[7; 24]);
        }
        Part::Frame(b'I', ids)
    });
    let end = Part::Message(json!({"type": "offered", "count": MANY}));
    let talk = Talk::wants(&Checksum::of(b"x")).parts.into_iter();
    talk.chain(pieces).chain([end])
}

#[test]
fn refs_without_end() {
    let victim = Victim::new();
    refused_at_each(&victim, &[], "limit|larger than", || {
        let batches = (0..10_000).map(|batch| {
            let update =
                |n: u32| json!({"ref": format!("evil/{batch}/{n}"), "old": null, "new": null});
            let updates: Vec<Value> = (0..1000).map(update).collect();
            let more =
                json!({"type": "update", "updates": updates, "dry_run": false, "more": true});
            Part::Message(more)
        });
        let end = std::iter::from_fn(|| panic!("ten million refs were heard"));
        Talk::hello().parts.into_iter().chain(batches).chain(end)
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
    let words = "content is longer than 10 bytes";
    refused(&victim, &[], words, talk.parts.clone());
    over_http(&victim, &[], "", &talk, words);
}

/// Blocks of zeros in zstd, of 128 KiB each, as payloads have them.
pub(crate) fn zstd(blocks: usize, begin: bool, end: bool) -> Part {
    let mut payload = vec![2];
    if begin {
        // The magic number, no size, a window of 8 MiB.
        payload.extend([0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3]);
    }
    for at in 1..=blocks {
        let is_last = u8::from(end && at == blocks);
        payload.extend([2 | is_last, 0, 0x10, 0]);
    }
    Part::Frame(b'D', payload)
}

#[test]
fn zeros_without_end_in_packed_frames() {
    let victim = Victim::new();
    let name = Checksum::of(b"another file");
    let deflated = deflated(&vec![0; MIB - 2048]);
    let deflated = Part::Frame(b'D', [&[1], &deflated[..]].concat());
    // So many payloads of so many zeros.
    for (piece, many, packed_in_zstd) in [(MIB - 2048, 300, false), (7 << 17, 343, true)] {
        refused_at_each(&victim, &[], "checksum expected", || {
            let bytes = Header::default().bytes(None);
            let length = (bytes.len() + many * piece) as u64;
            let (kind, form) = (FILE, PLAIN);
            let file = Object {
                kind,
                form,
                name,
                bytes,
            };
            let talk = offer_of(name).data(&file.record(length));
            let zeros = (1..=many).map(|at| match packed_in_zstd {
                true => zstd(7, at == 1, at == many),
                false => deflated.clone(),
            });
            let end = Talk::default().sent(1);
            talk.parts.into_iter().chain(zeros).chain(end.parts)
        });
    }
}

#[test]
fn an_object_as_long_as_a_number_can_be() {
    let victim = Victim::new();
    for length in [u64::MAX, 1 << 62] {
        for form in [FILEZ, PLAIN] {
            let mut object = file(b"x");
            object.form = form;
            let talk = offer_of(object.name).data(&object.record(length));
            refused_at_each(&victim, &[], "limit", || talk.parts.clone().into_iter());
        }
    }
}

/// What comes in many requests counts as what comes in one.
#[test]
fn more_than_may_come_in_many_requests() {
    let victim = Victim::new();
    let files: Vec<Object> = (0..4_u8).map(|n| file(&[n; 100_000])).collect();
    let names = ["a", "b", "c", "d"];
    let files: Vec<(&str, &Object)> = names.into_iter().zip(&files).collect();
    let objects = commit_of(&files);
    let bytes = objects
        .iter()
        .map(|object| object.bytes.len())
        .sum::<usize>()
        - 1;
    for (key, most) in [
        ("receive.max-objects", 6),
        ("receive.max-bytes", bytes),
        ("receive.max-unpacked-size", 399_999),
    ] {
        let site = victim.site();
        site.configure(&[(key, &most.to_string())], "");
        for told in site.hears_objects(&objects) {
            assert!(told.is(key) && told.status == 413, "{key}: {told:?}");
        }
    }
    victim.site().configure(&[("receive.max-objects", "7")], "");
    assert_eq!(victim.site().says(Talk::push(&objects).parts).status, 200);
}
