// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits that are not whole, and directories with names that lead out of them.

use crate::conversation::Object;
use crate::doors;
use crate::objects::{
    commit, commit_after, commit_of, dirmeta, dirtree, file, gvariant, with_root,
};
use crate::victim::Victim;

/// A push of these objects, of which the last is the commit, is refused at each door.
fn refused(victim: &Victim, what: &str, objects: &[Object], words: &str) {
    let told = doors::refused_at_each(victim, objects);
    assert!(told.contains(words), "{what}: no {words:?} in {told:?}");
}

#[test]
fn names_that_lead_elsewhere() {
    let victim = Victim::new();
    let good = file(b"x");
    let folder = dirtree(&[], &[]);
    let meta = dirmeta(0o40_755);
    for name in [
        "..",
        ".",
        "",
        "/",
        "a/b",
        "../x",
        "/etc/passwd",
        "a/",
        "new/\\nline",
    ] {
        let root = dirtree(&[(name, good.name)], &[]);
        let objects = with_root(vec![good.clone()], root);
        refused(&victim, name, &objects, "Corrupted object");
        let root = dirtree(&[], &[(name, folder.name, meta.name)]);
        let objects = with_root(vec![folder.clone()], root);
        refused(&victim, name, &objects, "Corrupted object");
    }
}

#[test]
fn names_twice_or_in_the_wrong_order() {
    let victim = Victim::new();
    let (good, folder, meta) = (file(b"x"), dirtree(&[], &[]), dirmeta(0o40_755));
    for (what, files, dirs, words) in [
        (
            "files twice",
            &["a", "a"][..],
            &[][..],
            "out of order or there twice",
        ),
        (
            "files unsorted",
            &["b", "a"],
            &[],
            "out of order or there twice",
        ),
        (
            "folders twice",
            &[],
            &["a", "a"],
            "out of order or there twice",
        ),
        (
            "folders unsorted",
            &[],
            &["b", "a"],
            "out of order or there twice",
        ),
        (
            "a file and a folder",
            &["a"],
            &["a"],
            "both a file and a directory",
        ),
    ] {
        let files: Vec<_> = files.iter().map(|&name| (name, good.name)).collect();
        let dirs: Vec<_> = dirs
            .iter()
            .map(|&name| (name, folder.name, meta.name))
            .collect();
        let inside = vec![good.clone(), folder.clone()];
        let objects = with_root(inside, dirtree(&files, &dirs));
        refused(&victim, what, &objects, words);
    }
}

#[test]
fn commits_that_lack_something() {
    let victim = Victim::new();
    let good = file(b"x");
    let whole = commit_of(&[("file", &good)]);
    for (at, what) in [(0, "a file"), (1, "a dirmeta"), (2, "a directory")] {
        let mut objects = whole.clone();
        let lacking = objects.remove(at).name.to_string();
        refused(&victim, what, &objects, &lacking);
    }
    // A long way down.
    let meta = dirmeta(0o40_755);
    let inner = dirtree(&[("file", good.name)], &[]);
    let outer = dirtree(&[], &[("inner", inner.name, meta.name)]);
    let objects = with_root(vec![inner.clone()], outer.clone());
    refused(
        &victim,
        "a file in a folder",
        &objects,
        &good.name.to_string(),
    );
    let objects = with_root(vec![good.clone()], outer);
    refused(&victim, "a folder", &objects, &inner.name.to_string());
    // What is there, but is something else.
    let objects = with_root(vec![inner.clone()], dirtree(&[("file", inner.name)], &[]));
    refused(
        &victim,
        "a folder as a file",
        &objects,
        &inner.name.to_string(),
    );
    // History that comes along has to be whole, too.
    let parent = commit(&inner.name, &meta.name);
    let child = commit_after(Some(&parent.name), &dirtree(&[], &[]).name, &meta.name);
    let objects = [meta, dirtree(&[], &[]), parent, child];
    // Nobody fetches it where it does not come along.
    let told = doors::refused_when_sent(&victim, &objects);
    assert!(told.contains(&inner.name.to_string()), "{told}");
}

#[test]
fn metadata_that_is_not_in_normal_form() {
    let victim = Victim::new();
    let meta = dirmeta(0o40_755);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = dirtree(&[("a", file(b"x").name)], &[]).bytes;
        change(&mut bytes);
        Object::metadata(crate::conversation::DIRTREE, bytes)
    };
    let short_name = gvariant("@(a(say)a(sayay)) ([('a', [1, 2, 3])], [])");
    for (what, root) in [
        ("a byte more", with(&|bytes| bytes.push(0))),
        (
            "a byte less",
            with(&|bytes| bytes.truncate(bytes.len() - 1)),
        ),
        (
            "an offset out of bounds",
            with(&|bytes| *bytes.last_mut().expect("bytes") = 255),
        ),
        ("nothing", with(&|bytes| bytes.clear())),
        ("ones", with(&|bytes| bytes.fill(255))),
        (
            "a short checksum",
            Object::metadata(crate::conversation::DIRTREE, short_name),
        ),
    ] {
        let commit = commit(&root.name, &meta.name);
        let objects = [file(b"x"), meta.clone(), root, commit];
        refused(&victim, what, &objects, "Corrupted object");
    }
}
