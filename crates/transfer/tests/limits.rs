// SPDX-License-Identifier: MIT OR Apache-2.0
//! A receiver keeps the limits of its config, whatever a pusher thinks of them: nothing is
//! published, and nothing of the push stays.

use std::path::Path;

use oxtree_format::{Checksum, CommitId, FileHeader, FileId, ObjectId, ObjectKind, Xattrs};
use oxtree_repo::{Mode, Repo, Transaction};
use oxtree_testkit::temp_dir;
use oxtree_transfer::chain;
use oxtree_transfer::protocol::frame::{self, Frame, FrameKind};
use oxtree_transfer::protocol::message::{Message, WireCommit, WireRef, WireUpdate, put_id};
use oxtree_transfer::protocol::stream::{Form, MAX_PIECE, Record, pack};
use oxtree_transfer::protocol::{PUSHER_GREETING, VERSION};
use oxtree_transfer::receive::LocalReceiver;
use oxtree_transfer::receive::receive;

/// A repository with this setting in its config.
fn destination(path: &Path, setting: &str) -> Repo {
    let repo = Repo::create(path, Mode::Archive, None).expect("make a repository");
    let mut config = repo.config().file.clone();
    let (key, value) = setting.split_once('=').expect("KEY=VALUE");
    config.set_string("receive", key, value).expect("set it");
    repo.write_config(&config).expect("write the config");
    Repo::open(path).expect("open it again")
}

/// What a pusher sends that believes all of it is wanted.
struct Speech(Vec<u8>);

impl Speech {
    fn new(refs: usize) -> Self {
        let mut speech = Self(PUSHER_GREETING.to_vec());
        speech.say(&Message::Pusher {
            version: VERSION,
            agent: "test".to_owned(),
            capabilities: Vec::new(),
        });
        let updates = (0..refs).map(|number| WireUpdate {
            name: WireRef(format!("ref/{number}").parse().expect("a name")),
            old: None,
            new: Some(WireCommit(CommitId(Checksum::of(b"commit")))),
            force: false,
            timestamp: 0,
            fast_forward: false,
            detached: None,
        });
        speech.say(&Message::Update {
            updates: updates.collect(),
            dry_run: false,
            more: false,
        });
        speech
    }

    fn say(&mut self, message: &Message) {
        self.put(message.to_frame());
    }

    fn put(&mut self, Frame { kind, payload }: Frame) {
        frame::write(&mut self.0, kind, &payload).expect("write a frame");
    }

    fn offer(&mut self, objects: &[ObjectId]) {
        let mut payload = Vec::new();
        objects.iter().for_each(|id| put_id(&mut payload, id));
        self.put(Frame {
            kind: FrameKind::Ids,
            payload,
        });
        self.say(&Message::Offered {
            count: objects.len() as u64,
        });
    }

    fn send(&mut self, record: Record, bytes: &[u8]) {
        let mut stream = Vec::new();
        record.put(&mut stream);
        stream.extend_from_slice(bytes);
        for piece in stream.chunks(MAX_PIECE) {
            let payload = pack(piece, Some(9));
            self.put(Frame {
                kind: FrameKind::Data,
                payload,
            });
        }
    }
}

/// Lets a receiver hear it. The error must say all of `words`.
fn refused(repo: Repo, speech: &Speech, words: &[&str]) {
    let path = repo.path().to_owned();
    let mut answer = Vec::new();
    let open = || Ok(LocalReceiver::new(repo));
    let error = receive(open, &speech.0[..], &mut answer, "test").expect_err("a refusal");
    let text = chain(&error);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text:?}");
        assert!(answer.contains(word), "the pusher is not told: {answer}");
    }
    let repo = Repo::open(&path).expect("open it");
    assert!(repo.list_objects().expect("a list").is_empty());
    assert!(repo.local_refs().expect("refs").is_empty());
    assert!(repo.unfinished().expect("a list").is_empty());
}

fn header() -> FileHeader {
    FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o100_644,
        symlink: None,
        xattrs: Xattrs::NONE,
    }
}

/// A file in both forms.
fn file(content: &[u8]) -> [(Record, Vec<u8>); 2] {
    let dir = temp_dir();
    let repo = Repo::create(dir.path(), Mode::Archive, None).expect("make a repository");
    let transaction = Transaction::begin(&repo).expect("a transaction");
    let id = transaction.write_file_bytes(&header(), content, None);
    let id = id.expect("write a file");
    transaction.commit(&[]).expect("publish it");
    let (mut filez, _) = repo.open_filez(id).expect("open it").expect("it is there");
    let mut stored = Vec::new();
    std::io::Read::read_to_end(&mut filez, &mut stored).expect("read it");
    let plain = [header().hashed_bytes(), content.to_vec()].concat();
    [(Form::Filez, stored), (Form::Plain, plain)].map(|(form, bytes)| {
        let object = id.object();
        let len = bytes.len() as u64;
        (Record { object, form, len }, bytes)
    })
}

