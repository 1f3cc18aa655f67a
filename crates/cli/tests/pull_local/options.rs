// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be asked for, and how it is refused.

use crate::fixture::{Fixture, ours, pull, refused};

#[test]
fn which_refs() {
    let fixture = Fixture::new();
    let (source, commits) = fixture.history("source", "archive", 2);
    source.commit("other/branch", fixture.tree(3), &[]);
    let dest = fixture.repo("dest", "archive");
    pull(&dest, &source, &[&commits[0]]);
    assert_eq!(dest.refs(), [""; 0]);
    pull(&dest, &source, &["main", "main"]);
    assert_eq!(dest.refs(), ["main"]);
    pull(&dest, &source, &["--remote=origin"]);
    assert_eq!(dest.refs(), ["main", "origin:main", "origin:other/branch"]);
    dest.fsck();
    let third = fixture.repo("third", "archive");
    for (from, args, reason) in [
        (&source, &["nosuch"][..], "Refspec 'nosuch' not found"),
        (&source, &["main^"], "Invalid ref name main^"),
        (&source, &["a:b"], "Invalid ref name a:b"),
        (&dest, &[], "Invalid ref name origin:main"),
        (&source, &["--depth=x"], "Cannot parse integer value"),
        (&source, &["--depth=-2"], "-1 or more"),
        (
            &source,
            &["--require-static-deltas"],
            "Can't use static deltas in an archive repo",
        ),
        (&source, &["--remote=a/b"], "Invalid remote name a/b"),
    ] {
        let error = refused(&third, from, args);
        assert!(error.contains(reason), "{args:?}: {error}");
    }
    assert_eq!(third.refs(), [""; 0]);
    let bare = fixture.repo("bare", "bare");
    let error = refused(&bare, &source, &["--require-static-deltas"]);
    assert!(
        error.contains("Static deltas required, but none found for"),
        "{error}"
    );
    pull(
        &bare,
        &source,
        &["--disable-static-deltas", "--per-object-fsync"],
    );
    pull(&dest, &source, &["--disable-fsync"]);
    let missing = ours(&dest).run("pull-local", [fixture.at("nosuch")]);
    assert!(
        missing.expect_failure().stderr().contains("opening repo"),
        "it is not there"
    );
}

/// A medium of `create-usb` has its refs by collection.
#[test]
fn refs_of_mirrored_collections() {
    let fixture = Fixture::new();
    let (source, commits) = fixture.history("source", "archive", 1);
    let medium = fixture.repo("medium", "archive");
    let dest = fixture.repo("dest", "bare-user");
    let nothing = refused(&dest, &medium, &["main"]);
    assert!(nothing.contains("Refspec 'main' not found"), "{nothing}");
    pull(&medium, &source, &[&commits[0]]);
    let mirror = |collection: &str, name: &str, commit: &str| {
        let create = format!("--create={collection}:{name}");
        ours(&medium).ok("refs", ["-c", &create, commit]);
    };
    mirror("org.example.A", "main", &commits[0]);
    mirror("org.example.B", "main", &commits[0]);
    mirror("org.example.B", "other/branch", &commits[0]);
    let disable = "--disable-verify-bindings";
    pull(&dest, &medium, &[disable, "main"]);
    assert_eq!(dest.refs(), ["main"]);
    pull(&dest, &medium, &[disable, "--remote=usb"]);
    assert_eq!(dest.refs(), ["main", "usb:main", "usb:other/branch"]);
    dest.fsck();
    let newer = source.commit("main", fixture.tree(2), &["--canonical-permissions"]);
    pull(&medium, &source, &[&newer]);
    mirror("org.example.B", "main", &newer);
    let error = refused(&dest, &medium, &[disable]);
    assert!(error.contains("org.example.A, org.example.B"), "{error}");
}

/// Without the option what becomes a hard link comes along damaged, as with the real tool; nothing else does.
#[test]
fn damage_is_found_on_demand() {
    for (from, to) in [("bare", "bare"), ("archive", "bare"), ("bare", "archive")] {
        let fixture = Fixture::new();
        let (source, _) = fixture.history("source", from, 1);
        let suffix = if from == "archive" { "filez" } else { "file" };
        let victim = regular_object(&source, suffix);
        let mut bytes = std::fs::read(&victim).expect("read an object");
        // In the content: of what is packed too, in a block that is stored as it is.
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&victim, bytes).expect("damage an object");
        let careful = fixture.repo("careful", to);
        let error = refused(&careful, &source, &["--untrusted"]);
        assert!(error.contains("Corrupted"), "{error}");
        assert_eq!(careful.refs(), [""; 0]);
        let trusting = fixture.repo("trusting", to);
        if from != to {
            let error = refused(&trusting, &source, &[]);
            assert!(error.contains("Corrupted"), "{error}");
            assert_eq!(trusting.refs(), [""; 0]);
            continue;
        }
        pull(&trusting, &source, &[]);
        let found = trusting.run("fsck", ["-q"]).expect_failure().stderr();
        assert!(found.contains("Corrupted"), "{found}");
    }
}

