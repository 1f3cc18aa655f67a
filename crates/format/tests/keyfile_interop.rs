// SPDX-License-Identifier: MIT OR Apache-2.0
//! Key files and names, read and changed by us and by the real `ostree`.

use std::fs;

use oxtree_format::{CollectionId, KeyFile, Refspec};
use oxtree_testkit::{Repo, Tool, temp_dir};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// The real tool. It shows names that are not ASCII only in a locale that has them.
fn ostree() -> Tool {
    Tool::ostree().env("LC_ALL", "C.UTF-8")
}

/// A repository, and what removes it.
fn new_repo() -> (impl Drop, Repo) {
    let dir = temp_dir();
    let repo = ostree().repo(dir.path().join("repo")).init("archive");
    (dir, repo)
}

const CORE: &str = "[core]\nrepo_version=1\nmode=archive-z2\n";

/// Lines that are often right, and mostly near right.
fn lines() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[ \t]{0,2}\\[[ab\" ]{1,3}\\][ \t]{0,2}",
        6 => "[ \t]{0,2}[abö]{1,2}(\\[(C|de|)\\])?[ \t]?=[ \t]?[ab\\\\;s \t]{0,4}",
        2 => "[ \t]*#[#a=\\[\\] ]{0,3}",
        1 => "[\\[\\]a=d# ]{0,6}",
        1 => "[^\n\0]{0,3}",
    ];
    proptest::collection::vec((piece, "\n|\r\n|\n\n|\r\r\n"), 0..8).prop_map(|lines| {
        lines
            .into_iter()
            .flat_map(|(line, end)| [line, end])
            .collect()
    })
}

/// libostree writes and reads the file once more before it changes it.
fn as_libostree_reads(text: &str) -> Result<KeyFile, oxtree_format::keyfile::Error> {
    let mut file = KeyFile::parse(text.as_bytes())?;
    file.drop_comments();
    KeyFile::parse(file.to_string().as_bytes())
}

#[test]
fn changed_config_is_the_same_file() {
    let (_dir, repo) = new_repo();
    let config = repo.path().join("config");
    let accepted = std::cell::Cell::new(0);
    let options = Config {
        cases: 120,
        failure_persistence: None,
        ..Config::default()
    };
    let cases = (lines(), "[ \t]{0,2}[a;\\\\ ]{0,4}", "a|b|q", any::<bool>());
    let result = TestRunner::new(options).run(&cases, |(text, value, key, set)| {
        let text = format!("{CORE}{text}");
        fs::write(&config, &text).unwrap();
        let name = format!("core.{key}");
        let ours = as_libostree_reads(&text);
        let theirs = if set {
            repo.run("config", ["set", &name, &value])
        } else {
            repo.run("config", ["unset", &name])
        };
        prop_assert_eq!(
            ours.is_ok(),
            theirs.code == Some(0),
            "{:?} {:?}",
            ours,
            theirs
        );
        let Ok(mut ours) = ours else {
            return Ok(());
        };
        accepted.set(accepted.get() + 1);
        let lines_of_key = ours.to_string().matches(&format!("\n{key}=")).count();
        if set {
            ours.set_string("core", &key, &value).unwrap();
        } else if lines_of_key > 1 {
            return Ok(());
        } else if !ours.remove_key("core", &key) {
            // Nothing to do, nothing written.
            prop_assert_eq!(text, fs::read_to_string(&config).unwrap());
            return Ok(());
        }
        prop_assert_eq!(ours.to_string(), fs::read_to_string(&config).unwrap());
        Ok(())
    });
    result.unwrap();
    assert!(
        accepted.get() > 50,
        "only {} files were right",
        accepted.get()
    );
}

#[test]
fn values_mean_the_same() {
    let (_dir, repo) = new_repo();
    let config = repo.path().join("config");
    for value in [
        "plain", "a\\sb", "\\tx", "a\\\\b", "a\\x", "a\\", "a;b;", "  x  ", "\\n", "a\\;b",
    ] {
        let text = format!("{CORE}a={value}\n");
        fs::write(&config, &text).unwrap();
        let theirs = repo.run("config", ["get", "core.a"]);
        let ours = KeyFile::parse(text.as_bytes()).unwrap().string("core", "a");
        match ours {
            Ok(ours) => assert_eq!(theirs.stdout(), format!("{}\n", ours.unwrap())),
            Err(_) => assert!(theirs.code != Some(0), "{value}: {theirs:?}"),
        }
    }
}

#[test]
fn the_same_refspecs_are_refused_with_the_same_words() {
    let (_dir, repo) = new_repo();
    let texts = [
        "main", "a/b", ".a", "a.", "_a", "-a", "a b", "ä", "日本", "a//b", "/a", "a/", "o:x",
        "x/.y", "x/-y", "a+b", "a~b", "a\nb", "٣", "a‿b", "o/p:x", ".o:x", "ö:x", ":x", "o:",
        "a:b:c", "..", "a/../b", "a@b", "Ω/ß",
    ];
    for text in texts {
        let output = repo.run("rev-parse", ["--", text]);
        let theirs = output.stderr().trim_end().to_owned();
        match text.parse::<Refspec>() {
            Ok(_) => assert_eq!(theirs, format!("error: Refspec '{text}' not found")),
            Err(error) => assert_eq!(theirs, format!("error: {error}")),
        }
    }
}

#[test]
fn the_same_collection_ids_are_refused_with_the_same_words() {
    let longest = format!("{}.abcd", "a".repeat(250));
    let too_long = format!("{longest}e");
    let ids = [
        "org.foo",
        "org",
        "org.foo-bar",
        "org.1a",
        "org..a",
        ".org.a",
        "org.a.",
        "örg.a",
        "a/b.c",
        "org.a b",
        "_a._b",
        "-a.b",
        &longest,
        &too_long,
    ];
    for id in ids {
        let dir = temp_dir();
        let repo = ostree().repo(dir.path().join("repo"));
        let collection = format!("--collection-id={id}");
        let output = repo.run("init", ["--mode=archive", &collection]);
        match id.parse::<CollectionId>() {
            Ok(_) => assert!(output.code == Some(0), "{id}: {output:?}"),
            Err(error) => assert_eq!(output.stderr(), format!("error: {error}\n")),
        }
    }
}
