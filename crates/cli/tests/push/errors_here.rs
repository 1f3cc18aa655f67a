// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong at this end: found before anybody is called, or before anything is sent.

use std::fs;
use std::path::Path;

use oxtree_testkit::{Repo, Snapshot, Tool};

use crate::fixture::{Fixture, assert_error, oxtree};

/// A source with one ref, a destination, and words of `oxtree push` that must fail without
/// changing either.
fn fails(code: i32, words: &[&str], said: &[&str]) {
    let fixture = Fixture::new();
    let source = fixture.source(&["main"]);
    let dest = fixture.repo("dest", "archive");
    let before = (Snapshot::of(source.path()), Snapshot::of(dest.path()));
    let words = words.iter().map(|word| {
        word.replace("SOURCE", source.path().to_str().expect("UTF-8"))
            .replace("DEST", dest.path().to_str().expect("UTF-8"))
            .replace("HERE", fixture.at("").to_str().expect("UTF-8"))
    });
    let output = oxtree().run([&["push".to_owned()], &words.collect::<Vec<_>>()[..]].concat());
    assert_error(&output, code, said);
    assert_eq!(output.stdout(), "");
    before.0.assert_unchanged(&Snapshot::of(source.path()));
    before.1.assert_unchanged(&Snapshot::of(dest.path()));
}

#[test]
fn wrong_options() {
    for (words, said) in [
        (&["--repo=SOURCE"][..], &["DEST", "--help"][..]),
        (&["--repo=SOURCE", "--nonsense", "DEST"], &["--nonsense"]),
        (&["--repo=SOURCE", "--depth=x", "DEST"], &["--depth", "x"]),
        (
            &["--repo=SOURCE", "--depth=1", "--all-history", "DEST"],
            &["--depth", "--all-history"],
        ),
        (
            &["--repo=SOURCE", "--compression=10", "DEST"],
            &["from 1 to 9"],
        ),
        (
            &["--repo=SOURCE", "--limit-rate=0", "DEST"],
            &["bytes a second"],
        ),
        (
            &["--repo=SOURCE", "--jobs=many", "DEST"],
            &["--jobs", "many"],
        ),
        (&["--repo=SOURCE", "-p99999", "DEST"], &["-p", "99999"]),
        (
            &["--repo=SOURCE", "-i", "", "host:/x"],
            &["-i needs a file"],
        ),
        (&["--repo=SOURCE", "--delete=a//b", "DEST"], &["a//b"]),
        (
            &["--repo=SOURCE", "DEST", "not/../a/ref"],
            &["not/../a/ref"],
        ),
        (&["--repo=SOURCE", "DEST", ".hidden"], &[".hidden"]),
    ] {
        fails(2, words, said);
    }
}

#[test]
fn wrong_destinations() {
    for (dest, said) in [
        ("", "empty"),
        ("ftp://host/repo", "ssh://[user@]host[:port]/path"),
        ("ssh://host", "no path"),
        ("ssh://host:0/repo", "port"),
        ("ssh://-oProxyCommand=x/repo", "host"),
        ("-oProxyCommand=x:repo", ""),
        ("host:", "path"),
    ] {
        fails(2, &["--repo=SOURCE", "--", dest], &[said]);
    }
}

#[test]
fn no_such_source() {
    let hint = "oxtree init";
    for path in ["HERE/none", "HERE", "HERE/dest/config"] {
        let repo = format!("--repo={path}");
        fails(1, &[&repo, "DEST"], &["not an OSTree repository", hint]);
    }
}

#[test]
fn no_such_ref() {
    fails(
        1,
        &["--repo=SOURCE", "DEST", "main", "nope", "neither/nor"],
        &["nope", "neither/nor", "not found"],
    );
    // Nobody is called for this.
    fails(
        1,
        &["--repo=SOURCE", "no-such-host.invalid:/x", "nope"],
        &["nope"],
    );
}

#[test]
fn no_such_destination_on_this_machine() {
    let hint = "oxtree init --repo=";
    for dest in ["HERE/none", "HERE", "HERE/dest/config"] {
        fails(
            1,
            &["--repo=SOURCE", dest],
            &["not an OSTree repository", hint],
        );
    }
}

/// The path of an object of this kind in the repository.
fn some_object(repo: &Repo, extension: &str) -> std::path::PathBuf {
    let objects = repo.path().join("objects");
    let folders = fs::read_dir(objects).expect("read objects/");
    let mut found: Vec<_> = folders
        .flat_map(|folder| fs::read_dir(folder.expect("a folder").path()).expect("read it"))
        .map(|object| object.expect("an object").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    // The largest, so that there is something to be damaged in it.
    found
        .into_iter()
        .max_by_key(|path| fs::metadata(path).map_or(0, |stat| stat.len()))
        .unwrap_or_else(|| panic!("no {extension}"))
}

fn name_of(object: &Path) -> String {
    let part =
        |path: Option<&std::ffi::OsStr>| path.expect("a name").to_string_lossy().into_owned();
    part(object.parent().and_then(Path::file_name)) + &part(object.file_stem())
}

/// Flips a bit in the middle.
fn damage(object: &Path) {
    let mut bytes = fs::read(object).expect("read an object");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    // In place: a new file would lack the attributes of a bare one.
    fs::write(object, bytes).expect("write an object");
}

#[test]
fn what_the_source_lacks_is_named() {
    for (mode, extension) in [
        ("archive", "filez"),
        ("bare-user", "file"),
        ("archive", "dirtree"),
        ("archive", "dirmeta"),
    ] {
        let fixture = Fixture::new();
        let source = fixture.repo("source", mode);
        fixture.commit(&source, "main", 1);
        let dest = fixture.repo("dest", "archive");
        let object = some_object(&source, extension);
        fs::remove_file(&object).expect("delete an object");
        fixture.push_refused(&source, &dest, &[], &[&name_of(&object)]);
    }
}

#[test]
fn what_is_corrupt_in_the_source_is_not_published() {
    for (mode, extension) in [
        ("archive", "filez"),
        ("bare-user", "file"),
        ("archive", "dirtree"),
        ("archive", "dirmeta"),
        ("archive", "commit"),
    ] {
        for to in ["archive", "bare-user"] {
            let fixture = Fixture::new();
            let source = fixture.repo("source", mode);
            fixture.commit(&source, "main", 1);
            let dest = fixture.repo("dest", to);
            let object = some_object(&source, extension);
            damage(&object);
            fixture.push_refused(&source, &dest, &[], &["orrupt", &name_of(&object)]);
            assert!(Tool::ostree().repo(dest.path()).refs().is_empty());
        }
    }
}
