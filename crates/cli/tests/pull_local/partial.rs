// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits that are there in part, and histories.

use std::path::Path;

use crate::fixture::{Fixture, names, objects, ours, pull, pull_theirs, refused};

#[test]
fn depth_as_the_real_one_has_it() {
    let fixture = Fixture::new();
    let (source, _) = fixture.history("source", "archive", 4);
    let (a, b) = (fixture.repo("a", "archive"), fixture.repo("b", "archive"));
    for args in [
        &["--depth=0"][..],
        &["--depth=1", "--commit-metadata-only"],
        &["--depth=1"],
        &["--depth=2", "--commit-metadata-only"],
        &["--depth=-1", "--commit-metadata-only"],
        &["--depth=-1"],
        &["--depth=-1"],
    ] {
        pull_theirs(&a, &source, args);
        pull(&b, &source, args);
        let content = |path: &Path| -> Vec<String> {
            objects(path).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(content(a.path()), content(b.path()), "{args:?}");
        assert_eq!(names(&a, "state"), names(&b, "state"), "{args:?}");
        b.fsck();
    }
    assert_eq!(names(&b, "state"), [""; 0]);
}

/// Trees of commits that are there are not looked at, wherever they are in the history.
#[test]
fn a_history_that_is_there_costs_nothing() {
    let fixture = Fixture::new();
    let (source, _) = fixture.history("source", "archive", 5);
    let dest = fixture.repo("dest", "archive");
    pull(&dest, &source, &["--depth=-1"]);
    for (object, _) in objects(source.path()) {
        if !object.ends_with(".commit") {
            std::fs::remove_file(source.path().join(object)).expect("delete an object");
        }
    }
    let said = pull(&dest, &source, &["--depth=-1"]);
    assert!(said.starts_with("0 metadata, 0 content"), "{said}");
    // Only what is new is looked at: it has the tree of another one.
    let tree = fixture.tree(5);
    source.commit("main", &tree, &["--canonical-permissions"]);
    let said = pull(&dest, &source, &["--depth=-1"]);
    assert!(said.starts_with("1 metadata, 0 content"), "{said}");
    dest.fsck();
}

/// The history ends where the source's does; a commit that is asked for has to be there.
#[test]
fn parents_that_are_missing() {
    let fixture = Fixture::new();
    let (source, commits) = fixture.history("source", "archive", 3);
    std::fs::remove_file(source.object(&commits[0], "commit")).expect("delete a commit");
    let dest = fixture.repo("dest", "archive");
    pull(&dest, &source, &["--depth=-1"]);
    dest.fsck();
    let error = refused(&dest, &source, &[&commits[0]]);
    let reason = format!("No such metadata object {}.commit", commits[0]);
    assert!(error.contains(&reason), "{error}");
}

/// What is missing at the source is named, with its place, and nothing becomes public.
#[test]
fn sources_that_are_not_whole() {
    let fixture = Fixture::new();
    for (from, to) in [("archive", "archive"), ("archive", "bare")] {
        let (source, _) = fixture.history(&format!("{from}-for-{to}"), from, 1);
        let (victim, _) = objects(source.path())
            .into_iter()
            .find(|(name, _)| name.ends_with(".filez"))
            .expect("a file");
        std::fs::remove_file(source.path().join(victim)).expect("delete a file");
        let dest = fixture.repo(&format!("to-{to}"), to);
        let error = refused(&dest, &source, &[]);
        assert!(
            error.contains("is incomplete") && error.contains("needed for /"),
            "{error}"
        );
        assert!(
            !objects(dest.path())
                .iter()
                .any(|(name, _)| name.ends_with(".commit"))
        );
        assert_eq!(dest.refs(), [""; 0]);
        let mut left = names(&dest, "tmp");
        left.retain(|name| name != "cache");
        assert_eq!(left, [""; 0]);
    }
}

/// What a check has deleted comes back, and the commit counts as whole again.
#[test]
fn damage_is_mended() {
    let fixture = Fixture::new();
    for mode in ["archive", "bare"] {
        let (source, _) = fixture.history(&format!("source-{mode}"), "archive", 2);
        let dest = fixture.repo(&format!("dest-{mode}"), mode);
        pull(&dest, &source, &["--depth=-1"]);
        let suffix = if mode == "archive" { ".filez" } else { ".file" };
        let (victim, _) = objects(dest.path())
            .into_iter()
            .find(|(name, _)| {
                let meta = dest
                    .path()
                    .join(name)
                    .symlink_metadata()
                    .expect("an object");
                name.ends_with(suffix) && meta.is_file() && meta.len() > 10
            })
            .expect("a file");
        let victim = dest.path().join(victim);
        std::fs::remove_file(&victim).expect("delete a file");
        std::fs::write(&victim, b"damaged").expect("write rubbish");
        let _ = dest.run("fsck", ["--delete"]).expect_failure();
        assert!(!names(&dest, "state").is_empty());
        pull(&dest, &source, &["--depth=-1"]);
        assert_eq!(names(&dest, "state"), [""; 0]);
        dest.fsck();
        ours(&dest).fsck();
    }
}
