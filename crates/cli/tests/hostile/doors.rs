// SPDX-License-Identifier: MIT OR Apache-2.0
//! The doors of ostree-push: what a pusher serves at the end of its tunnel, and the messages of those
//! before version 0.1.1.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use oxtree_format::Checksum;
use oxtree_gvariant::{Entry, OwnedVariant, to_bytes};
use oxtree_testkit::Repo;

use crate::conversation::{FILE, MIB, Object, Talk};
use crate::objects::{Header, bytes, commit_of, file, gvariant};
use crate::victim::{Run, Victim, path_of, say, scratch, still_says};
use crate::web::{Answer, Web, path, repository, summary};

/// Pushes these objects, of which the last is the commit, through each door. Nothing may come of it.
/// Returns what is said at our own.
pub(crate) fn refused_at_each(victim: &Victim, objects: &[Object]) -> String {
    fetched(victim, &[], "", repository(objects), "");
    refused_when_sent(victim, objects)
}

/// The same through the doors where all is taken that is sent.
pub(crate) fn refused_when_sent(victim: &Victim, objects: &[Object]) -> String {
    let talk = Talk::push(objects);
    told_in_messages(victim, &[], "", &messages(objects), "");
    victim
        .hears(&victim.repo(&[]), |to| say(to, &talk.0))
        .told()
}

/// A receiver that is led to a repository of these files fails with these words.
fn fetched(
    victim: &Victim,
    config: &[(&str, &str)],
    conf: &str,
    files: HashMap<String, Answer>,
    words: &str,
) -> Run {
    let web = Web::serve(files);
    let repo = victim.repo(config);
    let run = victim.survives(&repo, || fetch(victim, &repo, conf, &web.url()));
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains(words), "no {words:?} in {run:?}");
    run
}

fn fetch(victim: &Victim, repo: &Repo, conf: &str, url: &str) -> Run {
    let words = [path_of(repo), url.to_owned()];
    victim.run("ostree-receive-1", &words, Some(conf), |_| ())
}

/// A receiver that is told all this at once fails with these words.
fn told_in_messages(victim: &Victim, config: &[(&str, &str)], conf: &str, all: &[u8], words: &str) {
    let run = survives_messages(victim, config, conf, |to| say(to, all));
    assert!(run.stderr.contains(words), "no {words:?} in {run:?}");
}

fn survives_messages(
    victim: &Victim,
    config: &[(&str, &str)],
    conf: &str,
    talk: impl FnOnce(&mut dyn Write) + Send,
) -> Run {
    let repo = victim.repo(config);
    let word = [format!("--repo={}", path_of(&repo))];
    let run = victim.survives(&repo, || {
        victim.run("ostree-receive-0", &word, Some(conf), talk)
    });
    assert_eq!(run.code, Some(1), "{run:?}");
    run
}

/// A message of a pusher from before 0.1.1.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("a short body");
    [&[b'l', 0, kind], &len.to_le_bytes()[..], body].concat()
}

/// It wants a ref to go from one commit to another.
fn wants(name: &str, from: &str, to: &str) -> Vec<u8> {
    message(
        1,
        &to_bytes(&vec![Entry(name, OwnedVariant::of(&(from, to)))]),
    )
}

/// The head of an object's file.
fn put(name: &str, size: u64) -> Vec<u8> {
    let body = vec![
        Entry("object", OwnedVariant::of(name)),
        Entry("size", OwnedVariant::of(&size)),
    ];
    message(2, &to_bytes(&body))
}

fn send(object: &Object) -> Vec<u8> {
    let name = path(object).replace("objects/", "").replace('/', "");
    [put(&name, object.bytes.len() as u64), object.bytes.clone()].concat()
}

const NONE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn done() -> Vec<u8> {
    message(4, &[])
}

/// A whole push of a new ref `evil` to the last of the objects.
fn messages(objects: &[Object]) -> Vec<u8> {
    let commit = objects.last().expect("a commit").name.to_string();
    let sent = objects.iter().map(send);
    let all: Vec<_> = [wants("evil", NONE, &commit)]
        .into_iter()
        .chain(sent)
        .collect();
    [all.concat(), done()].concat()
}

