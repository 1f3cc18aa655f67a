// SPDX-License-Identifier: MIT OR Apache-2.0
//! An identity that is limited to some refs, and commits of others: it names them without sending them, or
//! as parents. It is told what it is told of a commit that is not there, by each program that receives.

use std::collections::HashMap;

use oxtree_format::Checksum;
use oxtree_testkit::Repo;
use serde_json::json;

use crate::conversation::{COMMIT, COMMIT_META, METADATA, Object, Talk};
use crate::doors::{NONE, done, messages, put, wants};
use crate::objects::{commit_after, commit_of, file};
use crate::victim::{Run, Victim, path_of, public, say};
use crate::web::{Answer, Web, repository, summary};

const CONF: &str = "commits: keep\nidentities: {app: {refs: [evil, app/*]}}\n";

/// A commit that is not there.
fn nowhere() -> Checksum {
    "5".repeat(64).parse().expect("a checksum")
}

/// The identity asks for this program, and says this.
fn run(victim: &Victim, command: &str, said: &[u8]) -> Run {
    victim.run_as("app", command, CONF, |to| say(to, said))
}

/// What it is told, of whichever commit.
fn told(run: &Run, commit: &Checksum) -> String {
    let said = String::from_utf8_lossy(&run.said);
    let all = format!("{said}\n{}", run.stderr);
    assert_eq!(run.code, Some(1), "{all}");
    // Ports and paths differ from run to run, and say nothing.
    let all = all
        .split(' ')
        .map(|word| match word.contains("127.0.0.1:") {
            true => "URL",
            false => word,
        });
    all.collect::<Vec<_>>()
        .join(" ")
        .replace(&commit.to_string(), "COMMIT")
}

/// What a pusher says that has nothing of a commit but its name.
fn native(commit: Checksum) -> Vec<Vec<u8>> {
    let as_kind = |kind| Object {
        kind,
        form: METADATA,
        name: commit,
        bytes: b"odd".to_vec(),
    };
    let (odd, meta) = (as_kind(COMMIT), as_kind(COMMIT_META));
    let names = Talk::wants(&commit).offer(&[]).sent(0);
    let offers = Talk::wants(&commit).offer(&[odd.clone(), meta]).sent(0);
    let sends = Talk::wants(&commit)
        .offer(std::slice::from_ref(&odd))
        .send(&odd)
        .sent(1);
    [names, offers, sends].iter().map(Talk::bytes).collect()
}

fn in_messages(commit: Checksum) -> Vec<Vec<u8>> {
    let name = commit.to_string();
    let wants = || wants("evil", NONE, &name);
    let put = |kind: &str| [put(&format!("{name}.{kind}"), 3), b"odd".to_vec()].concat();
    vec![
        [wants(), put("commit"), done()].concat(),
        [wants(), put("commitmeta"), done()].concat(),
    ]
}

fn at_url(commit: Checksum) -> Vec<HashMap<String, Answer>> {
    let summary = || ("summary".to_owned(), summary(&[("evil", commit)]));
    let name = commit.to_string();
    let at = format!("objects/{}/{}.commit", &name[..2], &name[2..]);
    let sites = [vec![summary()], vec![summary(), (at, b"odd".to_vec())]];
    let site = |files: Vec<(String, Vec<u8>)>| {
        let files = files.into_iter();
        files
            .map(|(path, bytes)| (path, Answer::File(bytes)))
            .collect()
    };
    sites.into_iter().map(site).collect()
}

/// All that the identity is told of a commit that it names.
fn told_at_each(victim: &Victim, repo: &Repo, commit: Checksum) -> Vec<String> {
    let at = path_of(repo);
    let mut all = Vec::new();
    for said in native(commit) {
        all.push(told(
            &run(victim, &format!("oxtree receive {at}"), &said),
            &commit,
        ));
    }
    for said in in_messages(commit) {
        let run = run(victim, &format!("ostree-receive-0 --repo={at}"), &said);
        // The answer to which object says it first depends on how fast that is looked at.
        let run = Run {
            said: Vec::new(),
            ..run
        };
        all.push(told(&run, &commit));
    }
    for files in at_url(commit) {
        for options in ["", "-v ", "-n ", "-f "] {
            let web = Web::serve(files.clone());
            let command = format!("ostree-receive-1 {options}{at} {}", web.url());
            let run = run(victim, &command, b"");
            all.push(format!("{} {}", web.requests(), told(&run, &commit)));
        }
    }
    all
}

#[test]
fn a_hidden_commit_is_to_them_as_one_that_is_not_there() {
    let victim = Victim::new();
    let repo = victim.repo(&[]);
    let hidden: Checksum = repo.rev_parse("main").parse().expect("a checksum");
    let before = public(&repo);
    let of_hidden = told_at_each(&victim, &repo, hidden);
    let of_none = told_at_each(&victim, &repo, nowhere());
    for (hidden, none) in of_hidden.iter().zip(&of_none) {
        assert_eq!(hidden, none);
    }
    before.assert_unchanged(&public(&repo));
}