#[test]
fn refs_and_ids_and_objects() {
    let dir = temp_dir();
    let at = |name: &str| dir.path().join(name);
    let ids: Vec<ObjectId> = (0..200u32)
        .map(|number| ObjectId::new(ObjectKind::File, Checksum::of(&number.to_be_bytes())))
        .collect();
    refused(
        destination(&at("refs"), "max-refs=2"),
        &Speech::new(3),
        &["refs", "of 3", "limit of 2", "receive.max-refs"],
    );
    for (setting, key) in [
        ("max-ids=199", "receive.max-ids"),
        ("max-memory=4000", "receive.max-memory"),
        ("max-objects=199", "receive.max-objects"),
    ] {
        let mut speech = Speech::new(1);
        speech.offer(&ids);
        refused(destination(&at(key), setting), &speech, &["of 200", key]);
    }
}

#[test]
fn frames_and_bytes() {
    let dir = temp_dir();
    let at = |name: &str| dir.path().join(name);
    // Nothing that can be packed.
    let noise: Vec<u8> = (0..100_000u32)
        .flat_map(|number| Checksum::of(&number.to_be_bytes()).as_bytes()[..4].to_vec())
        .collect();
    for (record, bytes) in file(&noise) {
        for (setting, key) in [
            ("max-frame-size=64K", "receive.max-frame-size"),
            ("max-bytes=300K", "receive.max-bytes"),
            ("max-object-size=300K", "receive.max-object-size"),
            ("max-unpacked-size=300K", "receive.max-unpacked-size"),
        ] {
            let mut speech = Speech::new(1);
            speech.offer(&[record.object]);
            speech.send(record, &bytes);
            speech.say(&Message::Sent { count: 1 });
            let repo = destination(&at(&format!("{key}-{:?}", record.form)), setting);
            refused(repo, &speech, &[key]);
        }
    }
}

#[test]
fn what_unpacks_to_far_more_than_came() {
    let dir = temp_dir();
    let zeros = vec![0; 40 << 20];
    for (record, bytes) in file(&zeros) {
        for (setting, key) in [
            ("max-object-size=39M", "receive.max-object-size"),
            ("max-unpacked-size=39M", "receive.max-unpacked-size"),
            ("max-ratio=100", "receive.max-ratio"),
        ] {
            let mut speech = Speech::new(1);
            speech.offer(&[record.object]);
            speech.send(record, &bytes);
            speech.say(&Message::Sent { count: 1 });
            assert!(speech.0.len() < 400_000, "no bomb");
            let path = dir.path().join(format!("{key}-{:?}", record.form));
            refused(destination(&path, setting), &speech, &[key]);
        }
    }
    // A header that lies about the size is found out, too.
    let id = FileId(Checksum::of(b"x"));
    let [(record, mut bytes), _] = file(&zeros);
    let mut speech = Speech::new(1);
    // The size comes first, after the prefix.
    bytes[8..16].copy_from_slice(&10u64.to_be_bytes());
    let object = id.object();
    speech.offer(&[object]);
    speech.send(Record { object, ..record }, &bytes);
    speech.say(&Message::Sent { count: 1 });
    let repo = destination(&dir.path().join("lie"), "max-object-size=10");
    refused(repo, &speech, &[&id.0.to_string()]);
}

#[test]
fn metadata_is_bounded_by_memory() {
    let dir = temp_dir();
    let object = ObjectId::new(ObjectKind::DirTree, Checksum::of(b"x"));
    let bytes = vec![0; 2 << 20];
    let (form, len) = (Form::Metadata, bytes.len() as u64);
    let mut speech = Speech::new(1);
    speech.offer(&[object]);
    speech.send(Record { object, form, len }, &bytes);
    speech.say(&Message::Sent { count: 1 });
    let repo = destination(&dir.path().join("repo"), "max-memory=4M");
    refused(repo, &speech, &["metadata", "receive.max-memory"]);
}

#[test]
fn a_config_with_a_fault() {
    let dir = temp_dir();
    for setting in ["max-bytes=much", "idle-timeout=soon", "max-frame-size=1"] {
        let repo = destination(&dir.path().join(setting), setting);
        let key = setting.split('=').next().expect("a key");
        refused(repo, &Speech::new(1), &["config", key]);
    }
}