/// What is right goes through: the other tests do not pass for another reason.
#[test]
fn what_is_right_is_taken() {
    let victim = Victim::new();
    let objects = commit_of(&[("file", &file(b"x"))]);
    let web = Web::serve(repository(&objects));
    let repo = victim.repo(&[]);
    let run = fetch(&victim, &repo, "commits: keep\n", &web.url());
    assert_eq!(
        (run.code, repo.refs()),
        (Some(0), vec!["evil".into(), "main".into()]),
        "{run:?}"
    );
    let repo = victim.repo(&[]);
    let word = [format!("--repo={}", path_of(&repo))];
    let all = messages(&objects);
    let run = victim.run("ostree-receive-0", &word, None, |to| say(to, &all));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(repo.rev_parse("evil"), objects[3].name.to_string());
    repo.fsck();
}

#[test]
fn servers_that_send_something_else() {
    let victim = Victim::new();
    let good = file(&[b'x'; 5000]);
    let noise = Header::default().filez(&noise(3 * MIB), 3 * MIB as u64);
    let objects = commit_of(&[("file", &good), ("noise", &noise)]);
    let [good_at, noise_at, _, tree_at, commit_at] = [0, 1, 2, 3, 4].map(|at| path(&objects[at]));
    let torn = |object: &Object, at: usize| Answer::Torn(object.bytes.clone(), at);
    let other = Answer::File(file(b"something else").bytes);
    let zeros = vec![0; MIB];
    let refs = |refs: &[(&str, Checksum)]| Answer::File(summary(refs));
    let commit = objects[4].name;
    // A deflate stream can go on for ever without a byte of content.
    let start = Header::default().bytes(Some(5));
    let hollow = Answer::Endless(start, [0, 0, 0, 0xff, 0xff].repeat(100_000));
    let limits = [
        ("receive.idle-timeout", "1s"),
        ("receive.max-object-size", "8M"),
    ];
    let small = [("receive.max-bytes", "1M"), ("receive.idle-timeout", "1s")];
    let late = [("receive.timeout", "1s")];
    for (at, answer, config, words) in [
        (&good_at, other.clone(), &limits[..], "checksum expected"),
        (&noise_at, other, &limits, "checksum expected"),
        (&good_at, torn(&good, 20), &limits, "Download incomplete"),
        (
            &noise_at,
            torn(&noise, 2 * MIB),
            &limits,
            "Download incomplete",
        ),
        (
            &noise_at,
            Answer::File(noise.bytes[..MIB].to_vec()),
            &limits,
            "incomplete",
        ),
        (
            &noise_at,
            Answer::Unannounced(noise.bytes[..MIB].to_vec()),
            &limits,
            "incomplete",
        ),
        (
            &good_at,
            Answer::Endless(zeros.clone(), zeros.clone()),
            &limits,
            "Corrupted",
        ),
        (&good_at, hollow.clone(), &limits, "exceeded maximum size"),
        (&good_at, hollow.clone(), &small, "receive.max-bytes"),
        (&good_at, hollow, &late, "receive.timeout"),
        (&good_at, Answer::Silence, &limits, "timed out"),
        (&good_at, Answer::Status("500 No"), &limits, "HTTP 500"),
        (
            &tree_at,
            Answer::Endless(zeros.clone(), zeros.clone()),
            &limits,
            "maximum size",
        ),
        (
            &tree_at,
            Answer::File(vec![0; 60 * MIB]),
            &limits,
            "maximum size",
        ),
        (&tree_at, Answer::Status("404 No"), &limits, "HTTP 404"),
        (
            &commit_at,
            Answer::Endless(zeros.clone(), zeros.clone()),
            &limits,
            "maximum size",
        ),
        (
            &commit_at,
            Answer::File(objects[3].bytes.clone()),
            &limits,
            "Corrupted commit",
        ),
        (
            &"summary".to_owned(),
            Answer::Endless(zeros.clone(), zeros),
            &limits,
            "maximum size",
        ),
        (
            &"summary".to_owned(),
            Answer::File(vec![1; 100]),
            &limits,
            "Parsing the summary",
        ),
        (
            &"summary".to_owned(),
            Answer::Status("404 No"),
            &limits,
            "HTTP 404",
        ),
        (
            &"summary".to_owned(),
            refs(&[("../../evil", commit)]),
            &limits,
            "../../evil",
        ),
        (
            &"summary".to_owned(),
            refs(&[("a b", commit)]),
            &limits,
            "a b",
        ),
        (
            &"summary".to_owned(),
            refs(&[("main/x", commit)]),
            &limits,
            "conflict with main",
        ),
        (
            &"summary".to_owned(),
            refs(&[("evil", objects[3].name)]),
            &limits,
            "HTTP 404",
        ),
    ] {
        let mut files = repository(&objects);
        files.insert(at.clone(), answer);
        let begun = Instant::now();
        fetched(&victim, config, "", files, words);
        assert!(begun.elapsed() < Duration::from_secs(20), "{at} {words}");
    }
    let many: Vec<String> = (0..20_000).map(|n| format!("evil/{n:05}")).collect();
    let many: Vec<(&str, Checksum)> = many.iter().map(|name| (name.as_str(), commit)).collect();
    let mut files = repository(&objects);
    files.insert("summary".to_owned(), refs(&many));
    fetched(&victim, &[], "", files, "receive.max-refs");
}

