// SPDX-License-Identifier: MIT OR Apache-2.0
//! The doors of ostree-push: what a pusher serves at the end of its tunnel, and the messages of those
//! before version 0.1.1.

use std::collections::HashMap;
use std::io::Write;

use oxtree_format::Checksum;
use oxtree_gvariant::{Entry, OwnedVariant, to_bytes};
use oxtree_testkit::Repo;
use serde_json::json;

use crate::asked;
use crate::conversation::{COMMIT, COMMIT_META, MIB, Object, Talk};
use crate::objects::{Header, bytes, commit_of, file, gvariant};
use crate::victim::{Run, Victim, path_of, say, scratch};
use crate::web::{Answer, Web, name_of, path, repository, summary};

/// Pushes these objects, of which the last is the commit, through each door. Nothing may come of it.
/// Returns what is said at our own.
pub(crate) fn refused_at_each(victim: &Victim, objects: &[Object]) -> String {
    fetched(victim, &[], "", repository(objects), "");
    refused_when_sent(victim, objects)
}

/// The same through the doors where all is taken that is sent.
pub(crate) fn refused_when_sent(victim: &Victim, objects: &[Object]) -> String {
    told_in_messages(victim, &[], "", &messages(objects), "");
    let talk = Talk::push(objects);
    let told = victim.hears(&victim.repo(&[]), talk.parts.clone()).told();
    over_http(victim, &[], "", &talk, "");
    told
}

/// A push over HTTP is refused with these words.
pub(crate) fn over_http(
    victim: &Victim,
    config: &[(&str, &str)],
    conf: &str,
    talk: &Talk,
    words: &str,
) {
    let told = told_over_http(victim, config, conf, talk);
    assert!(told.is(words), "no {words:?} in {told:?}");
}

/// The same push over HTTP, by each way that there is. Returns why it was refused.
pub(crate) fn told_over_http(
    victim: &Victim,
    config: &[(&str, &str)],
    conf: &str,
    talk: &Talk,
) -> asked::Answer {
    let site = victim.site();
    site.configure(config, conf);
    let told = site.hears(talk.parts.clone());
    if !talk.objects.is_empty() && talk.objects.iter().all(Object::is_of_archive) {
        site.hears_objects(&talk.objects);
    }
    told
}

/// A receiver that is led to a repository of these files fails with these words.
pub(crate) fn fetched(
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

pub(crate) fn fetch(victim: &Victim, repo: &Repo, conf: &str, url: &str) -> Run {
    let words = [path_of(repo), url.to_owned()];
    victim.run("ostree-receive-1", &words, Some(conf), |_| ())
}

/// A receiver that is told all this at once fails with these words.
pub(crate) fn told_in_messages(
    victim: &Victim,
    config: &[(&str, &str)],
    conf: &str,
    all: &[u8],
    words: &str,
) {
    let run = survives_messages(victim, config, conf, |to| say(to, all));
    assert!(run.stderr.contains(words), "no {words:?} in {run:?}");
}

pub(crate) fn survives_messages(
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
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("a short body");
    [&[b'l', 0, kind], &len.to_le_bytes()[..], body].concat()
}

/// It wants a ref to go from one commit to another.
pub(crate) fn wants(name: &str, from: &str, to: &str) -> Vec<u8> {
    message(
        1,
        &to_bytes(&vec![Entry(name, OwnedVariant::of(&(from, to)))]),
    )
}

/// The head of an object's file.
pub(crate) fn put(name: &str, size: u64) -> Vec<u8> {
    let body = vec![
        Entry("object", OwnedVariant::of(name)),
        Entry("size", OwnedVariant::of(&size)),
    ];
    message(2, &to_bytes(&body))
}

pub(crate) fn send(object: &Object) -> Vec<u8> {
    let head = put(&name_of(object), object.bytes.len() as u64);
    [head, object.bytes.clone()].concat()
}

pub(crate) const NONE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

pub(crate) fn done() -> Vec<u8> {
    message(4, &[])
}

/// A whole push of a new ref `evil` to the last of the objects.
pub(crate) fn messages(objects: &[Object]) -> Vec<u8> {
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
    let done = victim.site().says(Talk::push(&objects).parts);
    assert_eq!(done.status, 200, "{done:?}");
    let evil = victim.site().repo.rev_parse("evil");
    assert_eq!(evil, objects[3].name.to_string());
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
        over_http(&victim, config, "", &Talk::push(&objects), words);
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
        over_http(&victim, &[], conf, &Talk::push(&objects), words);
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
    // Neither is said of those who come over HTTP.
    for (conf, words) in [
        ("identities: {ci: {refs: [app/*]}}\n", "--identity NAME"),
        ("root: /nowhere\n", "not found"),
    ] {
        fetched(&victim, &[], conf, repository(&objects), words);
        told_in_messages(&victim, &[], conf, &messages(&objects), words);
    }
    // In twenty years nobody could push any more.
    let meta = objects[1].clone();
    let value = format!(
        "@(a{{sv}}aya(say)sstayay) ({{}}, @ay [], [], 'evil', '', {}, {}, {})",
        4_000_000_000_u64.to_be(),
        bytes(&objects[2].name),
        bytes(&meta.name)
    );
    let late = Object::metadata(COMMIT, gvariant(&value));
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
    over_http(
        &victim,
        &[],
        "",
        &Talk::push(&late),
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
    let main = json!(victim.site().repo.rev_parse("main"));
    let talk = Talk::hello().update(&json!("main"), &main, &json!(commit.to_string()));
    let talk = objects.iter().fold(talk, Talk::send);
    over_http(&victim, &[], "allow_force: no\n", &talk, "force");
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
    let site = victim.site();
    let there = site.repo.object(&main, "commitmeta");
    std::fs::write(&there, &original).expect("write");
    let commit = Object {
        name: id,
        ..Object::metadata(COMMIT, commit)
    };
    let meta = Object {
        name: id,
        ..Object::metadata(COMMIT_META, other)
    };
    let objects = [meta, commit];
    let done = site.says(Talk::push(&objects).parts);
    let uploaded = site.upload("more", None, &main, &objects);
    assert_eq!(
        (done.status, uploaded.status),
        (200, 200),
        "{done:?} {uploaded:?}"
    );
    for name in ["evil", "more"] {
        assert_eq!(site.repo.rev_parse(name), main);
    }
    assert_eq!(std::fs::read(&there).expect("read"), original);
}
