// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every pair of modes: the same objects as the real tool's, and the same hard links.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use oxtree_testkit::{Repo, Tmpfs, Tool, is_root, trees};

use crate::fixture::{Fixture, MODES, objects, ours, pull, pull_theirs, refused};

/// A tree with what `bare-user-only` cannot store: owners, attributes, set-uid.
fn rich(dir: &Path) {
    std::fs::create_dir(dir).expect("mkdir");
    trees::small(dir, 3);
    trees::incompressible(&dir.join("large"), 9 << 20, 1);
    trees::file(&dir.join("setuid"), b"#!/bin/true\n", 0o755);
    std::fs::set_permissions(dir.join("setuid"), Permissions::from_mode(0o4755)).expect("chmod");
    trees::file(&dir.join("attributes"), b"with attributes\n", 0o644);
    trees::xattr(&dir.join("attributes"), "user.one", b"1");
    if is_root() {
        chown(dir.join("same"), Some(1000), Some(1001)).expect("chown");
    }
}

fn pull_from(mode: &str) {
    let fixture = Fixture::new();
    let tree = fixture.at("rich");
    rich(&tree);
    let source = fixture.repo("source", mode);
    let args: &[&str] = match mode {
        "bare-user-only" => &["--canonical-permissions"],
        _ => &[],
    };
    source.commit("main", &tree, args);
    let (plain, _) = fixture.history("plain", mode, 1);
    for to in MODES {
        for args in [&[][..], &["--untrusted"]] {
            let name = format!("{to}-{}", args.len());
            let dest = fixture.repo(&format!("ours-{name}"), to);
            let mut from = &source;
            if to == "bare-user-only" && mode != to {
                let error = refused(&dest, from, args);
                // Whichever is met first.
                let reasons = ["invalid mode 0104755 with bits 04000", "cannot hold"];
                assert!(
                    reasons.iter().any(|reason| error.contains(reason)),
                    "{error}"
                );
                assert_eq!(objects(dest.path()).len(), 0);
                from = &plain;
            }
            check_pair(&fixture, from, &dest, to, args);
        }
    }
}

fn check_pair(fixture: &Fixture, source: &Repo, dest: &Repo, mode: &str, args: &[&str]) {
    let said = pull(dest, source, args);
    assert!(said.contains(" content objects imported; "), "{said}");
    dest.fsck();
    assert_eq!(dest.rev_parse("main"), source.rev_parse("main"));
    // What the real tool makes of it; with no more links to the source than there were.
    let alone = fixture.at("alone");
    copy(source.path(), &alone);
    let alone = Tool::ostree().repo(alone);
    let theirs = fixture.repo("theirs", mode);
    pull_theirs(&theirs, &alone, args);
    let ours_alone = fixture.repo("ours-alone", mode);
    pull(&ours_alone, &alone, args);
    // Each link of theirs is one more of ours.
    let links = |repo: &Repo| -> Vec<(String, bool)> {
        let all = objects(repo.path()).into_iter();
        all.map(|(name, links)| (name, links > 1)).collect()
    };
    let (expected, found) = (links(&theirs), links(&ours_alone));
    assert_eq!(expected, found, "{args:?} into {mode}");
    // Nothing is done twice.
    let again = pull(dest, source, args);
    assert!(again.starts_with("0 metadata, 0 content"), "{again}");
    // The real tool takes it back.
    let back = fixture.repo("back", mode);
    pull_theirs(&back, dest, &["--untrusted"]);
    back.fsck();
    for repo in [&alone, &theirs, &ours_alone, &back] {
        std::fs::remove_dir_all(repo.path()).expect("delete a repository");
    }
}

fn copy(from: &Path, to: &Path) {
    let words = ["-a".as_ref(), from.as_os_str(), to.as_os_str()];
    Tool::new("/bin/cp").ok(words);
}

#[test]
fn from_archive() {
    pull_from("archive");
}

#[test]
fn from_bare() {
    pull_from("bare");
}

#[test]
fn from_bare_user() {
    pull_from("bare-user");
}

#[test]
fn from_bare_user_only() {
    pull_from("bare-user-only");
}

/// Copies, where there can be no hard links.
#[test]
fn to_another_file_system() {
    if !is_root() {
        return;
    }
    let disk = Tmpfs::mount(256 << 20);
    let fixture = Fixture::new();
    let tree = fixture.at("rich");
    rich(&tree);
    for mode in ["archive", "bare"] {
        let source = fixture.repo(&format!("source-{mode}"), mode);
        source.commit("main", &tree, &[]);
        let before = objects(source.path());
        for args in [&[][..], &["--untrusted"]] {
            let dest = disk.path().join(format!("{mode}-{}", args.len()));
            let dest = Tool::ostree().repo(dest).init(mode);
            let said = pull(&dest, &source, args);
            assert!(said.contains("MB content written"), "{said}");
            dest.fsck();
        }
        assert_eq!(objects(source.path()), before);
    }
}

/// Files whose attributes are objects of their own can be read, and nothing else.
#[test]
fn from_bare_split_xattrs() {
    const NONE: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let fixture = Fixture::new();
    let (bare, _) = fixture.history("bare", "bare", 1);
    // What the real tool writes in this mode lacks links, so it is made of another one.
    let (split, _) = fixture.history("split", "bare", 1);
    let none = split.object(NONE, "file-xattrs");
    std::fs::create_dir_all(none.parent().expect("a folder")).expect("mkdir");
    std::fs::write(&none, b"").expect("write no attributes");
    for (name, _) in objects(split.path()) {
        if name.ends_with(".file") {
            let link = split.path().join(name).with_extension("file-xattrs-link");
            std::fs::hard_link(&none, link).expect("make a link");
        }
    }
    split.ok("config", ["set", "core.mode", "bare-split-xattrs"]);
    split.fsck();
    for to in MODES {
        let dest = fixture.repo(to, to);
        pull(&dest, &split, &[]);
        dest.fsck();
        assert_eq!(dest.rev_parse("main"), bare.rev_parse("main"));
    }
    let error = refused(&split, &bare, &[]);
    assert!(error.contains("bare-split-xattrs is read only"), "{error}");
    assert_eq!(ours(&split).refs(), ["main"]);
}