fn noise(len: usize) -> Vec<u8> {
    oxtree_testkit::trees::Noise::new(1).bytes(len)
}

/// Nobody is sent on to where the pusher cannot go, be it on this machine.
#[test]
fn servers_that_send_us_elsewhere() {
    let victim = Victim::new();
    let objects = commit_of(&[("file", &file(b"x"))]);
    let secret = Web::serve(repository(&objects));
    for at in [
        "summary",
        &path(&objects[3]),
        &path(&objects[1]),
        &path(&objects[0]),
    ] {
        for to in [
            format!("{}/{at}", secret.url()),
            "file:///etc/passwd".to_owned(),
        ] {
            let mut files = repository(&objects);
            files.insert(at.to_owned(), Answer::Elsewhere(to));
            fetched(&victim, &[], "", files, "HTTP 302");
        }
    }
    assert_eq!(secret.requests(), 0);
    // Where that was allowed, it is on this machine, too.
    let mut files = repository(&objects);
    let to = format!("{}/summary", secret.url());
    files.insert("summary".to_owned(), Answer::Elsewhere(to));
    let (web, repo) = (Web::serve(files), victim.repo(&[]));
    let run = fetch(&victim, &repo, "urls: any\ncommits: keep\n", &web.url());
    assert_eq!((run.code, secret.requests()), (Some(0), 1), "{run:?}");
}

/// 200 MB in 200 KB, as in the users' list of attacks.
#[test]
fn files_that_unpack_to_much_more_than_they_are() {
    let victim = Victim::new();
    let content = vec![0; 200 * MIB];
    let honest = Header::default().filez(&content, content.len() as u64);
    let liar = Header::default().filez(&content, 10);
    drop(content);
    assert!(honest.bytes.len() < MIB);
    let ratio = [("receive.max-ratio", "100")];
    let size = [("receive.max-unpacked-size", "100M")];
    for (bomb, config, words) in [
        (&honest, &ratio[..], "receive.max-ratio"),
        (&honest, &size, "receive.max-unpacked-size"),
        (&liar, &[], "content is longer than 10 bytes"),
    ] {
        let objects = commit_of(&[("bomb", bomb)]);
        fetched(&victim, config, "", repository(&objects), words);
        let mut files = repository(&objects);
        files.insert(path(bomb), Answer::Unannounced(bomb.bytes.clone()));
        fetched(&victim, config, "", files, words);
        told_in_messages(&victim, config, "", &messages(&objects), words);
    }
}