#[test]
fn they_are_not_told_of_hidden_refs() {
    let victim = Victim::new();
    let repo = victim.repo(&[]);
    let at = path_of(&repo);
    let (main, none) = (repo.rev_parse("main"), nowhere().to_string());
    let files = HashMap::from([(
        "summary".to_owned(),
        Answer::File(summary(&[("main", nowhere())])),
    )]);
    let web = Web::serve(files);
    let all = [
        run(
            &victim,
            &format!("oxtree receive {at}"),
            &Talk::hello().say(&json!({"type": "bye"})).bytes(),
        ),
        run(
            &victim,
            &format!("ostree-receive-0 --repo={at}"),
            &[wants("main", &none, &none), done()].concat(),
        ),
        run(
            &victim,
            &format!("ostree-receive-0 --repo={at}"),
            &[wants("main", NONE, &none), done()].concat(),
        ),
        run(
            &victim,
            &format!("ostree-receive-1 -v {at} {}", web.url()),
            b"",
        ),
        // A name that is in its way.
        run(
            &victim,
            &format!("oxtree receive {at}"),
            &Talk::hello()
                .update(&json!("app/x"), &json!(main), &json!(none))
                .offer(&[])
                .bytes(),
        ),
    ];
    for (number, run) in all.iter().enumerate() {
        let said = String::from_utf8_lossy(&run.said).into_owned() + &run.stderr;
        let told = said.replace("app/x", "");
        assert!(number == 4 || !told.contains(&main), "{number}: {told}");
        assert!(number != 0 || !told.contains("main"), "{told}");
    }

    // What is in the way of a new ref has no name.
    let tip = repo.rev_parse("main");
    repo.ok("refs", ["--create=app/a/b", &tip]);
    let conf = "identities: {app: {refs: [app/a]}}\n";
    let talk = Talk::hello().update(&json!("app/a"), &json!(null), &json!(none));
    let said = talk.offer(&[]).bytes();
    let run = victim.run_as("app", &format!("oxtree receive {at}"), conf, |to| {
        say(to, &said);
    });
    let told = String::from_utf8_lossy(&run.said);
    assert!(
        told.contains("in conflict with that of another ref"),
        "{told}"
    );
    assert!(!told.contains("app/a/b"), "{told}");
}

/// What is brought with a hidden parent is taken, and a note is made of it.
#[test]
fn a_history_ends_where_it_was_brought() {
    let victim = Victim::new();
    let parent = |repo: &Repo| {
        repo.rev_parse("main")
            .parse::<Checksum>()
            .expect("a checksum")
    };
    let objects = |repo: &Repo| {
        let mut objects = commit_of(&[("file", &file(b"x"))]);
        objects[3] = commit_after(Some(&parent(repo)), &objects[2].name, &objects[1].name);
        objects
    };
    let ended = |repo: &Repo, run: &Run| {
        let commit = objects(repo)[3].name.to_string();
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(repo.rev_parse("evil"), commit);
        let note = repo.path().join("state/oxtree-histories").join(&commit);
        assert_eq!(std::fs::read_to_string(note).expect("a note"), commit);
    };
    let repo = victim.repo(&[]);
    let command = format!("oxtree receive {}", path_of(&repo));
    let talk = Talk::push(&objects(&repo)).bytes();
    ended(&repo, &run(&victim, &command, &talk));

    let repo = victim.repo(&[]);
    let command = format!("ostree-receive-0 --repo={}", path_of(&repo));
    let said = messages(&objects(&repo));
    ended(&repo, &run(&victim, &command, &said));

    let repo = victim.repo(&[]);
    let web = Web::serve(repository(&objects(&repo)));
    let command = format!("ostree-receive-1 {} {}", path_of(&repo), web.url());
    ended(&repo, &run(&victim, &command, b""));

    // The note belongs to the commit: a commit from a client that sees everything has none.
    let repo = victim.repo(&[]);
    let web = Web::serve(repository(&objects(&repo)));
    let words = [path_of(&repo), web.url()];
    let run = victim.run("ostree-receive-1", &words, Some("commits: keep\n"), |_| ());
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(!repo.path().join("state/oxtree-histories").exists());
}

/// Where the root of all repositories is, they are not told.
#[test]
fn a_name_below_the_root_does_not_tell_where_that_is() {
    let victim = Victim::new();
    let repo = victim.repo(&[]);
    let root = repo.path().parent().expect("a parent");
    std::fs::create_dir(root.join("broken")).expect("mkdir");
    std::fs::write(root.join("broken/config"), "[core\n").expect("write");
    let conf = format!("root: {}\n{CONF}", root.display());
    for name in [".", "broken", "repo/objects", "other", "nothing"] {
        for command in [
            format!("oxtree receive {name}"),
            format!("ostree-receive-0 --repo={name}"),
            format!("ostree-receive-1 {name} http://127.0.0.1:1/"),
        ] {
            let run = victim.run_as("app", &command, &conf, |_| ());
            let told = String::from_utf8_lossy(&run.said).into_owned() + &run.stderr;
            assert_eq!(run.code, Some(1), "{command}: {told}");
            assert!(told.contains(name), "{command}: {told}");
            let path = root.display().to_string();
            assert!(!told.contains(&path), "{command}: {told}");
        }
    }
}