/// A regular file of some bytes.
fn regular_object(repo: &oxtree_testkit::Repo, suffix: &str) -> std::path::PathBuf {
    let all = crate::fixture::objects(repo.path()).into_iter();
    all.map(|(name, _)| repo.path().join(name))
        .find(|path| {
            let meta = path.symlink_metadata().expect("an object");
            path.extension().is_some_and(|found| found == suffix)
                && meta.is_file()
                && meta.len() > 200
        })
        .expect("a file")
}

#[test]
fn bindings() {
    let fixture = Fixture::new();
    let (source, commits) = fixture.history("source", "archive", 1);
    source.ok("refs", ["--create=elsewhere", "main"]);
    let dest = fixture.repo("dest", "archive");
    let error = refused(&dest, &source, &["elsewhere"]);
    let reason = format!(
        "Commit {}: Commit has no requested ref ‘elsewhere’",
        commits[0]
    );
    assert!(error.contains(&reason), "{error}");
    pull(&dest, &source, &["--disable-verify-bindings", "elsewhere"]);
    // In a collection, a commit has to say so; also one that comes without a ref.
    let bare = fixture.repo("collection", "archive");
    let unbound = bare.commit("main", fixture.tree(1), &["--no-bindings"]);
    bare.ok("config", ["set", "core.collection-id", "org.example.Os"]);
    for args in [&["main"][..], &[&unbound]] {
        let error = refused(&dest, &bare, args);
        assert!(error.contains("found none"), "{error}");
    }
    bare.commit("main", fixture.tree(2), &[]);
    pull(&dest, &bare, &["main"]);
    let error = refused(&dest, &bare, &["--depth=1", "main"]);
    assert!(error.contains("found none"), "{error}");
    dest.fsck();
}

#[test]
fn detached_metadata_comes_along_and_later() {
    let fixture = Fixture::new();
    let source = fixture.repo("source", "archive");
    let tree = fixture.tree(1);
    let commit = source.commit("main", &tree, &["--add-detached-metadata-string=A=1"]);
    let dest = fixture.repo("dest", "bare");
    pull(&dest, &source, &[]);
    let meta = |repo: &oxtree_testkit::Repo| std::fs::read(repo.object(&commit, "commitmeta"));
    assert_eq!(
        meta(&source).expect("metadata"),
        meta(&dest).expect("metadata")
    );
    let second = fixture.repo("second", "archive");
    second.commit("main", &tree, &["--add-detached-metadata-string=B=2"]);
    pull(&dest, &second, &["main"]);
    assert_eq!(
        meta(&second).expect("metadata"),
        meta(&dest).expect("metadata")
    );
    dest.fsck();
}

#[test]
fn remotes() {
    let fixture = Fixture::new();
    let (a, b) = (fixture.repo("a", "archive"), fixture.repo("b", "archive"));
    let both = |args: &[&str]| {
        let (theirs, found) = (a.run("remote", args), ours(&b).run("remote", args));
        assert_eq!(
            theirs.code == Some(0),
            found.code == Some(0),
            "{args:?}: {found:?}"
        );
        assert_eq!(theirs.stdout(), found.stdout(), "{args:?}");
        let config = |repo: &oxtree_testkit::Repo| {
            std::fs::read_to_string(repo.path().join("config")).expect("a config")
        };
        assert_eq!(config(&a), config(&b), "{args:?}");
    };
    for args in [
        &["add", "origin", "http://example.org/r"][..],
        &[
            "add",
            "x",
            "file:///a",
            "b1",
            "b2",
            "--set=foo=bar",
            "--set=a.b=c d",
            "--contenturl=http://c",
        ],
        &[
            "add",
            "y",
            "--no-gpg-verify",
            "--collection-id=org.x.Y",
            "http://y",
        ],
        &["add", "longer-name", "--no-sign-verify", "http://z"],
        &["add", "m", "metalink=http://m"],
        &["add", "origin", "http://other"],
        &["add", "--if-not-exists", "origin", "http://other"],
        &["add", "--force", "origin", "http://new", "branch"],
        &["add", "--force", "--if-not-exists", "origin", "http://new"],
        &["add", "only"],
        &["add", "a/b", "http://x"],
        &["add", "--set=novalue", "q", "http://q"],
        &["add", "--custom-backend=program", "c"],
        &["list"],
        &["show-url", "origin"],
        &["show-url", "m"],
        &["show-url", "nosuch"],
        &["delete", "nosuch"],
        &["delete", "--if-exists", "nosuch"],
        &["delete", "m"],
        &["delete", "c"],
        &["list", "-u"],
    ] {
        both(args);
    }
}