/// What the owner says holds whatever the pusher asks for.
#[test]
fn what_is_not_the_pushers_to_say() {
    let victim = Victim::new();
    let objects = commit_of(&[("file", &file(b"x"))]);
    let commit = objects[3].name;
    let push = |conf: &str, words: &str| {
        fetched(&victim, &[], conf, repository(&objects), words);
        told_in_messages(&victim, &[], conf, &messages(&objects), words);
    };
    push("gpg_verify: yes\n", "o signatures found");
    let key = "ad1aCSfyYdcqpa9U4t0yZ6QSHuJmF0iM5sKlvt5WqPY=";
    let keys = scratch(&victim, "keys");
    std::fs::write(&keys, key).expect("write");
    let verify = format!(
        "sign_verify: yes\nsign_trustedkeyfile: {}\n",
        keys.display()
    );
    push(&verify, "No signatures found");
    push("receive_hook: /bin/false\n", "hook refuses the push");
    push("identities: {ci: {refs: [app/*]}}\n", "--identity NAME");
    push("root: /nowhere\n", "not found");
    // In twenty years nobody could push any more.
    let meta = objects[1].clone();
    let value = format!(
        "@(a{{sv}}aya(say)sstayay) ({{}}, @ay [], [], 'evil', '', {}, {}, {})",
        4_000_000_000_u64.to_be(),
        bytes(&objects[2].name),
        bytes(&meta.name)
    );
    let late = Object::metadata(crate::conversation::COMMIT, gvariant(&value));
    let late = [&objects[..3], &[late]].concat();
    fetched(
        &victim,
        &[],
        "",
        repository(&late),
        "ahead of the clock here",
    );
    told_in_messages(
        &victim,
        &[],
        "",
        &messages(&late),
        "ahead of the clock here",
    );
    // `-f` is a wish.
    let web = Web::serve(
        [(
            "summary".to_owned(),
            Answer::File(summary(&[("main", commit)])),
        )]
        .into_iter()
        .chain(
            repository(&objects)
                .into_iter()
                .filter(|(path, _)| path != "summary"),
        )
        .collect(),
    );
    let repo = victim.repo(&[]);
    let words = ["-f".to_owned(), path_of(&repo), web.url()];
    let run = victim.survives(&repo, || {
        victim.run(
            "ostree-receive-1",
            &words,
            Some("allow_force: no\n"),
            |_| (),
        )
    });
    assert!(run.stderr.contains("does not allow --force"), "{run:?}");
}

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
            let name = format!("{:064x}.commitmeta", number);
            going = going && still_says(to, &put(&name, MIB as u64)) && still_says(to, &zeros);
        }
        assert!(!going, "100 MB were heard");
    });
}

/// A pusher could make a commit of somebody else's lose its signatures, or have others.
#[test]
fn signatures_that_are_there_stay() {
    let victim = Victim::new();
    let repo = victim.repo(&[]);
    let main = repo.rev_parse("main");
    let there = repo.object(&main, "commitmeta");
    let original = gvariant("@a{sv} {'of': <'the owner'>}");
    std::fs::write(&there, &original).expect("write");
    let other = gvariant("@a{sv} {}");
    let id: Checksum = main.parse().expect("a checksum");
    let at = |kind: &str| format!("objects/{}/{}.{kind}", &main[..2], &main[2..]);
    let commit = std::fs::read(repo.object(&main, "commit")).expect("read");
    let files = [
        ("summary".to_owned(), summary(&[("evil", id)])),
        (at("commit"), commit.clone()),
        (at("commitmeta"), other.clone()),
    ];
    let files = files.map(|(path, bytes)| (path, Answer::File(bytes)));
    let web = Web::serve(files.into_iter().collect());
    let run = fetch(&victim, &repo, "commits: keep\n", &web.url());
    assert_eq!(
        (run.code, repo.rev_parse("evil")),
        (Some(0), main.clone()),
        "{run:?}"
    );
    let put = |kind: &str, bytes: &[u8]| {
        let head = put(&format!("{main}.{kind}"), bytes.len() as u64);
        [head, bytes.to_vec()].concat()
    };
    let all = [
        wants("more", NONE, &main),
        put("commitmeta", &other),
        put("commit", &commit),
        done(),
    ];
    let word = [format!("--repo={}", path_of(&repo))];
    let run = victim.run("ostree-receive-0", &word, None, |to| say(to, &all.concat()));
    assert_eq!(
        (run.code, repo.rev_parse("more")),
        (Some(0), main.clone()),
        "{run:?}"
    );
    assert_eq!(std::fs::read(&there).expect("read"), original);
}
