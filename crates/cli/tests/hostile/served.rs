// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a pusher serves at the end of its tunnel, and what is wrong with it.

use std::time::{Duration, Instant};

use oxtree_format::Checksum;

use crate::conversation::{MIB, Object};
use crate::doors::{fetch, fetched};
use crate::objects::{Header, commit_of, file};
use crate::victim::Victim;
use crate::web::{Answer, Web, path, repository, summary};

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
            "ends too early",
        ),
        (
            &noise_at,
            Answer::Unannounced(noise.bytes[..MIB].to_vec()),
            &limits,
            "ends too early",
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
